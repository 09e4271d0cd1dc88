import asyncio
import time

import pytest
from aiosmtplib import SMTP, SMTPConnectError, SMTPRecipientsRefused, SMTPResponseException, SMTPServerDisconnected

from mailctl.demo import judge
from mailctl.demo.farside import FarSide
from tests.console.demo.conftest import until

LETTER = "Message-ID: <1@acme.example>\r\nSubject: hello\r\n\r\n.a dot\r\ntext\r\n"


def client(far: FarSide, host: str, source: str = "21") -> SMTP:
    return SMTP(
        hostname=far.addresses[host],
        port=far.port,
        source_address=(f"{far.network}.{source}", 0),
        start_tls=False,
        timeout=5,
        local_hostname="mkt-1.acme.example",
    )


async def test_mail_is_taken_and_the_log_says_from_whom_to_whom(far: FarSide) -> None:
    async with client(far, "mta5.am0.yahoodns.net") as smtp:
        await smtp.ehlo()
        assert smtp.supports_extension("pipelining")
        assert smtp.supports_extension("8bitmime")
        errors, answer = await smtp.sendmail(
            "a@acme.example", ["b@yahoo.com", "c@yahoo.com", "nobody@yahoo.com"], LETTER
        )
    assert answer.startswith("ok dirdel")
    assert list(errors) == ["nobody@yahoo.com"]
    assert errors["nobody@yahoo.com"].code == 554
    far.log.flush()
    lines = judge.read(far.log.path)
    assert {line.provider for line in lines} == {"yahoo"}
    assert {line.source_ip for line in lines} == {f"{far.network}.21"}
    assert [line.verb for line in lines] == ["connect", "MAIL", "RCPT", "RCPT", "RCPT", ".", "."]
    delivered = [(line.recipient, line.message_id) for line in lines if line.verb == "."]
    assert delivered == [("b@yahoo.com", "<1@acme.example>"), ("c@yahoo.com", "<1@acme.example>")]


async def test_too_many_connections_of_one_address_are_refused(far: FarSide) -> None:
    open_ones = [client(far, "alt1.gmail-smtp-in.l.google.com") for _ in range(10)]
    for smtp in open_ones:
        await smtp.connect()
    with pytest.raises(SMTPConnectError, match="Too many concurrent"):
        await client(far, "gmail-smtp-in.l.google.com").connect()
    async with client(far, "gmail-smtp-in.l.google.com", source="22"):
        pass
    for smtp in open_ones:
        await smtp.quit()


async def test_yahoo_ends_a_connection_after_twenty_messages(far: FarSide) -> None:
    smtp = client(far, "mx-aol.mail.gm0.yahoodns.net")
    await smtp.connect()
    for n in range(20):
        await smtp.sendmail("a@acme.example", [f"b{n}@aol.com"], LETTER)
    with pytest.raises((SMTPResponseException, SMTPServerDisconnected), match="Max message per connection"):
        await smtp.sendmail("a@acme.example", ["b@aol.com"], LETTER)
    smtp.close()


async def test_a_throttled_address_gets_421_and_the_session_ends(far: FarSide) -> None:
    far.providers["gmail"].throttle(f"{far.network}.21", per_minute=6)
    smtp = client(far, "gmail-smtp-in.l.google.com")
    await smtp.connect()
    await smtp.sendmail("a@acme.example", ["b@gmail.com"], LETTER)
    with pytest.raises(SMTPResponseException, match="unusual rate") as caught:
        await smtp.sendmail("a@acme.example", ["b@gmail.com"], LETTER)
    assert caught.value.code == 421
    await until(lambda: not smtp.is_connected)


async def test_a_slow_provider_answers_late_and_goes_on(far: FarSide) -> None:
    far.providers["outlook"].slow_s = 0.2
    started = time.monotonic()
    async with client(far, "outlook-com.olc.protection.outlook.com") as smtp:
        await smtp.sendmail("a@acme.example", ["b@outlook.com"], LETTER)
        await smtp.sendmail("a@acme.example", ["c@outlook.com"], LETTER)
    assert time.monotonic() - started >= 0.6


async def test_a_greylisting_receiver_defers_the_first_try(far: FarSide) -> None:
    async with client(far, "mx.library.example") as smtp:
        with pytest.raises(SMTPRecipientsRefused) as caught:
            await smtp.sendmail("a@acme.example", ["b@library.example"], LETTER)
    assert caught.value.recipients[0].code == 450


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_pipelined_session_is_answered_the_same_in_any_pieces(far: FarSide, size: int) -> None:
    session = (
        b"EHLO x.example\r\nMAIL FROM:<a@acme.example>\r\nRCPT TO:<b@hotmail.com>\r\nDATA\r\n"
        b"Message-ID: <2@acme.example>\r\n\r\n..\r\n.x\r\n.\r\n"
        b"MAIL FROM:<> SIZE=10\r\nRCPT TO:<c@hotmail.com>\r\nDATA\r\n.\r\n"
        b"MAIL FROM:<a@b.example> SIZE=99999999\r\nRCPT TO:<c@d.example>\r\nNOOP\r\nRSET\r\nXYZZ\r\nQUIT\r\n"
    )
    host = "hotmail-com.olc.protection.outlook.com"
    reader, writer = await asyncio.open_connection(far.addresses[host], far.port)
    for start in range(0, len(session), size):
        writer.write(session[start : start + size])
        await writer.drain()
        if size < 10_000:
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        answers = (await reader.read()).decode().splitlines()
    writer.close()
    await writer.wait_closed()
    codes = [line[:4] for line in answers]
    transaction = ["250 ", "250 ", "354 ", "250 "]
    assert codes == [
        "220 ", "250-", "250-", "250-", "250-", "250 ", *transaction, *transaction,
        "552 ", "503 ", "250 ", "250 ", "502 ", "221 ",
    ]  # fmt: skip


async def test_an_endless_line_is_cut_off(far: FarSide) -> None:
    reader, writer = await asyncio.open_connection(far.addresses["mx.acme.example"], far.port)
    writer.write(b"x" * 100_000)
    async with asyncio.timeout(5):
        assert b"421 4.5.2" in await reader.read()
    writer.close()


async def test_connections_are_uncounted_when_clients_vanish(far: FarSide) -> None:
    for _ in range(15):
        _, writer = await asyncio.open_connection(far.addresses["mx.oldmill.example"], far.port)
        writer.transport.abort()
    smtp = client(far, "mx.oldmill.example")

    async def greeted() -> bool:
        try:
            await smtp.connect()
        except SMTPConnectError:
            return False
        return True

    async with asyncio.timeout(10):
        while not await greeted():  # noqa: ASYNC110 -- the far end counts
            await asyncio.sleep(0.05)
    await smtp.quit()
