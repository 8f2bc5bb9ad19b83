"""A provider that fails on cue: how an application behaves behind retries, without a provider."""

from __future__ import annotations

import io

import httpx
import trio

import vango
from vango.gateway import LocalGateway
from vango.transport.sandbox import SandboxTransport
from vango.types.script import Break, Script


async def main() -> None:
    sandbox = SandboxTransport()
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus) -> None:
            gateway = LocalGateway(vango.Settings.model_validate({"server": {"port": 0}}), sandbox=sandbox)
            await vango.serve(gateway=gateway, log=io.StringIO(), task_status=task_status)

        serving = await nursery.start(serve)
        async with httpx.AsyncClient(base_url=serving.urls[0]) as http:
            sandbox.replies(Script.error(529), Script.text("Here I am.", chunks=3))
            print(await ask(http))

            sandbox.replies(Script.text("This will be cut", chunks=4).cut(5, Break()))
            print(await ask(http, stream=True))
        serving.drain.begin()


async def ask(http: httpx.AsyncClient, **options: object) -> str:
    message = {"role": "user", "content": "Are you there?"}
    request = {"model": "sandbox/chat", "max_tokens": 200, "messages": [message], **options}
    reply = await http.post("/v1/messages", json=request)
    if not options.get("stream"):
        return reply.json()["content"][0]["text"]
    return " ".join(line.removeprefix("event: ") for line in reply.text.splitlines() if line.startswith("event: "))


if __name__ == "__main__":
    trio.run(main)
