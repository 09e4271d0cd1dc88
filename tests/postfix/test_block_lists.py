"""A provider refuses mail of a Postfix since its address is on a block list: the agent looks, and says so."""

import asyncio
from pathlib import Path

import pytest

from tests.agent.dns.responder import responding
from tests.integration.processes import until
from tests.integration.sink import Sink
from tests.postfix.hosts import agent
from tests.postfix.instances import own_postfix
from tests.postfix.test_log import SECTIONS, SERVICES, accounted, followed

pytestmark = pytest.mark.needs("postfix", "root")

ZONE = "bl.lists.test"
LISTED = "127.0.0.2"


async def test_a_refusal_in_the_log_that_names_a_list_has_the_address_looked_up(place: Path) -> None:
    async with Sink() as sink, responding() as dns:
        dns.add(f"2.0.0.127.{ZONE}", "A", LISTED)
        sections = f"{SECTIONS}reputation: {{block_lists: {{{ZONE}: {{weight: high, answers: {{{LISTED}: trap}}}}}}}}\n"
        settings = {"transport_maps": f"inline:{{one.test=vmta-mkt-1:[127.0.0.1]:{sink.port}}}"}
        with own_postfix(place / "postfix", settings, master=SERVICES) as own:
            async with agent(own, place, sections=sections, dns=dns.port) as host:
                await followed(host)
                lists = host._reputation.block_lists

                async def asked() -> bool:
                    return all(lists.unknown(vmta) == 0 for vmta in host.config.virtual_mtas)

                await until(asked, "no address is listed, and all are asked about")
                assert not any(lists.listings(vmta) for vmta in host.config.virtual_mtas)
                dns.add(f"7.0.0.127.{ZONE}", "A", LISTED)
                sink.refuse = lambda *_: b"550 5.7.1 Your host is listed in RBL\r\n"
                await asyncio.to_thread(own.send, "news@example.test", ["a@one.test"])
                await accounted(place / "state", 1)

                async def listed() -> bool:
                    found = {str(view.name): view.listings for view in host.snapshot().vmtas}
                    return [one.zone for one in found["mkt-1"]] == [ZONE] and not found["mkt-2"]

                await until(listed, "mkt-1 is on the list, hours before its turn")
