"""From a submission to a durable message: stream, pool, trace header, scheduled queues, and a place in the window."""

from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import msgspec

from mailagent.api.accounting import EventType
from mailagent.api.ids import StreamName
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.config.structs import AgentConfig, Priority
from mailagent.control.state import HostState
from mailagent.dkim import Signing
from mailagent.dns import ascii_domain
from mailagent.intake.guard import Guard
from mailagent.intake.parameters import NOTHING
from mailagent.intake.pressure import Pressure
from mailagent.intake.received import received_header
from mailagent.intake.submission import Submission
from mailagent.outcome.accounting import AccountingRecord, event_id, line
from mailagent.outcome.dsn import MAX_FULL, Action, Report, is_wanted, notification
from mailagent.routing import StreamTable
from mailagent.scheduling.item import Item
from mailagent.scheduling.scheduler import Scheduler
from mailagent.spool.errors import StorageError
from mailagent.spool.ids import message_name, now_ms, recipient_id
from mailagent.spool.records import NewMessage, NewRecipient, QueueName, Waiting
from mailagent.spool.store import Spool
from mailagent.telemetry.counters import Counters

QUEUES_CACHED = 65_536
MAX_JOBS = 10_000
"""Jobs that a host counts and holds; an application that puts an id of its own into each X-Job has more."""
HELD_FROM_BYTES = 16 * 1024 * 1024
"""With a commit's worth of mail before the writer, only high priority goes there; the rest waits for its next answer.
So transactional mail has at most one full commit ahead of its own, however many clients push bulk."""
Held = tuple[Submission, StreamName, bytes, Callable[[SmtpReply], None]]
DSN_ORIGINAL_BYTES = 65_536
"""More of a message than a DSN ever quotes."""


