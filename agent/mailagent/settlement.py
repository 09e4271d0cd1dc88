"""From the replies of one attempt to durable outcomes: classification, schedule, accounting, DSN, counters."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from mailagent.api.accounting import LETTERS, EventType
from mailagent.api.classification import Verdict
from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import ProviderName, StreamName, VmtaName
from mailagent.api.outcome import Attempt, Bounced, Deferred, Delivered
from mailagent.api.smtp import SmtpReply
from mailagent.config.structs import AgentConfig, Retry
from mailagent.delivery.policy import domain_of
from mailagent.outcome.accounting import AccountingRecord, event_id, line
from mailagent.outcome.classification import Classifier, outcome_of
from mailagent.outcome.dsn import Action, after_delay
from mailagent.outcome.path import Path
from mailagent.outcome.suppression import ON_THE_LIST, SuppressionBook
from mailagent.scheduling.connection import Connection
from mailagent.scheduling.item import Item
from mailagent.scheduling.ready import ReadyQueue
from mailagent.scheduling.retry import Schedule, last_wait, layered, next_wait
from mailagent.scheduling.window import Hot
from mailagent.spool.ids import message_name, now_ms
from mailagent.spool.records import NewMessage, Settlement, Waiting
from mailagent.telemetry.counters import Counters
from mailagent.telemetry.deferrals import Deferrals
from mailagent.telemetry.paces import Paces

EXPIRED = SmtpReply(code=0, enhanced="4.4.7", text="expired before it could be delivered", local=True)

PATIENT_ATTEMPTS = 2
"""Refusals not about the message that are borne at any age: it may have waited long before it was first tried."""

DELAY_MS = 4 * 3600 * 1000
"""Age at which a delay is reported to who asks for it, where no other sender hears of it."""

NO_VMTA = VmtaName("")
NO_PROVIDER = ProviderName("")

MakeDsn = Callable[[Action, Waiting, bytes | None, SmtpReply, str], NewMessage | None]
"""(what, recipient, body if at hand, reply, peer) -> the DSN to its sender, None if it wants none."""


Observer = Callable[[Verdict, SmtpReply, ReadyQueue, Item | None], None]
"""Told of each failed reply, once for all recipients that one reply answered; no item where it is about none."""


class Settler:
    """Implements `mailagent.scheduling.scheduler.Attempts`."""

    def __init__(
        self, config: AgentConfig, tag: str, counters: Counters, make_dsn: MakeDsn, classifier: Classifier
    ) -> None:
        self.configure(config)
        self.classifier = classifier
        self.observers: list[Observer] = []
        self.suppression: SuppressionBook | None = None
        self._tag = tag
        self._counters = counters
        self._make_dsn = make_dsn
        self.deferrals = Deferrals()
        self.paces = Paces()

    def configure(self, config: AgentConfig) -> None:
        """Use `config` from now on."""
        self.config = config
        self._pools: dict[VmtaName, str] = {vmta: name for name, pool in config.pools.items() for vmta in pool.members}
        self._retries: dict[tuple[str, str, str], Retry] = {}  # (provider, stream, domain with a block)
        self._recorded = frozenset(LETTERS[letter] for letter in config.accounting.records)
        self._delay_ms = config.dsn.delay.total_seconds() * 1000 or DELAY_MS

    def settlements(
        self,
        queue: ReadyQueue,
        connection: Connection | None,
        item: Item,
        replies: Sequence[SmtpReply],
        duration_s: float,
    ) -> list[Settlement]:
        """One per recipient of `item`, for an attempt through `queue`."""
        path = _path(queue, connection)
        if connection is not None:
            self.paces.of(queue.site.provider, queue.vmta).answered(duration_s)
        settled = []
        last: SmtpReply | None = None
        verdict: Verdict | None = None
        for row, reply in zip(item.recipients, replies, strict=True):
            if reply.is_success:
                if self.suppression is not None:
                    self.suppression.delivered(row)
                done = self._delivered(row, reply, path, duration_s)
                if row.notify and not (connection is not None and connection.dsn):  # else the peer answers for it
                    told = self._make_dsn(Action.RELAYED, row, item.body, reply, path.mx)
                    done = msgspec.structs.replace(done, dsn=told)
                settled.append(done)
                continue
            if verdict is None or reply is not last:
                last, verdict = reply, self._verdict(reply, queue, item)
            if self.suppression is not None:
                self.suppression.failed(row, reply, verdict, path.provider)
            outcome = outcome_of(reply, verdict, patient=self._is_patient(row))
            assert not isinstance(outcome, Delivered)  # noqa: S101  no success
            settled.append(self._settlement(item, row, outcome, verdict, path, duration_s))
        return settled

    def _verdict(self, reply: SmtpReply, queue: ReadyQueue, item: Item | None) -> Verdict:
        verdict = self.classifier.verdict(reply, ProviderName(queue.site.provider))
        for observer in self.observers:
            observer(verdict, reply, queue, item)
        return verdict

    def heard(self, queue: ReadyQueue, reply: SmtpReply) -> None:
        """A reply that no message is charged with."""
        self._verdict(reply, queue, None)

    def _is_patient(self, row: Waiting) -> bool:
        """Whether a 5yz that is neither about the recipient nor about the message may still be tried again."""
        age_ms = now_ms() - row.received_at
        return row.attempts < PATIENT_ATTEMPTS or age_ms < self.config.classification.patience.total_seconds() * 1000

    def unroutable(self, hot: Hot, item: Item, reply: SmtpReply, *, permanent: bool) -> list[Settlement]:
        """No path to the destination: by the DNS schedule, or for good."""
        outcome = Bounced(reply=reply) if permanent else Deferred(reply=reply)
        path = Path(vmta=NO_VMTA, site=hot.site, provider=NO_PROVIDER)
        verdict = self.classifier.verdict(reply, NO_PROVIDER)
        if self.suppression is not None:
            for row in item.recipients:
                self.suppression.failed(row, reply, verdict, path.provider)
        return [self._settlement(item, row, outcome, verdict, path, 0.0, Schedule.DNS) for row in item.recipients]

    def suppressed(self, hot: Hot, item: Item, reply: SmtpReply) -> list[Settlement]:
        """Recipients on the suppression list, without an attempt."""
        path = Path(vmta=VmtaName(item.first.vmta), site=hot.site, provider=NO_PROVIDER)
        outcome = Bounced(reply=reply)
        return [self._settlement(item, row, outcome, ON_THE_LIST, path, 0.0) for row in item.recipients]

    def expired(self, hot: Hot, item: Item) -> list[Settlement]:
        """Time is over, without another attempt."""
        outcome = Bounced(reply=EXPIRED, expired=True)
        path = Path(vmta=VmtaName(item.first.vmta), site=hot.site, provider=NO_PROVIDER)
        verdict = self.classifier.verdict(EXPIRED, NO_PROVIDER)
        return [self._settlement(item, row, outcome, verdict, path, 0.0) for row in item.recipients]

    def given_up(self, rows: Sequence[Waiting], bodies: Mapping[int, bytes], order: Directive) -> list[Settlement]:
        """Given up by an order on mail; senders hear of it when it is a bounce."""
        bounce = order.kind is DirectiveKind.BOUNCE
        word, event = ("bounced", EventType.BOUNCED) if bounce else ("deleted", EventType.DELETED)
        why = f": {order.reason}" if order.reason else ""
        reply = SmtpReply(code=0, enhanced="5.7.0", text=f"{word} by {order.author}{why}", local=True)
        settled = []
        for row in rows:
            path = Path(vmta=VmtaName(row.vmta), site=row.site, provider=NO_PROVIDER)
            dsn = self._make_dsn(Action.FAILED, row, bodies.get(row.message), reply, "") if bounce else None
            settled.append(self._ended(row, event, reply, path, "bounced" if bounce else "cancelled", dsn))
        return settled

    def cancelled(self, hot: Hot, item: Item, order: Directive) -> list[Settlement]:
        """Given up with its job; senders hear of it when the order says so."""
        reply = SmtpReply(code=0, enhanced="5.7.0", text=f"job {hot.job} was cancelled by {order.author}", local=True)
        path = Path(vmta=VmtaName(item.first.vmta), site=hot.site, provider=NO_PROVIDER)
        settled = []
        for row in item.recipients:
            dsn = self._make_dsn(Action.FAILED, row, item.body, reply, "") if order.bounce else None
            settled.append(self._ended(row, EventType.BOUNCED, reply, path, "cancelled", dsn))
        return settled

    def _ended(
        self, row: Waiting, event: EventType, reply: SmtpReply, path: Path, resolution: str, dsn: NewMessage | None
    ) -> Settlement:
        """An order ended the wait of a recipient: no attempt is counted, and no bounce for its address."""
        now = now_ms()
        return Settlement(
            recipient=row.id,
            queue=row.queue,
            resolution=resolution,
            job=row.job,
            line=self._line(event, row, reply, None, path, row.attempts, 0.0, now),
            dsn=dsn,
        )

    def in_doubt(self, queue: ReadyQueue, connection: Connection, item: Item, reply: SmtpReply) -> list[Settlement]:
        """The line was cut after the final dot: tried again, and listed as a possible duplicate."""
        outcome = Deferred(reply=reply)
        path = _path(queue, connection)
        verdict = self._verdict(reply, queue, item)
        return [
            self._settlement(item, row, outcome, verdict, path, 0.0, Schedule.REPLY, in_doubt=True)
            for row in item.recipients
        ]

    def queue_failed(self, queue: ReadyQueue, reply: SmtpReply) -> bytes:
        """The accounting line of a connection that did not come about; empty when none is wanted."""
        path = _path(queue, None)
        verdict = self._verdict(reply, queue, None)
        if EventType.QUEUE_DEFERRED not in self._recorded:
            return b""
        now = now_ms()
        return line(
            AccountingRecord(
                event=f"{self._tag}-{queue.key}-{now}-{EventType.QUEUE_DEFERRED}",
                type=EventType.QUEUE_DEFERRED,
                time=datetime.fromtimestamp(now / 1000, UTC),
                host=self.config.host,
                message_id="",
                n=0,
                sender="",
                recipient="",
                stream="",
                pool=self._pools.get(queue.vmta, ""),
                size_bytes=0,
                vmta=path.vmta,
                site=path.site,
                provider=path.provider,
                smtp_verb=reply.verb,
                code=reply.code,
                enhanced=reply.enhanced,
                text=reply.text,
                category=verdict.category,
                action=verdict.action,
                rule_id=verdict.rule,
            )
        )

    def _delivered(self, row: Waiting, reply: SmtpReply, path: Path, duration_s: float) -> Settlement:
        now = now_ms()
        self._counters.delivered(self._pool(row, path), row.stream, path.vmta, path.provider)
        if row.job:
            self._counters.job(row.job).delivered += 1
        return Settlement(
            recipient=row.id,
            queue=row.queue,
            provider=path.provider,
            resolution="delivered",
            job=row.job,
            line=self._line(EventType.DELIVERED, row, reply, None, path, row.attempts + 1, duration_s, now),
        )

    def _settlement(
        self,
        item: Item,
        row: Waiting,
        outcome: Deferred | Bounced,
        verdict: Verdict | None,
        path: Path,
        duration_s: float,
        schedule: Schedule = Schedule.REPLY,
        *,
        in_doubt: bool = False,
    ) -> Settlement:
        """What becomes of one recipient that was not delivered; who would be tried again too late bounces."""
        now = now_ms()
        if isinstance(outcome, Deferred):
            due = self._next_due(row, row.attempts + 1, path.provider, outcome, verdict, schedule, now)
            if due < row.expires_at:
                return self._deferred(
                    item, row, outcome.reply, verdict, path, duration_s, now, due=due, in_doubt=in_doubt
                )
            outcome = Bounced(reply=outcome.reply, expired=True)
        return self._bounced(item, row, outcome, verdict, path, duration_s, now)

    def _deferred(
        self,
        item: Item,
        row: Waiting,
        reply: SmtpReply,
        verdict: Verdict | None,
        path: Path,
        duration_s: float,
        now: int,
        *,
        due: int,
        in_doubt: bool,
    ) -> Settlement:
        attempt = row.attempts + 1
        self._counters.deferred(self._pool(row, path), row.stream, path.vmta, path.provider)
        if row.job:
            self._counters.job(row.job).deferred += 1
        category = verdict.category if verdict is not None else ""
        self.deferrals.add((path.provider, path.vmta), category, reply, now / 1000)
        told = None
        if now - row.received_at >= self._delay_ms:
            told = self._make_dsn(Action.DELAYED, row, item.body, reply, path.mx)
        return Settlement(
            recipient=row.id,
            queue=row.queue,
            due=due,
            job=row.job,
            attempt=Attempt(
                number=attempt,
                at=datetime.fromtimestamp(now / 1000, UTC),
                vmta=path.vmta,
                source=path.source,
                site=path.site,
                mx=path.mx,
                remote=path.remote,
                reply=reply,
                duration_s=round(duration_s, 3),
                tls=path.tls,
                verdict=verdict,
            ),
            provider=path.provider,
            dsn=told,
            notify=after_delay(row.notify) if told is not None else "",
            in_doubt=in_doubt,
            line=self._line(EventType.DEFERRED, row, reply, verdict, path, attempt, duration_s, now),
        )

    def _bounced(
        self,
        item: Item,
        row: Waiting,
        outcome: Bounced,
        verdict: Verdict | None,
        path: Path,
        duration_s: float,
        now: int,
    ) -> Settlement:
        self._counters.bounced(self._pool(row, path), row.stream, path.vmta, path.provider)
        if row.job:
            self._counters.job(row.job).bounced += 1
        event = EventType.EXPIRED if outcome.expired else EventType.BOUNCED
        return Settlement(
            recipient=row.id,
            queue=row.queue,
            provider=path.provider,
            resolution="bounced",
            job=row.job,
            line=self._line(event, row, outcome.reply, verdict, path, row.attempts + 1, duration_s, now),
            dsn=self._make_dsn(Action.FAILED, row, item.body, outcome.reply, path.mx),
        )

    def _pool(self, row: Waiting, path: Path) -> str:
        """The pool that mail left from: the stream's, or the one that it has for the destination."""
        return self._pools.get(path.vmta, row.pool)

    def _next_due(
        self,
        row: Waiting,
        attempt: int,
        provider: ProviderName,
        outcome: Deferred,
        verdict: Verdict | None,
        schedule: Schedule,
        now: int,
    ) -> int:
        if outcome.greylisted:
            schedule = Schedule.GREYLIST
        jitter = hash((row.message, attempt)) % 2001 / 1000 - 1  # one for all recipients: they travel together again
        category = verdict.category if verdict is not None else None
        retry = self._retry(row, provider)
        wait = next_wait(attempt, retry, jitter=jitter, schedule=schedule, category=category)
        left = timedelta(milliseconds=row.expires_at - now)
        if wait >= left:
            wait = last_wait(left, retry, jitter=jitter) or wait
        return now + int(wait.total_seconds() * 1000)

    def _retry(self, row: Waiting, provider: ProviderName) -> Retry:
        """The shared schedule, over it what the provider says, the stream, and the domain."""
        domain = ""
        if self.config.domains:
            domain = domain_of(row.address)
            domain = domain if domain in self.config.domains else ""
        key = (provider, row.stream, domain)
        found = self._retries.get(key)
        if found is None:
            config = self.config
            blocks = (
                config.providers.get(provider),
                config.streams.get(StreamName(row.stream)),
                config.domains.get(domain),
            )
            layers = (block.retry if block is not None else None for block in blocks)
            found = self._retries[key] = layered(config.retry, *layers)
        return found

    def _line(
        self,
        event: EventType,
        row: Waiting,
        reply: SmtpReply,
        verdict: Verdict | None,
        path: Path,
        attempt: int,
        duration_s: float,
        now: int,
    ) -> bytes:
        if event not in self._recorded:
            return b""
        n = row.id & 0xFFF
        name = message_name(row.message, self._tag)
        return line(
            AccountingRecord(
                event_id(name, n, attempt, event),
                event,
                datetime.fromtimestamp(now / 1000, UTC),
                self.config.host,
                name,
                n,
                _text(row.sender),
                _text(row.address),
                row.stream,
                self._pool(row, path),
                row.size,
                path.vmta,
                path.source,
                path.site,
                path.provider,
                path.mx,
                path.remote,
                attempt,
                reply.verb,
                reply.code,
                reply.enhanced,
                reply.text,
                verdict.category if verdict is not None else "",
                verdict.action if verdict is not None else "",
                verdict.rule if verdict is not None else "",
                (now - row.received_at) / 1000,  # queued
                int(duration_s * 1000 + 0.5) / 1000,  # as `round`, which costs six times as much
                row.job,
                row.orcpt,
                row.envid,
                session_id=path.session_id,
                tls=path.tls,
                extensions=path.extensions,
            )
        )


def _path(queue: ReadyQueue, connection: Connection | None) -> Path:
    site = queue.site
    provider = ProviderName(site.provider)
    if connection is None:
        return Path(vmta=queue.vmta, site=site.name, provider=provider)
    return Path(
        vmta=queue.vmta,
        source=connection.source,
        site=site.name,
        provider=provider,
        mx=connection.mx,
        remote=connection.remote,
        tls=connection.tls,
        session_id=connection.session_id,
        extensions=connection.extensions,
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
