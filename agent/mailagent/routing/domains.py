"""Blocks of single recipient domains: under which rollup they count, whose exchangers take their mail; and pools by
destination.
"""

from collections.abc import Mapping

from mailagent.api.ids import PoolName, StreamName
from mailagent.config.structs import Domain, Stream
from mailagent.routing.rollup import Site


class DomainTable:
    """The `domains` section, indexed. Domains are lower case, in A-labels."""

    def __init__(self, domains: Mapping[str, Domain]) -> None:
        self._stands_for = {name.lower(): block.queue_to.lower() for name, block in domains.items() if block.queue_to}
        self._rollups = {name.lower(): rollup for name, block in domains.items() if (rollup := block.rollup_of(name))}

    def stands_for(self, domain: str) -> str:
        """The domain whose exchangers take the mail of `domain`."""
        return self._stands_for.get(domain, domain)

    def rollup(self, domain: str) -> str:
        """The named rollup that `domain` counts under, or nothing."""
        return self._rollups.get(domain, "")


class PoolTable:
    """Pools of streams by destination."""

    def __init__(self, streams: Mapping[StreamName, Stream]) -> None:
        self._pools = {name: stream.pools for name, stream in streams.items() if stream.pools}

    def __bool__(self) -> bool:
        return bool(self._pools)

    def pool(self, stream: StreamName, site: Site) -> PoolName | None:
        """The pool that mail of `stream` to `site` uses instead of the stream's own, if any: by rollup, by provider."""
        pools = self._pools.get(stream)
        if pools is None:
            return None
        return pools.get(site.rollup) or pools.get(site.provider)
