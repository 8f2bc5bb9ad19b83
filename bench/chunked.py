"""HTTP's chunked transfer coding, incrementally: the one piece of framing that both tools read."""

from __future__ import annotations


class Dechunker:
    """Takes the chunked coding off a body. `done` says that the last chunk has come; `rest` is what followed it."""

    def __init__(self) -> None:
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return the content of the chunks that `data` completes; raises ValueError where a size is none."""
        if self.rest:
            data = self.rest + data
        content = []
        position = 0
        while not self.done and (line_end := data.find(b"\r\n", position)) >= 0:
            size = int(data[position:line_end].partition(b";")[0], 16)
            if size:
                stop = line_end + 2 + size
                if len(data) < stop + 2:
                    break
                content.append(data[line_end + 2 : stop])
                position = stop + 2
            else:  # trailers, if any, end like a head does
                stop = data.find(b"\r\n\r\n", line_end)
                if stop < 0:
                    break
                self.done = True
                position = stop + 4
        self.rest = data[position:]
        return b"".join(content)
