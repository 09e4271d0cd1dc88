"""All that is known of our addresses and domains, in one place for whoever shows it or decides by it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from mailagent.api.ids import PoolName, VmtaName
from mailagent.api.reputation import Fault, Listing, matters
from mailagent.config.structs import AgentConfig
from mailagent.reputation.asking import Remembers
from mailagent.reputation.block_lists import BlockLists
from mailagent.reputation.identity import Identity, Keys, Note


class Standing(NamedTuple):
    """What is known of one virtual MTA."""

    listings: tuple[Listing, ...] = ()  # block lists that an address of it is on, the worst first
    lists_unknown: int = 0  # answers of block lists that are missing
    faults: tuple[Fault, ...] = ()  # what is bad about who it says it is
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
        await asyncio.gather(self.block_lists.run(), self.identity.run())

    def of(self, vmta: VmtaName) -> Standing:
        """What is known of a virtual MTA."""
        lists, identity = self.block_lists, self.identity
        return Standing(lists.listings(vmta), lists.unknown(vmta), identity.faults(vmta), identity.unknown(vmta))

    def of_pool(self, pool: PoolName) -> tuple[Fault, ...]:
        """What is bad about the domains that a pool sends for."""
        return self.identity.pool_faults(pool)

    def unfit(self, vmta: VmtaName) -> list[str]:
        """Why it should not begin to send now: block lists, and faults that others of its pool do not have."""
        standing = self.of(vmta)
        found = [f"is {one.sentence}" for one in standing.listings if matters(standing.listings)]
        pools = [pool.members for pool in self._config.pools.values() if vmta in pool.members]
        mates = {mate for members in pools for mate in members if mate != vmta and mate in self._config.virtual_mtas}
        common = [{fault.kind for fault in self.identity.faults(mate)} for mate in mates]
        shared = set.intersection(*common) if common else set()
        return found + [f"has a fault: {fault.sentence}" for fault in standing.faults if fault.kind not in shared]

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
