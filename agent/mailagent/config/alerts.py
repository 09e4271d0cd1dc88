"""The `alerts` section of the fleet file: who is told of trouble, of which, when, and by which way.

`mailctl alerts run` sends them. Kinds are those of the console's alarms, and of thresholds.
"""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import msgspec

from mailagent.api.ids import HostName, PoolName, ProviderName, StreamName
from mailagent.config.endpoint import Endpoint
from mailagent.config.intake import ListenerTls

ALARM_KINDS = (
    "failed",
    "lost",
    "refusing",
    "source",
    "bouncing",
    "blocked",
    "throttled",
    "failing",
    "unreachable",
    "slow",
    "dns",
    "mailboxes",
)
"""Alarms of the console; the others are told by the threshold that measures the same."""
THRESHOLD_KINDS = (
    "stopped",
    "waiting",
    "window",
    "growth",
    "oldest",
    "deferrals",
    "bounces",
    "listed",
    "identity",
    "warm_up",
    "silent",
    "disk_free",
    "orders",
    "in_doubt",
    "events",
    "undecided",
)
"""Thresholds; `unreachable` and `refusing` say how bad the alarms `lost` and `refusing` are."""
DRIFT = "drift"
"""A host runs something else than the fleet file says."""
KINDS = (*ALARM_KINDS, *THRESHOLD_KINDS, DRIFT)


class Severity(StrEnum):
    """How bad an alert is, the worst last."""

    WARNING = "warning"
    CRITICAL = "critical"


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A POST with JSON, signed as those of `events`."""

    url: str  # https, or http on loopback
    secret_file: Path  # where the command runs: what requests are signed with
    ca_file: Path | None = None  # who may sign for the url's host; None: the system's authorities
    timeout: timedelta = timedelta(seconds=10)


class AlertCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program that gets the same JSON on its standard input; 0 means that it has taken it."""

    run: tuple[str, ...]  # path and arguments; no shell reads them
    timeout: timedelta = timedelta(seconds=30)  # then it is killed


class RelayAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account at the relay."""

    user: str
    password_file: Path  # one line that others cannot read


class AlertMail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mail by a relay that is no host of this fleet: an alert must not wait in the queue that it is about."""

    to: tuple[str, ...]
    sender: str
    relay: Endpoint
    tls: ListenerTls = ListenerTls.STARTTLS  # verified, unless off
    ca_file: Path | None = None  # who may sign for the relay; None: the system's authorities
    account: RelayAccount | None = None
    timeout: timedelta = timedelta(seconds=30)


class Syslog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lines of RFC 5424; `/dev/log` when nothing is said."""

    socket: Path | None = None  # a Unix socket
    udp: Endpoint | None = None
    tcp: Endpoint | None = None
    timeout: timedelta = timedelta(seconds=5)


class Receiver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to those who are told; exactly one key."""

    webhook: Webhook | None = None
    command: AlertCommand | None = None
    mail: AlertMail | None = None
    syslog: Syslog | None = None


class Escalation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who else is told of what nobody acknowledges."""

    to: tuple[str, ...]
    after: timedelta = timedelta(minutes=15)  # the first time that somebody was told


class AlertRoute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told of which alerts: the first route that matches. Each key that is given must match."""

    to: tuple[str, ...]  # receivers; none: nobody is told
    severity: Severity = Severity.WARNING  # from this one on
    kinds: tuple[str, ...] = ()  # none: all
    hosts: tuple[HostName, ...] = ()
    pools: tuple[PoolName, ...] = ()
    streams: tuple[StreamName, ...] = ()
    providers: tuple[ProviderName, ...] = ()
    after: timedelta = timedelta(minutes=2)  # trouble that is over sooner is not told
    repeat: timedelta | None = timedelta(hours=4)  # while it lasts and nobody acknowledges; None: told once
    escalate: Escalation | None = None


class Alerts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Receivers, and who of them is told of what."""

    receivers: dict[str, Receiver] = {}
    routes: tuple[AlertRoute, ...] = ()  # none: everything goes to every receiver
    away: timedelta = timedelta(minutes=5)  # that trouble has to stay away before its end is told
