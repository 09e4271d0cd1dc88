"""What one configuration changes against another, in the terms of an operator. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.errors import ApiError
from mailagent.api.ids import PoolName, ProviderName, SiteName, VmtaName
from mailagent.api.rollout import Ceiling, ConfigChange, How, Misfit
from mailagent.api.targets import TargetKind
from mailagent.config.parts import plain
from mailagent.config.scalars import parse_limit
from mailagent.config.structs import AgentConfig
from mailagent.control.state import is_stricter
from mailagent.control.targets import pool_of, require
from mailagent.routing.limits import LIMIT_NAMES, VMTA_LIMITS, LimitTable
from mailagent.routing.rollup import ROUTE_PROVIDER, Site

RESTART_ONLY: Final = (
    "host",
    "state_dir",
    "engine",
    "postfix",
    "rpc.socket",
    "rpc.backlog",
    "intake.listeners",
    "intake.ready",
    "dkim.threads",
    "log",
)
"""Keys that a reload cannot change."""
NAMED: Final = {
    "pools": "pool",
    "virtual_mtas": "virtual MTA",
    "streams": "stream",
    "routes": "route",
    "providers": "provider",
    "domains": "domain",
    "events": "events",
}
"""Sections of named parts, and the word for one."""
_EVERYWHERE: Final = ("routes", "retry", "delivery", "tls", "dns", "queue")
"""Sections that bind the mail of all pools."""
_MOST_CHARS: Final = 300


def changed_sections(old: AgentConfig, new: AgentConfig) -> list[str]:
    """Top-level keys whose values differ."""
    return [key for key in AgentConfig.__struct_fields__ if getattr(old, key) != getattr(new, key)]


def restart_keys(old: AgentConfig, new: AgentConfig) -> tuple[str, ...]:
    """Keys that differ and that only a restart changes."""
    return tuple(key for key in RESTART_ONLY if _value(old, key) != _value(new, key))


def changes(old: AgentConfig, new: AgentConfig) -> list[ConfigChange]:
    """Each part that differs, in the order of the file."""
    found: list[ConfigChange] = []
    for section in changed_sections(old, new):
        before, after = getattr(old, section), getattr(new, section)
        if section in NAMED:
            found += _named(NAMED[section], _by_name(before), _by_name(after))
        else:
            found.append(ConfigChange(section=section, name="", how=How.CHANGED, detail=_detail(before, after)))
    return found


def ceilings(old: AgentConfig, new: AgentConfig) -> list[Ceiling]:
    """Limits in effect that differ, by provider and by virtual MTA; domains and routes have theirs among the changes.

    Paths that only one of the two has are not listed: what sends at all is a change of pools.
    """
    before, after = LimitTable(old), LimitTable(new)
    found: list[Ceiling] = []
    vmtas = tuple(vmta for vmta in old.virtual_mtas if _sends(old, vmta) and _sends(new, vmta))
    for provider in dict.fromkeys((*old.providers, *new.providers)):
        site = Site(name=SiteName(provider), provider=provider, hosts=())
        one, other = before.limits(site), after.limits(site)
        if one != other:
            for name in LIMIT_NAMES:
                found += _ceiling(provider, vmtas, name, getattr(one, name).value, getattr(other, name).value)
    for vmta in vmtas:
        for name in VMTA_LIMITS:
            was, now = (getattr(config.virtual_mtas[vmta], name) for config in (old, new))
            found += _ceiling("", (vmta,), name, was, now)
    return found


def misfits(new: AgentConfig, live: Iterable[Directive]) -> list[Misfit]:
    """Live directives that mean nothing under `new`, and those that say what it says itself."""
    found = []
    for one in live:
        why = _why_not(new, one)
        if why:
            found.append(Misfit(directive=one, why=why))
        elif _is_said(new, one):
            found.append(Misfit(directive=one, why="the file says the same", adopted=True))
        elif why := _idle_limit(new, one):
            found.append(Misfit(directive=one, why=why))
    return found


@dataclass(frozen=True, slots=True)
class Touched:
    """Whose mail a difference concerns."""

    everything: bool = False
    pools: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    vmtas: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()


def touched(old: AgentConfig, new: AgentConfig) -> Touched:
    """See there; of what is running: a part that only `new` has holds no mail yet."""
    sections = changed_sections(old, new)
    names: dict[str, frozenset[str]] = {
        section: frozenset(
            name for name, part in _by_name(getattr(old, section)).items()
            if _by_name(getattr(new, section)).get(name) != part
        )
        for section in NAMED
        if section in sections
    }  # fmt: skip
    pools = set(names.get("pools", ()))
    for vmta in names.get("virtual_mtas", ()):
        if (pool := pool_of(old, vmta)) is not None:
            pools.add(pool)
    vmtas = {vmta for pool in pools for vmta in old.pools[PoolName(pool)].members}
    added = frozenset(name for name in new.providers if name not in old.providers)
    return Touched(
        # a provider that is new takes its sites from others, by rules over MX hosts that only look-ups can tell
        everything=bool(added) or any(section in _EVERYWHERE for section in sections),
        pools=frozenset(pools),
        streams=names.get("streams", frozenset()),
        providers=names.get("providers", frozenset()),
        vmtas=frozenset(vmtas) | names.get("virtual_mtas", frozenset()),
        domains=names.get("domains", frozenset()),
    )


def _value(config: AgentConfig, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _by_name(section: Any) -> Mapping[str, Any]:
    """A section's parts by name; routes are told apart by what they match, sinks by their name."""
    if isinstance(section, Mapping):
        return section
    return {str(getattr(part, "match", "") or getattr(part, "name", "")): part for part in section}


