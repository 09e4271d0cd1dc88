"""A real Postfix that delivers, defers and bounces from its virtual MTAs, as its log tells."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mailagent.api.errors import NotFound
from mailagent.api.ids import MessageId
from mailagent.api.requests import MessageRequest
from mailagent.api.smtp import Verb
from mailagent.api.views import MessageDetail
from mailagent.postfix.host import PostfixHost
from mailagent.postfix.tables import HELD
from tests.integration.processes import until
from tests.integration.sink import Mail, Sink
from tests.postfix.hosts import agent
from tests.postfix.instances import own_postfix

pytestmark = pytest.mark.needs("postfix", "root")

SERVICES = """\
vmta-mkt-1 unix - - n - - smtp -o syslog_name=postfix/vmta-mkt-1 -o smtp_bind_address=127.0.0.7
vmta-mkt-2 unix - - n - - smtp -o syslog_name=postfix/vmta-mkt-2 -o smtp_bind_address=127.0.0.8
mailagent-wait unix - - n - - error -n retry -l
"""
SECTIONS = """\
virtual_mtas:
  mkt-1: {address: 127.0.0.7, ehlo: mkt-1.example.test}
  mkt-2: {address: 127.0.0.8, ehlo: mkt-2.example.test}
pools:
  marketing: {active: [mkt-1, mkt-2]}
streams:
  news: {pool: marketing}
accounting: {records: [d, b, x, k, t]}
"""
FULL = b"452 4.2.2 mailbox is full\r\n"


def refuse(mail: Mail, recipient: str) -> bytes | None:
    return {"full": FULL, "nobody": b"550 5.1.1 User unknown\r\n"}.get(recipient.partition("@")[0])


def accounting(state: Path) -> list[dict[str, Any]]:
    files = sorted((state / "accounting").glob("*.jsonl*"))
    return [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]


async def accounted(state: Path, count: int) -> list[dict[str, Any]]:
    async def there() -> bool:
        return len(accounting(state)) >= count

    await until(there, f"{count} accounting lines")
    return accounting(state)


async def followed(host: PostfixHost) -> None:
    async def begun() -> bool:
        return host._log.begun

    await until(begun, "the log is followed")


async def attempts(host: PostfixHost, queue_id: str, n: int) -> MessageDetail:
    """The recipient, once it has attempts: accounting is written before the change is there to be read."""
    found: list[MessageDetail] = []

    async def there() -> bool:
        with suppress(NotFound):
            detail = await host.reads["message"](MessageRequest(message_id=MessageId(queue_id), n=n))
            assert isinstance(detail, MessageDetail)
            found.append(detail)
        return bool(found and found[-1].attempts)

    await until(there, "an attempt is seen")
    return found[-1]


async def test_outcomes_of_virtual_mtas_through_rotation_a_restart_and_a_suspension(place: Path) -> None:
    state = place / "state"
    async with Sink() as sink:
        sink.refuse = refuse
        routes = place / "routes"

        def route(**ways: str) -> None:
            ways = {"example": "discard:", **ways}  # where bounces go
            routes.write_text("".join(f"{domain}.test {way}\n" for domain, way in ways.items()))

        hop = f"[127.0.0.1]:{sink.port}"
        route(one=f"vmta-mkt-1:{hop}", two=f"vmta-mkt-2:{hop}")
        settings = {"transport_maps": f"texthash:{routes}", "disable_dns_lookups": "yes", "minimal_backoff_time": "1h"}
        with own_postfix(place / "postfix", settings, master=SERVICES) as own:

            async def send(*recipients: str) -> str:
                (queue_id,) = await asyncio.to_thread(own.send, "news@example.test", recipients)
                return queue_id

            async with agent(own, place, sections=SECTIONS) as host:
                await followed(host)
                first = await send("ok@one.test", "full@two.test", "nobody@two.test")
                lines = {line["recipient"]: line for line in await accounted(state, 4)}
                assert {to: line["type"] for to, line in lines.items()} == {
                    "ok@one.test": "delivered", "full@two.test": "deferred", "nobody@two.test": "bounced",
                    "news@example.test": "delivered",
                }  # fmt: skip
                ok, full = lines["ok@one.test"], lines["full@two.test"]
                assert (ok["vmta"], ok["source"], ok["pool"]) == ("mkt-1", "127.0.0.7", "marketing")
                assert (full["vmta"], full["source"], full["category"]) == ("mkt-2", "127.0.0.8", "mailbox-full")
                assert (full["message_id"], full["remote"]) == (first, f"127.0.0.1:{sink.port}")
                assert sink.sources_of("ok@one.test") == {"127.0.0.7"}
                detail = await attempts(host, first, full["n"])
                (attempt,) = detail.attempts
                assert (attempt.vmta, attempt.number, attempt.reply.verb) == ("mkt-2", 1, Verb.RCPT)
                assert (attempt.reply.code, attempt.reply.text) == (452, "mailbox is full")
                await asyncio.to_thread(own.run, "postfix", "logrotate")  # renames, reloads, packs
                await send("ok@two.test")
                assert (await accounted(state, 5))[4]["recipient"] == "ok@two.test"

            async def taken(recipient: str, count: int) -> None:
                async def there() -> bool:
                    return sink.received[recipient] == count and set(await asyncio.to_thread(own.queue)) == {first}

                await until(there, f"{recipient} is delivered")

            await send("ok@one.test")  # while nobody looks
            await taken("ok@one.test", 2)
            await asyncio.to_thread(own.run, "postfix", "logrotate")
            await send("ok@two.test")
            await taken("ok@two.test", 2)
            route(one=f"vmta-mkt-1:{hop}", two=f"mailagent-wait:4.3.2 {HELD}: two.test, by ada")
            await asyncio.to_thread(own.run, "postfix", "reload")

            async def suspended() -> bool:  # a queue manager that is being reloaded does not hear
                await asyncio.to_thread(own.run, "postqueue", "-i", first)
                return HELD in own.log.read_text(encoding="utf-8")

            await until(suspended, "the suspension is in the log")
            await asyncio.to_thread(own.settle, "deferred", 1)

            async with agent(own, place, sections=SECTIONS) as host:
                await accounted(state, 7)
                await send("ok@one.test")
                lines_now = await accounted(state, 8)
                events = [line["event"] for line in lines_now]
                assert len(events) == len(set(events)) == 8
                assert [line["type"] for line in lines_now[5:]] == ["delivered"] * 3

                async def listed() -> bool:
                    host._mirror.look_soon()
                    return host._mirror.complete

                await until(listed, "the queue is listed")
                detail = await attempts(host, first, full["n"])
                assert [one.reply.text for one in detail.attempts] == ["mailbox is full"]
                assert detail.summary.reply is not None
                assert detail.summary.reply.text == "mailbox is full"
                assert host.snapshot().host.notice == ""


async def test_what_soft_bounce_keeps_is_a_deferral_with_its_reply(place: Path) -> None:
    state = place / "state"
    async with Sink() as sink:
        sink.refuse = refuse
        settings = {"relayhost": f"[127.0.0.1]:{sink.port}", "soft_bounce": "yes"}
        with own_postfix(place / "postfix", settings) as own:
            async with agent(own, place, sections=SECTIONS) as host:
                await followed(host)
                (queue_id,) = await asyncio.to_thread(own.send, "news@example.test", ["nobody@two.test"])
                (line,) = await accounted(state, 1)
                assert (line["type"], line["recipient"], line["code"]) == ("deferred", "nobody@two.test", 550)
                detail = await attempts(host, queue_id, line["n"])
                assert [one.reply.enhanced for one in detail.attempts] == ["5.1.1"]
