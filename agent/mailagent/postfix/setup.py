"""What is changed in a Postfix so that it has virtual MTAs, pools and suspensions: wanted, compared, and why. Pure.

`wanted` makes it of a host's file and what the instance says now; `installed` of what stands there. The shell that
writes it is `installing.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mailagent.api.ids import StreamName, VmtaName
from mailagent.config.structs import AgentConfig, Stream, VirtualMta
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.foreign import Rows
from mailagent.postfix.instance import Capability, Instance
from mailagent.postfix.limits import default_limits, limit_notes, limit_rows
from mailagent.postfix.tables import (
    FOLDER,
    HELD_MAP,
    PREFIX,
    ROUTES_MAP,
    WAIT,
    map_text,
    senders_map,
    senders_text,
    slot_names,
    slots_map,
    tables,
    transport_of,
)

DEFAULT = StreamName("default")
MAPS, SLOTS = "mailagent_maps", "mailagent_slots"
"""Parameters of ours that others refer to."""
TRANSPORT_MAPS = "transport_maps"
SENDER_MAPS = "sender_dependent_default_transport_maps"
NO_ROWS = Rows()
HEAD = 8
"""Columns of a line of master.cf before the options of its program."""
_NAMED = 3
"""Rows that a note names."""
_OWN_TABLE = f"${MAPS}/"


class SetupRefused(PostfixError):
    """What stands in the way, all of it."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Standing:
    """What an instance says now."""

    instance: Instance
    parameters: Mapping[str, str]  # that main.cf sets
    services: Mapping[str, str]  # `smtp/unix` -> its line of master.cf
    type: str  # of tables to write
    others: Rows = NO_ROWS  # of transport maps that are not ours


@dataclass(frozen=True, slots=True)
class Change:
    """One thing and why. An empty value takes it away."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What is to stand in an instance."""

    parameters: tuple[Change, ...] = ()
    services: tuple[Change, ...] = ()  # named `vmta-mkt-1/unix`
    files: Mapping[str, str] = field(default_factory=dict)  # maps that only the configuration decides
    streams: tuple[StreamName, ...] = ()
    vmtas: tuple[VmtaName, ...] = ()
    nexthop: str = ""
    notes: tuple[str, ...] = ()  # what this Postfix will not do as the file says


def wanted(config: AgentConfig, standing: Standing) -> Setup:
    """What the host's file asks of this Postfix.

    Raises:
        SetupRefused: something that somebody else set stands in the way, or this version cannot do it.
    """
    streams = sender_streams(config)
    _refuse(config, standing, streams)
    nexthop = next((f"[{route.to.host}]:{route.to.port}" for route in config.routes if route.match == "*"), "")
    return Setup(
        parameters=(
            *_parameters(standing, streams, config),
            *(Change(*row) for row in limit_rows(config, standing.parameters)),
        ),
        services=(_wait_service(standing), *(_service(name, one, config, standing) for name, one in _vmtas(config))),
        files=_files(config, streams),
        streams=tuple(dict.fromkeys(name for name, _ in streams)),
        vmtas=tuple(config.virtual_mtas),
        nexthop=nexthop,
        notes=tuple(_notes(config, standing)),
    )


def differences(setup: Setup, standing: Standing) -> tuple[list[Change], list[Change]]:
    """Parameters and services to set or to take away, so that `setup` stands there; what stands already is not named.

    With an empty setup: everything of ours goes.
    """
    parameters = [one for one in setup.parameters if standing.parameters.get(one.name) != one.value]
    named = {one.name for one in setup.parameters}
    for name, value in standing.parameters.items():
        if name in named:
            continue
        if name in (TRANSPORT_MAPS, SENDER_MAPS):
            foreign = without_ours(value)
            if foreign != " ".join(value.split()) and (foreign or value):
                parameters.append(Change(name, foreign, "what mailagent put there goes"))
        elif _is_own_parameter(name, standing):
            parameters.append(Change(name, "", "nothing refers to it any more"))
    services = [one for one in setup.services if _fields(standing.services.get(one.name, "")) != _fields(one.value)]
    kept = {one.name for one in setup.services}
    services += [
        Change(name, "", "nothing sends through it any more")
        for name, line in standing.services.items()
        if name not in kept and is_own_service(name, line)
    ]
    return parameters, services


def sender_streams(config: AgentConfig) -> list[tuple[StreamName, tuple[str, ...]]]:
    """Streams as Postfix can tell them, in the order in which it asks: (name, patterns); none: everything else."""
    default = config.default_stream or (DEFAULT if DEFAULT in config.streams else None)
    found = [(name, stream.senders) for name, stream in config.streams.items() if stream.senders]
    return [*found, (default, ())] if default is not None else found


def without_ours(value: str) -> str:
    """A list of tables without those that are ours."""
    return ", ".join(table for table in tables(value) if _OWN_TABLE not in table)


