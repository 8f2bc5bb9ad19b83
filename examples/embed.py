"""A gateway inside your own nursery: it accepts when `start` returns, and is gone when the block is left."""

from __future__ import annotations

import io

import httpx
import trio

import vango


async def main() -> None:
    async with trio.open_nursery() as nursery:
        serving = await nursery.start(serve_quietly)
        async with httpx.AsyncClient(base_url=serving.urls[0]) as http:
            reply = await http.post(
                "/v1/messages",
                json={
                    "model": "sandbox/chat",
                    "max_tokens": 200,
                    "messages": [{"role": "user", "content": "What is 12 * 7?"}],
                },
            )
        print(reply.json()["content"][0]["text"])
        serving.drain.begin()


async def serve_quietly(task_status: trio.TaskStatus) -> None:
    await vango.serve({"server": {"port": 0}}, log=io.StringIO(), task_status=task_status)


if __name__ == "__main__":
    trio.run(main)
