"""Bound sockets for the server, and faults in the words of whoever chose the address."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from vango.errors import ConfigError

REASONS = {
    errno.EADDRINUSE: "the port is in use by another program",
    errno.EACCES: "this user may not open the port; those below 1024 need a privilege",
    errno.EPERM: "this user may not open the port; those below 1024 need a privilege",
    errno.EADDRNOTAVAIL: "the address does not belong to this machine",
    errno.EAFNOSUPPORT: "this machine has no such kind of address",
}

# The family, or the address, is not there.
ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
BACKLOG = 1024
MAX_PORT = 65535
PORT_ATTEMPTS = 16

Place = tuple[socket.AddressFamily, tuple[Any, ...]]


def bind(host: str, port: int, *, reuse_port: bool = False, backlog: int = BACKLOG) -> list[socket.socket]:
    """Return listening sockets for every address of a host; port 0 takes one free port for all of them.

    An empty host means every address of the machine. With `reuse_port` other processes of this user may listen on the
    same port, and the kernel spreads connections over them.
    Raises ConfigError with a sentence where that is not possible.
    """
    sockets = reserve(host, port, reuse_port=reuse_port)
    try:
        for sock in sockets:
            sock.listen(backlog)
    except OSError as error:
        _close(sockets)
        raise ConfigError([_fault(host, port, error)]) from error
    return sockets


def reserve(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """Return bound sockets that do not listen: they hold a port, and connections go only to those who do listen."""
    places = _addresses(host, port)
    for attempt in range(PORT_ATTEMPTS):
        try:
            return _bind_all(host, places, port, reuse_port)
        except OSError as error:
            if port == 0 and error.errno == errno.EADDRINUSE and attempt + 1 < PORT_ATTEMPTS:
                continue  # the port that was free for the first address was taken for the second
            raise ConfigError([_fault(host, port, error)]) from error
    raise AssertionError("the last attempt returns or raises")


def address(sock: socket.socket) -> str:
    """Return `host:port`, or `[host]:port`, as it stands in a URL."""
    host, port = sock.getsockname()[:2]
    return _text(host, port)


def _addresses(host: str, port: int) -> list[Place]:
    if not 0 <= port <= MAX_PORT:
        raise ConfigError([f"Cannot listen on {_text(host, port)}: a port is a number from 0 to {MAX_PORT}."])
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError([f"Cannot listen on {_text(host, port)}: the host is not known."]) from error
    # A name may list one address twice.
    return list(dict.fromkeys((family, tuple(place)) for family, _, _, _, place in found))


def _bind_all(host: str, places: list[Place], port: int, reuse_port: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    absent = OSError(errno.EADDRNOTAVAIL, f"no address for {host}")
    try:
        for family, place in places:
            # With port 0 the first address chooses for the others.
            chosen = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_bind(family, (place[0], chosen, *place[2:]), len(places) == 1, reuse_port))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                # `localhost` names ::1 on machines that have no IPv6; the other addresses will do.
                absent = error
        if not sockets:
            raise absent
    except OSError:
        _close(sockets)
        raise
    return sockets


def _bind(family: socket.AddressFamily, place: tuple[Any, ...], alone: bool, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if os.name == "posix":
            # Elsewhere this option means that anyone may take the port over.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # `::` by itself takes IPv4 too; beside an IPv4 socket it would be in that one's way.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if alone else 1)
        sock.bind(place)
    except OSError:
        sock.close()
        raise
    return sock


def _fault(host: str, port: int, error: OSError) -> str:
    reason = REASONS.get(error.errno or 0) or os.strerror(error.errno or 0)
    return f"Cannot listen on {_text(host, port)}: {reason}."


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