def is_own_service(name: str, line: str) -> bool:
    """Whether a service of master.cf is one that the agent made: by its name and what it logs as."""
    service = name.partition("/")[0]
    if service == WAIT:
        return "-n retry" in line
    return service.startswith(PREFIX) and f"/{service}" in line and "smtp_bind_address_enforce=yes" in line


def _is_own_parameter(name: str, standing: Standing) -> bool:
    if name in (MAPS, SLOTS):
        return True
    owned = (service.partition("/")[0] for service, line in standing.services.items() if is_own_service(service, line))
    return name.startswith(PREFIX) and any(name.startswith(f"{service}_") for service in owned)


def _vmtas(config: AgentConfig) -> list[tuple[VmtaName, VirtualMta]]:
    return list(config.virtual_mtas.items())


# -- what stands in the way ------------------------------------------------------------------------------------------


def _refuse(config: AgentConfig, standing: Standing, streams: Sequence[tuple[StreamName, tuple[str, ...]]]) -> None:
    problems = []
    if config.virtual_mtas and (why := standing.instance.why_not(Capability.VIRTUAL_MTAS)):
        problems.append(f"virtual MTAs need smtp_bind_address_enforce: {why}; without it mail leaves from any address")
    if streams and (foreign := without_ours(standing.parameters.get(SENDER_MAPS, ""))):
        problems.append(
            f"main.cf sets {SENDER_MAPS} = {foreign}: it chooses transports by sender as streams do;"
            " write its senders as streams, and take it out"
        )
    default = standing.parameters.get("default_transport", "smtp")
    if streams and default.rstrip(":") != "smtp":
        problems.append(
            f"main.cf sets default_transport = {default}: mail of streams would not go there any more; take it out,"
            " or write it as a route"
        )
    if "smtp/unix" not in standing.services and config.virtual_mtas:
        problems.append("master.cf has no service smtp/unix, which virtual MTAs are copies of")
    for name in (f"{WAIT}/unix", *(f"{transport_of(vmta)}/unix" for vmta in config.virtual_mtas)):
        line = standing.services.get(name)
        if line is not None and not is_own_service(name, line):
            problems.append(f"master.cf has a service {name} that mailagent did not make; rename one of the two")
    if problems:
        raise SetupRefused(problems)


# -- main.cf ---------------------------------------------------------------------------------------------------------


def _parameters(
    standing: Standing, streams: Sequence[tuple[StreamName, tuple[str, ...]]], config: AgentConfig
) -> list[Change]:
    indexed = f"{standing.type}:{_OWN_TABLE}"
    own = [f"{indexed}{HELD_MAP}"]
    if _route_rows(config):
        own.append(f"{indexed}{ROUTES_MAP}")
    foreign = without_ours(standing.parameters.get(TRANSPORT_MAPS, ""))
    reason = (
        "suspended destinations wait; then what stood there, as before" if foreign else "suspended destinations wait"
    )
    found = [
        Change(MAPS, f"{standing.instance.config_dir}/{FOLDER}", "where the maps are"),
        Change(TRANSPORT_MAPS, ", ".join((*own, foreign) if foreign else own), reason),
    ]
    if streams:
        found.append(Change(SLOTS, ",".join(slot_names()), "a pool's mail is dealt out in so many parts"))
        chain = ", ".join(_table(name, patterns, indexed) for name, patterns in streams)
        reason = "sender -> stream -> slot -> virtual MTA; a change of the slots needs no change here"
        found.append(Change(SENDER_MAPS, chain, reason))
    return found


def _table(stream: StreamName, patterns: Sequence[str], indexed: str) -> str:
    known = f"regexp:{_OWN_TABLE}{senders_map(stream)}, " if patterns else ""
    return f"pipemap:{{{known}randmap:{{${SLOTS}}}, {indexed}{slots_map(stream)}}}"


# -- master.cf -------------------------------------------------------------------------------------------------------


def _wait_service(standing: Standing) -> Change:
    chroot = _chroot(standing, "retry/unix")
    # `-n retry` makes it defer, and names the lock under which processes take turns to accept: an idle one of Postfix's
    # own `retry` would hold it for max_idle. `-l`: no turns, whoever is first accepts.
    value = f"{WAIT} unix - - {chroot} - - error -n retry -l"
    return Change(f"{WAIT}/unix", value, "mail of suspended pools and providers is deferred there, not refused")


