"""The bench measures what it says: its tools count only right answers, and nothing that it started is left behind."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
CORES = os.sched_getaffinity(0)
LANGUAGES = ["Python"] if shutil.which("cc") is None and shutil.which("gcc") is None else ["C", "Python"]


def _module(name):
    sys.path.insert(0, str(BENCH))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCH))


rig, messages, chunked = _module("rig"), _module("messages"), _module("chunked")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    return {language: rig.find_tools(folder, in_python=language == "Python") for language in LANGUAGES}


@pytest.fixture(params=LANGUAGES)
def tools(request, built):
    found = built[request.param]
    assert found.language == request.param
    return found


@pytest.fixture(scope="module")
def upstreams(built):
    with contextlib.ExitStack() as running:
        yield {language: running.enter_context(rig.upstream(tools, CORES)) for language, tools in built.items()}


@pytest.fixture
def upstream(tools, upstreams):
    found = upstreams[tools.language]
    found.reset()
    return found


def ask(port, connections=1, seconds=5.0, plan=None, more=()):
    arguments = rig.ask(port, model="m", headers=["x-api-key: k"], connections=connections, seconds=seconds, plan=plan)
    return [*arguments, *more]


# The chunked coding


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_chunks_are_joined_however_they_were_cut(size):
    coded = b"5\r\nhello\r\nA;name=x\r\n, chunked \r\n5\r\nworld\r\n0\r\ntrailer: x\r\n\r\nnext"
    dechunker = chunked.Dechunker()

    content = b"".join(dechunker.feed(coded[i : i + size]) for i in range(0, len(coded), size))

    assert (content, dechunker.done, dechunker.rest) == (b"hello, chunked world", True, b"next")


def test_a_size_that_is_none_is_an_error():
    with pytest.raises(ValueError, match="invalid literal"):
        chunked.Dechunker().feed(b"hello\r\n")


# Upstream and load together


def test_whole_answers_are_counted_by_both_sides(tools, upstream):
    seen = rig.run_load(tools, ask(upstream.port, connections=3, seconds=5, more=["-e", "4"]), CORES)

    assert (seen["requests"], seen["errors"], upstream.stats()["requests"]) == (12, {}, 12)
    assert 0 < seen["latency"]["p50"] <= seen["latency"]["p99"] <= seen["latency"]["max"] < 5
    assert seen["requests_per_second"] == pytest.approx(12 / seen["seconds"], rel=0.01)


def test_a_load_ends_with_its_time(tools, upstream):
    seen = rig.run_load(tools, ask(upstream.port, seconds=0.1), CORES)

    assert seen["seconds"] == pytest.approx(0.1)
    assert 0 < seen["requests"] <= seen["answers"] <= seen["requests"] + 1


@pytest.mark.parametrize("chunks", [1, 4, 203])
def test_streams_come_whole(tools, upstream, chunks):
    seen = rig.run_load(tools, ask(upstream.port, 3, plan=f"{chunks}x0", more=["-e", "2"]), CORES)

    stats = upstream.stats()
    assert (seen["requests"], seen["chunks"], seen["errors"]) == (6, 6 * chunks, {})
    assert (stats["streams_completed"], stats["chunks"], stats["aborted"]) == (6, 6 * chunks, {})


def test_a_client_that_does_not_read_gets_its_whole_stream_later(tools, upstream):
    chunks = 60_000  # more than the kernel holds for a connection
    with socket.create_connection(("127.0.0.1", upstream.port)) as slow:
        slow.sendall(messages.request(0, "m", [], f"{chunks}x0").replace("#####", "00000").encode())
        seen = rig.run_load(tools, ask(upstream.port, plan="5x0", more=["-e", "1"]), CORES)
        assert seen["errors"] == {}
        assert upstream.stats()["streams_open"] == 1

        taken = _until(slow, b"0\r\n\r\n")

        assert taken.count(messages.CHUNK_MARK.encode()) == chunks
        assert messages.STREAM_MARK.encode() in taken
        assert upstream.stats()["streams_completed"] == 2


def test_paced_streams_take_their_time(tools, upstream):
    seen = rig.run_load(tools, ask(upstream.port, 4, plan="10x10", more=["-e", "1", "-r", "0.02"]), CORES)

    assert (seen["chunks"], seen["errors"]) == (40, {})
    assert seen["latency"]["p50"] > 0.0995
    assert seen["gap"]["max"] > 0.005


def test_clients_that_leave_are_seen_to_leave(tools, upstream):
    seen = rig.run_load(tools, ask(upstream.port, 5, plan="1000x5", more=["-e", "1", "-k", "3"]), CORES)
    deadline = time.monotonic() + 5
    while upstream.stats()["streams_open"] and time.monotonic() < deadline:
        time.sleep(0.005)
    stats = upstream.stats()

    upstream.reset()
    assert upstream.stats()["aborted"] == {}
    assert set(stats["aborted"]) == set(seen["left_at"]) == {"0", "1", "2", "3", "4"}
    assert all(-1e-5 < stats["aborted"][client] - at < 5 for client, at in seen["left_at"].items())
    assert (seen["errors"], seen["requests"]) == ({}, 0)


def test_held_streams_stay_until_they_are_let_go(tools, upstream):
    with rig.held_streams(tools, ask(upstream.port, 6, plan="2x60000"), CORES) as held:
        assert (held.streams, upstream.stats()["streams_open"]) == (6, 6)

    deadline = time.monotonic() + 5
    while upstream.stats()["streams_open"] and time.monotonic() < deadline:
        time.sleep(0.005)
    assert upstream.stats()["streams_open"] == 0
    assert held.errors == {}


def test_the_upstream_takes_requests_in_any_framing(upstream):
    body = b'{"model": "m", "messages": [{"content": "bench 2x0 from 3"}]}'
    head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n"
    plain = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    coded = head + b"Transfer-Encoding: chunked\r\n\r\n14\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"
    coded %= (body[:20], len(body) - 20, body[20:])
    with socket.create_connection(("127.0.0.1", upstream.port)) as sock:
        for request in (plain, coded):
            for i in range(len(request)):
                sock.sendall(request[i : i + 1])

            assert _until(sock, b"0\r\n\r\n").count(messages.CHUNK_MARK.encode()) == 2


def _until(sock, end):
    taken = bytearray()
    while not taken.endswith(end):
        data = sock.recv(1 << 20)
        assert data
        taken += data
    return bytes(taken)


# What is not a right answer is an error


def _coded(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK, END = messages.CHUNK_MARK.encode(), messages.STREAM_MARK.encode()
RIGHT = HEAD + _coded(CHUNK, CHUNK, END) + b"0\r\n\r\n"

ANSWERS = {
    "right": (RIGHT, None),
    "marks cut by the framing": (HEAD + _coded(CHUNK[:5], CHUNK[5:] + CHUNK + END[:1], END[1:]) + b"0\r\n\r\n", None),
    "until the connection closes": (b"HTTP/1.1 200 OK\r\n\r\n" + CHUNK + CHUNK + END, None),
    "refused": (b"HTTP/1.1 529 \r\nContent-Length: 0\r\n\r\n", "status 529"),
    "cut off": (RIGHT[:-20], "closed early"),
    "without its end": (HEAD + _coded(CHUNK, CHUNK) + b"0\r\n\r\n", "incomplete answer"),
    "short of a chunk": (HEAD + _coded(CHUNK, END) + b"0\r\n\r\n", "incomplete answer"),
    "with a chunk too many": (HEAD + _coded(CHUNK, CHUNK, CHUNK, END) + b"0\r\n\r\n", "incomplete answer"),
    "framed wrongly": (HEAD + b"what?\r\n", "bad framing"),
    "nothing": (b"", "closed early"),
}


@contextlib.contextmanager
def answering(answer, *, piece):
    """A server that gives every request the same bytes, so many at a time, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):  # the listener is shut down, or a client does not wait for the end
                while True:
                    sock, _ = listener.accept()
                    with sock:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        sock.recv(65536)
                        for i in range(0, len(answer), piece):
                            sock.sendall(answer[i : i + piece])
                        sock.shutdown(socket.SHUT_WR)
                        while sock.recv(65536):
                            pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("name", "piece"),
    [*((name, 1000) for name in ANSWERS), *((name, 1) for name in ANSWERS if ANSWERS[name][1] is None)],
)
def test_only_right_answers_count(tools, name, piece):
    answer, error = ANSWERS[name]

    with answering(answer, piece=piece) as port:
        seen = rig.run_load(tools, ask(port, plan="2x0", more=["-e", "1"]), CORES)

    assert (seen["requests"], seen["errors"]) == ((1, {}) if error is None else (0, {error: 1}))


