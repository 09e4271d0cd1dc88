"""What domain blocks and pools by destination mean: names that must exist, pools that must not join streams."""

from mailagent.config.checks.words import bad_name, check_retry, is_name, known
from mailagent.config.nodes import Key
from mailagent.config.providers import shipped_providers
from mailagent.config.reading import Reader
from mailagent.config.scalars import is_host
from mailagent.config.structs import Shared, SiteLimits


def check_destinations(config: Shared, report: Reader) -> None:
    """Report every mistake in `domains`, and in `pools` of streams."""
    rollups = _check_domains(config, report)
    _check_pools(config, rollups, report)


def _check_domains(config: Shared, report: Reader) -> set[str]:
    """The names of all rollups."""
    rollups: set[str] = set()
    for name, block in config.domains.items():
        key: Key = ("domains", name)
        if not is_host(name):
            report.follow_up(key, f"`{name}` is no domain; write letters of other scripts as A-labels: xn--…")
        elif name != name.lower():
            report.follow_up(key, f"write it in lower case: {name.lower()}")
        if block.retry:
            check_retry(block.retry, (*key, "retry"), report)
        if block.rollup and not is_name(block.rollup):
            report.follow_up((*key, "rollup"), bad_name(block.rollup))
        rollups.add(block.rollup_of(name))
        if block.queue_to:
            _check_queue_to(config, name, report)
    return rollups - {""}


def _check_queue_to(config: Shared, name: str, report: Reader) -> None:
    block, key = config.domains[name], ("domains", name, "queue_to")
    other = block.queue_to.lower()
    if not is_host(other):
        report.follow_up(key, f"`{block.queue_to}` is no domain")
    elif other == name:
        report.follow_up(key, "is the domain itself")
    elif (further := config.domains.get(other)) is not None and further.queue_to:
        report.follow_up(key, f"{other} is queued to {further.queue_to} itself; name that one")
    told = [one for one in ("rollup", "tls", *SiteLimits.__struct_fields__) if getattr(block, one)]
    if told:
        report.follow_up((*key[:2], told[0]), f"has no effect: all limits are those of {other}, which takes the mail")


def _check_pools(config: Shared, rollups: set[str], report: Reader) -> None:
    pools = report.names("pools")
    providers = {*shipped_providers(), *report.names("providers")}
    taken: dict[str, str] = {}  # destination pool -> its stream
    own: dict[str, str] = {}  # pool -> the first stream that has it as its own
    for name, stream in config.streams.items():
        own.setdefault(stream.pool, name)
    for name, stream in config.streams.items():
        for destination, pool in stream.pools.items():
            key = ("streams", name, "pools", destination)
            if destination not in providers and destination not in rollups:
                hint = "; give the domain a block with `rollup: off`" if "." in destination else ""
                report.follow_up(key, f"`{destination}` is no provider and no rollup of a domain block{hint}")
            if pool not in pools:
                report.follow_up(key, f"`{pool}` is no pool{known(pools)}")
            other = taken.setdefault(pool, name)
            if other == name and pool in own and own[pool] != name:
                other = own[pool]
            if other != name:
                report.follow_up(
                    key, f"`{pool}` is used by stream {other}; a pool of a destination joins no two streams"
                )
