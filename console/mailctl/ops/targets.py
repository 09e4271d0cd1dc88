"""Which objects of which hosts a selection means for a verb. Pure: reads a `FleetState` and the inventory."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mailagent.api.ids import HostName
from mailagent.api.targets import Target, TargetKind
from mailagent.api.terms import is_like
from mailagent.config.providers import merge_providers
from mailagent.config.structs import FleetConfig
from mailctl.fleet.inventory import Inventory
from mailctl.fleet.state import FleetState, HostState
from mailctl.ops.errors import NothingSelected, SelectorError
from mailctl.ops.filters import Filter
from mailctl.ops.selector import OBJECTS, Selection, TermKind, near


@dataclass(frozen=True, slots=True)
class Aim:
    """One object of one host."""

    host: HostName
    target: Target


def selected_hosts(state: FleetState, selection: Selection) -> tuple[HostState, ...]:
    """The hosts that `selection` names, all without a `host:` term, in the order of the fleet file.

    Raises:
        NothingSelected: no such host.
    """
    known = [host.name for host in state.hosts]
    for name in selection.hosts:
        if name not in known:
            raise NothingSelected(f"no host {name} in the fleet{near(name, known)}")
    return tuple(host for host in state.hosts if not selection.hosts or host.name in selection.hosts)


def filtered_hosts(state: FleetState, wanted: Filter) -> tuple[HostState, ...]:
    """The hosts that `wanted` lets through, in the order of the fleet file.

    Raises:
        NothingSelected: a name that no host has, or none is left.
    """
    known = [host.name for host in state.hosts]
    for name in wanted.selection.hosts:
        if not any(is_like(name, one) for one in known):
            raise NothingSelected(f"no host {name} in the fleet{near(name, known)}")
    found = tuple(host for host in state.hosts if wanted.admits_host(host.name))
    if not found:
        raise NothingSelected(f"{wanted} excludes every host")
    return found


def check_names(state: FleetState, config: FleetConfig, selection: Selection) -> None:
    """That what a selection names in vain is there, and only quiet; while a host is away, nobody can say.

    Hosts tell of providers that mail goes to, the rules for others stand in `config`. Of cells and traffic it is their
    providers.

    Raises:
        NothingSelected: a name that no host has, for what configuration names.
    """
    hosts = [
        host for host in state.hosts if not selection.hosts or any(is_like(one, host.name) for one in selection.hosts)
    ]
    if not all(host.state.is_fresh for host in hosts):
        return
    at = f" on {', '.join(selection.hosts)}" if selection.hosts else ""
    of_file: Mapping[TargetKind, Collection[str]] = {
        TargetKind.POOL: (),
        TargetKind.VMTA: (),
        TargetKind.PROVIDER: merge_providers(config.providers),
        TargetKind.STREAM: config.streams,
    }
    for kind, written in of_file.items():
        known = _names(hosts, kind).union(written)
        for name in _named(selection, kind):
            if not any(is_like(name, one) for one in known):
                raise NothingSelected(f"no {kind} {name}{at}{near(name, known)}")


def _named(selection: Selection, kind: TargetKind) -> tuple[str, ...]:
    if kind is not TargetKind.PROVIDER:
        return selection.names(TermKind(kind))
    pairs = (*selection.names(TermKind.CELL), *selection.names(TermKind.TRAFFIC))
    return (*selection.names(TermKind.PROVIDER), *(pair.rpartition("/")[0] for pair in pairs))


def aims(
    state: FleetState,
    inventory: Inventory,
    selection: Selection,
    kinds: Collection[TargetKind],
    *,
    verb: str,
    everything: bool = False,
) -> tuple[Aim, ...]:
    """What `selection` means for a verb that acts on objects of `kinds`, host by host.

    A host that is lost is part of the answer, by its last snapshot or else by the fleet file, so that a report can say
    that it was not reached.

    Raises:
        SelectorError: terms that the verb cannot act on, or that do not go together.
        NothingSelected: an empty selection without `everything`, or names that no host has.
    """
    hosts = selected_hosts(state, selection)
    kind = acting_kind(selection, kinds, verb, everything=everything)
    if kind is TargetKind.HOST:
        return tuple(Aim(host.name, Target(kind=kind, name=host.name)) for host in hosts)
    pools = selection.names(TermKind.POOL) if kind is TargetKind.VMTA else ()
    found: list[Aim] = []
    missing: list[str] = []
    for name in selection.names(TermKind(kind)):
        here = [
            Aim(host.name, Target(kind=kind, name=name)) for host in hosts if _has(host, inventory, kind, name, pools)
        ]
        found += here
        if not here:
            missing.append(name)
    if missing:
        name = missing[0]
        at = f" on {', '.join(selection.hosts)}" if selection.hosts else ""
        among = f" in pool {', '.join(pools)}" if pools else ""
        if kind is TargetKind.DKIM:
            _check_dkim(hosts, name, at)
        raise NothingSelected(f"no {kind} {name}{among}{at}{near(name, _names(hosts, kind))}")
    order = {host.name: index for index, host in enumerate(hosts)}
    return tuple(sorted(found, key=lambda aim: order[aim.host]))


def _check_dkim(hosts: Collection[HostState], name: str, at: str) -> None:
    """Say what is wrong about DKIM keys that no host could have."""
    domain, _, pool = name.rpartition("/")
    if not domain:
        raise SelectorError(f"dkim:{name} is no DKIM key; its form is dkim:DOMAIN/POOL, such as dkim:example.com/news")
    raise NothingSelected(f"no pool {pool}{at}{near(pool, _names(hosts, TargetKind.POOL))}")


def acting_kind(selection: Selection, kinds: Collection[TargetKind], verb: str, *, everything: bool) -> TargetKind:
    """The one kind of object that the verb acts on. Raises as `aims` does."""
    can = ", ".join(f"{kind}:" for kind in kinds)
    given = set(selection.kinds)
    if foreign := [kind for kind in selection.kinds if kind not in OBJECTS]:
        raise SelectorError(f"{verb} does not act on {foreign[0]}:; it acts on {can}")
    if given == {TermKind.VMTA, TermKind.POOL}:
        given = {TermKind.VMTA}  # the pool narrows
    if len(given) > 1:
        raise SelectorError(f"{verb} acts on one kind of object at a time; {' and '.join(selection.kinds)} are given")
    if given:
        kind = TargetKind(given.pop())
    elif selection.hosts or (everything and TargetKind.HOST in kinds):
        kind = TargetKind.HOST
    else:
        hint = "; --all means every host" if TargetKind.HOST in kinds else ""
        raise NothingSelected(f"nothing is selected; {verb} acts on {can}{hint}")
    if kind not in kinds:
        raise SelectorError(f"{verb} does not act on {kind}:; it acts on {can}")
    return kind


def _has(host: HostState, inventory: Inventory, kind: TargetKind, name: str, pools: Collection[str]) -> bool:
    snapshot = host.snapshot
    if kind is TargetKind.POOL:
        return _has_pool(host, inventory, name)
    if kind is TargetKind.VMTA:
        if snapshot is None:
            return inventory.vmtas.get(name) == host.name and all(host.name in inventory.pools[pool] for pool in pools)
        return any(view.name == name and (not pools or view.pool in pools) for view in snapshot.vmtas)
    if kind is TargetKind.DKIM:
        return _has_pool(host, inventory, name.rpartition("/")[2])
    if kind is TargetKind.QUEUE and name.endswith("/"):
        return True  # a site, whoever sends there: as of a provider, the agent decides
    if kind in (TargetKind.QUEUE, TargetKind.CELL):
        return _has(host, inventory, TargetKind.VMTA, name.rpartition("/")[2], ())
    if kind is TargetKind.TRAFFIC:
        return _has(host, inventory, TargetKind.STREAM, name.rpartition("/")[2], ())
    if kind is TargetKind.STREAM:
        return snapshot is None or name in snapshot.streams
    # A provider is a rule that every host may know before any mail goes there: the agent decides.
    return True


def _has_pool(host: HostState, inventory: Inventory, name: str) -> bool:
    if host.snapshot is None:
        return host.name in inventory.pools.get(name, ())
    return any(view.name == name for view in host.snapshot.pools)


def _names(hosts: Collection[HostState], kind: TargetKind) -> set[str]:
    """Names that the hosts' snapshots have for `kind`."""
    names: set[str] = set()
    for host in hosts:
        if (snapshot := host.snapshot) is None:
            continue
        if kind is TargetKind.POOL:
            names.update(view.name for view in snapshot.pools)
        elif kind is TargetKind.VMTA:
            names.update(view.name for view in snapshot.vmtas)
        elif kind is TargetKind.QUEUE:
            names.update(key for view in snapshot.destinations for key in view.queues)
        elif kind is TargetKind.CELL:
            names.update(f"{view.provider}/{view.vmta}" for view in snapshot.destinations)
        elif kind is TargetKind.TRAFFIC:
            names.update(f"{view.name}/{stream}" for view in snapshot.providers for stream in snapshot.streams)
        elif kind is TargetKind.PROVIDER:
            names.update(view.name for view in snapshot.providers)
        elif kind is TargetKind.STREAM:
            names.update(snapshot.streams)
    return names
