"""What agents on one machine must not share."""

from collections.abc import Iterator

from mailagent.config.checks.words import bad_name, is_name
from mailagent.config.postfix import EngineKind
from mailagent.config.reading import Reader
from mailagent.config.structs import FleetConfig, FleetHost


def check_machines(config: FleetConfig, report: Reader) -> None:
    """Report agents of one machine that would take each other's socket, spool or port, and names that mislead."""
    taken: dict[tuple[str, str], str] = {}  # (machine, what) -> the host that has it
    for name, host in config.hosts.items():
        if not host.machine:
            continue
        key = ("hosts", name, "machine")
        if not is_name(host.machine):
            report.follow_up(key, bad_name(host.machine))
        namesake = next((entry for other, entry in config.hosts.items() if other == host.machine), None)
        if namesake is not None and namesake.machine != host.machine:
            report.follow_up(key, f"`{host.machine}` is the name of a host that is not on that machine")
        for place, what in _owned(host):
            other = taken.setdefault((host.machine, what), name)
            if other != name:
                report.follow_up(("hosts", name, *place), f"{what} is that of {other}, on the same machine")


def _owned(host: FleetHost) -> Iterator[tuple[tuple[str | int, ...], str]]:
    yield ("state_dir",), f"state_dir {host.state_dir}"
    yield ("rpc", "socket"), f"socket {host.rpc.socket}"
    if host.engine is EngineKind.POSTFIX:
        yield ("postfix", "instance"), f"Postfix instance {host.postfix.identity}"
    for n, listener in enumerate(host.intake.listeners):
        yield ("intake", "listeners", n), f"listener {listener.address}, port {listener.port},"
    if host.metrics is not None and host.metrics.port:
        yield ("metrics", "port"), f"metrics at {host.metrics.address}, port {host.metrics.port},"
