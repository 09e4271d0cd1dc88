"""Back-pressure and the readiness check."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mailagent.config.structs import Endpoint, QueueLimits
from mailagent.http import ANSWER_S, MAX_HEAD
from mailagent.intake.errors import ListenFailed
from mailagent.intake.pressure import LOOK_S, Pressure
from mailagent.intake.ready import Readiness
from mailagent.spool.space import SpaceView

ROOM = SpaceView(ok=True, reason="", free_bytes=2**40)
FULL = SpaceView(ok=False, reason="disk full: 1 MiB free, 2048 MiB are kept free", free_bytes=2**20)


class Host:
    def __init__(self, limits: QueueLimits) -> None:
        self.space = ROOM
        self.rss = 50 * 2**20
        self.now = 0.0
        self.pressure = Pressure(limits, free=lambda: self.space, rss_bytes=lambda: self.rss, clock=lambda: self.now)

    def says(self) -> str:
        self.now += LOOK_S
        refusal = self.pressure.refusal()
        return refusal.line() if refusal is not None else ""


def test_the_reply_says_what_is_short_and_ends_when_it_is_there_again() -> None:
    host = Host(QueueLimits(memory_bytes=100 * 2**20))
    assert host.says() == ""
    host.space = FULL
    assert host.says() == "452 4.3.1 disk full: 1 MiB free, 2048 MiB are kept free"
    host.space, host.rss = ROOM, 101 * 2**20
    assert host.says() == "452 4.3.1 memory short: the agent has 101 MiB, 100 MiB are allowed"
    host.rss = 100 * 2**20
    assert host.says() == ""


def test_nothing_is_limited_that_the_file_does_not_limit() -> None:
    host = Host(QueueLimits())
    host.rss = 2**50
    assert host.says() == ""
    assert host.pressure.queue_refusal(10**9) is None


def test_a_full_queue_says_how_full_it_is() -> None:
    host = Host(QueueLimits(waiting=1000))
    assert host.pressure.queue_refusal(999) is None
    refusal = host.pressure.queue_refusal(1000)
    assert refusal is not None
    assert refusal.line() == "452 4.3.1 queue full: 1000 recipients wait, 1000 are allowed"


@asynccontextmanager
async def readiness(why: list[str], *, patience_s: float = ANSWER_S) -> AsyncIterator[Readiness]:
    ready = Readiness(lambda: why[0], patience_s=patience_s)
    await ready.start(Endpoint(host="127.0.0.1", port=0))
    try:
        yield ready
    finally:
        ready.stop()


async def ask(ready: Readiness, request: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", ready.port)
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer.decode()


async def test_readiness_follows_the_host() -> None:
    why = [""]
    async with readiness(why) as ready:
        request = b"GET /ready HTTP/1.1\r\nHost: mx1\r\n\r\n"
        assert (await ask(ready, request)).startswith("HTTP/1.1 200 OK\r\n")
        why[0] = "this host is being drained"
        answer = await ask(ready, request)
        assert answer.startswith("HTTP/1.1 503 Service Unavailable\r\n")
        assert answer.endswith("\r\n\r\nthis host is being drained\n")
        assert (await ask(ready, request.replace(b"GET", b"HEAD"))).endswith("\r\n\r\n")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", 404),
        (b"POST /ready HTTP/1.1", 405),
        (b"EHLO client.test", 400),
        (b"GET /ready?x=" + b"y" * MAX_HEAD + b" HTTP/1.1", 400),
        (b"\xff\xff", 400),
    ],
)
async def test_other_requests_are_refused(request_line: bytes, status: int) -> None:
    async with readiness([""]) as ready:
        assert (await ask(ready, request_line + b"\r\n\r\n")).startswith(f"HTTP/1.1 {status} ")


async def test_a_client_that_says_nothing_is_not_waited_for() -> None:
    async with readiness([""], patience_s=0.01) as ready:
        assert await ask(ready, b"") == ""


async def test_a_taken_address_is_named() -> None:
    async with readiness([""]) as ready:
        with pytest.raises(ListenFailed, match="Address already in use"):
            await Readiness(lambda: "").start(Endpoint(host="127.0.0.1", port=ready.port))
