"""Who lets a message into its stream: the checks that the stream asks for, and its protection from bulk."""

import asyncio
import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from mailagent.api.ids import StreamName
from mailagent.api.intake import CheckCount, CheckCounts
from mailagent.api.requests import Empty
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.config.streams import Check, Checks, Protect
from mailagent.config.structs import AgentConfig, Stream
from mailagent.dns import Found, MxAnswer, NxDomain, Resolver, ascii_domain
from mailagent.intake.checks import Finding, domains_of, findings, lies_in, looks_like_bulk
from mailagent.intake.headers import block
from mailagent.intake.submission import Submission
from mailagent.routing.routes import RouteTable

DNS_S = 2.0
"""How long a client waits for DNS; what has no answer by then is taken."""
DOMAINS = 20
"""Recipient domains of one message that are asked for."""
COUNTED = 10_000
"""Texts and clients that are counted at a time, 100 bytes each."""
TEXT_BYTES = 262_144
"""Octets of a text that tell it from others, with its length."""
TOLD_S = 10.0
"""Time between two lines in the log about the same check of the same stream."""
LARGE_BYTES = 1_048_576
"""Larger messages are read in a thread: this much takes some milliseconds."""

log = logging.getLogger(__name__)

_NOT_CHECKED = SmtpReply(code=451, enhanced="4.3.0", text="this mail cannot be checked now", local=True)

Signs = Callable[[str, bytes], bool | None]
"""(pool, From value) -> whether a key signs for it; None: the pool has no keys."""
Then = Callable[[StreamName | SmtpReply, str], None]
"""(the stream that the message goes to, or its refusal; the checks that it failed all the same)."""


class Case(NamedTuple):
    """One message before the guard."""

    submission: Submission
    then: Then
    warned: list[str]  # checks that it failed, and that do not refuse

    def end(self, verdict: StreamName | SmtpReply) -> None:
        """Say what becomes of it."""
        self.then(verdict, ",".join(self.warned))


