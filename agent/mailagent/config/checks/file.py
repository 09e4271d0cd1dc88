"""What a whole file means: names that must exist, values that must be unique or within bounds."""

import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv6Address, ip_address
from typing import TypeAlias

from mailagent.api.ids import ProviderName
from mailagent.config.checks.accounting import check_accounting
from mailagent.config.checks.alerts import check_alerts
from mailagent.config.checks.automation import check_automation
from mailagent.config.checks.destinations import check_destinations
from mailagent.config.checks.dkim import check_dkim
from mailagent.config.checks.events import check_events
from mailagent.config.checks.feedback import check_feedback
from mailagent.config.checks.machines import check_machines
from mailagent.config.checks.metrics import check_metrics
from mailagent.config.checks.postfix import check_postfix
from mailagent.config.checks.reputation import check_reputation
from mailagent.config.checks.streams import check_stream_rules
from mailagent.config.checks.suppression import check_suppression
from mailagent.config.checks.thresholds import check_thresholds
from mailagent.config.checks.tls import check_tls
from mailagent.config.checks.warm_up import check_warm_up
from mailagent.config.checks.words import MAILBOX, bad_name, check_retry, is_name, known
from mailagent.config.intake import ListenerAuth, ListenerTls
from mailagent.config.nodes import Key
from mailagent.config.providers import shipped_providers
from mailagent.config.reading import Reader
from mailagent.config.scalars import is_host
from mailagent.config.structs import (
    POOL_LISTS,
    Address,
    AgentConfig,
    FleetConfig,
    FleetHost,
    Intake,
    Provider,
    Route,
    Shared,
    Stream,
    Timeouts,
    VirtualMta,
)

MAX_SOCKET_BYTES = 107
"""Longest path of a Unix socket on Linux (`sun_path` holds 108 with its end)."""
DEFAULT_PROVIDER = ProviderName("default")
"""Limits of sites that no rule knows; the one provider without `mx`."""
ROUTE_PROVIDER = ProviderName("route")
"""What the agent calls the provider of a fixed next hop; no section may."""
_HEADER = re.compile(r"[!-9;-~]+")  # RFC 5322 section 3.6.8
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_Host: TypeAlias = FleetHost | AgentConfig


def check_fleet(config: FleetConfig, report: Reader) -> None:
    """Report every mistake of meaning in a fleet file."""
    if not config.hosts:
        report.follow_up(("hosts",), "names no host")
    _check_names(report, "hosts")
    _check_shared(config, report, [(("hosts", name), host) for name, host in config.hosts.items()])
    check_thresholds(config, report)
    check_alerts(config, report)
    check_machines(config, report)


def check_agent(config: AgentConfig, report: Reader) -> None:
    """Report every mistake of meaning in a host's file."""
    if not is_name(config.host):
        report.follow_up(("host",), bad_name(config.host))
    _check_shared(config, report, [((), config)])


def _check_shared(config: Shared, report: Reader, hosts: list[tuple[Key, _Host]]) -> None:
    check_retry(config.retry, ("retry",), report)
    for section in ("pools", "streams", "providers"):
        _check_names(report, section)
    vmtas: dict[str, Key] = {}  # name -> where it is declared
    addresses: dict[Address, str] = {}  # address -> the virtual MTA that has it
    for prefix, host in hosts:
        _check_host(host, prefix, report)
        for name, vmta in host.virtual_mtas.items():
            key = (*prefix, "virtual_mtas", name)
            if name in vmtas:
                report.follow_up(key, f"the name is taken by the virtual MTA of {vmtas[name][1]}")
            vmtas.setdefault(name, key)
            _check_vmta(vmta, name, key, addresses, report)
        for text in report.names(*map(str, prefix), "virtual_mtas"):
            vmtas.setdefault(text, (*prefix, "virtual_mtas", text))
    _check_pools(config, vmtas, report)
    _check_streams(config, report)
    _check_routes(config.routes, hosts, report)
    _check_providers(config.providers, report)
    check_tls(config, report)
    check_dkim(config.dkim, report)
    check_suppression(config.suppression, report)
    check_destinations(config, report)
    check_automation(config, report)
    check_reputation(config.reputation, report)
    check_warm_up(config, report)
    check_accounting(config.accounting, report)
    check_feedback(config, report)
    check_stream_rules(config, report)
    check_events(config.events, config.accounting, report)
    for n, server in enumerate(config.dns.servers):
        if not _is_address(server.host):
            report.follow_up(("dns", "servers", n), f"`{server.host}` is a name; a resolver is given by its address")
        elif config.dns.validating and not ip_address(server.host).is_loopback:
            message = f"`{server.host}` is not on this host: on the way, anybody could forge that an answer is secure"
            report.follow_up(("dns", "servers", n), message)
    if config.postmaster and not MAILBOX.fullmatch(config.postmaster):
        report.follow_up(("postmaster",), f"`{config.postmaster}` is no mail address")
    timeouts = config.delivery.timeouts
    for step in Timeouts.__struct_fields__:
        if getattr(timeouts, step) > timedelta(hours=1):
            report.follow_up(("delivery", "timeouts", step), "is longer than an hour")


