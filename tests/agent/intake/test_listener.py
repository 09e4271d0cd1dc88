"""Intake on real sockets: admission, caps, time-outs, stop, and clients that misbehave."""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from email.message import EmailMessage
from ipaddress import ip_address, ip_network
from typing import Any

import aiosmtplib
import pytest

from mailagent.api.smtp import SmtpReply
from mailagent.config import structs
from mailagent.intake import Gate, Intake, ListenFailed, Submission
from mailagent.intake.clients import client_group
from mailagent.intake.protocol import MAX_BACKLOG
from tests.agent.intake.doubles import QUEUED, KeepingGate
from tests.conftest import program

DEADLINE_S = 10
LOOPBACK = structs.Listener(address=ip_address("127.0.0.1"), port=0)
TRUSTED = (ip_network("127.0.0.0/8"),)


@asynccontextmanager
async def running(gate: Gate, **settings: Any) -> AsyncIterator[Intake]:
    config = structs.Intake(**{"listeners": (LOOPBACK,), "relay_from": TRUSTED, **settings})
    intake = Intake(config, "mx1.test", gate)
    await intake.start()
    try:
        yield intake
    finally:
        await intake.stop(0)


class Client:
    """A hand on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """The next reply; empty when the server closed."""
        async with asyncio.timeout(DEADLINE_S):
            while (line := await self.reader.readline())[3:4] == b"-":
                pass
            return line.decode()

    async def say(self, data: bytes) -> str:
        self.writer.write(data)
        return await self.reply()

    async def open(self) -> str:
        """Up to and with the reply to DATA."""
        await self.say(b"EHLO client.test\r\n")
        await self.say(b"MAIL FROM:<a@one.test>\r\n")
        await self.say(b"RCPT TO:<b@two.test>\r\n")
        return await self.say(b"DATA\r\n")


@asynccontextmanager
async def client(intake: Intake, source: str = "127.0.0.1") -> AsyncIterator[tuple[Client, str]]:
    """A connection and its greeting."""
    host, port = intake.addresses[0]
    reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0) if ":" not in host else None)
    hand = Client(reader, writer)
    try:
        yield hand, await hand.reply()
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  of sockets and counters, no event to wait for
            await asyncio.sleep(0.005)


async def test_takes_mail_from_a_library_client() -> None:
    gate = KeepingGate()
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@one.test", "b@two.test", "hello"
    message["X-Virtual-MTA"] = "mkt-1"
    message.set_content(".starts with a dot\n" * 3000)
    async with running(gate) as intake:
        host, port = intake.addresses[0]
        errors, answer = await aiosmtplib.send(message, hostname=host, port=port, timeout=DEADLINE_S)
    assert not errors
    assert "queued" in answer
    (submission,) = gate.submissions
    assert submission.virtual_mta == "mkt-1"
    assert submission.body.count(b"\r\n.starts with a dot") == 3000
    assert b"Virtual" not in submission.body


@pytest.mark.needs("smtp-source")
async def test_takes_mail_from_smtp_source() -> None:
    gate = KeepingGate()
    async with running(gate) as intake:
        host, port = intake.addresses[0]
        process = await asyncio.create_subprocess_exec(
            str(program("smtp-source")), *("-N", "-d", "-s", "10", "-m", "200", "-l", "10240"), f"{host}:{port}"
        )
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
    assert len({submission.recipients for submission in gate.submissions}) == 200


async def test_listens_on_ipv6_too() -> None:
    gate = KeepingGate()
    listener = structs.Listener(address=ip_address("::1"), port=0)
    async with (
        running(gate, listeners=(listener,), relay_from=(ip_network("::1"),)) as intake,
        client(intake) as (hand, greeting),
    ):
        assert greeting.startswith("220 ")
        await hand.open()
        await hand.say(b"Text\r\n.\r\n")
    assert gate.submissions[0].client == "::1"


async def test_a_listener_that_cannot_be_bound_is_named_and_none_stays_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        listeners = (LOOPBACK, structs.Listener(address=ip_address("127.0.0.1"), port=port))
        intake = Intake(structs.Intake(listeners=listeners), "mx1.test", KeepingGate())
        with pytest.raises(
            ListenFailed, match=rf"127\.0\.0\.1:{port}: Address already in use; .*intake\.listeners"
        ) as info:
            await intake.start()
        assert info.value.errno == errno.EADDRINUSE
        assert intake.addresses == []


async def test_an_address_of_another_host_is_refused_with_advice() -> None:
    listener = structs.Listener(address=ip_address("192.0.2.1"), port=0)
    with pytest.raises(ListenFailed, match="add it to an interface"):
        await Intake(structs.Intake(listeners=(listener,)), "mx1.test", KeepingGate()).start()


async def test_the_gate_may_refuse_connections() -> None:
    gate = KeepingGate()
    gate.greeting = SmtpReply(code=421, enhanced="4.3.2", text="Draining")
    async with running(gate) as intake, client(intake) as (hand, greeting):
        assert greeting == "421 4.3.2 Draining\r\n"
        assert await hand.reply() == ""
        assert intake.connections == 0


async def test_a_strange_client_has_a_cap_and_a_trusted_one_has_none() -> None:
    async with running(KeepingGate(), relay_from=(ip_network("127.0.0.2"),), max_connections_per_client=1) as intake:
        async with (
            client(intake) as (_, first),
            client(intake) as (_, second),
            client(intake, "127.0.0.3") as (_, other),
        ):
            assert first[:3] == other[:3] == "220"
            assert second.startswith("421 4.7.0 ")
            async with client(intake, "127.0.0.2") as (_, one), client(intake, "127.0.0.2") as (_, two):
                assert one[:3] == two[:3] == "220"
        await until(lambda: intake.connections == 0)
        async with client(intake) as (_, again):
            assert again.startswith("220 ")


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_an_ipv6_client_is_its_network(one: str, other: str, together: bool) -> None:
    assert (client_group(one) == client_group(other)) is together


async def test_all_connections_together_have_a_cap() -> None:
    async with running(KeepingGate(), max_connections=1) as intake, client(intake), client(intake) as (_, greeting):
        assert greeting.startswith("421 4.3.2 ")


async def test_a_strange_client_cannot_relay() -> None:
    async with running(KeepingGate(), relay_from=()) as intake, client(intake) as (hand, _):
        await hand.say(b"EHLO client.test\r\n")
        await hand.say(b"MAIL FROM:<a@one.test>\r\n")
        assert (await hand.say(b"RCPT TO:<b@two.test>\r\n")).startswith("550 5.7.1 ")


async def test_a_silent_client_is_sent_away() -> None:
    async with running(KeepingGate(), timeout=timedelta(milliseconds=80)) as intake, client(intake) as (hand, _):
        assert (await hand.reply()).startswith("421 4.4.2 ")
        assert await hand.reply() == ""


async def test_the_answer_waits_for_the_gate_and_commands_wait_for_the_answer() -> None:
    gate = KeepingGate()
    gate.holding = True
    async with running(gate) as intake, client(intake) as (hand, _):
        await hand.open()
        hand.writer.write(b"Text\r\n.\r\nQUIT\r\n")
        await until(lambda: len(gate.waiting) == 1)
        gate.waiting[0](QUEUED)
        assert await hand.reply() == "250 2.0.0 Ok: queued\r\n"
        assert (await hand.reply()).startswith("221 ")


async def test_a_client_far_ahead_of_its_answer_is_not_read() -> None:
    gate = KeepingGate()
    gate.holding = True
    async with running(gate, max_recipients=10_000) as intake, client(intake) as (hand, _):
        await hand.open()
        hand.writer.write(b"Text\r\n.\r\n")
        await until(lambda: len(gate.waiting) == 1)
        (connection,) = intake._connections
        hand.writer.write(b"MAIL FROM:<a@one.test>\r\n" + b"RCPT TO:<b@two.test>\r\n" * 5000)
        await until(lambda: not connection._reading)
        session = connection._session
        assert session is not None
        assert session.backlog > MAX_BACKLOG
        gate.waiting[0](QUEUED)
        assert connection._reading
        assert (await hand.reply()).startswith("250 2.0.0 Ok: queued")
        assert (await hand.reply()).startswith("250 2.1.0 Ok")


async def test_a_client_that_does_not_read_is_not_read() -> None:
    async with running(KeepingGate(), max_recipients=1_000_000) as intake, client(intake) as (hand, _):
        await hand.say(b"EHLO client.test\r\n")
        await hand.say(b"MAIL FROM:<a@one.test>\r\n")
        (connection,) = intake._connections
        sending = connection._transport.get_extra_info("socket")
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        group = b"RCPT TO:<b@two.test>\r\n" * 1000

        async def flood() -> None:
            while connection._reading:
                hand.writer.write(group)
                async with asyncio.timeout(DEADLINE_S):
                    await hand.writer.drain()

        hand.writer.transport.pause_reading()  # type: ignore[attr-defined]
        task = asyncio.create_task(flood(), name="flood")
        await until(lambda: not connection._reading)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not connection._writable


async def test_a_client_that_vanishes_in_flight_leaves_its_message_with_the_gate() -> None:
    gate = KeepingGate()
    gate.holding = True
    async with running(gate) as intake:
        async with client(intake) as (hand, _):
            await hand.open()
            hand.writer.write(b"Text\r\n.\r\n")
            await until(lambda: len(gate.waiting) == 1)
            hand.writer.transport.abort()
        gate.waiting[0](QUEUED)
        await until(lambda: intake.connections == 0)
        assert len(gate.submissions) == 1


async def test_a_client_that_only_stopped_sending_still_gets_its_answer() -> None:
    gate = KeepingGate()
    gate.holding = True
    async with running(gate) as intake, client(intake) as (hand, _):
        await hand.open()
        hand.writer.write(b"Text\r\n.\r\n")
        hand.writer.write_eof()
        await until(lambda: len(gate.waiting) == 1)
        gate.waiting[0](QUEUED)
        assert await hand.reply() == "250 2.0.0 Ok: queued\r\n"
        assert await hand.reply() == ""


async def test_only_the_first_answer_counts() -> None:
    gate = KeepingGate()
    gate.holding = True
    async with running(gate) as intake, client(intake) as (hand, _):
        await hand.open()
        hand.writer.write(b"Text\r\n.\r\n")
        await until(lambda: len(gate.waiting) == 1)
        gate.waiting[0](QUEUED)
        gate.waiting[0](SmtpReply(code=554, text="twice"))
        assert (await hand.reply()).startswith("250 ")
        assert (await hand.say(b"QUIT\r\n")).startswith("221 ")


async def test_a_gate_that_fails_costs_a_451(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(KeepingGate):
        def submit(self, submission: Submission, done: Callable[[SmtpReply], None]) -> None:
            raise OSError("no space left")

    with caplog.at_level(logging.CRITICAL, "mailagent.intake"):
        async with running(Broken()) as intake, client(intake) as (hand, _):
            await hand.open()
            assert await hand.say(b"Text\r\n.\r\n") == "451 4.3.0 Local error, try again later\r\n"
            assert (await hand.say(b"NOOP\r\n")).startswith("250 ")


async def test_refusing_lets_running_transactions_finish() -> None:
    gate = KeepingGate()
    async with running(gate) as intake, client(intake) as (idle, _), client(intake) as (busy, _):
        await busy.open()
        intake.refuse_new()
        assert (await idle.reply()).startswith("421 4.3.2 ")
        async with client(intake) as (_, greeting):
            assert greeting.startswith("421 4.3.2 ")
        assert (await busy.say(b"Text\r\n.\r\n")).startswith("250 ")
        assert (await busy.reply()).startswith("421 4.3.2 ")
        await until(lambda: intake.connections == 0)


async def test_stop_waits_for_transactions_within_its_grace() -> None:
    gate = KeepingGate()
    gate.holding = True
    async with running(gate) as intake, client(intake) as (hand, _):
        host, port = intake.addresses[0]
        await hand.open()
        hand.writer.write(b"Text\r\n.\r\n")
        await until(lambda: len(gate.waiting) == 1)
        stop = asyncio.create_task(intake.stop(DEADLINE_S), name="stop")
        await until(lambda: intake._refusing)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)
        gate.waiting[0](QUEUED)
        assert (await hand.reply()).startswith("250 ")
        assert (await hand.reply()).startswith("421 ")
        await stop
        assert intake.connections == 0


async def test_stop_ends_what_outlives_its_grace() -> None:
    gate = KeepingGate()
    async with running(gate) as intake, client(intake) as (hand, _):
        await hand.open()
        await intake.stop(0)
        assert (await hand.reply()).startswith("421 4.3.2 ")
        assert await hand.reply() == ""
        assert intake.connections == 0


async def test_a_new_configuration_holds_for_new_connections() -> None:
    async with running(KeepingGate()) as intake, client(intake) as (old, _):
        intake.configure(structs.Intake(hostname="new.test", relay_from=()), {})
        await old.open()
        assert (await old.say(b"Text\r\n.\r\n")).startswith("250 ")
        async with client(intake) as (new, greeting):
            assert greeting == "220 new.test ESMTP\r\n"
            await new.say(b"EHLO client.test\r\n")
            await new.say(b"MAIL FROM:<a@one.test>\r\n")
            assert (await new.say(b"RCPT TO:<b@two.test>\r\n")).startswith("550 5.7.1")
