"""What goes into the spool and comes out of it. Times are milliseconds since 1970 (UTC), as stored."""

from collections.abc import Sequence

import msgspec

from mailagent.api.credentials import Scope
from mailagent.api.directives import Directive
from mailagent.api.operations import OperationRecord, OperationResult
from mailagent.api.outcome import Attempt
from mailagent.api.targets import MessageFilter

HELD_DUE = 253_402_300_799_000
"""Due time of recipients that an order on mail has: the last second of the year 9999. `held` knows their own."""
UNKNOWN_DUE = HELD_DUE - 1
"""Due time of recipients whose next try nobody can tell."""
WINDOW = "window"
"""Parking key of a scheduled queue whose due rows are (partly) in the active window."""


class QueueName(msgspec.Struct, frozen=True):
    """Key of a scheduled queue. A stream has one pool and one priority, so the stream stands for the priority too."""

    pool: str
    stream: str
    priority: str
    domain: str  # recipient domain, lower case, A-labels
    job: str = ""  # so that a job is held by holding its queues


class NewRecipient(msgspec.Struct, frozen=True):
    """One recipient of a message being accepted."""

    address: bytes  # as given in RCPT, without angle brackets
    queue: int  # `queue_id(name)` of its scheduled queue
    admitted: bool  # already has a place in the active window: the queue's next due time stays as it is
    notify: str = ""  # NOTIFY of RCPT (RFC 3461), ASCII as given; empty: not said
    orcpt: str = ""  # ORCPT of RCPT, the same


class NewMessage(msgspec.Struct, frozen=True):
    """One message being accepted; on disk before its 250. Recipient `n` has the id `recipient_id(id, n)`.

    Structs of so many fields are made by position where that happens per message: Python passes more than 15 keywords
    in a dictionary, which costs more than all the rest of the call.
    """

    id: int
    received_at: int
    expires_at: int
    sender: bytes
    stream: str
    pool: str
    job: str
    client: str
    size: int  # of added and body together
    eightbit: bool
    added: bytes  # header block that we add (Received, later signatures)
    body: bytes  # as received, canonical CRLF, not dot-stuffed, without our control headers
    recipients: tuple[NewRecipient, ...]
    queues: tuple[QueueName, ...]  # names of the queues that the recipients refer to, each once
    utf8: bool = False  # needs SMTPUTF8: its header block or an address is beyond ASCII
    user: str = ""  # who authenticated to hand it in, or empty
    ret: str = ""  # RET of MAIL: `FULL`, `HDRS`, or empty
    envid: str = ""  # ENVID of MAIL, xtext as given, or empty
    lines: tuple[bytes, ...] = ()  # accounting of its reception, appended before the commit


class Waiting(msgspec.Struct, frozen=True):
    """One waiting recipient with what an attempt needs, body apart."""

    id: int
    queue: int
    due: int
    address: bytes
    attempts: int
    vmta: str  # of the last attempt, empty before the first
    site: str
    message: int
    sender: bytes
    size: int
    eightbit: bool
    added: bytes
    received_at: int
    expires_at: int
    stream: str
    pool: str
    job: str
    utf8: bool = False
    user: str = ""
    ret: str = ""
    envid: str = ""
    notify: str = ""
    orcpt: str = ""


class Loaded(msgspec.Struct, frozen=True):
    """Due rows of one scheduled queue, in (due, id) order, and when its next later row is due (None: there is none)."""

    rows: Sequence[Waiting]
    next_due: int | None


class DueQueue(msgspec.Struct, frozen=True, kw_only=True):
    """A scheduled queue as the engine finds it."""

    id: int
    name: QueueName
    next_due: int
    waiting: int
    site: str  # last known, empty before the first look-up
    provider: str


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of one recipient, to be made durable.

    `due` None removes the recipient (delivered or bounced), and the message with its last one. Otherwise the
    recipient waits until `due`; `attempt` None means that nothing was tried (it only moves to `due`, its attempts
    and last reply stay).
    """

    recipient: int
    queue: int
    due: int | None = None
    attempt: Attempt | None = None  # a deferral: stored with its reply
    provider: str = ""
    resolution: str = ""  # `delivered`, `bounced` or `cancelled` when due is None: closes an in-doubt entry
    line: bytes = b""  # accounting, appended before the commit
    dsn: NewMessage | None = None  # accepted in the same transaction
    notify: str = ""  # of a deferral: the recipient's NOTIFY from now on; empty: as it was
    job: str = ""  # whose counters it goes into
    in_doubt: bool = False  # the dot was out and no reply came: its open mark becomes an in-doubt entry


class DeferredTotal(msgspec.Struct, frozen=True, kw_only=True):
    """Deferred recipients of one provider × virtual MTA."""

    provider: str
    vmta: str
    count: int
    oldest_at: int


class WaitingTotal(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting recipients of one pool × provider (empty: not yet known)."""

    pool: str
    stream: str
    provider: str
    count: int


class JobCount(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the mail of one job; what is neither delivered nor given up waits."""

    name: str
    created_at: int
    last_at: int  # of the last thing counted
    accepted: int
    deferred: int  # attempts that failed for now
    delivered: int
    bounced: int
    cancelled: int

    @property
    def waiting(self) -> int:
        """Recipients that wait."""
        return self.accepted - self.delivered - self.bounced - self.cancelled


class DueChange(msgspec.Struct, frozen=True, kw_only=True):
    """Make matching recipients that wait for a later time due, spread evenly from `now` over `spread`."""

    filter: MessageFilter
    now: int
    spread: int


class MailOrder(msgspec.Struct, frozen=True, kw_only=True):
    """How far an order on mail is. It stands as long as its directive lives and as any recipient is held by it."""

    id: str  # of the first of its directives
    after: int = -1  # the last recipient that was looked at
    in_flight: int = 0
    settled: bool = False  # all that matched was looked at


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """One secret of a user, hashed."""

    digest: str
    until: int | None = None  # None: as long as the user


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """One user of intake."""

    user: str
    scope: Scope
    created_at: int
    created_by: str
    secrets: tuple[Secret, ...]  # the newest first; none: revoked
    expires_at: int | None = None
    revoked_at: int | None = None


class CredentialUse(msgspec.Struct, frozen=True):
    """When and from where a user logged in last; at 0: never."""

    user: str
    at: int
    client: str


class StoredOperation(msgspec.Struct, frozen=True, kw_only=True):
    """One executed operation: the digest of its request, its record, and the answer that a repeat gets again."""

    digest: str
    record: OperationRecord
    result: OperationResult


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An operation and all its effects on disk, written in one transaction."""

    operation: StoredOperation
    directives: Sequence[Directive] = ()  # new or changed ones
    undone: tuple[str, ...] = ()  # op_ids whose record gets `undone_by` = this operation
    due: DueChange | None = None
    credential: Credential | None = None  # new or changed


class InDoubtMark(msgspec.Struct, frozen=True):
    """Written to the side file before the final dot."""

    recipient: int
    at: int
    vmta: str
    site: str
    remote: str