class Acceptor:
    """Takes submissions and DSNs into the spool. Runs on the loop; the spool calls back when they are durable."""

    def __init__(
        self,
        config: AgentConfig,
        spool: Spool,
        scheduler: Scheduler,
        counters: Counters,
        signing: Signing,
        pressure: Pressure,
        guard: Guard,
    ) -> None:
        self._spool = spool
        self._scheduler = scheduler
        self._counters = counters
        self._signing = signing
        self._pressure = pressure
        self._guard = guard
        self._uncommitted = 0  # octets that the writer has and has not answered
        self._held: deque[Held] = deque()
        self._queues: dict[tuple[StreamName, bytes, str], tuple[QueueName, int]] = {}
        self.jobs: set[str] = set()
        """Names that are jobs."""
        self.state: HostState
        self.streams: StreamTable
        self.waiting = 0  # undelivered recipients in the spool
        self.configure(config)

    def configure(self, config: AgentConfig) -> None:
        """Use `config` from now on."""
        self._config = config
        self._hostname = config.intake.hostname or config.host
        self.postmaster = (config.feedback.postmaster or config.dsn_from).encode()
        """Who reads the mail that clients send to `postmaster`."""
        self.streams = StreamTable(config)
        self._guard.configure(config)
        self._expire_ms = {
            name: int((stream.retry or config.retry).expire.total_seconds() * 1000)
            for name, stream in config.streams.items()
        }
        self._records_received = "r" in config.accounting.records
        self.look_for_headers()
        self._queues.clear()

    def look_for_headers(self) -> None:
        """The keys in force have changed."""
        self.wanted_headers = self.streams.wanted_headers | self._signing.wanted_headers

    def submit(self, submission: Submission, state: HostState, done: Callable[[SmtpReply], None]) -> None:
        """Make the submission durable, then answer; refuse it when no stream or pool takes it."""
        name = self.streams.classify(
            submission.sender, submission.headers, submission.virtual_mta, submission.user, submission.streams
        )
        if name is not None and submission.streams and name not in submission.streams:
            done(_reply(550, "5.7.1", f"{submission.user} may not send mail of stream {name}"))
            return
        if name is None:
            done(_reply(550, "5.7.1", "no stream of this host takes this mail (sender, headers and X-Virtual-MTA)"))
            return
        if name in self._guard.streams:
            self._guard.judge(name, submission, partial(self._judged, submission, state, done))
        else:
            self._take(submission, name, state, done)

    def _judged(
        self,
        submission: Submission,
        state: HostState,
        done: Callable[[SmtpReply], None],
        verdict: StreamName | SmtpReply,
        warned: str,
    ) -> None:
        if warned:
            submission = msgspec.structs.replace(submission, warned=warned)
        if isinstance(verdict, SmtpReply):
            done(verdict)
        elif verdict not in self._config.streams:
            done(_CHANGED)
        else:
            self._take(submission, verdict, state, done)

    def _take(
        self, submission: Submission, name: StreamName, state: HostState, done: Callable[[SmtpReply], None]
    ) -> None:
        stream = self._config.streams[name]
        pool = stream.pool
        if (full := self._pressure.queue_refusal(self.waiting)) is not None and stream.priority is not Priority.HIGH:
            done(full)
            return
        refusal = state.refuses(pool)
        if refusal is not None:
            done(_reply(451, "4.3.2", f"pool {pool} is being drained"))
            return
        if submission.job and (order := state.cancelled_job(submission.job)) is not None:
            done(_reply(550, "5.7.0", f"job {submission.job} was cancelled by {order.author}"))
            return
        keys = self._signing.keys(pool, submission.headers)
        if keys:
            self._signing.sign(submission.body, keys, stream.priority, partial(self._signed, submission, name, done))
        else:
            self._store(submission, name, b"", done)

    def _signed(
        self, submission: Submission, stream: StreamName, done: Callable[[SmtpReply], None], signature: bytes | None
    ) -> None:
        if signature is None and self._signing.required:
            done(_reply(451, "4.7.5", "this mail cannot be signed now"))
        elif stream not in self._config.streams:
            done(_CHANGED)
        else:
            self._store(submission, stream, signature or b"", done)

    def _store(
        self, submission: Submission, stream: StreamName, signature: bytes, done: Callable[[SmtpReply], None]
    ) -> None:
        if self._uncommitted >= HELD_FROM_BYTES and self._config.streams[stream].priority is not Priority.HIGH:
            self._held.append((submission, stream, signature, done))
            return
        message = self._message(submission, stream, signature)
        self._uncommitted += message.size
        self._spool.accept(message, partial(self._accepted, message, submission.plain, done))

    def _release(self) -> None:
        """Go on with mail that was held back, as far as there is room before the writer."""
        while self._held and self._uncommitted < HELD_FROM_BYTES:
            submission, stream, signature, done = self._held.popleft()
            if stream in self._config.streams:
                self._store(submission, stream, signature, done)
            else:
                done(_CHANGED)

    def _message(self, submission: Submission, stream_name: StreamName, signature: bytes) -> NewMessage:
        stream = self._config.streams[stream_name]
        message_id = self._spool.new_message_id()
        now = now_ms()
        added = signature + received_header(
            submission,
            hostname=self._hostname,
            message_id=message_name(message_id, self._spool.tag),
            received_at=now,
        )
        recipients, queues = self._recipients(submission, stream_name, message_id)
        return NewMessage(
            message_id,
            now,
            now + self._expire_ms[stream_name],
            submission.sender,
            stream_name,
            stream.pool,
            submission.job,
            submission.client,
            size=len(added) + len(submission.body),
            eightbit=submission.eightbit,
            added=added,
            body=submission.body,
            recipients=recipients,
            queues=queues,
            utf8=submission.utf8,
            user=submission.user,
            ret=submission.ret,
            envid=submission.envid,
            lines=self._received_lines(submission, stream_name, message_id, now) if self._records_received else (),
        )

    def _recipients(
        self, submission: Submission, stream: StreamName, message_id: int
    ) -> tuple[tuple[NewRecipient, ...], tuple[QueueName, ...]]:
        """In which queue each recipient waits, and whether it has a place in the window; the queues, each once."""
        requests = submission.requests
        job = submission.job and self._job(submission.job)
        if len(submission.recipients) == 1:  # most mail
            address = submission.recipients[0]
            name, queue = self._queue_of(stream, address, job)
            place = self._scheduler.admit(queue, name, (recipient_id(message_id, 0),))
            notify, orcpt = requests.get(0, NOTHING)
            return (NewRecipient(address, queue, place, notify, orcpt),), (name,)
        by_queue: dict[int, tuple[QueueName, list[int]]] = {}
        of_recipient = []
        for n, address in enumerate(submission.recipients):
            name, queue = self._queue_of(stream, address, job)
            of_recipient.append(queue)
            by_queue.setdefault(queue, (name, []))[1].append(recipient_id(message_id, n))
        admitted = {queue: self._scheduler.admit(queue, name, ids) for queue, (name, ids) in by_queue.items()}
        recipients = tuple(
            NewRecipient(address, queue, admitted[queue], *requests.get(n, NOTHING))
            for n, (address, queue) in enumerate(zip(submission.recipients, of_recipient, strict=True))
        )
        return recipients, tuple(name for name, _ in by_queue.values())

    def queue_here(self, name: QueueName) -> QueueName:
        """The scheduled queue of this host for one of another host; the same where its stream is not known here."""
        stream = self._config.streams.get(StreamName(name.stream))
        job = name.job and self._job(name.job)
        if stream is None:
            return QueueName(name.pool, name.stream, name.priority, name.domain, job)
        return QueueName(stream.pool, name.stream, stream.priority, name.domain, job)

    def _received_lines(
        self, submission: Submission, stream: StreamName, message_id: int, now_ms: int
    ) -> tuple[bytes, ...]:
        name = message_name(message_id, self._spool.tag)
        return tuple(
            line(
                AccountingRecord(
                    event=event_id(name, n, 0, EventType.RECEIVED),
                    type=EventType.RECEIVED,
                    time=datetime.fromtimestamp(now_ms / 1000, UTC),
                    host=self._config.host,
                    message_id=name,
                    n=n,
                    sender=submission.sender.decode("utf-8", "backslashreplace"),
                    recipient=recipient.decode("utf-8", "backslashreplace"),
                    stream=stream,
                    pool=self._config.streams[stream].pool,
                    size_bytes=len(submission.body),
                    job=submission.job,
                    client=submission.client,
                    user=submission.user,
                    warned=submission.warned,
                    envid=submission.envid,
                )
            )
            for n, recipient in enumerate(submission.recipients)
        )

    def _job(self, name: str) -> str:
        """The job that mail belongs to; none when there are too many already: then it is only written down."""
        if name not in self.jobs:
            if len(self.jobs) >= MAX_JOBS:
                return ""
            self.jobs.add(name)
        return name

    def _queue_of(self, stream_name: StreamName, address: bytes, job: str = "") -> tuple[QueueName, int]:
        domain = address[address.rfind(b"@") + 1 :]
        key = (stream_name, domain, job)
        found = self._queues.get(key)
        if found is None:
            stream = self._config.streams[stream_name]
            text = domain.decode("utf-8", "backslashreplace").lower().rstrip(".")
            if not domain.isascii():
                text = ascii_domain(text)
            name = QueueName(stream.pool, stream_name, stream.priority, text, job)
            if len(self._queues) >= QUEUES_CACHED:
                self._queues.clear()
            found = self._queues[key] = (name, self._spool.queue_id(name))
        return found

    def _accepted(
        self,
        message: NewMessage,
        plain: bool,
        done: Callable[[SmtpReply], None],
        error: StorageError | None,
    ) -> None:
        self._uncommitted -= message.size
        if self._held:
            self._release()
        if error is not None:
            for n, recipient in enumerate(message.recipients):
                if recipient.admitted:
                    self._scheduler.refused(recipient.queue, (recipient_id(message.id, n),))
            done(_reply(452, "4.3.1", "the spool cannot take this mail now"))
            return
        count = len(message.recipients)
        self.waiting += count
        self._counters.received(message.pool, message.stream, count)
        if message.job:
            self._counters.job(message.job).received += count
        done(_reply(250, "2.0.0", f"Ok: queued as {message_name(message.id, self._spool.tag)}"))
        rows = [waiting(message, n, one) for n, one in enumerate(message.recipients) if one.admitted]
        if rows:
            self._enter(message, rows, plain)
        if len(rows) < count:
            self._scheduler.on_disk(message)

    def _enter(self, message: NewMessage, rows: list[Waiting], plain: bool) -> None:
        """Hand admitted recipients to the scheduler, those of one queue together."""
        priority = message.queues[0].priority  # not of the configuration: a reload may have dropped the stream
        most = self._config.delivery.max_recipients
        envelopes = self._scheduler.envelopes
        if envelopes is not None and envelopes.is_own(message.stream):
            most = 1
        for part in [rows] if len(rows) == 1 else _parts(rows, most):
            body = message.body if self._scheduler.bodies.keep(len(message.body)) else None
            self._scheduler.enter(Item(part, priority, body, plain))

    def dsn(self, action: Action, row: Waiting, body: bytes | None, reply: SmtpReply, peer: str) -> NewMessage | None:
        """The message that tells a sender of one recipient, to be accepted with its outcome; none if it wants none."""
        if not row.sender or not is_wanted(row.notify, action, unasked=self._is_told(action, row)):
            return None
        now = now_ms()
        message_id = self._spool.new_message_id()
        original = body or b""
        full = row.ret == "FULL" and len(original) <= MAX_FULL and body is not None
        content = notification(
            Report(
                action=action,
                reporting_mta=self._hostname,
                postmaster=self._config.dsn_from,
                sender=row.sender,
                recipient=row.address,
                reply=reply,
                remote_mta=peer,
                original=row.added + (original if full else original[:DSN_ORIGINAL_BYTES]),
                message_id=message_name(message_id, self._spool.tag),
                original_id=message_name(row.message, self._spool.tag),
                received_at=row.received_at,
                now=now,
                retry_until=row.expires_at if action is Action.DELAYED else 0,
                orcpt=row.orcpt,
                envid=row.envid,
                full=full,
                utf8=row.utf8,
            )
        )
        stream_name = self.streams.classify(b"", {}, "") or StreamName(row.stream)
        stream = self._config.streams.get(stream_name)
        if stream is None:
            return None
        name, queue = self._queue_of(stream_name, row.sender)
        expire = (stream.retry or self._config.retry).expire
        self.waiting += 1
        return NewMessage(
            id=message_id,
            received_at=now,
            expires_at=now + int(expire.total_seconds() * 1000),
            sender=b"",
            stream=stream_name,
            pool=stream.pool,
            job="",
            client="",
            size=len(content),
            eightbit=not content.isascii(),
            added=b"",
            body=content,
            recipients=(NewRecipient(row.sender, queue, False),),
            queues=(name,),
            utf8=not row.sender.isascii(),
        )

    def _is_told(self, action: Action, row: Waiting) -> bool:
        """Whether a sender who did not say hears of it: of every failure; of a delay unless that is off, or bulk."""
        if action is not Action.DELAYED:
            return True
        stream = self._config.streams.get(StreamName(row.stream))
        return bool(self._config.dsn.delay) and (stream is None or stream.priority is not Priority.BULK)


