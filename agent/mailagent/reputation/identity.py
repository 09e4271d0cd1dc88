"""What receivers find when they look up who we are: at the start, after each change, every few hours."""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from mailagent.api.codec import cut
from mailagent.api.ids import PoolName, VmtaName
from mailagent.api.reputation import (
    Fault,
    Faults,
    IdentityCheck,
    IdentityChecks,
    IdentityRequest,
    IdentityState,
)
from mailagent.config.structs import AgentConfig
from mailagent.dkim import SigningKey
from mailagent.reputation.asking import Once, Remembers
from mailagent.reputation.claims import claims
from mailagent.reputation.findings import Finding
from mailagent.reputation.rounds import Key, look_up

log = logging.getLogger(__name__)

RETRY_S: Final = 600.0
"""After a round in which answers were missing, at most."""
JITTER: Final = 0.1
NOW_S: Final = 8.0
"""How long somebody waits for a round that he asked for; what is known by then is told."""
STANDS: Final = timedelta(days=1)
"""How long a finding stands while DNS does not answer."""
MAX_NOTES: Final = 5
"""Changes of one round that are noted one by one."""
MAX_DETAIL: Final = 240
SLICE: Final = 500
"""Checks that are made in one go."""
MOST_FAULTS: Final = 5
"""Of one virtual MTA or pool that are told one by one; a record that many include may break for hundreds of domains."""
MOST_CHECKS: Final = 2000
"""In one answer, whose frame has a limit."""

_WORST: Final = tuple(IdentityState)
NO_FAULTS: Final = Faults()

Note = Callable[[str, str], Awaitable[None]]
"""Keeps (verb, words) among the host's operations."""
Keys = Callable[[], Iterable[tuple[tuple[str, str], tuple[SigningKey, ...]]]]
"""Those that sign now, by (pool, domain)."""


