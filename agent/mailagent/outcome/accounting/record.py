"""One accounting record and its JSON line."""

from datetime import datetime

import msgspec

from mailagent.api.accounting import EventType
from mailagent.api.smtp import Verb

_encoder = msgspec.json.Encoder()


class AccountingRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event of one recipient, or (queue-deferred) of a whole ready queue. What is empty is left out of the line.

    Lines reach the file before the event's commit: after a crash one may stand there twice, then with the same
    `event`.
    """

    event: str  # `event_id`
    type: EventType
    time: datetime  # UTC
    host: str
    message_id: str
    n: int  # of the recipient in its message
    sender: str
    recipient: str
    stream: str
    pool: str
    size_bytes: int
    vmta: str = ""
    source: str = ""  # source address
    site: str = ""
    provider: str = ""
    mx: str = ""  # host name of the peer
    remote: str = ""  # its address:port
    attempt: int = 0  # 1 for the first
    smtp_verb: Verb | None = None  # what the reply answered
    code: int = 0
    enhanced: str = ""
    text: str = ""
    category: str = ""  # of `mailagent.api.classification`, with action and rule_id: what the reply was taken for
    action: str = ""
    rule_id: str = ""
    queued_s: float = 0.0  # since reception
    duration_s: float = 0.0  # of the attempt
    job: str = ""
    orcpt: str = ""  # the sender's ORCPT (RFC 3461 section 4.2); empty: none was given
    envid: str = ""  # its ENVID
    client: str = ""  # who handed the message in
    user: str = ""  # received: who had logged in
    warned: str = ""  # received: checks that it failed, `date,plain_text`
    session_id: str = ""  # the same for all attempts over one connection
    tls: str = ""  # protocol, cipher, and unverified, verified or dane; empty in clear
    extensions: str = ""  # EHLO keywords of the peer: `8BITMIME,SIZE`
    dsn_action: str = ""  # remote-bounced, remote-status: Action of the DSN (RFC 3464 section 2.3.3)
    reporting_mta: str = ""  # who made the DSN or the report
    feedback_type: str = ""  # feedback (RFC 5965 section 3): `abuse`
    feedback_format: str = ""  # `arf`, `jmrp`
    user_agent: str = ""
    reported_domain: str = ""
    reported_source: str = ""  # Source-IP
    parcel: str = ""  # moved-out, moved-in: what it travelled in
    other_host: str = ""  # moved-out: where it went; moved-in: where it came from
    other_id: str = ""  # moved-in: its message id there


def event_id(message_id: str, n: int, attempt: int, kind: EventType) -> str:
    """The same for the same event, however often its line is written."""
    return f"{message_id}-{n}-{attempt}-{kind}"


def line(record: AccountingRecord) -> bytes:
    """`record` as one line."""
    return _encoder.encode(record) + b"\n"
