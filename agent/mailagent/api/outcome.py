"""What became of one recipient in one attempt. A failed delivery is a value, not an exception."""

from datetime import datetime

import msgspec

from mailagent.api.classification import Verdict
from mailagent.api.smtp import SmtpReply


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """The peer took responsibility (2yz after the final dot)."""

    reply: SmtpReply


class Deferred(msgspec.Struct, frozen=True, kw_only=True):
    """A transient failure: tried again by schedule."""

    reply: SmtpReply
    greylisted: bool = False


class Bounced(msgspec.Struct, frozen=True, kw_only=True):
    """A permanent failure: reported to the sender in a DSN."""

    reply: SmtpReply
    expired: bool = False


Outcome = Delivered | Deferred | Bounced


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try for one recipient that did not deliver, as the message screen shows it."""

    number: int  # 1 for the first
    at: datetime
    vmta: str
    source: str  # source address, empty when no connection was tried
    site: str
    mx: str  # host name of the peer
    remote: str  # address:port of the peer
    reply: SmtpReply
    duration_s: float
    verdict: Verdict | None = None  # what the reply means; None: tried by an older version
    tls: str = ""  # `TLSv1.3 TLS_AES_256_GCM_SHA384 verified`; empty in clear