def _service(name: VmtaName, vmta: VirtualMta, config: AgentConfig, standing: Standing) -> Change:
    """A copy of the instance's own `smtp` that leaves from one address, or not at all."""
    service = transport_of(name)
    fields = standing.services.get("smtp/unix", "").split(maxsplit=HEAD)
    options = fields[HEAD].split(" ") if len(fields) > HEAD else []
    family = "all" if vmta.address and vmta.address6 else "ipv6" if vmta.address6 else "ipv4"
    reuse = default_limits(config).messages_per_connection
    added = {
        "smtp_bind_address": vmta.address,
        "smtp_bind_address6": vmta.address6,
        "smtp_bind_address_enforce": "yes",
        "inet_protocols": family,
        "smtp_helo_name": vmta.ehlo or None,
        "smtp_connection_reuse_count_limit": reuse,
        "syslog_name": f"{standing.instance.syslog_name or 'postfix'}/{service}",
    }
    options += [word for key, value in added.items() if value is not None for word in ("-o", f"{key}={value}")]
    most = str(vmta.vmta_connections) if vmta.vmta_connections is not None else "".join(fields[6:7]) or "-"
    line = " ".join((service, *fields[1:6], most, "smtp", *options))
    where = " and ".join(str(one) for one in (vmta.address, vmta.address6) if one is not None)
    return Change(f"{service}/unix", line, f"virtual MTA {name}: leaves from {where}, or not at all")


def _chroot(standing: Standing, service: str) -> str:
    fields = standing.services.get(service, "").split()
    return fields[4] if len(fields) > 7 else "n"


def _fields(line: str) -> list[str]:
    return line.split(maxsplit=HEAD)


# -- map files -------------------------------------------------------------------------------------------------------


def _files(config: AgentConfig, streams: Sequence[tuple[StreamName, tuple[str, ...]]]) -> dict[str, str]:
    found = {senders_map(name): senders_text(patterns) for name, patterns in streams if patterns}
    if rows := _route_rows(config):
        found[ROUTES_MAP] = map_text(rows.items())
    return found


def _route_rows(config: AgentConfig) -> dict[str, str]:
    rows: dict[str, str] = {}
    for route in config.routes:
        if route.match != "*":
            rows.setdefault(route.match.lower().removeprefix("*"), f":[{route.to.host}]:{route.to.port}")
    return rows


# -- what it will not do ---------------------------------------------------------------------------------------------


def _notes(config: AgentConfig, standing: Standing) -> list[str]:
    notes = []
    for name, stream in config.streams.items():
        notes += _stream_notes(name, stream)
    if config.virtual_mtas:
        notes += limit_notes(config, standing.parameters)
        notes += _ipv6_notes(config, standing)
    if config.streams and not any(not patterns for _, patterns in sender_streams(config)):
        notes.append("there is no default stream: mail of other senders leaves as before, from any address")
    if without_ours(standing.parameters.get(TRANSPORT_MAPS, "")):
        notes.append(f"rows of the {TRANSPORT_MAPS} that stood there go before pools: their mail leaves as they say")
    notes += _foreign_notes(config, standing)
    if standing.parameters.get("relayhost"):
        notes.append(f"relayhost = {standing.parameters['relayhost']} stays the next hop where no route says another")
    notes += [
        f"routes: {route.match}: account and TLS level are not set up; that is Postfix's own smtp_sasl_password_maps"
        for route in config.routes
        if route.auth is not None or route.tls is not None
    ]
    if not standing.instance.long_ids:
        notes.append("enable_long_queue_ids is not set: bounce and delete are refused until it is")
    return notes


def _foreign_notes(config: AgentConfig, standing: Standing) -> list[str]:
    """Rows with a next hop and no transport: of mail that waits, the next hop takes the place of the reason. Rows of
    whole addresses: a held domain does not hold them."""
    notes = []
    if keys := (*standing.others.keys, *_route_rows(config)):
        notes.append(
            f"rows with a next hop and no transport ({_some(keys)}): the queue shows the next hop in place of the"
            " reason while a pool or stream is held; the agent knows such waits, and mailctl why has the reason"
        )
    if addresses := standing.others.addresses:
        notes.append(
            f"rows of whole addresses ({_some(addresses)}) go before held domains: their mail leaves as they say while"
            " its provider or site is suspended"
        )
    if unread := standing.others.unread:
        notes.append(
            f"{', '.join(unread)} cannot be looked through for rows with a next hop and no transport, and for rows of"
            " whole addresses, which go before held domains"
        )
    return notes


def _ipv6_notes(config: AgentConfig, standing: Standing) -> list[str]:
    """What left by IPv6 before, and cannot any more."""
    speaks = standing.instance.settings.get("inet_protocols", "")
    alone = [name for name, vmta in config.virtual_mtas.items() if vmta.address6 is None]
    if not alone or ("all" not in speaks and "ipv6" not in speaks):
        return []
    if "inet_protocols=ipv4" in standing.services.get("smtp/unix", ""):
        return []
    has = "has" if len(alone) == 1 else "have"
    return [
        f"{_some(alone)} {has} no address6: mail from there to hosts that have IPv6 addresses alone is returned to its"
        " sender, where smtp reached them by IPv6"
    ]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _stream_notes(name: StreamName, stream: Stream) -> list[str]:
    notes = []
    if stream.headers or stream.users:
        notes.append(f"streams.{name}: Postfix tells streams by the envelope sender; headers and users are not asked")
    if stream.pools:
        notes.append(f"streams.{name}.pools: Postfix cannot choose a pool by destination; pool {stream.pool} takes all")
    return notes
