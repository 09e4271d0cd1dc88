"""What receivers find when they look up who we are: at the start, after each change, every few hours."""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from mailagent.api.codec import cut
from mailagent.api.ids import PoolName, VmtaName
from mailagent.api.reputation import (
    Fault,
    IdentityCheck,
    IdentityChecks,
    IdentityKind,
    IdentityRequest,
    IdentityState,
)
from mailagent.config.structs import AgentConfig
from mailagent.dkim import SigningKey
from mailagent.reputation import findings
from mailagent.reputation.asking import Once, Remembers
from mailagent.reputation.claims import Claims, claims
from mailagent.reputation.findings import Asks, Finding

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

Note = Callable[[str, str], Awaitable[None]]
"""Keeps (verb, words) among the host's operations."""
Keys = Callable[[], Iterable[tuple[tuple[str, str], tuple[SigningKey, ...]]]]
"""Those that sign now, by (pool, domain)."""
_Key = tuple[IdentityKind, VmtaName | None, str, str, tuple[PoolName, ...]]


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
        self._checks: dict[_Key, IdentityCheck] = {}
        self._of_vmta: dict[VmtaName, tuple[Fault, ...]] = {}
        self._of_pool: dict[PoolName, tuple[Fault, ...]] = {}
        self._unknown: Counter[VmtaName] = Counter()
        self._due = clock()
        self._wanted = 0  # rounds that somebody waits for
        self._done = 0  # of those
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
        self._due = self._clock()
        self._wake.set()

    def faults(self, vmta: VmtaName) -> tuple[Fault, ...]:
        """What is bad about the addresses of `vmta`."""
        return self._of_vmta.get(vmta, ())

    def pool_faults(self, pool: PoolName) -> tuple[Fault, ...]:
        """What is bad about the domains that `pool` sends for, whichever address does."""
        return self._of_pool.get(pool, ())

    def unknown(self, vmta: VmtaName) -> int:
        """How many answers about the addresses of `vmta` are missing."""
        return self._unknown[vmta]

    async def identity(self, request: IdentityRequest) -> IdentityChecks:
        """What is known: all but what is good, or everything."""
        if request.now and self._config.reputation.identity.enabled:
            await self._look_now()
        shown = (one for one in self._checks.values() if request.all or one.state is not IdentityState.GOOD)
        return IdentityChecks(checks=tuple(shown), asked=len(self._checks))

    async def _look_now(self) -> None:
        self._wanted += 1
        mine = self._wanted
        self._wake.set()
        try:
            async with asyncio.timeout(NOW_S), self._round_ended:
                await self._round_ended.wait_for(lambda: self._done >= mine)
        except TimeoutError:
            log.info("identity: a round takes longer than %d s", NOW_S)

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
            wanted = self._wanted
            self._due = self._clock() + RETRY_S
            try:
                await self._round()
            except Exception:  # one answer that nobody foresaw is no reason to look no more
                log.exception("identity not looked up")
            async with self._round_ended:
                self._done = wanted
                self._round_ended.notify_all()

    async def _round(self) -> None:
        config, before = self._config, self._checks
        found: dict[_Key, IdentityCheck] = {}
        keys = [(PoolName(pool), key) for (pool, _), at in self._keys() for key in at]
        if config.reputation.identity.enabled:
            said = claims(config, [(pool, key.domain) for pool, key in keys])
            async for key, finding in _look_up(Once(self._dns), said, keys):
                found[key] = _check(key, finding, before.get(key))
        if config is not self._config:
            return  # another one came meanwhile, and a round of its own
        missing = any(one.state is IdentityState.UNKNOWN for one in found.values())
        every_s = config.reputation.identity.every.total_seconds()
        wait_s = min(every_s, RETRY_S) if missing else every_s
        self._due = self._clock() + wait_s * self._random.uniform(1 - JITTER, 1 + JITTER)
        self._checks = found
        self._collect()
        await self._tell(before)

    async def _tell(self, before: Mapping[_Key, IdentityCheck]) -> None:
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
            await self._note("unproven", f"and {len(news) - MAX_NOTES} more changes: mailctl identity")
        self._changed()

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
            fault = Fault(kind=one.kind, sentence=one.sentence)
            if one.vmta is not None:
                of_vmta[one.vmta].append(fault)
            else:
                for pool in one.pools:
                    of_pool[pool].append(fault)
        self._of_vmta = {vmta: tuple(faults) for vmta, faults in of_vmta.items()}
        self._of_pool = {pool: tuple(faults) for pool, faults in of_pool.items()}


async def _look_up(
    dns: Asks, said: Claims, keys: list[tuple[PoolName, SigningKey]]
) -> AsyncIterator[tuple[_Key, Finding]]:
    """Everything, one after the other."""
    for vmta, private in said.unseen:
        words = f"it is private: say in virtual_mtas.{vmta}.public what the world sees"
        yield (IdentityKind.PTR, vmta, str(private), "", ()), findings.unknown(words)
    readable: dict[str, frozenset[PoolName]] = {}
    for domain, pools in said.return_paths.items():
        finding = await findings.record(dns, domain)
        if finding.state is not IdentityState.BAD:
            readable[domain] = pools
        yield (IdentityKind.SPF, None, "", domain, _sorted(pools)), finding
    for sender in said.senders:
        address, own = str(sender.address), _sorted(sender.pools)
        yield (IdentityKind.PTR, sender.vmta, address, "", own), await findings.reverse(dns, sender.address)
        yield (
            (IdentityKind.EHLO, sender.vmta, address, sender.ehlo, own),
            await findings.greeting(dns, sender.ehlo, sender.address),
        )
        for domain, pools in readable.items():
            if shared := pools & sender.pools:
                finding = await findings.allowed(dns, sender.address, sender.ehlo, domain)
                yield (IdentityKind.SPF, sender.vmta, address, domain, _sorted(shared)), finding
        await asyncio.sleep(0)  # what is remembered of a round does not stop
    for pool, key in keys:
        yield (IdentityKind.DKIM, None, "", key.record_name, (pool,)), await findings.signing(dns, key)
    for domain, pools in said.authors.items():
        signers = {key.domain for pool, key in keys if pool in pools}
        senders = [path for path, at in said.return_paths.items() if at & pools]
        finding = await findings.policy(dns, domain, signers, senders)
        yield (IdentityKind.DMARC, None, "", domain, _sorted(pools)), finding
    for domain in said.return_paths | said.authors:
        pools = said.return_paths.get(domain, frozenset()) | said.authors.get(domain, frozenset())
        yield (IdentityKind.MX, None, "", domain, _sorted(pools)), await findings.mailbox(dns, domain)


def _sorted(pools: Iterable[PoolName]) -> tuple[PoolName, ...]:
    return tuple(sorted(pools))


def _check(key: _Key, found: Finding, before: IdentityCheck | None) -> IdentityCheck:
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
    kind, vmta, address, domain, pools = key
    stays = before is not None and before.state is found.state
    return IdentityCheck(
        kind=kind,
        vmta=vmta,
        address=address,
        domain=domain,
        pools=pools,
        state=found.state,
        detail=cut(found.detail, MAX_DETAIL),
        since=before.since if before is not None and stays else now,
        asked_at=now,
    )