def _check_names(report: Reader, *section: str) -> None:
    for name in sorted(report.names(*section)):
        if not is_name(name):
            report.follow_up((*section, name), bad_name(name))


def _check_host(host: _Host, prefix: Key, report: Reader) -> None:
    _check_names(report, *map(str, prefix), "virtual_mtas")
    size = len(bytes(host.rpc.socket))
    if size > MAX_SOCKET_BYTES:
        message = f"{host.rpc.socket} has {size} bytes; a socket's path has at most {MAX_SOCKET_BYTES}"
        report.follow_up((*prefix, "rpc", "socket"), message)
    for role, groups in host.rpc.roles.items():
        if not all(groups):
            report.follow_up((*prefix, "rpc", "roles", role), "has an empty group name")
    _check_intake(host.intake, (*prefix, "intake"), report)
    check_postfix(host, prefix, report)
    check_metrics(host.metrics, host.intake, prefix, report)
    if host.log.level not in _LEVELS:
        report.follow_up((*prefix, "log", "level"), f"`{host.log.level}` is none of {', '.join(_LEVELS)}")
    if isinstance(host, FleetHost) and (re.search(r"[\s\0]", host.ssh.address) or host.ssh.address.startswith("-")):
        report.follow_up((*prefix, "ssh", "address"), f"`{host.ssh.address}` is no host name and no address")
    if isinstance(host, FleetHost) and host.ssh.port == 0:
        report.follow_up((*prefix, "ssh", "port"), "port 0 cannot be connected to")


def _check_intake(intake: Intake, key: Key, report: Reader) -> None:
    if intake.hostname and not is_host(intake.hostname):
        report.follow_up((*key, "hostname"), f"`{intake.hostname}` is no host name")
    for n, listener in enumerate(intake.listeners):
        place = (*key, "listeners", n)
        if listener.port and (listener.address, listener.port) in [(o.address, o.port) for o in intake.listeners[:n]]:
            report.follow_up(place, f"{listener.address} port {listener.port} is listed already")
        if listener.tls is ListenerTls.OFF:
            if listener.certificate is not None:
                report.follow_up((*place, "certificate"), "is never shown; say tls: starttls or tls: implicit")
        elif listener.certificate is None and intake.certificate is None:
            report.follow_up((*place, "tls"), "needs a certificate; give one here or as intake.certificate")
        if listener.auth is ListenerAuth.LOCAL and not listener.address.is_loopback:
            report.follow_up((*place, "auth"), f"passwords would cross the network: {listener.address} is no loopback")
        for m, network in enumerate(listener.proxy_from):
            if network.prefixlen == 0:
                report.follow_up(
                    (*place, "proxy_from", m), f"{network} lets anybody claim any address; list your balancers"
                )
    if intake.ready is not None and not _is_address(intake.ready.host):
        report.follow_up((*key, "ready"), f"`{intake.ready.host}` is a name; write an address: 127.0.0.1:8025")
    for n, network in enumerate(intake.relay_from):
        if network.prefixlen == 0:
            report.follow_up(
                (*key, "relay_from", n), f"{network} lets the whole world relay; list the networks of your clients"
            )


def _check_vmta(vmta: VirtualMta, name: str, key: Key, addresses: dict[Address, str], report: Reader) -> None:
    if vmta.address is None and vmta.address6 is None:
        report.follow_up(key, "has no address; give it `address` or `address6`")
    for field, address in (("address", vmta.address), ("address6", vmta.address6)):
        if address is None:
            continue
        if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
            report.follow_up((*key, field), f"{address} is no address that mail can leave from")
        elif address in addresses:
            report.follow_up((*key, field), f"{address} belongs to virtual MTA {addresses[address]} already")
        addresses.setdefault(address, name)
    if vmta.public and not _is_address(vmta.public):
        report.follow_up((*key, "public"), f"`{vmta.public}` is no IP address")
    if vmta.ehlo and not is_host(vmta.ehlo):
        report.follow_up((*key, "ehlo"), f"`{vmta.ehlo}` is no host name")


