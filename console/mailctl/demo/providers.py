"""Simulated providers: who they are, and what they answer to whom.

A `ProviderSpec` says how a provider looks (MX hosts, domains, texts) and what it enforces; a `Provider` is one at work.
Every limit holds per source address, as at the real ones.
"""

import random
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mailctl.demo.replies import Situation, Texts

UNKNOWN_USERS = "nobody"
"""Local parts that start so do not exist anywhere."""
FULL_MAILBOXES = "full"
"""Local parts that start so have no room."""
EVERY_SOURCE = "*"
MAX_RECIPIENTS = 100
"""Recipients of one transaction; more get 452 4.5.3."""
MAX_MESSAGE_BYTES = 36_700_160
GREYLIST_MEMORY = 50_000
"""Triples remembered by one greylist; the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one source address may do; None is no limit."""

    connections: int | None = None
    messages_per_connection: int | None = None
    rate_per_s: float | None = None  # messages, with a burst of two seconds' worth


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider."""

    name: str
    mx: Mapping[str, tuple[str, ...]]  # MX set -> host names in order of preference
    domains: Mapping[str, str]  # recipient domain -> its MX set
    share: float = 0.0  # of the demo's traffic
    limits: Limits = Limits()
    marks: Mapping[Situation, str] = field(default_factory=dict)  # own texts, see `replies.sample`
    accepted: str = "250 2.0.0 Ok: queued as {token}"
    hiccups: float = 0.0  # share of recipients deferred for no reason of ours
    greylist_s: float | None = None  # a new (source, sender, recipient) waits so long
    greeting_delay_s: float = 0.0
    dot_delay_s: float = 0.0


class Bucket:
    """A token bucket with the clock passed in: `rate` a second, at most `burst` at once."""

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled_at = now

    def take(self, now: float) -> bool:
        """Whether one more is allowed now."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Provider:
    """One provider at work. Answers are whole reply lines without CRLF; a 421 also ends the session."""

    def __init__(self, spec: ProviderSpec, *, rng: random.Random, clock: Callable[[], float] = time.monotonic) -> None:
        self.spec = spec
        self.name = spec.name
        self.slow_s = 0.0
        """What an incident adds to each greeting and each final dot."""
        self.suspects: dict[str, float] = {}
        """Source address -> share of its recipients deferred for poor reputation."""
        self.refusals: dict[str, tuple[Situation, float]] = {}
        """What an incident answers to a share of the recipients of a source address; `*` is every address."""
        self._texts = Texts(spec.marks, rng)
        self._rng = rng
        self._clock = clock
        self._connections: Counter[str] = Counter()
        self._rates: dict[str, Bucket] = {}
        self._throttles: dict[str, Bucket] = {}
        self._greylist: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    @property
    def greeting_delay_s(self) -> float:
        """Seconds before the greeting."""
        return self.spec.greeting_delay_s + self.slow_s

    @property
    def dot_delay_s(self) -> float:
        """Seconds before the answer to a message."""
        return self.spec.dot_delay_s + self.slow_s

    def throttle(self, source: str, *, per_minute: float) -> None:
        """Let only so many messages of `source` pass until `release`."""
        self._throttles[source] = Bucket(per_minute / 60, 1, self._clock())

    def release(self, source: str) -> None:
        """End a throttle."""
        self._throttles.pop(source, None)

    def connected(self, source: str) -> str | None:
        """Count a connection; a refusal when `source` has too many."""
        self._connections[source] += 1
        limit = self.spec.limits.connections
        if limit is not None and self._connections[source] > limit:
            return self._texts.line(Situation.CROWDED, source=source)
        return None

    def disconnected(self, source: str) -> None:
        """Uncount a connection."""
        self._connections[source] -= 1
        if not self._connections[source]:
            del self._connections[source]

    def mail(self, source: str, sent: int) -> str | None:
        """A refusal of the next message in a session that has carried `sent`, or None."""
        limit = self.spec.limits.messages_per_connection
        if limit is not None and sent >= limit:
            return self._texts.line(Situation.WORN, source=source)
        return None

    def recipient(self, source: str, sender: str, recipient: str) -> str | None:
        """A refusal of this recipient, or None."""
        situation = self._judge(source, sender, recipient)
        return None if situation is None else self._texts.line(situation, source=source, recipient=recipient)

    def message(self, source: str) -> str:
        """The answer to the final dot."""
        now = self._clock()
        throttle = self._throttles.get(source)
        if throttle is not None and not throttle.take(now):
            return self._texts.line(Situation.THROTTLED, source=source)
        rate = self.spec.limits.rate_per_s
        if rate is not None:
            bucket = self._rates.get(source)
            if bucket is None:
                bucket = self._rates[source] = Bucket(rate, rate * 2, now)
            if not bucket.take(now):
                return self._texts.line(Situation.THROTTLED, source=source)
        return self.spec.accepted.format(token=self._texts.token())

    def _judge(self, source: str, sender: str, recipient: str) -> Situation | None:
        if recipient.startswith(UNKNOWN_USERS):
            return Situation.UNKNOWN
        if recipient.startswith(FULL_MAILBOXES):
            return Situation.FULL
        refusal = self.refusals.get(source) or self.refusals.get(EVERY_SOURCE)
        if refusal is not None and self._rng.random() < refusal[1]:
            return refusal[0]
        if self.spec.greylist_s is not None and not self._known(source, sender, recipient):
            return Situation.GREYLISTED
        if self.suspects and self._rng.random() < self.suspects.get(source, 0.0):
            return Situation.SUSPECT
        if self.spec.hiccups and self._rng.random() < self.spec.hiccups:
            return Situation.HICCUP
        return None

    def _known(self, source: str, sender: str, recipient: str) -> bool:
        """Whether the triple has waited long enough."""
        now = self._clock()
        triple = (source, sender, recipient)
        seen = self._greylist.setdefault(triple, now)
        if len(self._greylist) > GREYLIST_MEMORY:
            self._greylist.popitem(last=False)
        return now - seen >= (self.spec.greylist_s or 0.0)
