"""Mail that a content filter takes and hands back, as the log tells: it comes once, and leaves once."""

import asyncio
import time
from pathlib import Path

import pytest

from mailagent.postfix.host import PostfixHost
from tests.integration.processes import free_port, until
from tests.integration.sink import Sink
from tests.postfix.filters import content_filter
from tests.postfix.hosts import agent
from tests.postfix.instances import own_postfix
from tests.postfix.test_log import SECTIONS, SERVICES, accounted, accounting, followed, refuse

pytestmark = pytest.mark.needs("postfix", "root")

LATE = ("late@one.test", "later@one.test")
NO_ROOM = "no room for another scan"
MASTER = """\
{services}
scan unix - - n - 2 smtp -o smtp_send_xforward_command=yes
blind unix - n n - - pipe flags=Rq user=nobody argv=/bin/true
127.0.0.1:{back} inet n - n - - smtpd
  -o content_filter= -o smtpd_authorized_xforward_hosts=127.0.0.0/8 -o syslog_name=again
"""


def counted(host: PostfixHost) -> tuple[int, int, int, int]:
    """Recipients that were received, delivered, deferred and bounced."""
    tallies = [leaf.tally for leaf in host._counters.leaves()]
    return (
        sum(one.received for one in tallies), sum(one.delivered for one in tallies),
        sum(one.deferred for one in tallies), sum(one.bounced for one in tallies),
    )  # fmt: skip


async def test_mail_that_a_content_filter_hands_back_is_counted_once(place: Path) -> None:
    state, back = place / "state", free_port()
    async with Sink() as sink, content_filter(back) as scan:
        sink.refuse = refuse
        hop = f"[127.0.0.1]:{sink.port}"
        (place / "routes").write_text(f"one.test vmta-mkt-1:{hop}\ntwo.test vmta-mkt-2:{hop}\n")
        settings = {
            "transport_maps": f"texthash:{place}/routes", "content_filter": f"scan:[127.0.0.1]:{scan.port}",
            "disable_dns_lookups": "yes",
        }  # fmt: skip
        master = MASTER.format(services=SERVICES, back=back)
        with own_postfix(place / "postfix", settings, master=master) as own:
            async with agent(own, place, sections=SECTIONS) as host:
                await followed(host)
                both = ["ok@one.test", "full@two.test"]
                (first,) = await asyncio.to_thread(own.send, "news@example.test", both)
                lines = {line["recipient"]: line for line in await accounted(state, 2)}
                assert {to: line["type"] for to, line in lines.items()} == {
                    "ok@one.test": "delivered", "full@two.test": "deferred"
                }  # fmt: skip
                assert first not in {line["message_id"] for line in lines.values()}
                assert (lines["ok@one.test"]["vmta"], lines["ok@one.test"]["source"]) == ("mkt-1", "127.0.0.7")
                assert lines["ok@one.test"]["client"] == "localhost[127.0.0.1]"
                assert counted(host) == (2, 1, 1, 0)

                scan.refusal = f"451 4.7.1 {NO_ROOM}\r\n".encode()
                (late,) = await asyncio.to_thread(own.send, "news@example.test", LATE)
                for line in (await accounted(state, 4))[2:]:
                    assert (line["type"], line["message_id"], line["text"]) == ("deferred", late, NO_ROOM)
                    assert line.get("provider") is None, "no provider has said that"
                most = host._changes.deferrals.most_of_all(time.time())
                assert most is not None
                assert most.reply.text == NO_ROOM, "of the host it is what most is deferred for"
                assert [provider for provider, _ in host._changes.deferrals.last] == ["default"]

                scan.refusal = b""
                await asyncio.to_thread(own.run, "postqueue", "-i", late)
                assert {line["type"] for line in (await accounted(state, 6))[4:]} == {"delivered"}
                assert counted(host) == (4, 3, 3, 0)

                own.set(content_filter="blind:")  # gives nothing back

                async def known() -> bool:
                    host._mirror.look_soon()
                    return host._mirror.instance.filters == ("blind:",)

                await until(known, "the agent knows the other filter")
                (lost,) = await asyncio.to_thread(own.send, "news@example.test", ["lost@one.test"])

                def gone() -> bool:
                    return f"{lost}: removed" in own.log.read_text(encoding="utf-8")

                async def told() -> bool:
                    return await asyncio.to_thread(gone) and host._log.source.behind_bytes == 0

                await until(told, "the other filter has taken it")
                own.set(content_filter="")
                await asyncio.to_thread(own.send, "news@example.test", ["ok@one.test"])
                await accounted(state, 7)
                assert lost not in {line["message_id"] for line in accounting(state)}
