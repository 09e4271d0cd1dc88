"""What `alerts` means: receivers that can be reached, routes that lead to them, and a relay that is no host of ours."""

from collections.abc import Collection, Iterator

from mailagent.config.alerts import KINDS, AlertMail, AlertRoute, Alerts, Receiver, Severity, Syslog
from mailagent.config.checks.events import check_url, is_loopback
from mailagent.config.checks.words import MAILBOX, bad_name, is_name, known
from mailagent.config.endpoint import Endpoint
from mailagent.config.intake import ListenerTls
from mailagent.config.nodes import Key
from mailagent.config.postfix import EngineKind
from mailagent.config.providers import merge_providers
from mailagent.config.reading import Reader
from mailagent.config.structs import FleetConfig, FleetHost, Transport

POSTFIX_PORTS = (25, 465, 587)
"""Where a Postfix listens, whose own configuration says more."""


def check_alerts(config: FleetConfig, report: Reader) -> None:
    """Report every mistake in `alerts`."""
    for name, receiver in config.alerts.receivers.items():
        key: Key = ("alerts", "receivers", name)
        if not is_name(name):
            report.follow_up(key, bad_name(name))
        _check_receiver(receiver, key, config, report)
    _check_routes(config, report)


def untold(alerts: Alerts) -> Iterator[tuple[Key, str]]:
    """The warning about each receiver that no route leads to."""
    told = {name for route in alerts.routes for name in (*route.to, *(route.escalate.to if route.escalate else ()))}
    for name in alerts.receivers if alerts.routes else ():
        if name not in told:
            yield ("alerts", "receivers", name), "is never told of anything: no route leads to it"


def _check_receiver(receiver: Receiver, key: Key, config: FleetConfig, report: Reader) -> None:
    ways = [field for field in receiver.__struct_fields__ if getattr(receiver, field) is not None]
    if len(ways) != 1:
        report.follow_up(
            key, f"wants one of {', '.join(receiver.__struct_fields__)}; it has {' and '.join(ways) or 'none'}"
        )
    if receiver.webhook is not None:
        check_url(receiver.webhook.url, (*key, "webhook", "url"), report, shows="alerts")
    if receiver.command is not None and not receiver.command.run:
        report.follow_up((*key, "command", "run"), "names no program")
    elif receiver.command is not None and not receiver.command.run[0].startswith("/"):
        message = f"`{receiver.command.run[0]}` would be looked for in a PATH that cron does not have; write it whole"
        report.follow_up((*key, "command", "run", 0), message)
    if receiver.mail is not None:
        _check_mail(receiver.mail, (*key, "mail"), config, report)
    if receiver.syslog is not None:
        _check_syslog(receiver.syslog, (*key, "syslog"), report)


def _check_syslog(syslog: Syslog, key: Key, report: Reader) -> None:
    if sum(place is not None for place in (syslog.socket, syslog.udp, syslog.tcp)) > 1:
        report.follow_up(key, "wants one of socket, udp and tcp")


def _check_mail(mail: AlertMail, key: Key, config: FleetConfig, report: Reader) -> None:
    if not mail.to:
        report.follow_up((*key, "to"), "names nobody")
    for n, address in enumerate(mail.to):
        if not MAILBOX.fullmatch(address):
            report.follow_up((*key, "to", n), f"`{address}` is no mail address")
    if not MAILBOX.fullmatch(mail.sender):
        report.follow_up((*key, "sender"), f"`{mail.sender}` is no mail address")
    if mail.account is not None and mail.tls is ListenerTls.OFF and not is_loopback(mail.relay.host):
        report.follow_up((*key, "tls"), "would send a password in clear; write starttls or implicit")
    for name, host in config.hosts.items():
        if _is_at(mail.relay, name, host):
            message = (
                f"{mail.relay} is {name}, a host of this fleet: an alert must not wait in the queue that it is about"
            )
            report.follow_up((*key, "relay"), message)


def _is_at(relay: Endpoint, name: str, host: FleetHost) -> bool:
    """Whether a relay is where a host takes mail, as far as the file says where that is."""
    where, is_here = relay.host.lower(), is_loopback(relay.host)
    if host.engine is EngineKind.POSTFIX and relay.port in POSTFIX_PORTS:
        return host.transport is Transport.LOCAL if is_here else where in _names(name, host)
    for listener in host.intake.listeners:
        if relay.port != listener.port:
            continue
        if is_here:  # the loopback of another host is another one
            found = host.transport is Transport.LOCAL and (
                listener.address.is_loopback or listener.address.is_unspecified
            )
        else:
            found = not listener.address.is_loopback and where in {str(listener.address), *_names(name, host)}
        if found:
            return True
    return False


def _names(name: str, host: FleetHost) -> set[str]:
    """Names and addresses of a host."""
    return {word.lower() for word in _called(name, host) if word}


def _called(name: str, host: FleetHost) -> Iterator[str]:
    yield from (name, host.intake.hostname, host.ssh.address)
    for vmta in host.virtual_mtas.values():
        yield from (vmta.ehlo, vmta.public)
        yield from (str(address) for address in (vmta.address, vmta.address6) if address is not None)


def _check_routes(config: FleetConfig, report: Reader) -> None:
    receivers = report.names("alerts", "receivers")
    there: dict[str, Collection[str]] = {
        "kinds": KINDS,
        "hosts": report.names("hosts"),
        "pools": report.names("pools"),
        "streams": report.names("streams"),
        "providers": merge_providers(config.providers),
    }
    catches_all: int | None = None
    for n, route in enumerate(config.alerts.routes):
        key: Key = ("alerts", "routes", n)
        if catches_all is not None:
            report.follow_up(key, f"is never reached: routes[{catches_all}] takes everything before it")
        elif route.severity is Severity.WARNING and not any(getattr(route, field) for field in there):
            catches_all = n
        for field, names in there.items():
            for position, name in enumerate(getattr(route, field)):
                if name not in names:
                    report.follow_up((*key, field, position), f"`{name}` is none of the {field}{_listed(field, names)}")
        _check_receivers(route.to, (*key, "to"), receivers, report)
        if route.escalate is not None:
            _check_escalation(route, (*key, "escalate", "to"), receivers, report)


def _listed(field: str, names: Collection[str]) -> str:
    return f"; there are {', '.join(KINDS)}" if field == "kinds" else known(names)


def _check_receivers(names: tuple[str, ...], key: Key, receivers: Collection[str], report: Reader) -> None:
    for n, name in enumerate(names):
        if name not in receivers:
            report.follow_up((*key, n), f"`{name}` is no receiver{known(receivers)}")
        elif name in names[:n]:
            report.follow_up((*key, n), f"`{name}` stands there already")


def _check_escalation(route: AlertRoute, key: Key, receivers: Collection[str], report: Reader) -> None:
    names = route.escalate.to if route.escalate is not None else ()
    if not names:
        report.follow_up(key, "names nobody")
    _check_receivers(names, key, receivers, report)
    for n, name in enumerate(names):
        if name in route.to:
            report.follow_up((*key, n), f"`{name}` is told from the beginning")
