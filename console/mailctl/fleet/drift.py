"""Which hosts run something else than their part of the fleet file, told by the hash that they report. Pure."""

from collections.abc import Iterable
from typing import Final

from mailagent.api.ids import HostName
from mailagent.config import config_hash, host_part
from mailagent.config.structs import FleetConfig
from mailctl.fleet.state import HostState

AT_ONCE: Final = 4
"""Hosts whose part is worked out in one go, once a second: a millisecond or three each, while a key may wait."""


class Drift:
    """Compares. The parts of the file are worked out a few at a time, so that a large fleet costs no key a wait."""

    def __init__(self, config: FleetConfig | None = None) -> None:
        """`config` None: nothing is ever known to differ, as in a recording."""
        self.config = config
        self._wanted: dict[HostName, str] = {}

    def follow(self, config: FleetConfig) -> None:
        """Another file counts from now on."""
        self.config = config
        self._wanted = {}

    def look(self, hosts: Iterable[HostState]) -> None:
        """Work out what some more of the hosts should run."""
        config = self.config
        if config is None:
            return
        missing = (host.name for host in hosts if host.name not in self._wanted and host.name in config.hosts)
        for name, _ in zip(missing, range(AT_ONCE), strict=False):
            self._wanted[name] = config_hash(host_part(config, name))

    def differs(self, host: HostState) -> bool:
        """Whether the host is known to run something else."""
        wanted, view = self._wanted.get(host.name), host.view
        return bool(wanted and view and view.config_hash and view.config_hash != wanted)