def _named(word: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[ConfigChange]:
    differs = False
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) == after.get(name):
            continue
        differs = True
        if name not in after:
            yield ConfigChange(section=word, name=name, how=How.REMOVED, detail="")
        elif name not in before:
            yield ConfigChange(section=word, name=name, how=How.ADDED, detail=cut(_words(after[name])))
        else:
            detail = _detail(before[name], after[name])
            yield ConfigChange(section=word, name=name, how=How.CHANGED, detail=detail)
    if not differs:  # the first route or stream that matches wins
        yield ConfigChange(section=word, name="", how=How.CHANGED, detail=f"order: {', '.join(after)}")


def _detail(before: Any, after: Any) -> str:
    return cut("; ".join(_differences(before, after, "")))


def _differences(before: Any, after: Any, key: str) -> Iterator[str]:
    """`rate: 20/s -> 10/s` for each key in which the two differ."""
    if before == after:
        return
    prefix = f"{key}." if key else ""
    if isinstance(before, msgspec.Struct) and type(before) is type(after) and not _words_of(before):
        for name in before.__struct_fields__:
            yield from _differences(getattr(before, name), getattr(after, name), f"{prefix}{name}")
    elif isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            yield from _differences(before.get(name), after.get(name), f"{prefix}{name}")
    elif _are_names(before) and _are_names(after) and set(before) != set(after):
        parts = [f"+{name}" for name in after if name not in before]
        parts += [f"-{name}" for name in before if name not in after]
        yield f"{key}: {', '.join(parts)}"
    else:
        label = f"{key}: " if key else ""
        yield f"{label}{_words(before)} -> {_words(after)}"


def _words_of(value: msgspec.Struct) -> bool:
    """Whether the file has one word for it, such as `20/s`."""
    return not isinstance(plain(value), dict)


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _words(value: Any) -> str:
    if value is None or value in ((), {}, ""):
        return "none"
    return _written(plain(value))


def _written(words: Any) -> str:
    if isinstance(words, dict):
        return f"{{{', '.join(f'{key}: {_written(item)}' for key, item in words.items())}}}"
    if isinstance(words, list):
        return f"[{', '.join(map(_written, words))}]"
    return str(words).lower() if isinstance(words, bool) else str(words)


def cut(text: str) -> str:
    """A detail, no longer than people read."""
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]} …"


def _sends(config: AgentConfig, vmta: VmtaName) -> bool:
    pool = pool_of(config, vmta)
    return pool is not None and vmta in config.pools[pool].active + config.pools[pool].warming


def _ceiling(provider: str, vmtas: tuple[VmtaName, ...], name: str, was: Any, now: Any) -> Iterator[Ceiling]:
    if was == now or not vmtas:
        return
    lower = was is None or (now is not None and is_stricter(now, was))
    yield Ceiling(
        provider=provider,
        vmtas=vmtas,
        limit=name,
        before="" if was is None else str(was),
        after="" if now is None else str(now),
        lower=lower,
    )


def _why_not(config: AgentConfig, one: Directive) -> str:
    """Why `one` would act on nothing."""
    try:
        require(config, one.target, TargetKind, one.kind)
    except ApiError as exc:
        return exc.message
    if one.kind is DirectiveKind.ROTATE:
        pool = pool_of(config, one.target.name)
        if pool is None or pool_of(config, one.standby) != pool:
            return f"{one.target.name} and {one.standby} are not in one pool"
    return ""


def _is_said(config: AgentConfig, one: Directive) -> bool:
    """Whether the file itself says what `one` does, so that ending it changes nothing."""
    match one.kind, one.target.kind:
        case DirectiveKind.ROTATE, _:
            return not _sends(config, VmtaName(one.target.name)) and _sends(config, VmtaName(one.standby))
        case DirectiveKind.DRAIN, TargetKind.VMTA:
            pool = config.pools.get(pool_of(config, one.target.name) or PoolName(""))
            return pool is not None and one.target.name in pool.quarantined + pool.retired
        case DirectiveKind.LIMIT, TargetKind.PROVIDER | TargetKind.VMTA if not one.rule:
            return bool(_written_limit(config, one) == parse_limit(one.limit, one.value))
    return False


def _written_limit(config: AgentConfig, one: Directive) -> Any:
    if one.target.kind is TargetKind.PROVIDER:
        provider = config.providers.get(ProviderName(one.target.name))
        return getattr(provider, one.limit) if provider is not None else None
    vmta = config.virtual_mtas[VmtaName(one.target.name)]
    return getattr(vmta, one.limit) if one.limit in VMTA_LIMITS else None


def _idle_limit(config: AgentConfig, one: Directive) -> str:
    """Why a limit lowers nothing: the file is as strict already. Said of providers, where one value binds all."""
    if one.kind is not DirectiveKind.LIMIT or one.target.kind is not TargetKind.PROVIDER:
        return ""
    if one.target.name == ROUTE_PROVIDER:
        return ""
    site = Site(name=SiteName(one.target.name), provider=ProviderName(one.target.name), hosts=())
    written = getattr(LimitTable(config).limits(site), one.limit).value
    if written is None or is_stricter(parse_limit(one.limit, one.value), written):
        return ""
    return f"the file says {one.limit} {written}, it says {one.value}"
