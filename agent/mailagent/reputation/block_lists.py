"""Block lists, asked about every address of every virtual MTA, in turn and never in a hurry."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from random import Random
from typing import Final, Protocol

from mailagent.api import requests
from mailagent.api.ids import VmtaName
from mailagent.api.reputation import ListCheck, ListChecks, Listing, ListState
from mailagent.config.block_lists import Zone, zones
from mailagent.config.structs import AgentConfig, VirtualMta
from mailagent.dns import Address, AddressAnswer
from mailagent.reputation.answer import (
    CLEAN_TEST,
    LISTED_TEST,
    Clean,
    Listed,
    Unknown,
    Verdict,
    failed_test,
    question,
    verdict,
)

log = logging.getLogger(__name__)

PACE_S: Final = 0.1
"""Between two questions."""
JITTER: Final = 0.1
"""Of each interval, so that addresses drift apart."""
RETRY_S: Final = 600.0
"""Without an answer, and for a list that failed its test, at most."""
TEST_S: Final = 86_400.0
"""How long a list that passed its test is believed."""
STANDS_S: Final = 86_400.0
"""How long a listing stands without another answer."""
SOON_S: Final = 300.0
"""A reply about a block list has a virtual MTA looked at out of turn, so often at most."""

Note = Callable[[str, str], Awaitable[None]]
"""Keeps (verb, words) among the host's operations."""


class Asks(Protocol):
    """Who asks DNS; `mailagent.dns.Resolver` is one."""

    async def addresses(self, host: str, *, version: int, fresh: bool = False) -> AddressAnswer:
        """The addresses of `host`."""


@dataclass(slots=True)
class _Check:
    """One address and one list."""

    vmta: VmtaName
    address: Address
    zone: Zone
    due: float  # monotonic
    verdict: Verdict = field(default_factory=lambda: Unknown("not asked yet"))
    since: datetime | None = None
    asked_at: datetime | None = None
    stands_until: float = 0.0  # monotonic: a listing without another answer

    @property
    def key(self) -> tuple[VmtaName, str, str]:
        """What it is about."""
        return (self.vmta, str(self.address), self.zone.name)


