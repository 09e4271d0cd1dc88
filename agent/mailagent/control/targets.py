"""Targets of verbs: whether they exist on this host, and which objects a directive changes."""

import difflib
from collections.abc import Iterable
from typing import Final

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.errors import InvalidRequest, NotFound
from mailagent.api.ids import PoolName, VmtaName
from mailagent.api.targets import Target, TargetKind
from mailagent.config.scalars import is_host
from mailagent.config.structs import AgentConfig
from mailagent.routing.providers import DEFAULT_PROVIDER
from mailagent.routing.rollup import ROUTE_PROVIDER

WHOLE_SITES: Final = ("suspend", "resume")
"""Verbs that act on a site whichever virtual MTA sends there: `queue:gmail/`."""


def require(config: AgentConfig, target: Target, kinds: Iterable[TargetKind], verb: str) -> None:
    """Check that `verb` can act on `target`.

    Raises:
        InvalidRequest: the verb does not act on that kind of object.
        NotFound: there is no such object on this host; names that are near are listed.
    """
    if target.kind not in kinds:
        raise InvalidRequest(f"{verb} does not act on {target}; it acts on {', '.join(kinds)}")
    known: Iterable[str]
    name = target.name
    match target.kind:
        case TargetKind.HOST:
            known = (config.host,)
        case TargetKind.POOL:
            known = config.pools
        case TargetKind.VMTA:
            known = config.virtual_mtas
        case TargetKind.PROVIDER:
            known = (*config.providers, DEFAULT_PROVIDER, ROUTE_PROVIDER)
        case TargetKind.STREAM:
            known = config.streams
        case TargetKind.JOB:  # one may be ordered before its first mail
            known = (name,)
        case TargetKind.DKIM:
            domain, _, name = target.name.rpartition("/")
            known = config.pools
            if not is_host(domain) or domain != domain.lower():
                raise InvalidRequest(
                    f"{target} names no keys; write domain/pool in small letters: dkim:example.com/marketing"
                )
        case TargetKind.QUEUE:  # sites come and go with their mail, so only the virtual MTA can be checked
            site, _, name = target.name.rpartition("/")
            known = config.virtual_mtas if name else ("",)
            if not site or not (name or verb in WHOLE_SITES):
                whole = "; with nothing behind the stroke the whole site is meant" if verb in WHOLE_SITES else ""
                raise InvalidRequest(f"{target} is no queue; write site/vmta: queue:gmail/mkt-1{whole}")
        case TargetKind.CELL | TargetKind.TRAFFIC:
            provider, _, name = target.name.rpartition("/")
            known = config.virtual_mtas if target.kind is TargetKind.CELL else config.streams
            if provider not in (*config.providers, DEFAULT_PROVIDER, ROUTE_PROVIDER):
                raise NotFound(f"{config.host} has no provider {provider}{near(provider, config.providers)}")
    if name not in known:
        raise NotFound(f"{config.host} has no {_WORDS[target.kind]} {name}{near(name, known)}")


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean mkt-1, mkt-2?`, or which there are when they are few, or nothing."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"; did you mean {', '.join(close)}?"
    return f"; it has {', '.join(names)}" if 0 < len(names) <= 8 else ""


def pool_of(config: AgentConfig, vmta: str) -> PoolName | None:
    """The pool that a virtual MTA belongs to."""
    return next((name for name, pool in config.pools.items() if VmtaName(vmta) in pool.members), None)


def touched(config: AgentConfig, directive: Directive) -> set[Target]:
    """The objects whose state `directive` changes: plans made on them are stale when it comes or ends."""
    if directive.kind is DirectiveKind.NOTE:
        return set()
    found = {directive.target}
    vmtas = {directive.target.name} if directive.target.kind is TargetKind.VMTA else set()
    if directive.kind is DirectiveKind.ROTATE:
        vmtas.add(directive.standby)
    for vmta in vmtas:
        found.add(Target(kind=TargetKind.VMTA, name=vmta))
        pool = pool_of(config, vmta)
        if pool is not None:
            found.add(Target(kind=TargetKind.POOL, name=pool))
    members = config.pools.get(PoolName(directive.target.name)) if directive.target.kind is TargetKind.POOL else None
    if members is not None:
        found.update(Target(kind=TargetKind.VMTA, name=vmta) for vmta in members.members)
    return found


_WORDS = {
    TargetKind.HOST: "name",
    TargetKind.POOL: "pool",
    TargetKind.VMTA: "virtual MTA",
    TargetKind.PROVIDER: "provider",
    TargetKind.QUEUE: "virtual MTA",
    TargetKind.STREAM: "stream",
    TargetKind.JOB: "job",
    TargetKind.DKIM: "pool",
    TargetKind.CELL: "virtual MTA",
    TargetKind.TRAFFIC: "stream",
    TargetKind.MAIL: "mail",
}
