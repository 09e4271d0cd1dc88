"""Why something waits: a list of typed reasons, each with its value, its origin and what would release it."""

from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.smtp import SmtpReply


class ReasonKind(StrEnum):
    """The mechanism that makes mail wait."""

    SCHEDULE = "schedule"  # its next try is in the future
    LIMIT = "limit"  # all connections that a limit allows are open
    THROTTLE = "throttle"  # a rate spaces messages, connections or bytes
    DIRECTIVE = "directive"  # an operator holds it
    HELD = "held"  # an order on mail has this very message
    RULE = "rule"  # automation holds it, or lowered the limit, by a rule on replies
    REPLY = "reply"  # the peer said so
    DNS = "dns"  # no answer about the destination yet
    WINDOW = "window"  # the active window or the ready queue is full
    CONNECTING = "connecting"  # a connection is being opened
    REST = "rest"  # connections failed; the queue rests
    NO_SOURCE = "no-source"  # no member of the pool may send there
    BIND = "bind"  # the source address cannot be bound
    STORAGE = "storage"  # the spool is sick, or the disk is full: outcomes cannot be written
    RESOURCE = "resource"  # this host is short of descriptors, memory or ports
    SENDING = "sending"  # nothing holds it: it is on its way


class WaitReason(msgspec.Struct, frozen=True, kw_only=True):
    """One cause, in the words that an operator needs at 3 a.m."""

    kind: ReasonKind
    detail: str  # a sentence
    key: str = ""  # the configuration key or directive id that binds: `provider_connections`
    value: str = ""  # its value: `5`
    origin: str = ""  # where it comes from: `providers.yaml:gmail`, `alice`, `agent.yaml:12`
    until: datetime | None = None  # when it ends by itself, or is looked at again
    release: str = ""  # what would end it
    reply: SmtpReply | None = None
