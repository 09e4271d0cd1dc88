"""One round: everything that receivers could look up about a host, a few questions at a time, and never for ever."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final, NamedTuple

from mailagent.api.ids import PoolName, VmtaName
from mailagent.api.reputation import IdentityKind, IdentityState
from mailagent.dkim import SigningKey
from mailagent.reputation import findings
from mailagent.reputation.asking import Once
from mailagent.reputation.claims import Claims
from mailagent.reputation.findings import Finding

TOGETHER: Final = 8
"""Looked up at the same time: a name server that does not answer holds up some of them."""
ROUND_S: Final = 300.0
"""After which what is left counts as not answered."""


class Key(NamedTuple):
    """What a finding is about."""

    kind: IdentityKind
    vmta: VmtaName | None
    address: str
    domain: str
    pools: tuple[PoolName, ...]


_Job = tuple[Key, Callable[[], Awaitable[Finding | None]]]


async def look_up(dns: Once, said: Claims, keys: list[tuple[PoolName, SigningKey]]) -> dict[Key, Finding]:
    """All findings, in one order whatever answers first."""
    deadline = asyncio.get_running_loop().time() + ROUND_S
    found = await _do(_of_records(dns, said), deadline)
    records = {key.domain: finding for key, finding in found.items()}
    return found | await _do(_of_the_rest(dns, said, keys, records), deadline)


async def _do(jobs: Iterator[_Job], deadline: float) -> dict[Key, Finding]:
    """Do jobs, a few at a time; what is not done by `deadline` is not known."""
    late = findings.unknown(f"no answer within {ROUND_S:.0f} s, with all that there is to ask")
    found: dict[Key, Finding | None] = {}

    async def work() -> None:
        for key, ask in jobs:
            found[key] = late
            found[key] = await ask()
            await asyncio.sleep(0)  # what this round has asked already does not stop

    try:
        async with asyncio.timeout_at(deadline), asyncio.TaskGroup() as group:
            for _ in range(TOGETHER):
                group.create_task(work(), name="identity:round")
    except TimeoutError:
        found |= {key: late for key, _ in jobs}
    return {key: finding for key, finding in found.items() if finding is not None}


def _of_records(dns: Once, said: Claims) -> Iterator[_Job]:
    for domain, pools in said.return_paths.items():
        yield Key(IdentityKind.SPF, None, "", domain, _sorted(pools)), _ask(findings.record, dns, domain)


def _of_the_rest(
    dns: Once, said: Claims, keys: list[tuple[PoolName, SigningKey]], records: dict[str, Finding]
) -> Iterator[_Job]:
    for vmta, private in said.unseen:
        words = f"it is private: say in virtual_mtas.{vmta}.public what the world sees"
        yield Key(IdentityKind.PTR, vmta, str(private), "", ()), _known(findings.unknown(words))
    for sender in said.senders:
        vmta, address, own = sender.vmta, sender.address, _sorted(sender.pools)
        yield Key(IdentityKind.PTR, vmta, str(address), "", own), _ask(findings.reverse, dns, address)
        yield (
            Key(IdentityKind.EHLO, vmta, str(address), sender.ehlo, own),
            _ask(findings.greeting, dns, sender.ehlo, address),
        )
        for domain, pools in said.return_paths.items():
            if shared := pools & sender.pools:
                key = Key(IdentityKind.SPF, vmta, str(address), domain, _sorted(shared))
                yield key, _ask(findings.allowed, dns, address, sender.ehlo, domain, records[domain])
    for pool, signing in keys:
        yield Key(IdentityKind.DKIM, None, "", signing.record_name, (pool,)), _ask(findings.signing, dns, signing)
    for domain, author in said.authors.items():
        signers = {signing.domain for pool, signing in keys if pool in author.pools}
        paths = [{path for path in group if records[path].state is not IdentityState.BAD} for group in author.paths]
        key = Key(IdentityKind.DMARC, None, "", domain, _sorted(author.pools))
        yield key, _ask(findings.policy, dns, domain, signers, paths)
    for domain in dict.fromkeys([*said.return_paths, *said.authors]):
        pools = said.return_paths.get(domain, frozenset())
        if domain in said.authors:
            pools |= said.authors[domain].pools
        yield Key(IdentityKind.MX, None, "", domain, _sorted(pools)), _ask(findings.mailbox, dns, domain)


def _ask(look: Callable[..., Awaitable[Finding | None]], *arguments: object) -> Callable[[], Awaitable[Finding | None]]:
    return lambda: look(*arguments)


def _known(finding: Finding) -> Callable[[], Awaitable[Finding]]:
    async def tell() -> Finding:
        return finding

    return tell


def _sorted(pools: Iterable[PoolName]) -> tuple[PoolName, ...]:
    return tuple(sorted(pools))