def waiting(message: NewMessage, n: int, recipient: NewRecipient) -> Waiting:
    """What waits for one recipient of a message that has just been stored."""
    return Waiting(
        recipient_id(message.id, n),
        recipient.queue,
        message.received_at,  # due
        recipient.address,
        0,  # attempts
        "",  # virtual MTA and site of the last one
        "",
        message.id,
        message.sender,
        message.size,
        message.eightbit,
        message.added,
        message.received_at,
        message.expires_at,
        message.stream,
        message.pool,
        job=message.job,
        utf8=message.utf8,
        user=message.user,
        ret=message.ret,
        envid=message.envid,
        notify=recipient.notify,
        orcpt=recipient.orcpt,
    )


def _parts(rows: list[Waiting], most: int) -> Iterator[list[Waiting]]:
    """Rows of one queue together, at most `most` of them."""
    groups: dict[int, list[Waiting]] = {}
    for row in rows:
        groups.setdefault(row.queue, []).append(row)
    for group in groups.values():
        for start in range(0, len(group), most):
            yield group[start : start + most]


def _reply(code: int, enhanced: str, text: str) -> SmtpReply:
    return SmtpReply(code=code, enhanced=enhanced, text=text, verb=Verb.DOT, local=True)


_CHANGED = _reply(451, "4.3.5", "the configuration has changed; send it again")
