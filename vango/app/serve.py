"""Serving: one process in somebody's nursery, or the program that hears signals and may have workers."""

from __future__ import annotations

import gc
import os
import signal
import ssl
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import trio
from prometheus_client.multiprocess import mark_process_dead

from vango.app.answers import refuse
from vango.app.factory import make_app
from vango.app.listen import address, bind, reserve
from vango.app.server import Drain, Limits, serve_app
from vango.app.supervisor import KILL_SECONDS, supervise, wait_orphaned
from vango.app.telemetry import MULTIPROCESS, make_log
from vango.config import Settings, load_mapping, missing_files, read, unused
from vango.errors import ConfigError
from vango.gateway import LocalGateway

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

STARTED_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that accepts: where it does, what it serves, and how it is told to end (`drain.begin()`)."""

    urls: tuple[str, ...]
    gateway: LocalGateway
    drain: Drain


async def serve(
    config: Settings | Mapping[str, Any] | str | Path | None = None,
    *,
    gateway: LocalGateway | None = None,
    drain: Drain | None = None,
    log: TextIO | None = None,
    reuse_port: bool = False,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a configuration until its drain has ended, or until the surrounding scope is cancelled.

    `config` is a `Settings`, a mapping with the keys of vango.toml, or the path of such a file; without any, what `vango serve`
    would find. All but `Settings` are read together with the environment. `gateway` replaces the one made from it, and must not
    be entered yet. Log lines go to `log`, standard output if not given.
    `await nursery.start(vango.serve, config)` returns a `Serving` once connections are accepted.
    Raises ConfigError, with nothing left open.
    """
    settings = _settings(config, gateway)
    if faults := missing_files(settings):
        raise ConfigError(faults)
    server = settings.server
    drain = drain or Drain()
    logging = settings.observability.logging
    logger = make_log(log or sys.stdout, level=logging.level, style=logging.format)
    for sentence in unused(settings):
        logger.warning("setting_unused", message=sentence)
    tls = _tls(settings)
    sockets = bind(server.host, server.port, reuse_port=reuse_port)
    try:
        async with gateway or LocalGateway(settings) as entered:
            for sentence in entered.notes():
                logger.warning("setting_unused", message=sentence)
            running = Serving(_urls(settings, sockets), entered, drain)
            async with trio.open_nursery() as nursery:
                # One task: the server. The nursery turns its started value into ours.
                await nursery.start(_serve_app, entered, sockets, tls, drain, logger)
                task_status.started(running)
    finally:
        for sock in sockets:
            sock.close()


async def _serve_app(
    gateway: LocalGateway,
    sockets: list[socket.socket],
    tls: ssl.SSLContext | None,
    drain: Drain,
    logger: Any,
    *,
    task_status: trio.TaskStatus[Any],
) -> None:
    server = gateway.settings.server
    bounds = server.limits
    await serve_app(
        make_app(gateway, drain=drain, log=logger),
        sockets,
        limits=Limits(
            max_connections=bounds.max_connections,
            max_header_bytes=bounds.max_header_bytes,
            max_headers=bounds.max_headers,
            header_timeout=bounds.header_timeout_seconds,
            keep_alive=bounds.keep_alive_seconds,
            write_timeout=bounds.write_timeout_seconds,
            tls_handshake_timeout=bounds.tls_handshake_timeout_seconds,
        ),
        tls=tls,
        http2=server.http2,
        grace=server.shutdown_grace_seconds,
        drain=drain,
        refuse=refuse,
        log=logger,
        task_status=task_status,
    )


def run(settings: Settings, *, worker: bool, announce: Callable[[Sequence[str], Settings], None]) -> int:
    """Run the server in this process until signals end it; return the exit code. `announce` gets the addresses once."""
    return trio.run(_run, settings, worker, announce)