class BlockLists:
    """Keeps what is known. `run` asks; everything else runs on the same loop."""

    def __init__(
        self,
        config: AgentConfig,
        dns: Asks,
        *,
        note: Note,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        """`changed` is called when a listing came or went."""
        self._dns = dns
        self._note = note
        self._changed = changed
        self._clock = clock
        self._random = random or Random()
        self._checks: dict[tuple[VmtaName, str, str], _Check] = {}
        self._tests: dict[tuple[str, int], tuple[float, str]] = {}  # (zone, version) -> until when, what is wrong
        self._soon: dict[VmtaName, float] = {}
        self._listings: dict[VmtaName, tuple[Listing, ...]] = {}
        self._wake = asyncio.Event()
        self.configure(config)

    @property
    def reads(self) -> Mapping[str, Callable[[requests.Empty], Awaitable[ListChecks]]]:
        """By wire name."""
        return {"block_lists": self.block_lists}

    def configure(self, config: AgentConfig) -> None:
        """Ask these lists about these addresses from now on; what is known of those that stay, stays."""
        before = self._checks
        now = self._clock()
        self._checks = {}
        for zone in zones(config.reputation.block_lists):
            for name, vmta in config.virtual_mtas.items():
                for address in _seen_by_the_world(vmta):
                    check = _Check(name, address, zone, due=now)
                    check = before.get(check.key, check)
                    check.zone = zone
                    check.due = min(check.due, now + zone.every.total_seconds())
                    self._checks[check.key] = check
        self._tests.clear()
        self._collect()
        self._wake.set()

    def look_soon(self, vmta: VmtaName) -> None:
        """A provider says that an address of `vmta` is on a list."""
        now = self._clock()
        if now < self._soon.get(vmta, now):
            return
        self._soon[vmta] = now + SOON_S
        for check in self._checks.values():
            if check.vmta == vmta:
                check.due = now
        self._wake.set()

    def listings(self, vmta: VmtaName) -> tuple[Listing, ...]:
        """Lists that an address of `vmta` is on."""
        return self._listings.get(vmta, ())

    async def block_lists(self, _: requests.Empty) -> ListChecks:
        """Everything that is known."""
        return ListChecks(checks=tuple(map(_told, self._checks.values())))

    async def run(self) -> None:
        """Ask what is due, for as long as the agent runs."""
        while True:
            self._wake.clear()
            check = min(self._checks.values(), key=lambda one: one.due, default=None)
            wait_s = None if check is None else check.due - self._clock()
            if check is None or wait_s is None or wait_s > 0:
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            found = await self._ask(check)
            wait_s = _pause_s(check.zone) if isinstance(found, Unknown) else check.zone.every.total_seconds()
            check.due = self._clock() + wait_s * self._random.uniform(1 - JITTER, 1 + JITTER)
            await self._settle(check, found)
            await asyncio.sleep(PACE_S)

    async def _ask(self, check: _Check) -> Verdict:
        if not (check.address.is_global or check.address.is_loopback):
            return Unknown(f"{check.address} is private: say in virtual_mtas.{check.vmta}.public what the world sees")
        if problem := await self._tested(check.zone, check.address.version):
            return Unknown(problem)
        found = verdict(await self._look_up(check.address, check.zone), check.zone.answers)
        if isinstance(found, Unknown):  # the next address would wait as long for as little
            self._tests[check.zone.name, check.address.version] = self._clock() + _pause_s(check.zone) / 2, found.reason
        return found

    async def _tested(self, zone: Zone, version: int) -> str:
        """Why the list is not believed about addresses of that version; tested at first, daily, and while it fails."""
        now = self._clock()
        until, problem = self._tests.get((zone.name, version), (now, ""))
        if now < until:
            return problem
        problem = failed_test(
            await self._look_up(LISTED_TEST[version], zone), await self._look_up(CLEAN_TEST[version], zone)
        )
        if problem:
            log.warning("block list not believed zone=%s ipv=%d: %s", zone.name, version, problem)
        self._tests[zone.name, version] = now + (_pause_s(zone) / 2 if problem else TEST_S), problem
        return problem

    async def _look_up(self, address: Address, zone: Zone) -> AddressAnswer:
        return await self._dns.addresses(question(address, zone.name), version=4, fresh=True)

    async def _settle(self, check: _Check, found: Verdict) -> None:
        """Keep what was found; a listing stands for a day without another answer."""
        if self._checks.get(check.key) is not check:
            return  # another configuration came while it was asked
        before, now = check.verdict, datetime.now(UTC)
        if isinstance(found, Unknown) and isinstance(before, Listed) and self._clock() < check.stands_until:
            log.warning("block list gave no answer zone=%s vmta=%s: %s", check.zone.name, check.vmta, found.reason)
            return
        check.verdict, check.asked_at, check.stands_until = found, now, self._clock() + STANDS_S
        if type(found) is not type(before):
            check.since = now
        if found == before:
            return
        where = f"{check.vmta} ({check.address})"
        if isinstance(found, Listed):
            verb, words = "listed", f"{where} is on {check.zone.name} ({found.meaning})"
        elif isinstance(before, Listed):
            gone = "is off" if isinstance(found, Clean) else "was a day ago, and nothing is known since, on"
            verb, words = "delisted", f"{where} {gone} {check.zone.name}"
        else:
            return
        log.warning("block list: %s", words)
        self._collect()
        self._changed()
        await self._note(verb, words)

    def _collect(self) -> None:
        """Sort listings by virtual MTA: every snapshot has them."""
        found: dict[VmtaName, tuple[Listing, ...]] = {}
        for check in self._checks.values():
            if isinstance(check.verdict, Listed) and check.since is not None:
                one = Listing(
                    zone=check.zone.name,
                    address=str(check.address),
                    weight=check.zone.weight,
                    meaning=check.verdict.meaning,
                    since=check.since,
                )
                found[check.vmta] = (*found.get(check.vmta, ()), one)
        self._listings = found


def _pause_s(zone: Zone) -> float:
    """Seconds until a list is asked again that gave no answer."""
    return min(zone.every.total_seconds(), RETRY_S)


def _seen_by_the_world(vmta: VirtualMta) -> Iterator[Address]:
    if vmta.public:
        yield ip_address(vmta.public)
    own = [address for address in (vmta.address, vmta.address6) if address is not None]
    yield from (one for one in own if not (vmta.public and one.version == ip_address(vmta.public).version))


def _told(check: _Check) -> ListCheck:
    match check.verdict:
        case Listed(meaning):
            state, detail = ListState.LISTED, meaning
        case Clean():
            state, detail = ListState.CLEAN, ""
        case Unknown(reason):
            state, detail = ListState.UNKNOWN, reason
    return ListCheck(
        vmta=check.vmta,
        address=str(check.address),
        zone=check.zone.name,
        weight=check.zone.weight,
        state=state,
        detail=detail,
        since=check.since,
        asked_at=check.asked_at,
    )