class Identity:
    """Keeps what was found. `run` asks; everything else runs on the same loop."""

    def __init__(
        self,
        config: AgentConfig,
        dns: Remembers,
        keys: Keys,
        *,
        note: Note,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        """`changed` is called when something became bad, or is no longer."""
        self._config = config
        self._dns = dns
        self._keys = keys
        self._note = note
        self._changed = changed
        self._clock = clock
        self._random = random or Random()
        self._checks: dict[Key, IdentityCheck] = {}
        self._of_vmta: dict[VmtaName, Faults] = {}
        self._of_pool: dict[PoolName, Faults] = {}
        self._unknown: Counter[VmtaName] = Counter()
        self._due = clock()
        self._changes = 0  # of what there is to look up
        self._wanted = 0  # rounds that somebody waits for
        self._done = 0  # of those
        self._rounds = 0  # whose findings are kept
        self._wake = asyncio.Event()
        self._round_ended = asyncio.Condition()

    @property
    def reads(self) -> Mapping[str, Callable[[IdentityRequest], Awaitable[IdentityChecks]]]:
        """By wire name."""
        return {"identity": self.identity}

    def configure(self, config: AgentConfig) -> None:
        """Look up what this configuration says from now on."""
        self._config = config
        self.look_again()

    def look_again(self) -> None:
        """Something about us has changed."""
        self._changes += 1
        self._due = self._clock()
        self._wake.set()

    def faults(self, vmta: VmtaName) -> Faults:
        """What is bad about the addresses of `vmta`."""
        return self._of_vmta.get(vmta, NO_FAULTS)

    def pool_faults(self, pool: PoolName) -> Faults:
        """What is bad about the domains that `pool` sends for, whichever address does."""
        return self._of_pool.get(pool, NO_FAULTS)

    def bad(self, vmta: VmtaName) -> Iterator[IdentityCheck]:
        """All of it, about the addresses of `vmta`."""
        return (one for one in self._checks.values() if one.vmta == vmta and one.state is IdentityState.BAD)

    def unknown(self, vmta: VmtaName) -> int:
        """How many answers about the addresses of `vmta` are missing."""
        return self._unknown[vmta]

    async def identity(self, request: IdentityRequest) -> IdentityChecks:
        """What is known: all but what is good, or everything; of all, or of these virtual MTAs and pools."""
        looked = not request.now or await self._look_now()
        found = [
            one
            for one in self._checks.values()
            if (request.all or one.state is not IdentityState.GOOD)
            and (not request.vmtas or one.vmta is None or one.vmta in request.vmtas)
            and (not request.pools or one.vmta in request.vmtas or not set(request.pools).isdisjoint(one.pools))
        ]
        found.sort(key=lambda one: _WORST.index(one.state))
        left_out = max(0, len(found) - MOST_CHECKS)
        return IdentityChecks(
            checks=tuple(found[:MOST_CHECKS]), asked=len(self._checks), looked=looked, left_out=left_out
        )

    async def _look_now(self) -> bool:
        """Have a round, and wait for it; whether there is one."""
        self._wanted += 1
        mine, rounds = self._wanted, self._rounds
        self._wake.set()
        try:
            async with asyncio.timeout(NOW_S), self._round_ended:
                await self._round_ended.wait_for(lambda: self._done >= mine)
        except TimeoutError:
            return False
        return self._rounds > rounds

    async def run(self) -> None:
        """Look up who we are, for as long as the agent runs."""
        while True:
            self._wake.clear()
            wait_s = self._due - self._clock()
            if wait_s > 0 and self._done >= self._wanted:
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            wanted, changes = self._wanted, self._changes
            self._due = self._clock() + RETRY_S
            try:
                if not await self._round(changes):
                    continue  # there is something else to look up by now
            except Exception:  # one answer that nobody foresaw is no reason to look no more
                log.exception("identity not looked up")
            async with self._round_ended:
                self._done = wanted
                self._round_ended.notify_all()

    async def _round(self, changes: int) -> bool:
        """Look everything up; whether it is what there is to look up still."""
        config, before = self._config.reputation.identity, self._checks
        found: dict[Key, Finding] = {}
        keys = [(PoolName(pool), key) for (pool, _), at in self._keys() for key in at]
        if config.enabled:
            said = claims(self._config, [(pool, key.domain) for pool, key in keys])
            found = await look_up(Once(self._dns), said, keys)
        checks = {}
        for n, (key, finding) in enumerate(found.items()):
            checks[key] = _check(key, finding, before.get(key))
            if not n % SLICE:
                await asyncio.sleep(0)
        if changes != self._changes:
            self._due = self._clock()
            return False
        missing = any(finding.state is IdentityState.UNKNOWN for finding in found.values())
        every_s = config.every.total_seconds()
        wait_s = min(every_s, RETRY_S) if missing else every_s
        self._due = self._clock() + wait_s * self._random.uniform(1 - JITTER, 1 + JITTER)
        self._checks = checks
        self._rounds += 1
        self._collect()
        self._changed()
        await self._tell(before)
        return True

    async def _tell(self, before: Mapping[Key, IdentityCheck]) -> None:
        """Note what became bad, and what is no longer. What is found for the first time has not changed."""
        news = []
        for key, now in self._checks.items():
            was = before.get(key)
            if was is not None and (was.state is IdentityState.BAD) != (now.state is IdentityState.BAD):
                about = f"{now.vmta}: " if now.vmta else ""
                if now.state is IdentityState.BAD and was.state is not IdentityState.UNKNOWN:
                    news.append(("unproven", f"{about}{now.sentence}"))
                elif was.state is IdentityState.BAD and now.state is not IdentityState.UNKNOWN:
                    news.append(("proven", f"{about}{now.sentence}"))
        for verb, words in news[:MAX_NOTES]:
            log.warning("identity: %s %s", verb, words)
            await self._note(verb, words)
        if len(news) > MAX_NOTES:
            await self._note(news[MAX_NOTES][0], f"and {len(news) - MAX_NOTES} more changes: mailctl identity")

    def _collect(self) -> None:
        """Sort faults by virtual MTA and pool: every snapshot has them."""
        of_vmta: dict[VmtaName, list[Fault]] = defaultdict(list)
        of_pool: dict[PoolName, list[Fault]] = defaultdict(list)
        self._unknown = Counter()
        for one in self._checks.values():
            if one.state is IdentityState.UNKNOWN and one.vmta is not None:
                self._unknown[one.vmta] += 1
            if one.state is not IdentityState.BAD:
                continue
            fault = Fault(kind=one.kind, domain=one.domain, sentence=one.sentence)
            if one.vmta is not None:
                of_vmta[one.vmta].append(fault)
            else:
                for pool in one.pools:
                    of_pool[pool].append(fault)
        self._of_vmta = {vmta: _few(faults) for vmta, faults in of_vmta.items()}
        self._of_pool = {pool: _few(faults) for pool, faults in of_pool.items()}


def _few(faults: list[Fault]) -> Faults:
    """Those that fit; of each kind one before others of that kind."""
    firsts = list({fault.kind: fault for fault in reversed(faults)}.values())
    rest = [fault for fault in faults if fault not in firsts]
    return Faults(count=len(faults), told=tuple((firsts + rest)[:MOST_FAULTS]))


def _check(key: Key, found: Finding, before: IdentityCheck | None) -> IdentityCheck:
    """What is known now. It stands for a while when DNS does not answer."""
    now = datetime.now(UTC)
    if (
        found.state is IdentityState.UNKNOWN
        and before is not None
        and before.state is not IdentityState.UNKNOWN
        and before.asked_at is not None
        and now - before.asked_at < STANDS
    ):
        return before
    stays = before is not None and before.state is found.state
    return IdentityCheck(
        kind=key.kind,
        vmta=key.vmta,
        address=key.address,
        domain=key.domain,
        pools=key.pools,
        state=found.state,
        detail=cut(found.detail, MAX_DETAIL),
        since=before.since if before is not None and stays else now,
        asked_at=now,
    )
