"""A client that is only a socket: it says exactly these bytes, and tells a polite end from a reset."""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import trio

# What a test waits before it fails; nothing waits this long in a test that passes.
PATIENCE = 5.0


@dataclass(frozen=True)
class Reply:
    """One response as it came over the wire; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Raw:
    """A connection to a port of this machine."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], sock: socket.socket) -> None:
        self._stream = stream
        self.sock = sock
        self._buffer = b""

    @classmethod
    async def connect(cls, port: int, *, tls: ssl.SSLContext | None = None, receive_buffer: int | None = None) -> Raw:
        """Connect; `receive_buffer` makes a client that soon takes nothing more."""
        sock = trio.socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await sock.connect(("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = trio.SocketStream(sock)
        if tls is not None:
            stream = trio.SSLStream(stream, tls, server_hostname="localhost", https_compatible=False)
            with trio.fail_after(PATIENCE):
                await stream.do_handshake()
        return cls(stream, sock._sock)  # type: ignore[attr-defined]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def send(self, data: bytes) -> None:
        """Write all of it."""
        with trio.fail_after(PATIENCE):
            await self._stream.send_all(data)

    async def more(self) -> bytes:
        """Return the next bytes; b"" at a polite end, ConnectionResetError at a rude one."""
        with trio.fail_after(PATIENCE):
            try:
                data = bytes(await self._stream.receive_some(65536))
            except trio.BrokenResourceError as error:
                raise ConnectionResetError from error
        self._buffer += data
        return data

    async def until(self, mark: bytes) -> bytes:
        """Return, and take away, everything up to and with the mark."""
        while mark not in self._buffer:
            if not await self.more():
                raise EOFError(f"ended after {self._buffer!r}")
        head, _, self._buffer = self._buffer.partition(mark)
        return head + mark

    async def take(self, count: int) -> bytes:
        """Return, and take away, that many bytes."""
        while len(self._buffer) < count:
            if not await self.more():
                raise EOFError(f"ended after {self._buffer!r}")
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    async def head(self) -> Reply:
        """Read a status line and headers; the body stays unread."""
        lines = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1)[:1] + line.split(": ", 1)[1:] for line in lines[1:] if line)
        return Reply(int(lines[0].split(" ")[1]), headers, b"")

    async def reply(self, *, head_only: bool = False) -> Reply:
        """Read one whole response, by its own framing."""
        head = await self.head()
        body = b""
        if head_only:
            pass
        elif head.headers.get("transfer-encoding") == "chunked":
            while chunk := await self.chunk():
                body += chunk
        elif "content-length" in head.headers:
            body = await self.take(int(head.headers["content-length"]))
        else:
            body, _ = await self.rest()
        return Reply(head.status, head.headers, body)

    async def chunk(self) -> bytes:
        """Read one chunk; b"" for the last."""
        size = int(await self.until(b"\r\n"), 16)
        return (await self.take(size + 2))[:-2]

    async def ask(self, data: bytes) -> Reply:
        """Write a request and read its response."""
        await self.send(data)
        return await self.reply()

    async def rest(self) -> tuple[bytes, str]:
        """Read to the end; return the bytes and how it ended: `eof` or `reset`."""
        try:
            while await self.more():
                pass
        except ConnectionResetError:
            end = "reset"
        else:
            end = "eof"
        data, self._buffer = self._buffer, b""
        return data, end

    def is_open(self) -> bool:
        """Whether the peer has neither closed nor reset, and sent nothing unread."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Leave with a FIN."""
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()

    def reset(self) -> None:
        """Leave with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