def test_a_load_that_finds_nobody_gives_up(tools):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    seen = rig.run_load(tools, ask(port, connections=3, seconds=30), CORES)

    assert seen["requests"] == 0
    assert 0 < seen["errors"]["Connection refused"] <= 10


# Whole runs


@pytest.fixture
def marked(tmp_path):
    """An environment that every process of a run inherits, and a way to find those processes."""
    mark = f"VANGO_BENCH_TEST={uuid.uuid4()}"

    def living():
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark.encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes()[:200])
        return found

    name, _, value = mark.partition("=")
    # A run that is killed cannot take its temporary folder along.
    return {**os.environ, name: value, "TMPDIR": str(tmp_path)}, living


def run(*arguments):
    return [sys.executable, str(BENCH / "run.py"), "--quick", *arguments]


def test_a_run_measures_everything_and_says_what_failed(tmp_path, marked):
    environ, living = marked
    out = tmp_path / "figures.json"
    broken = f"broken:{sys.executable} -c 'print(\"cannot start\")'"

    done = subprocess.run(
        run("--json", str(out), "--seconds", "0.1", "--peer", broken),
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    result = json.loads(out.read_text())
    direct, vango = result["median"]["direct"], result["median"]["vango"]
    assert list(result["errors"]) == ["broken"], done.stdout
    assert "cannot start" in result["errors"]["broken"]["run"]
    assert done.returncode == 1
    for figures in (direct, vango):
        assert all(figures[name] > 0 for name in ("json_1.rate", "json_4.rate", "burst.rate", "paced.gap_p99"))
        assert figures["paced.took_p50"] >= 0.4
        assert (figures["cancel.closed"], figures["idle.streams"]) == (4, 20)
    assert vango["json_1.added"] == vango["json_1.p50"] - direct["json_1.p50"]
    assert vango["json_1.cpu"] > 0
    assert 0.05 < vango["start.seconds"] < 30
    assert 20e6 < vango["start.memory"] < 300e6
    assert "direct         vango  × direct" in done.stdout
    assert living() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_nothing_behind(marked, number):
    environ, living = marked
    arguments = run("--skip", "direct", "--scenarios", "idle,json", "--seconds", "30", "--python-tools")
    with subprocess.Popen(
        arguments, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if line == "  json\n":
                break
        assert len(living()) >= 3

        process.send_signal(number)
        process.wait(15)

    if number != signal.SIGKILL:  # then it is the kernel that asks the rest to stop
        assert living() == []
    deadline = time.monotonic() + 10
    while living() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert living() == []


def test_the_pieces_are_measured_by_name():
    done = subprocess.run(
        [sys.executable, str(BENCH / "micro.py"), "--json", "--seconds", "0.002"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    costs = json.loads(done.stdout)
    assert len(costs) >= 15
    assert all(cost > 0 for cost in costs.values())
    assert costs["stream decoder, a chunk, 200 joined"] < costs["stream decoder, opening and closing"]