class Guard:
    """The rules of all streams that have any. Runs on the loop."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        signs: Signs,
        resolver: Resolver,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._signs = signs
        self._resolver = resolver
        self._spawn = spawn
        self._clock = clock
        self._counts: dict[tuple[StreamName, str], CheckCount] = {}
        self._tell_at: dict[tuple[StreamName, str], float] = {}
        self._counted: defaultdict[tuple[StreamName, str], WindowCounts] = defaultdict(WindowCounts)
        self.configure(config)

    def configure(self, config: AgentConfig) -> None:
        """Use its rules from now on."""
        self._routes = RouteTable(config.routes)
        self.streams = {name: stream for name, stream in config.streams.items() if _has_rules(stream)}
        """Streams with rules; the mail of all others goes by."""

    async def checks(self, _: Empty) -> CheckCounts:
        """What checks found since the agent started, by stream and check."""
        return CheckCounts(rows=tuple(self._counts[key] for key in sorted(self._counts)))

    def judge(self, name: StreamName, submission: Submission, then: Then) -> None:
        """Call `then` with what becomes of the message; maybe at once.

        Raises:
            KeyError: `name` is not among `streams`.
        """
        self._judge(name, Case(submission, then, []), moved=False)

    def _judge(self, name: StreamName, case: Case, *, moved: bool) -> None:
        submission = case.submission
        stream = self.streams[name]
        if not moved and stream.protect.action is not Protect.OFF and (why := self._bulk(name, stream, submission)):
            advice = f"{why}, and stream {name} takes no bulk mail; send it by another stream"
            refusal = self._found(name, stream.protect.action, Finding("bulk", 550, "5.7.1", advice), case)
            if refusal is not None:
                case.end(refusal)
                return
            if stream.protect.action is Protect.MOVE and stream.protect.move_to is not None:
                to = stream.protect.move_to
                if to in self.streams:
                    self._judge(to, case, moved=True)
                else:
                    case.end(to)
                return
        if stream.max_message_bytes is not None and len(submission.body) > stream.max_message_bytes:
            text = f"mail of stream {name} has at most {stream.max_message_bytes} octets; send less"
            refusal = self._found(name, stream.checks.size, Finding("size", 552, "5.3.4", text), case)
            if refusal is not None:
                case.end(refusal)
                return
        if len(submission.body) > LARGE_BYTES:
            self._spawn(self._read_large(name, stream, case), "checks of a large message")
        else:
            self._read(name, stream, case, findings(*self._question(stream, submission)))

    # -- the text

    def _question(self, stream: Stream, submission: Submission) -> tuple[bytes, Checks, Callable[[bytes], bool]]:
        return submission.body, stream.checks, partial(self._aligned, stream)

    async def _read_large(self, name: StreamName, stream: Stream, case: Case) -> None:
        """The same for a message that takes the loop too long."""
        try:
            found = await asyncio.to_thread(lambda: list(findings(*self._question(stream, case.submission))))
        except Exception:
            log.exception("a large message could not be checked stream=%s", name)
            case.end(_NOT_CHECKED)
        else:
            self._read(name, stream, case, found)

    def _read(self, name: StreamName, stream: Stream, case: Case, found: Iterable[Finding]) -> None:
        for finding in found:
            refusal = self._found(name, getattr(stream.checks, finding.check), finding, case)
            if refusal is not None:
                case.end(refusal)
                return
        if stream.checks.recipient_domain is Check.OFF:
            case.end(name)
            return
        domains = self._asked(case.submission)
        answers = [self._resolver.cached_mx(domain) for domain in domains]
        if None in answers:
            self._spawn(self._look_up(name, case, domains), "recipient domains")
        else:
            self._answered(name, case, domains, answers)

    # -- bulk

    def _bulk(self, name: StreamName, stream: Stream, submission: Submission) -> str:
        """Why the message looks like bulk; empty: it does not."""
        protect = stream.protect
        if len(submission.recipients) > protect.recipients:
            return f"it has {len(submission.recipients)} recipients"
        now, window_s = self._clock(), protect.window.total_seconds()
        count = self._counted[name, "text"].add(_text_key(submission.body), now, window_s)
        if count > protect.same_text:
            return f"the same text came {count} times"
        if protect.per_client is not None:
            who = submission.user or submission.client
            count = self._counted[name, "client"].add(who.encode(), now, window_s)
            if count > protect.per_client:
                return f"{who} sent {count} messages within {window_s:g} s"
        return looks_like_bulk(submission.body)

    # -- From

    def _aligned(self, stream: Stream, value: bytes) -> bool:
        if stream.from_domains:
            domains = domains_of(value)
            zones = tuple(domain.lower() for domain in stream.from_domains)
            return bool(domains) and all(lies_in(domain, zones) for domain in domains)
        return self._signs(stream.pool, value) is not False

    # -- recipients

    def _asked(self, submission: Submission) -> list[str]:
        """Recipient domains that DNS knows about: no literals, none with a route."""
        texts = {address.rpartition(b"@")[2].decode("utf-8", "replace").lower() for address in submission.recipients}
        names = (ascii_domain(text) for text in sorted(texts) if not text.startswith("["))
        return [name for name in names if self._routes.site(name) is None][:DOMAINS]

    async def _look_up(self, name: StreamName, case: Case, domains: list[str]) -> None:
        answers: list[MxAnswer | None] = []
        try:
            async with asyncio.timeout(DNS_S):
                answers += await asyncio.gather(*map(self._resolver.mx, domains))
        except TimeoutError:
            log.info("recipient domains not known within %g s stream=%s", DNS_S, name)
        except Exception:
            log.exception("recipient domains not checked stream=%s", name)
        self._answered(name, case, domains, answers)

    def _answered(self, name: StreamName, case: Case, domains: list[str], answers: Sequence[MxAnswer | None]) -> None:
        """Refuse a message none of whose recipients can get it; where some can, the others bounce later."""
        stream = self.streams.get(name)
        dead = [why for domain, answer in zip(domains, answers, strict=False) if (why := _dead(domain, answer))]
        refusal = None
        if dead and stream is not None:  # else a reload came in between
            everybody = len(dead) == len(
                {address.rpartition(b"@")[2].lower() for address in case.submission.recipients}
            )
            level = stream.checks.recipient_domain if everybody else Check.WARN
            refusal = self._found(name, level, dead[0], case)
        case.end(name if refusal is None else refusal)

    # -- what was found

    def _found(self, name: StreamName, action: Check | Protect, finding: Finding, case: Case) -> SmtpReply | None:
        """Count, and log now and then; the refusal, if that is what the action says."""
        if action == Check.OFF:
            return None
        submission = case.submission
        key = (name, finding.check)
        count = self._counts.setdefault(key, CheckCount(stream=name, check=finding.check))
        refused, moved = action == Check.REFUSE, action == Protect.MOVE
        self._counts[key] = CheckCount(
            stream=name,
            check=finding.check,
            warned=count.warned + (not refused and not moved),
            refused=count.refused + refused,
            moved=count.moved + moved,
        )
        now = self._clock()
        if now >= self._tell_at.get(key, 0.0):  # each is counted; the log has an example now and then
            self._tell_at[key] = now + TOLD_S
            log.info(
                "check=%s stream=%s action=%s client=%s user=%s job=%s: %s",
                finding.check, name, action, submission.client, submission.user, submission.job, finding.text,
            )  # fmt: skip
        if not refused:
            case.warned.append(finding.check)
            return None
        text = f"check {finding.check}: {finding.text}"
        return SmtpReply(code=finding.code, enhanced=finding.enhanced, text=text, verb=Verb.DOT, local=True)


class WindowCounts:
    """How often the same came within a window, in bounded memory: exact for the last half of it at least."""

    def __init__(self) -> None:
        self._now: dict[bytes, int] = {}
        self._before: dict[bytes, int] = {}
        self._turn_at = 0.0

    def add(self, key: bytes, now: float, window_s: float) -> int:
        """Count `key`; how often it came by now."""
        if now >= self._turn_at or len(self._now) >= COUNTED:
            idle = now >= self._turn_at + window_s / 2
            self._before, self._now = ({} if idle else self._now), {}
            self._turn_at = now + window_s / 2
        self._now[key] = self._now.get(key, 0) + 1
        return self._now[key] + self._before.get(key, 0)


def _text_key(body: bytes) -> bytes:
    """What tells the text of a message, its header apart, from others."""
    start = len(block(body))
    text = memoryview(body)[start : start + TEXT_BYTES]
    return hashlib.blake2b(text, digest_size=16, salt=(len(body) - start).to_bytes(8, "big")).digest()


def _dead(domain: str, answer: MxAnswer | None) -> Finding | None:
    if isinstance(answer, NxDomain):
        return Finding("recipient_domain", 550, "5.1.2", f"{domain} does not exist; take its recipients off")
    if isinstance(answer, Found) and len(answer.records) == 1 and not answer.records[0].name:
        return Finding("recipient_domain", 550, "5.1.10", f"{domain} takes no mail (RFC 7505); take it off")
    return None


def _has_rules(stream: Stream) -> bool:
    checks: Iterable[str] = (name for name in stream.checks.__struct_fields__ if name != "size")
    return (
        stream.max_message_bytes is not None
        or stream.protect.action is not Protect.OFF
        or any(getattr(stream.checks, name) is not Check.OFF for name in checks)
    )
