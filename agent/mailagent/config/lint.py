"""The linter: what a file may say but cannot mean. Dead, shadowed and never-matching entries, as warnings.

A file with warnings is used. Mistakes are the business of `checks`.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from mailagent.api.ids import ProviderName
from mailagent.config.automation import Rule
from mailagent.config.checks.alerts import untold
from mailagent.config.checks.metrics import exposed
from mailagent.config.checks.streams import mixed_pools
from mailagent.config.errors import Problem
from mailagent.config.loader import read_file
from mailagent.config.nodes import Key, show
from mailagent.config.providers import merge_providers
from mailagent.config.structs import AgentConfig, FleetConfig, Provider, Shared, SiteLimits

Finding = tuple[Key, str]


def lint_fleet(path: Path) -> list[Problem]:
    """Warnings about a fleet file that loads, in order of their lines."""
    return _lint(path, FleetConfig)


def lint_agent(path: Path) -> list[Problem]:
    """The same for a host's own file."""
    return _lint(path, AgentConfig)


def _lint(path: Path, kind: type[Shared]) -> list[Problem]:
    config, reader = read_file(path, kind)
    if config is None:
        return []
    found = [Problem(reader.file, _line(reader.places, key), show(key), message) for key, message in findings(config)]
    return sorted(found, key=lambda problem: problem.line)


def _line(places: dict[Key, int], key: Key) -> int:
    while key and key not in places:
        key = key[:-1]
    return places.get(key, 0)


def findings(config: Shared) -> Iterator[Finding]:
    """Every warning about the file's own sections, with its key."""
    merged = merge_providers(config.providers)
    for name, own in config.providers.items():
        yield from _provider(name, own, merged[name])
        yield from _rules(name, own, merged[name])
        yield from _useless_limits(("providers", name), own, merged[name], config)
    for n, route in enumerate(config.routes):
        yield from _useless_limits(("routes", n), route, route, config)
    for domain, block in config.domains.items():
        yield from _useless_limits(("domains", domain), block, block, config)
        route_at = _route_of(domain, [route.match.lower() for route in config.routes])
        if route_at is not None and not block.queue_to:
            yield ("domains", domain), f"only `retry` has an effect: routes[{route_at}] takes this domain's mail"
    yield from _streams(config)
    yield from mixed_pools(config)
    yield from _keys_of_destinations(config)
    if isinstance(config, FleetConfig):
        for host, entry in config.hosts.items():
            yield from exposed(entry.metrics, ("hosts", host))
        yield from untold(config.alerts)
    elif isinstance(config, AgentConfig):
        yield from exposed(config.metrics, ())


def _provider(name: ProviderName, own: Provider, merged: Provider) -> Iterator[Finding]:
    key: Key = ("providers", name)
    for n, text in enumerate(own.mx):
        suffix = text.lower().removeprefix("*").strip(".")
        if text.endswith("."):
            yield (*key, "mx", n), f"`{text}` ends in a dot; MX host names are compared without it, so write `{suffix}`"
        wider = [one for one in own.mx[:n] + own.mx[n + 1 :] if suffix.endswith("." + one.lower().strip("*."))]
        if wider:
            yield (*key, "mx", n), f"`{text}` is never needed: everything under it is under `{wider[0]}` too"
    suffixes = [one.lower().removeprefix("*").strip(".") for one in merged.mx]
    for site, hosts in own.sites.items():
        strange = [host for host in hosts if not any(_is_under(host.lower().strip("."), suffix) for suffix in suffixes)]
        if strange:
            yield (*key, "sites", site), f"never has this provider's limits: {strange[0]} lies under none of its `mx`"
    cap = merged.provider_connections
    if cap is not None and merged.connections is not None and merged.connections > cap:
        where = "provider_connections" if own.provider_connections is not None else "connections"
        if getattr(own, where) is not None:
            yield (*key, where), f"{merged.connections} connections to one site are never reached: all sites have {cap}"


def _rules(name: ProviderName, own: Provider, merged: Provider) -> Iterator[Finding]:
    """Rules that can never match or never do anything."""
    before: dict[str, Rule] = {}
    for rule_name, rule in merged.rules.items():
        key: Key = ("providers", name, "rules", rule_name)
        if rule_name in own.rules:
            wider = next((other for other, earlier in before.items() if _shadows(earlier, rule)), None)
            if wider is not None:
                yield key, f"never matches: rule {wider} comes before it and takes all that"
            if "\\\\" in rule.text:
                yield (*key, "text"), "has a doubled backslash, which matches a backslash in the reply; write one"
            for limit, value in rule.set.items():
                now = getattr(merged, limit, None)
                if isinstance(now, int) and value.isdecimal() and int(value) >= now:
                    yield (*key, "set", limit), f"changes nothing: `{limit}` is {now} anyway"
        before[rule_name] = rule


def _shadows(earlier: Rule, later: Rule) -> bool:
    categories = not earlier.categories or (later.categories and set(later.categories) <= set(earlier.categories))
    return bool(categories) and earlier.text in ("", later.text)


def _useless_limits(key: Key, own: SiteLimits, merged: SiteLimits, config: Shared) -> Iterator[Finding]:
    """Limits that another one makes unreachable."""
    most, connections = config.delivery.max_recipients, config.delivery.max_connections
    if own.recipients_per_transaction is not None and own.recipients_per_transaction > most:
        yield (*key, "recipients_per_transaction"), f"is never reached: `delivery.max_recipients` is {most}"
    whole = merged.recipients_per_connection
    if own.recipients_per_transaction is not None and whole is not None and own.recipients_per_transaction > whole:
        yield (*key, "recipients_per_transaction"), f"is never reached: `recipients_per_connection` is {whole}"
    if own.connections is not None and own.connections > connections:
        yield (*key, "connections"), f"is never reached: `delivery.max_connections` is {connections}"


def _streams(config: Shared) -> Iterator[Finding]:
    seen: list[tuple[str, str]] = []  # (pattern, stream)
    for name, stream in config.streams.items():
        for n, pattern in enumerate(stream.senders):
            text = pattern.lower()
            before = next((other for earlier, other in seen if _covers(earlier, text)), None)
            if before is not None:
                where = "before it" if before == name else f"of stream {before}"
                yield ("streams", name, "senders", n), f"`{pattern}` never matches: a pattern {where} takes all that"
            seen.append((text, name))


def _keys_of_destinations(config: Shared) -> Iterator[Finding]:
    """Keys of a pool for one destination that do not sign its mail: that is signed when it comes in."""
    domains: dict[str, set[str]] = {}
    for key in config.dkim.keys:
        domains.setdefault(key.pool, set()).add(key.domain.lower())
    for name, stream in config.streams.items():
        for destination, pool in stream.pools.items():
            lacking = sorted(domains.get(pool, set()) - domains.get(stream.pool, set()))
            if lacking:
                why = f"is unsigned for {', '.join(lacking)}: the keys of {stream.pool} sign it, not those of {pool}"
                yield ("streams", name, "pools", destination), why


def _covers(pattern: str, other: str) -> bool:
    """Whether everything that `other` matches is matched by `pattern` too (wildcards taken as plain characters)."""
    return fnmatchcase(other, pattern.replace("[", "[[]")) and not ("?" in pattern and "*" in other)


def _is_under(host: str, suffix: str) -> bool:
    return host == suffix or host.endswith("." + suffix)


def _route_of(domain: str, matches: Sequence[str]) -> int | None:
    for n, match in enumerate(matches):
        if match in ("*", domain) or (match.startswith("*.") and domain.endswith(match[1:])):
            return n
    return None
