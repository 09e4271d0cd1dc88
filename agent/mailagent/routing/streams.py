"""Which stream a message belongs to."""

import re
from collections.abc import Iterable, Mapping, Sequence

from mailagent.api.ids import StreamName
from mailagent.config.structs import AgentConfig

_DEFAULT = StreamName("default")


class StreamTable:
    """The `streams` section, compiled; pure.

    In this order: header patterns (all headers that a stream names must match, one pattern of each is enough); the
    `X-Virtual-MTA` that the client set, naming a stream, a pool or a virtual MTA; who authenticated; patterns of the
    envelope sender; the default stream. Streams are asked in the order of the file. Patterns know `*` and `?` and no
    case.
    """

    def __init__(self, config: AgentConfig) -> None:
        self._by_headers = tuple(
            (name, tuple((header.lower().encode(), _any_of(patterns)) for header, patterns in stream.headers.items()))
            for name, stream in config.streams.items()
            if stream.headers
        )
        self.wanted_headers = frozenset(header for _, wanted in self._by_headers for header, _ in wanted)
        """Lower-case names of the headers that `classify` looks at."""

        self._by_name: dict[str, StreamName] = {}
        first_of_pool: dict[str, StreamName] = {}
        for name, stream in config.streams.items():
            first_of_pool.setdefault(stream.pool, name)
            for destination_pool in stream.pools.values():
                first_of_pool.setdefault(destination_pool, name)
        for pool_name, pool in config.pools.items():
            if pool_name in first_of_pool:
                self._by_name |= dict.fromkeys(pool.members, first_of_pool[pool_name])
        self._by_name |= first_of_pool
        self._by_name |= {name: name for name in config.streams}  # a stream's own name wins over the others

        self._by_user = {user: name for name, stream in config.streams.items() for user in stream.users}
        senders = [(name, stream.senders) for name, stream in config.streams.items() if stream.senders]
        self._senders = tuple(name for name, _ in senders)
        self._by_sender = _first_of([patterns for _, patterns in senders]) if senders else None
        self._default = config.default_stream or (_DEFAULT if _DEFAULT in config.streams else None)

    def classify(
        self,
        sender: bytes,
        headers: Mapping[bytes, bytes],
        virtual_mta: str,
        user: str = "",
        scope: Sequence[str] = (),
    ) -> StreamName | None:
        """The stream of a message; None when nothing matches and there is no default: refuse it.

        `scope` has the streams that `user` may use, none: all. A header may still name another one.
        """
        for name, wanted in self._by_headers:
            if all((value := headers.get(header)) is not None and pattern.match(value) for header, pattern in wanted):
                return name
        if virtual_mta:
            named = self._by_name.get(virtual_mta)
            if named is not None:
                return named
        if user and (of_user := self._by_user.get(user)) is not None:
            return of_user
        found = self._default
        if self._by_sender is not None:
            match = self._by_sender.match(sender)
            if match is not None and match.lastindex is not None:
                found = self._senders[match.lastindex - 1]
        return StreamName(scope[0]) if scope and found not in scope else found


def _glob(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in re.sub(r"\*+", "*", pattern))


def _any_of(patterns: Iterable[str]) -> re.Pattern[bytes]:
    return re.compile(rf"\s*(?:{'|'.join(map(_glob, patterns))})\s*\Z".encode(), re.IGNORECASE | re.DOTALL)


def _first_of(groups: Sequence[Iterable[str]]) -> re.Pattern[bytes]:
    """One pattern for all; the number of its only group that matched says which of `groups` did."""
    alternatives = "|".join(f"({'|'.join(map(_glob, patterns))})" for patterns in groups)
    return re.compile(rf"(?:{alternatives})\Z".encode(), re.IGNORECASE | re.DOTALL)
