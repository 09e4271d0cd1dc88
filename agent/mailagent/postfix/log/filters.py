"""Content filters: what Postfix hands over there comes back to it as another message, and is no delivery yet. Pure.

A filter is `content_filter` of main.cf or of a service in master.cf (FILTER_README). Where every service has it,
nothing could come back without going there again: that one is a relay, and what it takes is delivered.
"""

import re
from collections.abc import Iterable, Mapping

from mailagent.postfix.log.lines import Tried
from mailagent.postfix.log.replies import Said

_HOP = re.compile(r"(?:inet:)?(?:\[(?P<literal>[^\]\s]+)\]|(?P<host>[^\s:\[\]]+))(?::(?P<port>[^\s:]+))?")
_UNIX = "unix:"
_CONNECT = re.compile(r"connect to (?P<host>[^\s\[]+)\[(?P<address>[^\]]*)\](?::(?P<port>\d+))?: ")


def content_filters(main: str, services: Mapping[str, str]) -> tuple[str, ...]:
    """Those of an instance, as `transport:nexthop`; `services` has what master.cf says in place of `main`."""
    found = list(services.values())
    if any(one != main for one in found):
        found.append(main)
    return tuple(sorted({one for one in found if one}))


class Filters:
    """Knows a filter by what the log says of the way there."""

    def __init__(self, values: Iterable[str]) -> None:
        self._relays: set[str] = set()  # of pipe(8), which logs its service; paths of sockets
        self._places: set[tuple[str, str]] = set()  # host or address, and port; no port: any
        for value in values:
            transport, _, hops = value.partition(":")
            self._relays.add(transport)
            for hop in re.split(r"[\s,]+", hops):
                self._add(hop)

    def _add(self, hop: str) -> None:
        if hop.startswith(_UNIX):
            self._relays.add(hop.removeprefix(_UNIX))
        elif match := _HOP.fullmatch(hop):
            port = match["port"] or ""
            host = (match["literal"] or match["host"]).lower()
            self._places.add((host.removeprefix("ipv6:"), port if port.isdecimal() else ""))

    def met(self, tried: Tried, said: Said) -> bool:
        """Whether this try went to a filter, or did not come to one."""
        if not self._relays:
            return False
        if tried.remote:
            address, _, port = tried.remote.rpartition(":")
            if tried.remote in self._relays or self._is_place(tried.relay, port):
                return True
            return self._is_place(address.strip("[]"), port)
        if tried.relay in self._relays:
            return True
        if connect := _CONNECT.match(said.reply.text):
            port = connect["port"] or ""
            return connect["address"] in self._relays or any(
                self._is_place(host, port) for host in (connect["host"], connect["address"])
            )
        return any(host == said.host.lower() or host == said.address for host, _ in self._places)

    def _is_place(self, host: str, port: str) -> bool:
        return bool({(host.lower(), port), (host.lower(), "")} & self._places)
