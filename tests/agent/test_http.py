"""Machines that ask over HTTP: answered, and never waited for."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mailagent.http import MAX_HEAD, Answer, HttpListener, Response
from tests.integration.processes import until

GET = b"GET /metrics HTTP/1.1\r\nHost: mx1\r\n\r\n"


async def hello(accept: str) -> Response:
    return Response(f"accepts {accept}")


@asynccontextmanager
async def listening(
    answer: Answer = hello, *, most: int = 4, patience_s: float = 20, pace_s: float = 0
) -> AsyncIterator[HttpListener]:
    listener = HttpListener("/metrics", answer, most=most, patience_s=patience_s, pace_s=pace_s)
    await listener.start("127.0.0.1", 0)
    try:
        yield listener
    finally:
        listener.stop()


async def ask(listener: HttpListener, request: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return (await reader.read()).decode()
    finally:
        writer.close()


async def gone(reader: asyncio.StreamReader) -> bool:
    """Whether the other end has ended the connection."""
    async with asyncio.timeout(10):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


async def test_what_is_accepted_comes_to_who_answers() -> None:
    async with listening() as listener:
        answer = await ask(listener, b"GET /metrics?x=1 HTTP/1.1\r\nACCEPT: a/b\r\nHost: x\r\naccept:c/d;q=0.1\r\n\r\n")
        assert answer.startswith("HTTP/1.1 200 OK\r\n")
        assert answer.endswith("Connection: close\r\n\r\naccepts a/b,c/d;q=0.1\n")
        head = await ask(listener, GET.replace(b"GET", b"HEAD"))
        assert "Content-Length: 9\r\n" in head
        assert head.endswith("\r\n\r\n")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", 404),
        (b"GET /metrics/../ready HTTP/1.1", 404),
        (b"POST /metrics HTTP/1.1", 405),
        (b"GET /metrics", 400),
        (b"\x16\x03\x01", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"y" * MAX_HEAD, 400),
    ],
)
async def test_other_requests_are_refused(request_line: bytes, status: int) -> None:
    async with listening() as listener:
        assert (await ask(listener, request_line + b"\r\n\r\n")).startswith(f"HTTP/1.1 {status} ")


async def test_silent_clients_make_way_for_one_that_asks() -> None:
    async with listening(most=3) as listener:
        silent = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(3)]
        for _, writer in silent:
            writer.write(b"GET /metrics HTTP/1.1\r\n")
        await until_true(lambda: listener.connections == 3)
        assert (await ask(listener, GET)).startswith("HTTP/1.1 200 ")
        assert await gone(silent[0][0])
        assert listener.connections <= 3
        for _, writer in silent:
            writer.close()


async def test_a_client_that_sends_a_request_octet_by_octet_is_ended() -> None:
    async with listening(patience_s=0.05) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET /met")
        assert await gone(reader)
        writer.close()
        await until_true(lambda: listener.connections == 0)


async def test_a_client_that_takes_nothing_of_a_long_answer_is_ended() -> None:
    async def long(_accept: str) -> Response:
        return Response("x" * 32 * 1024 * 1024)

    async with listening(long, patience_s=0.2) as listener:
        with socket.create_connection(("127.0.0.1", listener.port)) as client:
            client.sendall(GET)
            await until_true(lambda: listener.connections == 1)
            await until_true(lambda: listener.connections == 0)


async def test_who_asks_in_a_loop_waits_for_a_turn() -> None:
    async with listening(most=64, pace_s=0.02) as listener:
        began = time.monotonic()
        answers = await asyncio.gather(*(ask(listener, GET) for _ in range(26)))
        assert time.monotonic() - began >= 25 * 0.02
        assert {answer.partition("\r\n")[0] for answer in answers} == {"HTTP/1.1 200 OK"}


async def test_an_ipv6_address_is_listened_on() -> None:
    listener = HttpListener("/metrics", hello)
    await listener.start("::1", 0)
    try:
        reader, writer = await asyncio.open_connection("::1", listener.port)
        writer.write(GET)
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        writer.close()
    finally:
        listener.stop()


async def test_an_answer_that_fails_is_told_without_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(_accept: str) -> Response:
        raise ValueError("secret")

    async with listening(fails) as listener:
        answer = await ask(listener, GET)
        assert answer.startswith("HTTP/1.1 500 Internal Server Error\r\n")
        assert "secret" not in answer
        assert "secret" in caplog.text


async def test_stopping_ends_who_is_connected() -> None:
    async with listening() as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        await until_true(lambda: listener.connections == 1)
        listener.stop()
        assert await gone(reader)
        writer.close()


async def until_true(condition: Callable[[], bool]) -> None:
    async def check() -> bool:
        return condition()

    await until(check, "a state of the listener")
