"""Block lists, asked through the real resolver and a name server on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address

import dns.rcode
import msgspec
import pytest

from mailagent.api.ids import HostName, VmtaName
from mailagent.api.reputation import ListCheck, ListsRequest, ListState, Weight
from mailagent.config.reputation import BlockList, Reputation
from mailagent.config.structs import AgentConfig, VirtualMta
from mailagent.dns import Resolver
from mailagent.reputation import BlockLists, block_lists
from mailagent.reputation.answer import LISTED_TEST, question
from tests.agent.dns.responder import Responder, responding
from tests.integration.processes import until

A, B = VmtaName("a"), VmtaName("b")
ZONE = "bl.example"
CONFIG = AgentConfig(
    host=HostName("mx1"),
    virtual_mtas={
        A: VirtualMta(address=IPv4Address("127.0.0.10")),
        B: VirtualMta(address=IPv4Address("10.0.0.5"), public="127.0.0.11"),
    },
    reputation=Reputation(block_lists={ZONE: BlockList(weight=Weight.HIGH, answers={"127.0.0.2": "trap"})}),
)


@dataclass
class Rig:
    """Lists that are asked without pauses, and what they had noted."""

    dns: Responder
    lists: BlockLists
    now: list[float]
    notes: list[tuple[str, str]] = field(default_factory=list)
    changes: int = 0

    def lists_address(self, reverse: str, *, zone: str = ZONE) -> None:
        self.dns.add(f"{reverse}.{zone}", "A", "127.0.0.2")

    async def checks(self) -> dict[str, ListCheck]:
        return {one.address: one for one in (await self.lists.block_lists(ListsRequest(all=True))).checks}

    async def asked(self) -> dict[str, ListCheck]:
        """Wait until every check was made."""

        async def made() -> bool:
            return all(one.asked_at is not None for one in (await self.checks()).values())

        await until(made, "all lists were asked")
        return await self.checks()

    async def again(self) -> None:
        """Have `a` looked at once more; it is settled when `b`, whose turn is next, was asked about."""
        self.now[0] += 600
        for vmta, reverse in ((A, "10.0.0.127"), (B, "11.0.0.127")):
            heard = self.dns.asked[f"{reverse}.{ZONE}", "A"]
            self.lists.look_soon(vmta)
            await until(partial(self._heard, reverse, heard + 1), f"{vmta} was asked about")

    async def _heard(self, reverse: str, count: int) -> bool:
        return self.dns.asked[f"{reverse}.{ZONE}", "A"] >= count


@asynccontextmanager
async def rig(config: AgentConfig = CONFIG, *, tested: bool = True) -> AsyncIterator[Rig]:
    async with responding() as responder:
        if tested:
            responder.add(f"2.0.0.127.{ZONE}", "A", "127.0.0.2")
        resolver = Resolver(responder.config)
        now = [1000.0]

        async def note(verb: str, words: str) -> None:
            one.notes.append((verb, words))

        def changed() -> None:
            one.changes += 1

        lists = BlockLists(config, resolver, note=note, changed=changed, clock=lambda: now[0])
        one = Rig(responder, lists, now)
        task = asyncio.create_task(lists.run())
        yield one
        assert not task.done()
        task.cancel()
        await resolver.close()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_lists, "PACE_S", 0)


async def test_a_listing_is_told_once_and_its_end_too() -> None:
    async with rig() as one:
        one.lists_address("10.0.0.127")
        checks = await one.asked()
        assert (checks["127.0.0.10"].state, checks["127.0.0.10"].detail) == (ListState.LISTED, "trap")
        assert checks["127.0.0.11"].state is ListState.CLEAN, "the public address is asked about, not the private one"
        (listing,) = one.lists.listings(A)
        assert listing.sentence == "on bl.example (trap)"
        assert listing.weight is Weight.HIGH
        assert one.lists.listings(B) == ()
        await one.again()
        assert one.notes == [("listed", "a (127.0.0.10) is on bl.example (trap)")]
        del one.dns.zone[f"10.0.0.127.{ZONE}", "A"]
        await one.again()
        assert one.notes[1:] == [("delisted", "a (127.0.0.10) is off bl.example")]
        assert one.lists.listings(A) == ()
        assert one.changes == 2


async def test_a_list_that_lists_everybody_lists_nobody() -> None:
    async with rig() as one:
        one.dns.fallback = lambda name, kind: ["127.0.0.2"] if kind == "A" else None
        one.lists.configure(CONFIG)

        async def all_unknown() -> bool:
            return all("lists everybody" in check.detail for check in (await one.checks()).values())

        await until(all_unknown, "the list is not believed")
        assert not one.notes
        assert not one.dns.asked[f"10.0.0.127.{ZONE}", "A"], "and not asked about our addresses"


async def test_a_list_without_its_test_entry_says_nothing_and_not_that_all_is_clean() -> None:
    async with rig(tested=False) as one:

        async def all_unknown() -> bool:
            found = (await one.checks()).values()
            return all(check.state is ListState.UNKNOWN and "test entry" in check.detail for check in found)

        await until(all_unknown, "the list is not believed")


async def test_a_listing_stands_while_dns_does_not_answer() -> None:
    async with rig() as one:
        one.lists_address("10.0.0.127")
        await one.asked()
        one.dns.rcode = dns.rcode.SERVFAIL
        one.now[0] += 600
        one.lists.look_soon(A)
        one.lists.look_soon(B)

        async def tested_again() -> bool:
            return one.dns.asked[f"2.0.0.127.{ZONE}", "A"] > 1

        await until(tested_again, "the other one, whose turn is next, was looked at")
        assert [listing.zone for listing in one.lists.listings(A)] == [ZONE]
        assert [verb for verb, _ in one.notes] == ["listed"]
        one.now[0] += block_lists.STANDS_S
        one.lists.look_soon(A)

        async def forgotten() -> bool:
            return one.lists.listings(A) == ()

        await until(forgotten, "after a day nothing is known")
        assert one.notes[-1][1] == "a (127.0.0.10) was, and nothing is known now, on bl.example"


async def test_a_list_that_gives_no_answer_is_not_asked_about_the_next_address() -> None:
    async with rig() as one:
        one.dns.answer_rcode = lambda name, kind: None if name.startswith("2.0.0.127") else dns.rcode.SERVFAIL
        checks = await one.asked()
        assert {check.state for check in checks.values()} == {ListState.UNKNOWN}
        assert not one.dns.asked[f"11.0.0.127.{ZONE}", "A"]
        assert [one.lists.unknown(A), one.lists.unknown(B)] == [1, 1]


async def test_one_name_that_fails_says_nothing_of_the_others() -> None:
    async with rig() as one:
        one.dns.answer_rcode = lambda name, kind: dns.rcode.SERVFAIL if name.startswith("10.") else None
        checks = await one.asked()
        assert checks["127.0.0.10"].state is ListState.UNKNOWN
        assert checks["127.0.0.11"].state is ListState.CLEAN
        assert [one.lists.unknown(A), one.lists.unknown(B)] == [1, 0]


async def test_what_was_clean_stays_so_for_a_while_without_an_answer() -> None:
    async with rig() as one:
        await one.asked()
        one.dns.answer_rcode = lambda name, kind: dns.rcode.SERVFAIL if name.startswith("10.") else None
        await one.again()
        assert (await one.checks())["127.0.0.10"].state is ListState.CLEAN
        one.now[0] += 2 * 4 * 3600
        await one.again()
        assert (await one.checks())["127.0.0.10"].state is ListState.UNKNOWN


async def test_a_list_that_dies_is_found_out_by_its_first_new_listing_and_loses_the_old_ones() -> None:
    async with rig() as one:
        one.lists_address("10.0.0.127")
        await one.asked()
        assert one.lists.listings(A)
        one.dns.fallback = lambda name, kind: ["127.0.0.2"] if kind == "A" else None
        one.now[0] += 600
        one.lists.look_soon(B)

        async def found_out() -> bool:
            return all("lists everybody" in check.detail for check in (await one.checks()).values())

        await until(found_out, "nothing is known any more")
        assert [verb for verb, _ in one.notes] == ["listed", "delisted"]
        assert one.notes[1][1] == "a (127.0.0.10) was, and nothing is known now, on bl.example"


async def test_a_reply_about_a_block_list_has_the_address_looked_at_once_in_five_minutes() -> None:
    async with rig() as one:
        await one.asked()
        one.lists_address("10.0.0.127")
        await one.again()
        assert one.lists.listings(A)
        one.lists.look_soon(A)
        one.now[0] += 4 * 3600 * (1 - block_lists.JITTER) - 1
        one.lists.look_soon(B)
        await until(partial(one._heard, "11.0.0.127", 3), "the other one is asked about")
        assert one.dns.asked[f"10.0.0.127.{ZONE}", "A"] == 2


async def test_addresses_that_the_world_does_not_see_are_not_asked_about() -> None:
    vmtas = {A: VirtualMta(address=IPv4Address("10.0.0.5"))}
    async with rig(msgspec.structs.replace(CONFIG, virtual_mtas=vmtas)) as one:
        checks = await one.asked()
        assert "10.0.0.5 is private: say in virtual_mtas.a.public" in checks["10.0.0.5"].detail
        assert not any(name.startswith("5.0.0.10.") for name, _ in one.dns.asked)


@pytest.mark.parametrize(
    ("keeps", "listed", "state"),
    [(False, False, ListState.NOT_KEPT), (True, False, ListState.CLEAN), (True, True, ListState.LISTED)],
)
async def test_ipv6_addresses_are_asked_about_where_a_list_keeps_them(
    keeps: bool, listed: bool, state: ListState
) -> None:
    vmtas = {A: VirtualMta(address6=IPv6Address("::1"))}
    config = msgspec.structs.replace(CONFIG, virtual_mtas=vmtas, reputation=Reputation())
    async with rig(config) as one:
        if keeps:
            one.dns.add(question(LISTED_TEST[6], ZONE), "A", "127.0.0.2")
        if listed:
            one.dns.add(question(IPv6Address("::1"), ZONE), "A", "127.0.0.2")
        one.lists.configure(msgspec.structs.replace(CONFIG, virtual_mtas=vmtas))
        assert (await one.asked())["::1"].state is state
        assert one.lists.unknown(A) == 0
        shown = (await one.lists.block_lists(ListsRequest())).checks
        assert [check.state for check in shown] == [ListState.LISTED] * listed


async def test_a_reload_keeps_what_is_known_and_asks_about_what_is_new() -> None:
    async with rig() as one:
        one.lists_address("10.0.0.127")
        await one.asked()
        (before,) = one.lists.listings(A)
        one.lists_address("12.0.0.127")
        more = {**CONFIG.virtual_mtas, VmtaName("c"): VirtualMta(address=IPv4Address("127.0.0.12"))}
        del more[B]
        one.lists.configure(msgspec.structs.replace(CONFIG, virtual_mtas=more))
        checks = await one.asked()
        assert checks.keys() == {"127.0.0.10", "127.0.0.12"}
        assert one.lists.listings(A) == (before,)
        assert [words for _, words in one.notes[1:]] == ["c (127.0.0.12) is on bl.example (trap)"]
        one.lists.configure(msgspec.structs.replace(CONFIG, reputation=Reputation()))
        assert await one.checks() == {}
        assert one.lists.listings(A) == ()