def _check_pools(config: Shared, vmtas: Mapping[str, Key], report: Reader) -> None:
    taken: dict[str, str] = {}  # virtual MTA -> the list it stands in
    for name, pool in config.pools.items():
        key: Key = ("pools", name)
        if not pool.members:
            report.follow_up(key, "has no members")
        for state in POOL_LISTS:
            for n, member in enumerate(getattr(pool, state)):
                if member not in vmtas:
                    report.follow_up((*key, state, n), f"`{member}` is no virtual MTA{known(vmtas)}")
                elif member in taken:
                    report.follow_up((*key, state, n), f"`{member}` stands in {taken[member]} already")
                taken.setdefault(member, f"pools.{name}.{state}")
        sending = len(pool.active) + len(pool.warming)
        if pool.min_active is not None and not 1 <= pool.min_active <= sending:
            report.follow_up((*key, "min_active"), f"{pool.min_active} is not 1 to {sending}, the members that send")
    if report.lacks("pools"):
        return
    for vmta, place in vmtas.items():
        if vmta not in taken:
            report.follow_up(place, "is in no pool, so nothing would ever leave from it; list it in one")


def _check_streams(config: Shared, report: Reader) -> None:
    pools = report.names("pools")
    users: dict[str, str] = {}  # user -> the stream that has it
    for name, stream in config.streams.items():
        key: Key = ("streams", name)
        if stream.pool and stream.pool not in pools:
            report.follow_up((*key, "pool"), f"`{stream.pool}` is no pool{known(pools)}")
        _check_patterns(stream, key, report)
        for n, user in enumerate(stream.users):
            if users.setdefault(user, name) != name or user in stream.users[:n]:
                report.follow_up((*key, "users", n), f"`{user}` belongs to stream {users[user]} already")
        if stream.retry:
            check_retry(stream.retry, (*key, "retry"), report)
    if config.default_stream is not None and config.default_stream not in report.names("streams"):
        streams = report.names("streams")
        report.follow_up(("default_stream",), f"`{config.default_stream}` is no stream{known(streams)}")


def _check_patterns(stream: Stream, key: Key, report: Reader) -> None:
    for n, pattern in enumerate(stream.senders):
        if not pattern or re.search(r"\s", pattern):
            report.follow_up((*key, "senders", n), f"`{pattern}` matches no sender; write *@news.example.com")
    for header, patterns in stream.headers.items():
        if not _HEADER.fullmatch(header):
            report.follow_up((*key, "headers", header), f"`{header}` is no name of a header")
        if not patterns:
            report.follow_up((*key, "headers", header), "has no pattern; `*` matches every value")


def _check_routes(routes: tuple[Route, ...], hosts: list[tuple[Key, _Host]], report: Reader) -> None:
    seen: dict[str, int] = {}
    own = {(str(item.address), item.port) for _, host in hosts for item in host.intake.listeners}
    for n, route in enumerate(routes):
        key: Key = ("routes", n)
        match = route.match.lower()
        if match != "*" and not is_host(match.removeprefix("*.")):
            report.follow_up((*key, "match"), f"`{route.match}` matches nothing; write *, example.com or *.example.com")
        elif match in seen:
            report.follow_up((*key, "match"), f"`{route.match}` is matched by routes[{seen[match]}] already")
        elif "*" in seen:
            report.follow_up((*key, "match"), f"is never reached: routes[{seen['*']}] matches everything before it")
        seen.setdefault(match, n)
        if len(hosts) == 1 and (route.to.host, route.to.port) in own:
            report.follow_up((*key, "to"), f"{route.to} is this host's own listener: mail would go in circles")


def _check_providers(own: Mapping[ProviderName, Provider], report: Reader) -> None:
    shipped = shipped_providers()
    suffixes: dict[str, str] = {}  # suffix -> the provider that has it
    for name, provider in shipped.items():
        if not (name in own and own[name].mx):
            suffixes |= dict.fromkeys(map(_suffix, provider.mx), name)
    for name, provider in own.items():
        key: Key = ("providers", name)
        if name == ROUTE_PROVIDER:
            report.follow_up(key, "the name is taken by fixed routes; write limits into `routes`")
        elif name == DEFAULT_PROVIDER and provider.mx:
            report.follow_up((*key, "mx"), "the default provider is what no `mx` matches, and has none")
        elif name != DEFAULT_PROVIDER and not provider.mx and name not in shipped:
            report.follow_up(key, "has no `mx`, so no site would ever belong to it")
        for n, text in enumerate(provider.mx):
            suffix = _suffix(text)
            if not is_host(suffix):
                report.follow_up((*key, "mx", n), f"`{text}` is no suffix of host names; write google.com")
            elif suffixes.setdefault(suffix, name) != name:
                report.follow_up((*key, "mx", n), f"`{text}` belongs to provider {suffixes[suffix]} already")
        if provider.retry:
            check_retry(provider.retry, (*key, "retry"), report)
        for site, hosts in provider.sites.items():
            if not is_name(site):
                report.follow_up((*key, "sites", site), bad_name(site))
            if not hosts:
                report.follow_up((*key, "sites", site), "names no MX host")


def _suffix(text: str) -> str:
    return text.lower().removeprefix("*").strip(".")


def _is_address(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return not (isinstance(address, IPv6Address) and address.scope_id)
