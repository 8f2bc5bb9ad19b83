"""The bytes of an ordinary stream, for providers on real sockets."""

from __future__ import annotations

OPENING = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"claude-sonnet-4-5","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
)
END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def delta(text: bytes) -> bytes:
    """Return the event that says `text`."""
    return (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"%b"}}\n\n' % text
    )
