"""Which hosts the fleet file names, and what it says that the console needs before any of them answers."""

from collections.abc import Iterable
from dataclasses import dataclass

from mailagent.api.ids import HostName
from mailagent.config.structs import FleetConfig, FleetHost


@dataclass(frozen=True, slots=True)
class Inventory:
    """The hosts that this console talks to, in the order of the file."""

    hosts: dict[HostName, FleetHost]
    pools: dict[str, tuple[HostName, ...]]  # hosts with at least one member
    vmtas: dict[str, HostName]

    @classmethod
    def of(cls, config: FleetConfig, only: Iterable[str] = ()) -> "Inventory":
        """The inventory of `config`, cut to the hosts named in `only` (none: all).

        Raises:
            LookupError: `only` names a host that the file does not have.
        """
        wanted = tuple(only)
        if unknown := [name for name in wanted if name not in config.hosts]:
            raise LookupError(f"no host {unknown[0]} in the fleet file; it has {', '.join(config.hosts)}")
        hosts = {name: host for name, host in config.hosts.items() if not wanted or name in wanted}
        vmtas: dict[str, HostName] = {vmta: name for name, host in hosts.items() for vmta in host.virtual_mtas}
        pools: dict[str, tuple[HostName, ...]] = {}
        for pool, members in config.pools.items():
            at = {vmtas[vmta] for vmta in members.members if vmta in vmtas}
            pools[pool] = tuple(name for name in hosts if name in at)
        return cls(hosts, pools, vmtas)