async def _run(settings: Settings, worker: bool, announce: Callable[[Sequence[str], Settings], None]) -> int:
    drain = Drain()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:

            async def hear() -> None:
                # The first signal drains, the second stops at once.
                async for number in signals:
                    if number == signal.SIGHUP:
                        # Reloads will come by it; whoever sends one today must not end the server with it.
                        print(
                            "vango: SIGHUP does nothing in this version; restart to take a new configuration",
                            file=sys.stderr,
                        )
                    elif drain.draining:
                        drain.stop_now()
                    else:
                        end()

            async def follow_parent() -> None:
                await wait_orphaned()
                end()

            def end() -> None:
                drain.begin()
                _exit_anyway(settings.server.shutdown_grace_seconds + KILL_SECONDS)

            async def serving(task_status: trio.TaskStatus[Serving]) -> None:
                await serve(settings, drain=drain, reuse_port=worker, task_status=task_status)
                nursery.cancel_scope.cancel()

            nursery.start_soon(hear)
            if worker:
                nursery.start_soon(follow_parent)
            running = await nursery.start(serving)
            announce(running.urls, settings)
            # What is loaded by now stays; the collector need not look at it again.
            gc.collect()
            gc.freeze()
    return 0


def _exit_anyway(seconds: float) -> None:
    """Have the kernel end this process if it is still there after so long, whatever it is stuck in."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def run_workers(
    settings: Settings,
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    announce: Callable[[Sequence[str], Settings], None],
) -> int:
    """Run `server.workers` processes on one port; return the exit code.

    `command` starts a worker, which binds the port that is appended to it. Their metrics meet in a folder of their own.
    """
    server = settings.server
    reserved = reserve(server.host, server.port, reuse_port=True)
    try:
        with tempfile.TemporaryDirectory(prefix="vango-metrics-") as folder:
            port = str(reserved[0].getsockname()[1])
            return trio.run(
                _run_workers,
                settings,
                [*command, "--port", port],
                {**environ, MULTIPROCESS: folder},
                reserved,
                announce,
            )
    finally:
        for sock in reserved:
            sock.close()


async def _run_workers(
    settings: Settings,
    command: list[str],
    environ: Mapping[str, str],
    reserved: list[socket.socket],
    announce: Callable[[Sequence[str], Settings], None],
) -> int:
    def on_exit(pid: int) -> None:
        mark_process_dead(pid, environ[MULTIPROCESS])  # type: ignore[no-untyped-call]  # it has no annotations

    code = 1
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            nonlocal code
            server = settings.server
            code = await supervise(
                command,
                workers=server.workers,
                grace=server.shutdown_grace_seconds,
                on_exit=on_exit,
                environ=environ,
            )
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        await _wait_accepting(reserved[0])
        announce(_urls(settings, reserved), settings)
    return code


async def _wait_accepting(reserved: socket.socket) -> None:
    """Wait until some worker listens on the port."""
    host, port = reserved.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    while True:
        try:
            stream = await trio.open_tcp_stream(host, port)
        except OSError:
            await trio.sleep(STARTED_POLL_SECONDS)
        else:
            await stream.aclose()
            return


def _settings(config: Settings | Mapping[str, Any] | str | Path | None, gateway: LocalGateway | None) -> Settings:
    if isinstance(config, Settings):
        return config
    if config is None or isinstance(config, (str, Path)):
        if config is None and gateway is not None:
            return gateway.settings
        return read(None if config is None else str(config), os.environ, Path.cwd())
    return load_mapping(config, os.environ)


def _urls(settings: Settings, sockets: list[socket.socket]) -> tuple[str, ...]:
    scheme = "https" if settings.server.tls.enabled else "http"
    return tuple(f"{scheme}://{address(sock)}" for sock in sockets)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    tls = settings.server.tls
    if not tls.enabled:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(Path(tls.cert_file), Path(tls.key_file))
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError([f"server.tls: the certificate or its key cannot be read ({exc})"]) from exc
    return context
