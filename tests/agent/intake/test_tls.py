"""STARTTLS (RFC 3207), implicit TLS (RFC 8314) and PROXY headers on real sockets."""

import asyncio
import smtplib
import ssl
import struct
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from mailagent.config import structs
from mailagent.config.intake import Certificate, ListenerTls
from mailagent.intake import CertificateUnusable, Intake, certificates
from mailagent.intake.proxy import SIGNATURE
from tests.agent.intake.doubles import KeepingGate
from tests.agent.intake.test_listener import Client, client, running, until
from tests.certificates import Authority

LOCALHOST = ip_address("127.0.0.1")
BALANCERS = (ip_network("127.0.0.9"),)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def listener(authority: Authority, tls: ListenerTls, **more: Any) -> structs.Listener:
    made = authority.issue("127.0.0.1", "mx1.test")
    return structs.Listener(
        address=LOCALHOST, port=0, tls=tls, certificate=Certificate(cert=made.file, key=made.key), **more
    )


def trusting(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def start_tls(hand: Client, authority: Authority) -> None:
    assert (await hand.say(b"STARTTLS\r\n")).startswith("220 ")
    await hand.writer.start_tls(trusting(authority), server_hostname="mx1.test")


@asynccontextmanager
async def under_tls(intake: Intake, authority: Authority) -> AsyncIterator[tuple[Client, str]]:
    host, port = intake.addresses[0]
    reader, writer = await asyncio.open_connection(host, port, ssl=trusting(authority), server_hostname="mx1.test")
    hand = Client(reader, writer)
    try:
        yield hand, await hand.reply()
    finally:
        writer.close()


async def test_starttls_begins_the_session_anew(authority: Authority) -> None:
    """RFC 3207 sections 4 and 4.2."""
    gate = KeepingGate()
    async with (
        running(gate, listeners=(listener(authority, ListenerTls.STARTTLS),)) as intake,
        client(intake) as (hand, _),
    ):
        hand.writer.write(b"EHLO before.test\r\n")
        async with asyncio.timeout(10):
            assert b"250-STARTTLS" in await hand.reader.readuntil(b"250 ENHANCEDSTATUSCODES\r\n")
        await start_tls(hand, authority)
        assert (await hand.say(b"MAIL FROM:<a@one.test>\r\n")).startswith("503 5.5.1 ")
        hand.writer.write(b"EHLO after.test\r\n")
        async with asyncio.timeout(10):
            assert b"STARTTLS" not in await hand.reader.readuntil(b"250 ENHANCEDSTATUSCODES\r\n")
        assert (await hand.say(b"STARTTLS\r\n")).startswith("503 5.5.1 ")
        await hand.say(b"MAIL FROM:<a@one.test>\r\n")
        await hand.say(b"RCPT TO:<b@two.test>\r\n")
        await hand.say(b"DATA\r\n")
        body = b"Subject: x\r\n\r\n" + b"0123456789" * 90 + b"\r\n"
        assert (await hand.say(body + b"more\r\n" * 50_000 + b".\r\n")).startswith("250 ")
        assert (await hand.say(b"QUIT\r\n")).startswith("221 ")
        assert await hand.reply() == ""
    (submission,) = gate.submissions
    assert (submission.helo, submission.tls) == ("after.test", "TLSv1.3")
    assert len(submission.body) == len(body) + 300_000


async def test_plain_octets_behind_starttls_are_never_commands(authority: Authority) -> None:
    """CVE-2011-0411: what somebody put in between must not be taken for the client's words under TLS."""
    async with running(KeepingGate(), listeners=(listener(authority, ListenerTls.STARTTLS),)) as intake:
        async with client(intake) as (hand, _):
            await hand.say(b"EHLO client.test\r\n")
            assert (await hand.say(b"STARTTLS\r\nMAIL FROM:<a@one.test>\r\n")).startswith("554 5.5.0 ")
            assert await hand.reply() == ""
        async with client(intake) as (hand, _):  # a moment later: the handshake fails
            await hand.say(b"EHLO client.test\r\n")
            assert (await hand.say(b"STARTTLS\r\n")).startswith("220 ")
            hand.writer.write(b"MAIL FROM:<a@one.test>\r\n")
            async with asyncio.timeout(10):
                answer = await hand.reader.read()
            assert not answer.startswith(b"250")
        await until(lambda: intake.connections == 0)


@pytest.mark.parametrize(
    ("command", "reply"),
    [(b"STARTTLS now", "501 5.5.4"), (b"STARTTLSX", "500 5.5.2"), (b"starttls", "220 2.0.0")],
)
async def test_starttls_is_a_command_like_others(authority: Authority, command: bytes, reply: str) -> None:
    async with (
        running(KeepingGate(), listeners=(listener(authority, ListenerTls.STARTTLS),)) as intake,
        client(intake) as (hand, _),
    ):
        await hand.say(b"EHLO client.test\r\n")
        assert (await hand.say(command + b"\r\n")).startswith(reply)


async def test_an_answer_to_a_client_who_broke_tls_is_dropped(authority: Authority) -> None:
    """The gate goes on, and so do the others: neither its callback nor the sweep may raise."""
    gate = KeepingGate()
    gate.holding = True
    async with (
        running(gate, listeners=(listener(authority, ListenerTls.IMPLICIT),)) as intake,
        under_tls(intake, authority) as (hand, _),
    ):
        await hand.open()
        hand.writer.write(b"Subject: x\r\n\r\n.\r\n")
        await until(lambda: bool(gate.waiting))
        (connection,) = intake.clients
        connection.data_received(b"\x17\x03\x03\x00\x20" + b"x" * 32)  # no record of this session
        gate.waiting.pop()(gate.answer)
        connection.sweep(asyncio.get_running_loop().time() + 1000)
        await until(lambda: intake.connections == 0)


async def test_starttls_within_a_transaction_is_refused(authority: Authority) -> None:
    async with (
        running(KeepingGate(), listeners=(listener(authority, ListenerTls.STARTTLS),)) as intake,
        client(intake) as (hand, _),
    ):
        await hand.say(b"EHLO client.test\r\n")
        await hand.say(b"MAIL FROM:<a@one.test>\r\n")
        assert (await hand.say(b"STARTTLS\r\n")).startswith("503 5.5.1 ")


async def test_implicit_tls_greets_after_the_handshake(authority: Authority) -> None:
    gate = KeepingGate()
    async with running(gate, listeners=(listener(authority, ListenerTls.IMPLICIT),)) as intake:
        async with under_tls(intake, authority) as (hand, greeting):
            assert greeting == "220 mx1.test ESMTP\r\n"
            await hand.open()
            assert (await hand.say(b"Text\r\n.\r\n")).startswith("250 ")
        await until(lambda: intake.connections == 0)
    assert gate.submissions[0].tls == "TLSv1.3"


def test_a_library_client_is_served_under_tls_1_2(authority: Authority) -> None:
    gate = KeepingGate()

    async def serve() -> None:
        async with running(gate, listeners=(listener(authority, ListenerTls.STARTTLS),)) as intake:
            await asyncio.to_thread(send, *intake.addresses[0])

    def send(host: str, port: int) -> None:
        context = trusting(authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with smtplib.SMTP(host, port, timeout=10) as smtp:
            smtp.starttls(context=context)
            smtp.sendmail("a@one.test", ["b@two.test"], "Subject: x\r\n\r\nText\r\n")

    asyncio.run(serve())
    assert gate.submissions[0].tls == "TLSv1.2"


async def test_tls_1_1_is_refused(authority: Authority) -> None:
    old = trusting(authority)
    with warnings.catch_warnings(action="ignore"):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    async with running(KeepingGate(), listeners=(listener(authority, ListenerTls.IMPLICIT),)) as intake:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(*intake.addresses[0], ssl=old, server_hostname="mx1.test")
        await until(lambda: intake.connections == 0)


async def test_a_client_that_never_shakes_hands_is_dropped(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailagent.intake.protocol.OPENING_S", 0.01)
    monkeypatch.setattr("mailagent.intake.listener.SWEEP_S", 0.01)
    for tls, proxy in ((ListenerTls.IMPLICIT, ()), (ListenerTls.OFF, (ip_network("127.0.0.0/8"),))):
        opened = listener(authority, tls, proxy_from=proxy)
        async with running(KeepingGate(), listeners=(opened,)) as intake:
            reader, writer = await asyncio.open_connection(*intake.addresses[0])
            async with asyncio.timeout(10):
                with suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()
            await until(lambda: intake.connections == 0)


async def test_connections_in_their_handshake_count_against_the_caps_and_end_with_a_stop(authority: Authority) -> None:
    opened = listener(authority, ListenerTls.IMPLICIT)
    async with running(KeepingGate(), listeners=(opened,), max_connections=1) as intake:
        _, first = await asyncio.open_connection(*intake.addresses[0])
        await until(lambda: intake.connections == 1)
        reader, second = await asyncio.open_connection(*intake.addresses[0])
        async with asyncio.timeout(10):
            assert await reader.read() == b""  # no plain text to a client that expects TLS
            intake.refuse_new()
            await until(lambda: intake.connections == 0)
        first.close()
        second.close()


async def test_a_renewed_certificate_is_shown_to_new_sessions_and_open_ones_go_on(authority: Authority) -> None:
    opened = listener(authority, ListenerTls.STARTTLS)
    config = structs.Intake(listeners=(opened,), relay_from=(ip_network("127.0.0.0/8"),))
    intake = Intake(config, "mx1.test", KeepingGate())
    await intake.start()
    try:
        async with client(intake) as (old, _), client(intake) as (new, _):
            await start_tls(old, authority)
            before = old.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
            authority.issue("127.0.0.1", "mx1.test")  # into the same files
            intake.configure(config, certificates(config))
            await start_tls(new, authority)
            assert new.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"] != before
            assert (await old.say(b"EHLO client.test\r\n")).startswith("250 ")
    finally:
        await intake.stop(0)


async def test_unusable_certificates_are_refused_with_the_reason(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.issue("one.test"), authority.issue("other.test")
    text = tmp_path / "text"
    text.write_text("no certificate")
    open_key = tmp_path / "open.key"
    open_key.write_bytes(one.key.read_bytes())
    open_key.chmod(0o644)
    for cert, key, why in (
        (one.file, tmp_path / "none.key", "No such file"),
        (tmp_path / "none.pem", one.key, "No such file"),
        (one.file, other.key, "do not fit"),
        (text, one.key, "no PEM"),
        (one.file, open_key, "chmod 600"),
    ):
        bad = structs.Listener(
            address=LOCALHOST, port=0, tls=ListenerTls.STARTTLS, certificate=Certificate(cert=cert, key=key)
        )
        with pytest.raises(CertificateUnusable, match=why):
            await Intake(structs.Intake(listeners=(bad,)), "mx1.test", KeepingGate()).start()


def v2(source: str, target: str = "127.0.0.1", *, command: int = 0x21, more: bytes = b"") -> bytes:
    ours, theirs = ip_address(source), ip_address(target)
    body = ours.packed + theirs.packed + struct.pack("!HH", 1, 2) + more
    return SIGNATURE + struct.pack("!BBH", command, 0x11 if ours.version == 4 else 0x21, len(body)) + body


@pytest.mark.parametrize(
    ("header", "named"),
    [
        (b"PROXY TCP4 192.0.2.7 127.0.0.1 1000 25\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 1000 25\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.9"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1000 25\r\n", "192.0.2.7"),
        (v2("192.0.2.7"), "192.0.2.7"),
        (v2("2001:db8::7", "::1", more=b"\x04\x00\x01x"), "2001:db8::7"),
        (v2("192.0.2.7", command=0x20), "127.0.0.9"),  # LOCAL: the balancer's health check
    ],
)
@pytest.mark.parametrize("portions", [1, 1000])
async def test_a_balancer_names_its_client(header: bytes, named: str, portions: int) -> None:
    gate = KeepingGate()
    opened = structs.Listener(address=LOCALHOST, port=0, proxy_from=BALANCERS)
    relay_from = (ip_network(named),)
    async with running(gate, listeners=(opened,), relay_from=relay_from) as intake:
        reader, writer = await asyncio.open_connection(*intake.addresses[0], local_addr=("127.0.0.9", 0))
        hand = Client(reader, writer)
        for start in range(0, len(header), len(header) // portions or 1):
            writer.write(header[start : start + (len(header) // portions or 1)])
            await writer.drain()
        assert (await hand.reply()).startswith("220 ")
        await hand.open()
        assert (await hand.say(b"Text\r\n.\r\n")).startswith("250 ")
        writer.close()
    assert gate.submissions[0].client == named


@pytest.mark.parametrize(
    "header",
    [
        b"EHLO client.test\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 1000\r\n",
        b"PROXY TCP4 2001:db8::7 ::1 1000 25\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 1000 99999\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x31\x11\x00\x0c" + b"\0" * 12,
        SIGNATURE + b"\x21\x11\x00\x04" + b"\0" * 4,
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
async def test_a_balancer_without_a_good_header_is_cut(header: bytes) -> None:
    opened = structs.Listener(address=LOCALHOST, port=0, proxy_from=BALANCERS)
    async with running(KeepingGate(), listeners=(opened,)) as intake:
        reader, writer = await asyncio.open_connection(*intake.addresses[0], local_addr=("127.0.0.9", 0))
        writer.write(header)
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        await until(lambda: intake.connections == 0)


async def test_only_balancers_are_believed() -> None:
    opened = structs.Listener(address=LOCALHOST, port=0, proxy_from=BALANCERS)
    async with running(KeepingGate(), listeners=(opened,)) as intake, client(intake) as (hand, greeting):
        assert greeting.startswith("220 ")
        assert (await hand.say(b"PROXY TCP4 192.0.2.7 127.0.0.1 1000 25\r\n")).startswith("500 ")


async def test_the_cap_per_client_holds_behind_a_balancer() -> None:
    opened = structs.Listener(address=LOCALHOST, port=0, proxy_from=BALANCERS)
    async with running(KeepingGate(), listeners=(opened,), max_connections_per_client=1, relay_from=()) as intake:
        hands = []
        for header in (v2("192.0.2.7"), v2("192.0.2.8"), v2("192.0.2.7")):
            reader, writer = await asyncio.open_connection(*intake.addresses[0], local_addr=("127.0.0.9", 0))
            writer.write(header)
            hands.append(Client(reader, writer))
        assert [(await hand.reply())[:3] for hand in hands] == ["220", "220", "421"]
        for hand in hands:
            hand.writer.close()
        await until(lambda: intake.connections == 0)
        assert not intake._of_client


async def test_tls_begins_in_the_same_octets_as_the_header_ends(authority: Authority) -> None:
    opened = listener(authority, ListenerTls.IMPLICIT, proxy_from=(ip_network("127.0.0.0/8"),))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(authority).wrap_bio(incoming, outgoing, server_hostname="mx1.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    async with running(KeepingGate(), listeners=(opened,)) as intake:
        reader, writer = await asyncio.open_connection(*intake.addresses[0])
        writer.write(v2("192.0.2.7") + outgoing.read())
        async with asyncio.timeout(10):
            while True:
                incoming.write(await reader.read(65536))
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    pass
            writer.write(outgoing.read())
            while True:
                try:
                    assert tls.read().startswith(b"220 ")
                    break
                except ssl.SSLWantReadError:
                    incoming.write(await reader.read(65536))
        writer.close()
