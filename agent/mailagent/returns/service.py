"""The whole of feedback on one host: listeners, the mailbox, and the reader that turns mail into effects.

Each mail is stored, then acknowledged, then read: suppression first, accounting next, then the file goes. A crash in
between reads it again, with the same event ids, and suppressing twice changes nothing.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from mailagent.api.accounting import LETTERS
from mailagent.api.feedback import FeedbackEvent, FeedbackKind, FeedbackRequest, FeedbackView
from mailagent.api.smtp import SmtpReply
from mailagent.config.feedback import Bounces
from mailagent.config.intake import ListenerKind
from mailagent.config.structs import AgentConfig, Intake
from mailagent.intake import listener
from mailagent.intake.submission import Submission
from mailagent.outcome.accounting import line
from mailagent.outcome.return_path import FILE_NAME, Envelopes, Keys, ReturnPaths, load_keys
from mailagent.returns.addresses import AddressBook
from mailagent.returns.desk import Desk
from mailagent.returns.examination import Classify, Examiner, Finding
from mailagent.returns.ledger import FeedbackLedger
from mailagent.returns.mailbox import Envelope, Mailbox
from mailagent.returns.sent import SentMail
from mailagent.returns.telling import EVENT_TYPES, event_of, record_of
from mailagent.telemetry.counters import Leaf

RETRY_S = 5.0
"""Pause after a mail whose effects could not be written."""
UPKEEP_S = 600.0
BATCH = 500
"""Mails whose messages are looked up together."""
BATCH_BYTES = 16 * 1024 * 1024
MAX_PAUSE_S = 2.0
SUBMIT_S = 60.0

log = logging.getLogger(__name__)


Suppress = Callable[[Finding], Awaitable[bool]]
"""Takes a finding with a verdict about its recipient into account; whether it is suppressed by it, on disk by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What feedback needs of its host."""

    tag: str  # of the spool
    accounting: Path
    closed: Callable[[], SmtpReply | None]
    short: Callable[[], SmtpReply | None]
    new_id: Callable[[], str]
    spawn: Callable[[Coroutine[Any, Any, None], str], object]
    account: Callable[[Sequence[bytes]], None]  # blocks
    classify: Classify
    submit: Callable[[Submission, Callable[[SmtpReply], None]], None]
    """Hand mail to the queue."""
    leaves: Callable[[], Iterable[Leaf]]
    """What was delivered since the start."""
    suppress: Suppress | None = None


class Feedback:
    """`start`, then `stop`. Without a feedback listener and streams with return paths it does nothing."""

    def __init__(self, config: AgentConfig, host: Surroundings) -> None:
        """Load the keys.

        Raises:
            KeysUnusable, OSError: they cannot be used.
        """
        self._host = host
        self._mailbox = Mailbox(config.state_dir / "feedback")
        self._ledger = FeedbackLedger(datetime.now(UTC))
        self._waiting: deque[str] = deque()
        self._wake = asyncio.Event()
        self._intake: listener.Intake | None = None
        self._desk: Desk | None = None
        self.envelopes: Envelopes | None = None
        """MAIL FROM of streams with return paths; None: no stream has any."""
        self.heard: Callable[[FeedbackEvent], None] = lambda _: None
        """Told of each event that is on disk."""
        self.configure(config, return_keys(config))

    # -- life

    def configure(self, config: AgentConfig, keys: Keys | None) -> None:
        """Use `config` and the keys that it names from now on; new listeners need a restart."""
        self._config = config
        if keys is None:
            self.envelopes = None
            return
        paths = ReturnPaths(keys, self._host.tag)
        own: dict[str, str] = {name: bounces.domain for name, bounces in _signed_streams(config)}
        self.envelopes = Envelopes(paths, own) if own else None
        book = AddressBook(config, paths, time.time, dsn_from=config.dsn_from)
        lookup = SentMail(self._host.accounting, self._host.tag)
        self._examiner = Examiner(book, paths, lookup, self._host.classify, list(config.streams))
        if self._desk is not None:
            self._desk.configure(config.feedback, book)
        elif _listens(config):
            self._desk = Desk(
                config.feedback,
                book,
                self._mailbox,
                closed=self._host.closed,
                short=self._host.short,
                new_id=self._host.new_id,
                spawn=self._host.spawn,
                stored=self._stored,
            )
        if self._intake is not None:
            self._intake.configure(_limits(config), listener.certificates(config.intake))

    async def start(self) -> None:
        """Read what an earlier run left, then listen.

        Raises:
            ListenFailed, CertificateUnusable, OSError: the configuration asks for what cannot be had.
        """
        if self._desk is None:
            return
        left = await asyncio.to_thread(self._mailbox.open)
        self._waiting.extend(left)
        self._desk.pending = len(left)
        self._host.spawn(self._read(), "feedback")
        self._intake = listener.Intake(_limits(self._config), self._config.host, self._desk, ListenerKind.FEEDBACK)
        await self._intake.start()

    def refuse_new(self) -> None:
        """421 for new connections."""
        if self._intake is not None:
            self._intake.refuse_new()

    async def stop(self, grace_s: float) -> None:
        """Close the listeners; what is on disk stays for the next start."""
        if self._intake is not None:
            await self._intake.stop(grace_s)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        return self._intake.addresses if self._intake is not None else []

    # -- rpc

    async def feedback(self, request: FeedbackRequest) -> FeedbackView:
        """What came back since the agent started."""
        desk = self._desk
        return self._ledger.view(
            listening=self._intake is not None,
            pending=desk.pending if desk is not None else 0,
            kept=self._mailbox.kept,
            refused=desk.refused if desk is not None else {},
            limit=request.limit,
            leaves=self._host.leaves(),
        )

    # -- reading

    def _stored(self, mail: str) -> None:
        self._waiting.append(mail)
        self._wake.set()

    async def _read(self) -> None:
        """Read mail by the batch, for ever; look after what is kept now and then."""
        upkeep_at = 0.0
        while True:
            while self._waiting:
                began = time.monotonic()
                done = 0
                for mail, found in await self._load(list(islice(self._waiting, BATCH))):
                    done += await self._deal_with(mail, found)
                # the look-ups of a flood of bounces get a tenth of the time at most
                await asyncio.sleep(min(MAX_PAUSE_S, 9 * (time.monotonic() - began)) if done else RETRY_S)
            if time.monotonic() >= upkeep_at:
                upkeep_at = time.monotonic() + UPKEEP_S
                await self._purge()
            self._wake.clear()
            try:
                async with asyncio.timeout(UPKEEP_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _load(self, mails: Sequence[str]) -> list[tuple[str, tuple[Envelope, bytes] | None]]:
        """The first of these mails, up to BATCH_BYTES; None for what is gone."""
        try:
            return await asyncio.to_thread(self._load_now, mails)
        except Exception:  # the task goes on whatever it is: nobody else reads
            log.exception("feedback not read; next try in %g s", RETRY_S)
            return []

    def _load_now(self, mails: Sequence[str]) -> list[tuple[str, tuple[Envelope, bytes] | None]]:
        loaded: list[tuple[str, tuple[Envelope, bytes] | None]] = []
        size = 0
        for mail in mails:
            try:
                loaded.append((mail, found := self._mailbox.load(mail)))
                size += len(found[1])
            except (FileNotFoundError, msgspec.DecodeError) as exc:
                log.error("feedback is gone or damaged msg=%s: %s", mail, exc)
                loaded.append((mail, None))
            if size > BATCH_BYTES:
                break
        self._examiner.prepare([found[0] for _, found in loaded if found is not None])
        return loaded

    async def _deal_with(self, mail: str, found: tuple[Envelope, bytes] | None) -> bool:
        """All about one mail; False, and it comes again later, when its effects cannot be written."""
        self._waiting.remove(mail)
        assert self._desk is not None  # noqa: S101 - it stored the mail
        try:
            if found is not None:
                await self._effect(*found)
        except Exception:
            log.exception("feedback not dealt with msg=%s; it is tried again", mail)
            self._waiting.append(mail)  # the others do not wait for it
            return False
        self._desk.pending -= 1
        return True

    async def _purge(self) -> None:
        feedback = self._config.feedback
        before = time.time() - feedback.keep.total_seconds()
        try:
            await asyncio.to_thread(self._mailbox.purge, before=before, most_bytes=feedback.keep_bytes)
        except OSError as exc:
            log.error("kept feedback not looked after: %s", exc)

    async def _effect(self, envelope: Envelope, message: bytes) -> None:
        """Suppression, then accounting, then the file goes."""
        mail = envelope.id
        try:
            findings = await asyncio.to_thread(self._examiner.examine, envelope, message)
        except OSError:
            raise  # accounting could not be read: later
        except Exception:
            log.exception("feedback not understood msg=%s", mail)
            findings = [Finding(kind=FeedbackKind.UNREAD, keep="it broke the reader (see log)")]
        events: list[FeedbackEvent] = []
        lines: list[bytes] = []
        for n, finding in enumerate(findings):
            suppressed = False
            if self._host.suppress is not None and finding.proven and finding.verdict and finding.sent.recipient:
                suppressed = await self._host.suppress(finding)
            event = event_of(envelope, finding, suppressed=suppressed)
            events.append(event)
            kind = EVENT_TYPES.get(finding.kind)
            if kind is not None and kind in {LETTERS[letter] for letter in self._config.accounting.records}:
                lines.append(line(record_of(envelope, finding, kind, n, self._config.host)))
            await self._pass_on(envelope, message, finding)
        if lines:
            await asyncio.to_thread(self._host.account, lines)
        await asyncio.to_thread(self._mailbox.remove, mail)
        for event in events:
            self._ledger.note(event)
            self.heard(event)
            log.info(
                "feedback kind=%s msg=%s about=%s suppressed=%s",
                event.kind,
                event.id,
                event.message_id,
                event.suppressed,
            )

    async def _pass_on(self, envelope: Envelope, message: bytes, finding: Finding) -> None:
        """To people, to the sender that the message had, or into the folder for people."""
        feedback = self._config.feedback
        if finding.kind is FeedbackKind.PEOPLE and feedback.postmaster:
            if await self._submit(envelope, message, feedback.postmaster):
                return
        elif finding.status is not None and finding.sent.sender and feedback.forward_bounces:
            await self._submit(envelope, message, finding.sent.sender)
        if finding.keep:
            await asyncio.to_thread(self._mailbox.keep, envelope, message, finding.kind, finding.keep)

    async def _submit(self, envelope: Envelope, message: bytes, recipient: str) -> bool:
        """Hand a mail to the queue, with the null sender; whether it was taken."""
        answer: asyncio.Future[SmtpReply] = asyncio.get_running_loop().create_future()
        self._host.submit(_forwarded(envelope, message, recipient), lambda reply: _settle(answer, reply))
        async with asyncio.timeout(SUBMIT_S):
            reply = await answer
        if not reply.is_success:
            if not reply.is_permanent:
                raise OSError(f"the queue answered {reply.line()}")  # later
            log.warning("feedback not passed on msg=%s reply=%s", envelope.id, reply.line())
        return reply.is_success


def return_keys(config: AgentConfig) -> Keys | None:
    """The keys that `config` needs, made when there are none; None when it has neither return paths nor listeners.

    Raises:
        KeysUnusable, OSError: they cannot be used.
    """
    if not (_listens(config) or any(True for _ in _signed_streams(config))):
        return None
    return load_keys(config.feedback.keys or config.state_dir / FILE_NAME)


def _listens(config: AgentConfig) -> bool:
    return any(one.kind is ListenerKind.FEEDBACK for one in config.intake.listeners)


def _signed_streams(config: AgentConfig) -> Iterator[tuple[str, Bounces]]:
    for name, stream in config.streams.items():
        if stream.bounces is not None and stream.bounces.verp:
            yield name, stream.bounces


def _settle(answer: "asyncio.Future[SmtpReply]", reply: SmtpReply) -> None:
    if not answer.done():
        answer.set_result(reply)


def _limits(config: AgentConfig) -> Intake:
    """The intake of feedback listeners: limits of its own, and no relaying for anybody."""
    feedback = config.feedback
    return msgspec.structs.replace(
        config.intake,
        relay_from=(),
        max_message_bytes=feedback.max_message_bytes,
        max_recipients=feedback.max_recipients,
        max_connections=feedback.max_connections,
        max_connections_per_client=feedback.max_connections_per_client,
    )


def _forwarded(envelope: Envelope, message: bytes, recipient: str) -> Submission:
    body = message.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\0", b"").replace(b"\n", b"\r\n")
    if not body.endswith(b"\r\n"):
        body += b"\r\n"
    return Submission(
        sender=b"",
        recipients=(recipient.encode(),),
        body=body,
        plain=False,
        eightbit=not body.isascii(),
        headers={},
        job="",
        virtual_mta="",
        client=envelope.client,
        helo="feedback",
        hops=0,
        utf8=not recipient.isascii(),
    )
