"""All that is known of our addresses and domains, in one place for whoever shows it or decides by it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from mailagent.api.ids import PoolName, VmtaName
from mailagent.api.reputation import Faults, Listing, matters
from mailagent.config.structs import AgentConfig
from mailagent.reputation.asking import Remembers
from mailagent.reputation.block_lists import BlockLists
from mailagent.reputation.identity import Identity, Keys, Note


class Standing(NamedTuple):
    """What is known of one virtual MTA."""

    listings: tuple[Listing, ...] = ()  # block lists that an address of it is on, the worst first
    lists_unknown: int = 0  # answers of block lists that are missing
    faults: Faults = Faults()  # what is bad about who it says it is
    identity_unknown: int = 0  # answers about that which are missing


class Reputation:
    """Block lists and identity of a host."""

    def __init__(
        self, config: AgentConfig, dns: Remembers, keys: Keys, *, note: Note, changed: Callable[[], None]
    ) -> None:
        """`keys`: those that sign now; `changed` is called when `of` or `of_pool` would answer otherwise."""
        self._config = config
        self.block_lists = BlockLists(config, dns, note=note, changed=changed)
        self.identity = Identity(config, dns, keys, note=note, changed=changed)

    @property
    def reads(self) -> Mapping[str, Callable[[Any], Awaitable[Any]]]:
        """By wire name."""
        return {**self.block_lists.reads, **self.identity.reads}

    def configure(self, config: AgentConfig) -> None:
        """Ask about what this configuration says from now on."""
        self._config = config
        self.block_lists.configure(config)
        self.identity.configure(config)

    async def run(self) -> None:
        """Ask, for as long as the agent runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.block_lists.run(), name="block-lists")
            group.create_task(self.identity.run(), name="identity")

    def of(self, vmta: VmtaName) -> Standing:
        """What is known of a virtual MTA."""
        lists, identity = self.block_lists, self.identity
        return Standing(lists.listings(vmta), lists.unknown(vmta), identity.faults(vmta), identity.unknown(vmta))

    def of_pool(self, pool: PoolName) -> Faults:
        """What is bad about the domains that a pool sends for."""
        return self.identity.pool_faults(pool)

    def unfit(self, vmta: VmtaName) -> list[str]:
        """Why it should not begin to send now: block lists, and faults that those in use in its pool do not have."""
        listings = self.block_lists.listings(vmta)
        found = [f"is {one.sentence}" for one in listings if matters(listings)]
        pools = [pool for pool in self._config.pools.values() if vmta in pool.members]
        in_use = {mate for pool in pools for mate in (*pool.active, *pool.warming) if mate != vmta}
        common = [
            {(bad.kind, bad.domain) for bad in self.identity.bad(mate)}
            for mate in in_use
            if mate in self._config.virtual_mtas
        ]
        shared = set.intersection(*common) if common else set()
        faults = [one for one in self.identity.bad(vmta) if (one.kind, one.domain) not in shared]
        if faults:
            worst = faults[0]
            more = f" and {len(faults) - 1:,} more" if len(faults) > 1 else ""
            asked = f"{worst.asked_at:%H:%M} UTC" if worst.asked_at is not None else "never"
            look = f"mailctl identity --now vmta:{vmta} looks again"
            found.append(f"has a fault, seen at {asked}: {worst.sentence}{more} ({look})")
        return found

    def doubts(self, vmta: VmtaName) -> list[str]:
        """What is not known of it."""
        standing = self.of(vmta)
        found = []
        if missing := standing.lists_unknown:
            found.append(f"may be on a block list: {_answers(missing)} about it are missing")
        if missing := standing.identity_unknown:
            found.append(f"may have no name or SPF: {_answers(missing)} about it are missing")
        return found


def _answers(missing: int) -> str:
    return "an answer" if missing == 1 else f"{missing} answers"
