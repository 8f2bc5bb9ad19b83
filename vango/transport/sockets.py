"""Byte pipes over TCP and TLS whose every operation answers at once, and the waits between them.

`push` and `pull` try the system call and say how far it got; only `wait_readable` and `wait_ready` wait.
So a cancelled wait cannot lose bytes, and a burst costs one wake.
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from typing import Final

import trio

from vango.transport.faults import transport_error

READ_BYTES: Final = 64 * 1024
PULL_BYTES: Final = 256 * 1024
"""One pull joins about this much: it drains a burst, and one stream does not hold up the others."""

_RECORD_BYTES: Final = 16 * 1024  # the most that one TLS record carries
_SEAL_BYTES: Final = 4 * _RECORD_BYTES  # encrypted ahead of the socket
_ABORT: Final = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds


class TcpPipe:
    """A connected TCP socket. `turns` counts what did not wait since the last wait. One task uses it at a time."""

    __slots__ = ("_fault", "_sock", "turns")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._fault: OSError | None = None
        self.turns = 0

    @property
    def has_backlog(self) -> bool:
        """Whether bytes that `push` took have yet to reach the socket."""
        return False

    def flush(self) -> None:
        """Move the backlog on as far as the socket takes it. Raises OSError."""

    def push(self, data: bytes | memoryview) -> int:
        """Return how many bytes were taken, 0 where the socket is full. Raises OSError."""
        self.turns += 1
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def pull(self) -> bytes | None:
        """Return what has arrived joined, None where nothing has, b"" at the end. Raises OSError.

        What arrived before a fault is returned first; the fault is raised by every pull after that.
        """
        self.turns += 1
        data = self._read()
        if data is None or len(data) < READ_BYTES:
            return data
        pieces = [data]
        for _ in range(PULL_BYTES // READ_BYTES - 1):
            try:
                more = self._read()
            except OSError:
                break
            if not more:
                break
            pieces.append(more)
            if len(more) < READ_BYTES:
                break
        return b"".join(pieces)

    def is_quiet(self) -> bool:
        """Say whether an idle connection is still open and has nothing to say."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    async def wait_readable(self) -> None:
        """Wait until `pull` has something to say."""
        await trio.lowlevel.wait_readable(self._sock)
        self.turns = 0

    async def wait_ready(self) -> None:
        """Wait until `pull` has something to say or `push` can take more."""

        async def wait_writable() -> None:
            await trio.lowlevel.wait_writable(self._sock)
            nursery.cancel_scope.cancel()

        # Two waits on one socket, and the first to end ends the other. Only uploads that fill the socket come here.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_writable)
            await trio.lowlevel.wait_readable(self._sock)
            nursery.cancel_scope.cancel()
        self.turns = 0

    def close(self) -> None:
        """End the connection in good order. May be called twice."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def abort(self) -> None:
        """End the connection by a reset: the peer learns at once, even behind a request it has not read."""
        if self._sock.fileno() >= 0:
            with suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            TcpPipe.close(self)

    def _read(self) -> bytes | None:
        if self._fault is not None:
            raise self._fault
        try:
            return self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError as exc:
            self._fault = exc  # the system tells it once, and an end from then on
            raise


class TlsPipe(TcpPipe):
    """TLS over a connected TCP socket. An end without the peer's close_notify is a fault, as it may be a cut."""

    __slots__ = ("_incoming", "_outgoing", "_sealed", "_tls")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._sealed = memoryview(b"")
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def handshake(self) -> None:
        """Agree on keys and check the peer's certificate. Raises OSError."""
        done = False
        while not done:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                with suppress(OSError):
                    self.flush()  # the alert that tells the peer why
                raise
            self.flush()
            while self.has_backlog:
                await trio.lowlevel.wait_writable(self._sock)
                self.flush()
            while not done and self._fill() is None:
                await self.wait_readable()

    @property
    def has_backlog(self) -> bool:
        return bool(self._sealed)

    def flush(self) -> None:
        while self._sealed or self._outgoing.pending:
            if not self._sealed:
                self._sealed = memoryview(self._outgoing.read())
            try:
                self._sealed = self._sealed[self._sock.send(self._sealed) :]
            except BlockingIOError:
                return
            except OSError:
                self._sealed = memoryview(b"")
                raise

    def push(self, data: bytes | memoryview) -> int:
        self.turns += 1
        self.flush()
        if self._sealed:
            return 0
        taken = self._tls.write(data[:_SEAL_BYTES])
        self.flush()
        return taken

    def pull(self) -> bytes | None:
        self.turns += 1
        pieces: list[bytes] = []
        size = 0
        filled: int | None = READ_BYTES
        try:
            while size < PULL_BYTES:
                try:
                    data = self._tls.read(_RECORD_BYTES)
                except ssl.SSLWantReadError:
                    # A short read has emptied the socket.
                    if filled is None or 0 < filled < READ_BYTES:
                        break
                    filled = self._fill()
                    continue
                if not data:
                    if pieces:
                        break
                    return b""
                pieces.append(data)
                size += len(data)
        except OSError:  # which the next read meets again
            if not pieces:
                raise
        if not pieces:
            return None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def is_quiet(self) -> bool:
        # A readable socket may hold no more than session tickets, which reading takes care of.
        try:
            return self.pull() is None
        except OSError:
            return False

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            with suppress(OSError):
                self._tls.unwrap()  # asks for the peer's close_notify after writing ours; nobody waits for that
            with suppress(OSError):
                self.flush()
        super().close()

    def _fill(self) -> int | None:
        """Move what arrived to the decryption and return its size, None where nothing has."""
        data = self._read()
        if data is None:
            return None
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return len(data)


def trusted_context() -> ssl.SSLContext:
    """Return a context that trusts the system's roots (or `SSL_CERT_FILE`) and speaks HTTP/1.1; costs some 50 ms."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION  # so that a write never needs a read
    return context


async def open_pipe(host: str, port: int, context: ssl.SSLContext | None) -> TcpPipe:
    """Connect to the first of the host's addresses that answers, with TLS where there is a context.

    Raises TransportError.
    """
    try:
        stream = await trio.open_tcp_stream(host, port)
    except (OSError, UnicodeError, OverflowError) as exc:  # the latter two: what cannot be a name, or a port
        raise transport_error(exc) from exc
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    tcp = TcpPipe(sock)
    if context is None:
        return tcp
    secured = False
    try:
        pipe = TlsPipe(sock, context, host)
        await pipe.handshake()
        secured = True
    except (OSError, ValueError) as exc:  # ValueError: a name that TLS cannot ask for
        raise transport_error(exc) from exc
    finally:
        if not secured:
            tcp.close()
    return pipe
