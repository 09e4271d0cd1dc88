"""Block lists, asked about every address of every virtual MTA, in turn and never in a hurry."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final, NamedTuple, Protocol

from mailagent.api.codec import cut
from mailagent.api.ids import VmtaName
from mailagent.api.reputation import ListCheck, ListChecks, Listing, ListsRequest, ListState, Weight
from mailagent.config.block_lists import Zone, zones
from mailagent.config.structs import AgentConfig
from mailagent.dns import Address, AddressAnswer
from mailagent.reputation.addresses import seen_by_the_world
from mailagent.reputation.answer import (
    CLEAN_TEST,
    LISTED_TEST,
    Clean,
    Listed,
    NotKept,
    Unknown,
    Verdict,
    distrust,
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
"""How long a listing stands without another answer, at least."""
MAX_REASON: Final = 120
"""Characters of why an answer is missing, as others see it: there may be thousands."""
_WORST: Final = tuple(Weight)
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
    stands_until: float = 0.0  # monotonic: what is known, without another answer

    @property
    def key(self) -> tuple[VmtaName, str, str]:
        """What it is about."""
        return (self.vmta, str(self.address), self.zone.name)


class _Test(NamedTuple):
    """What came of the last test of a list."""

    at: float  # monotonic
    why_not: NotKept | Unknown | None  # None: it is believed


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
        self._tests: dict[tuple[str, int], _Test] = {}  # by zone and IP version
        self._soon: dict[VmtaName, float] = {}
        self._listings: dict[VmtaName, tuple[Listing, ...]] = {}
        self._unknown: Counter[VmtaName] = Counter()
        self._wake = asyncio.Event()
        self.configure(config)

    @property
    def reads(self) -> Mapping[str, Callable[[ListsRequest], Awaitable[ListChecks]]]:
        """By wire name."""
        return {"block_lists": self.block_lists}

    def configure(self, config: AgentConfig) -> None:
        """Ask these lists about these addresses from now on; what is known of those that stay, stays."""
        before = self._checks
        now = self._clock()
        self._checks = {}
        for zone in zones(config.reputation.block_lists):
            for name, vmta in config.virtual_mtas.items():
                for address in seen_by_the_world(vmta):
                    check = _Check(name, address, zone, due=now)
                    check = before.get(check.key, check)
                    check.zone = zone
                    is_known = not isinstance(check.verdict, Unknown)
                    check.due = min(check.due, now + zone.every.total_seconds()) if is_known else now
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
        """Lists that an address of `vmta` is on, the worst first."""
        return self._listings.get(vmta, ())

    def unknown(self, vmta: VmtaName) -> int:
        """How many answers about `vmta` are missing."""
        return self._unknown[vmta]

    async def block_lists(self, request: ListsRequest) -> ListChecks:
        """What is known: listings and missing answers, or everything."""
        every = map(_told, self._checks.values())
        shown = tuple(one for one in every if request.all or one.state in (ListState.LISTED, ListState.UNKNOWN))
        return ListChecks(checks=shown, asked=len(self._checks))

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
            check.due = self._clock() + RETRY_S
            try:
                await self._look(check)
            except Exception:  # one answer that nobody foresaw is no reason to ask no list any more
                log.exception("block list failed zone=%s address=%s", check.zone.name, check.address)
            await asyncio.sleep(PACE_S)

    async def _look(self, check: _Check) -> None:
        found = await self._ask(check)
        every_s = check.zone.every.total_seconds()
        wait_s = min(every_s, RETRY_S) if isinstance(found, Unknown) else every_s
        check.due = self._clock() + wait_s * self._random.uniform(1 - JITTER, 1 + JITTER)
        await self._settle(check, found)

    async def _ask(self, check: _Check) -> Verdict:
        zone, address = check.zone, check.address
        if not (address.is_global or address.is_loopback):
            return Unknown(f"{address} is private: say in virtual_mtas.{check.vmta}.public what the world sees")
        if (why_not := await self._distrust(zone, address.version, TEST_S)) is not None:
            return why_not
        found = verdict(await self._look_up(address, zone), zone.answers)
        if isinstance(found, Listed) and not isinstance(check.verdict, Listed):
            # before anybody is told, it must be sure that it is not the list's own end
            return await self._distrust(zone, address.version, RETRY_S) or found
        if isinstance(found, Unknown):
            self._tests.pop((zone.name, address.version), None)  # is it this name, or the list?
        return found

    async def _distrust(self, zone: Zone, version: int, believed_s: float) -> NotKept | Unknown | None:
        """Why the list is not asked about addresses of that version; tested when the last test is `believed_s` old,
        or failed a while ago."""
        key, now = (zone.name, version), self._clock()
        at, before = self._tests.get(key, _Test(-TEST_S, None))
        kept_s = min(zone.every.total_seconds(), RETRY_S) / 2 if isinstance(before, Unknown) else believed_s
        if now - at < kept_s:
            return before
        found = distrust(
            await self._look_up(LISTED_TEST[version], zone),
            await self._look_up(CLEAN_TEST[version], zone),
            version=version,
        )
        if isinstance(found, Unknown) and found != before:
            log.warning("block list not believed zone=%s ipv=%d: %s", zone.name, version, found.reason)
        self._tests[key] = _Test(now, found)
        if isinstance(found, Unknown) and found.is_false:
            for check in self._checks.values():
                if check.zone.name == zone.name and isinstance(check.verdict, Listed):
                    check.due = now
        return found

    async def _look_up(self, address: Address, zone: Zone) -> AddressAnswer:
        return await self._dns.addresses(question(address, zone.name), version=4, fresh=True)

    async def _settle(self, check: _Check, found: Verdict) -> None:
        """Keep what was found. What is known stands for a while without an answer, unless the list is known to lie."""
        if self._checks.get(check.key) is not check:
            return  # another configuration came while it was asked
        before, now = check.verdict, datetime.now(UTC)
        if isinstance(found, Unknown) and not found.is_false and self._clock() < check.stands_until:
            return
        stands_s = 2 * check.zone.every.total_seconds()
        if isinstance(found, Listed):
            stands_s = max(stands_s, STANDS_S)
        check.stands_until = 0.0 if isinstance(found, Unknown) else self._clock() + stands_s
        check.verdict, check.asked_at = found, now
        if type(found) is not type(before):
            check.since = now
        if found == before:
            return
        self._unknown[check.vmta] += isinstance(found, Unknown) - isinstance(before, Unknown)
        where = f"{check.vmta} ({check.address})"
        if isinstance(found, Listed):
            verb, words = "listed", f"{where} is on {check.zone.name} ({found.meaning})"
        elif isinstance(before, Listed):
            gone = "is off" if isinstance(found, Clean) else "was, and nothing is known now, on"
            verb, words = "delisted", f"{where} {gone} {check.zone.name}"
        else:
            return
        log.warning("block list: %s", words)
        self._collect()
        self._changed()
        await self._note(verb, words)

    def _collect(self) -> None:
        """Sort listings by virtual MTA: every snapshot has them."""
        found: dict[VmtaName, list[Listing]] = {}
        unknown: Counter[VmtaName] = Counter()
        for check in self._checks.values():
            if isinstance(check.verdict, Listed) and check.since is not None:
                one = Listing(
                    zone=check.zone.name,
                    address=str(check.address),
                    weight=check.zone.weight,
                    meaning=check.verdict.meaning,
                    since=check.since,
                )
                found.setdefault(check.vmta, []).append(one)
            unknown[check.vmta] += isinstance(check.verdict, Unknown)
        for own in found.values():
            own.sort(key=lambda one: _WORST.index(one.weight))
        self._listings = {vmta: tuple(own) for vmta, own in found.items()}
        self._unknown = unknown


def _told(check: _Check) -> ListCheck:
    match check.verdict:
        case Listed(meaning):
            state, detail = ListState.LISTED, meaning
        case Clean():
            state, detail = ListState.CLEAN, ""
        case NotKept():
            state, detail = ListState.NOT_KEPT, f"it keeps no IPv{check.address.version} addresses"
        case Unknown(reason, _):
            state, detail = ListState.UNKNOWN, cut(reason, MAX_REASON)
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
