"""What a `metrics` section may not say, and what it says to more people than are meant."""

from collections.abc import Iterator
from ipaddress import ip_address

from mailagent.config.metrics import Metrics
from mailagent.config.nodes import Key
from mailagent.config.reading import Reader
from mailagent.config.structs import Address, Intake


def check_metrics(metrics: Metrics | None, intake: Intake, prefix: Key, report: Reader) -> None:
    """Report an address that nothing can listen on, or that something else of the host listens on."""
    if metrics is None:
        return
    key = (*prefix, "metrics")
    if metrics.address.is_multicast or str(metrics.address) == "255.255.255.255":
        report.follow_up((*key, "address"), f"nothing can listen on {metrics.address}")
    if not metrics.port:
        return
    taken = [(f"intake.listeners[{n}]", one.address, one.port) for n, one in enumerate(intake.listeners)]
    if intake.ready is not None and (address := _address(intake.ready.host)) is not None:
        taken.append(("intake.ready", address, intake.ready.port))
    for name, address, port in taken:
        if port == metrics.port and (address == metrics.address or _all(address) or _all(metrics.address)):
            report.follow_up((*key, "port"), f"{address} port {port} is that of {name}")


def exposed(metrics: Metrics | None, prefix: Key) -> Iterator[tuple[Key, str]]:
    """The warning about an address that others than this host reach."""
    if metrics is not None and not metrics.address.is_loopback:
        yield (
            (*prefix, "metrics", "address"),
            f"whoever reaches {metrics.address} port {metrics.port} reads names, volumes and listings, without a"
            " password and in clear text; let a firewall admit the scraper alone, or keep 127.0.0.1 behind a TLS proxy",
        )


def _all(address: Address) -> bool:
    return address.is_unspecified


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
