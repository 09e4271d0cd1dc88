"""Adaptive shaping, the deciding part: pure functions from replies, time and live directives to changes.

Everything that automation does is a directive with its rule, the reply behind it, and an end:

    limits of a unit:  configured --threshold--> half --threshold--> … --> one connection, one message a minute
                       one step up per quiet time, by a quarter of what it was; at the top the directive ends
    unit:              open --threshold of a rule that suspends--> suspended, and limits at a quarter for afterwards

A unit is what a provider judges: a virtual MTA at a provider (`cell`); at sites of no known provider, the site alone
(`queue`); a stream at a provider (`traffic`); or a stream everywhere (`stream`), when the fault is ours.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec

from mailagent.api import codec
from mailagent.api.classification import Category
from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import DirectiveId, OpId, ProviderName, StreamName, VmtaName
from mailagent.api.smtp import SmtpReply
from mailagent.api.targets import Target, TargetKind
from mailagent.config.automation import Automation, Rule, RuleAct, RuleScope
from mailagent.config.scalars import parse_limit
from mailagent.config.structs import AgentConfig, Rate
from mailagent.control.change import Change, Situation
from mailagent.control.state import HostState
from mailagent.routing import DEFAULT_PROVIDER, PROVIDER_LIMITS, ROUTE_PROVIDER, PathLimits, Site

K = TypeVar("K")
V = TypeVar("V")

AUTHOR: Final = "automation"
CLIMB: Final = 0.25
"""Part of the limit that one quiet time gives back; also what is left right after a suspension."""
FLOOR: Final = Rate(count=1, period_s=60)
"""Lowest rate; the lowest number of connections is 1."""
LEAST_BASE: Final = Rate(count=60, period_s=60)
"""Lowest rate that steps down start from, unless the configuration's own is lower."""
REPLY_CHARS: Final = 300
"""Length of the reply in a directive: hundreds of them must fit in one frame."""
MAX_TALLIES: Final = 4096
"""Units × rules whose matches are counted; the ones that matched longest ago are forgotten first."""
_WHOLE: Final = frozenset((DEFAULT_PROVIDER, ROUTE_PROVIDER))
"""Providers that are none: their sites have nothing in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A reply that did not deliver, and where it came from."""

    site: Site
    vmta: VmtaName
    stream: StreamName
    reply: SmtpReply
    category: Category


class NamedRule:
    """A rule with its name, `gmail.unusual-rate`, and its pattern compiled."""

    __slots__ = ("_categories", "_pattern", "name", "rule")

    def __init__(self, provider: ProviderName, name: str, rule: Rule) -> None:
        self.name = f"{provider}.{name}"
        self.rule = rule
        self._categories = frozenset(rule.categories)
        self._pattern = re.compile(rule.text, re.IGNORECASE) if rule.text else None

    def matches(self, reply: SmtpReply, category: Category) -> bool:
        """Whether the rule is about such a reply."""
        if self._categories and category not in self._categories:
            return False
        return self._pattern is None or self._pattern.search(reply.line()) is not None


class RuleBook:
    """The rules of one configuration, by provider: its own in order, then those of `default`."""

    def __init__(self, config: AgentConfig) -> None:
        off = frozenset(config.automation.off)
        named = {
            provider: tuple(
                one for name, rule in block.rules.items() if (one := NamedRule(provider, name, rule)).name not in off
            )
            for provider, block in config.providers.items()
        }
        self._default = named.get(DEFAULT_PROVIDER, ())
        self._named = {name: rules + self._default for name, rules in named.items() if name != DEFAULT_PROVIDER}
        self.names = tuple(one.name for rules in named.values() for one in rules)

    def find(self, provider: ProviderName, reply: SmtpReply, category: Category) -> NamedRule | None:
        """The first rule that matches a reply of `provider`; our own words never match (handbook/engine 11.3)."""
        if reply.local:
            return None
        for one in self._named.get(provider, self._default):
            if one.matches(reply, category):
                return one
        return None


class Matches:
    """Matches of one rule at one unit, until the threshold is reached."""

    __slots__ = ("_attempts", "_times")

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._attempts: deque[int] = deque()  # how many attempts the unit had made at each

    def add(self, now: float, attempts: int, threshold: Rate, share: tuple[int, int] | None) -> bool:
        """Count one more; whether that is `threshold`, or `share` (so many of so many attempts). Then it starts anew.

        `attempts` is how many attempts the unit has made so far, failed ones too.
        """
        most = max(threshold.count, share[0] if share is not None else 0)
        self._times.append(now)
        self._attempts.append(attempts)
        while len(self._times) > most:
            self._times.popleft()
            self._attempts.popleft()
        reached = len(self._times) >= threshold.count and now - self._times[-threshold.count] <= threshold.period_s
        if not reached and share is not None and len(self._attempts) >= share[0]:
            reached = attempts - self._attempts[-share[0]] < share[1]
        if reached:
            self._times.clear()
            self._attempts.clear()
        return reached


@dataclass(frozen=True, slots=True)
class Order:
    """A threshold was reached: what the rule wants done, and the reply that did it."""

    rule: NamedRule
    unit: Target
    seen: Seen
    matches: int


class Watch:
    """Counts what rules match. Knows nothing of directives: what is done is planned on those that live then."""

    def __init__(self, config: AgentConfig) -> None:
        self.hits: dict[str, int] = {}
        """Matches by rule, since the start."""
        self._tallies: OrderedDict[tuple[str, Target], Matches] = OrderedDict()
        self._trouble: OrderedDict[Target, datetime] = OrderedDict()
        self._ordered: OrderedDict[tuple[str, Target], datetime] = OrderedDict()
        self.configure(config)

    def configure(self, config: AgentConfig) -> None:
        """Use the rules of `config` from now on."""
        self._settings = config.automation
        self.rules = RuleBook(config)
        attempts = config.automation.attempts
        self._share = (max(1, round(config.automation.share * attempts)), attempts)

    def add(self, seen: Seen, attempts: Callable[[], int], now: datetime) -> Order | None:
        """Take one more reply; the order that it gives, if any. `attempts`: that were made where it came from."""
        named = self.rules.find(seen.site.provider, seen.reply, seen.category)
        if named is None or named.rule.act is RuleAct.NONE:
            return None
        self.hits[named.name] = self.hits.get(named.name, 0) + 1
        unit = unit_of(named.rule, seen)
        self.note_trouble(unit, now)
        key = (named.name, unit)
        done = self._ordered.get(key)
        if done is not None and now - done < self._settings.pause:
            return None  # an answer to what was under way when the last step was made
        matches = self._tallies.get(key)
        if matches is None:
            matches = Matches()
        _remember(self._tallies, key, matches)
        threshold = named.rule.threshold or self._settings.threshold
        if named.rule.threshold is not None:
            reached = matches.add(now.timestamp(), 0, threshold, None)
        else:
            reached = matches.add(now.timestamp(), attempts(), threshold, self._share)
        if not reached:
            return None
        _remember(self._ordered, key, now)
        return Order(named, unit, seen, threshold.count)

    def note_trouble(self, unit: Target, now: datetime) -> None:
        """No quiet time at `unit` up to `now`."""
        _remember(self._trouble, unit, now)

    def last_trouble(self, unit: Target) -> datetime | None:
        """When it was last not quiet at `unit`, as far as is known."""
        return self._trouble.get(unit)


def unit_of(rule: Rule, seen: Seen) -> Target:
    """What a rule acts on, for a reply."""
    provider = seen.site.provider
    if rule.act is RuleAct.HOLD and seen.stream:
        return Target(kind=TargetKind.STREAM, name=seen.stream)
    if provider in _WHOLE:
        return Target(kind=TargetKind.QUEUE, name=f"{seen.site.group}/{seen.vmta}")
    if rule.act is RuleAct.SUSPEND and rule.scope is RuleScope.STREAM and seen.stream:
        return Target(kind=TargetKind.TRAFFIC, name=f"{provider}/{seen.stream}")
    return Target(kind=TargetKind.CELL, name=f"{provider}/{seen.vmta}")


# -- changes -----------------------------------------------------------------------------------------------------


def carry_out(
    at: Situation,
    order: Order,
    ids: Callable[[], DirectiveId],
    op_id: OpId,
    settings: Automation,
    limits: PathLimits,
    observed: Rate | None,
) -> Change:
    """What `order` changes. `limits` are those of the configuration for its path, `observed` is what it sends now."""
    draft = _Draft(at, order, ids, op_id, min(order.rule.rule.life or settings.life, settings.max_life))
    match order.rule.rule.act:
        case RuleAct.BACKOFF:
            bases = _bases(order.unit, limits, observed)
            steps = order.rule.rule.steps
            draft.step_down({name: base for name, base in bases.items() if name.rpartition("_")[2] in steps})
        case RuleAct.LIMIT:
            draft.set_limits(order.rule.rule.set)
        case RuleAct.SUSPEND | RuleAct.HOLD:
            bases = _bases(order.unit, limits, observed) if order.unit.kind in _LIMITED else {}
            draft.suspend(bases, afterwards=min(settings.quiet * 5, settings.max_life / 2), most=settings.max_life)
        case RuleAct.NONE:
            pass
    return draft.change()


def merged(changes: Sequence[Change]) -> Change:
    """Several changes of different units as one operation."""
    real = [one for one in changes if not one.is_nothing]
    if len(real) == 1:
        return real[0]
    return Change(
        detail="; ".join(one.detail for one in real),
        created=tuple(made for one in real for made in one.created),
        ended=tuple(old for one in real for old in one.ended),
    )


def climb(
    at: Situation,
    unit: Target,
    ids: Callable[[], DirectiveId],
    op_id: OpId,
    settings: Automation,
    trouble: datetime | None,
) -> Change:
    """One step up for the limits of `unit` that are in step-down, if it was quiet for so long."""
    own = [one for one in _own(at.state.directives, unit) if one.kind is DirectiveKind.LIMIT and one.base]
    nothing = Change(target=unit, detail="")
    created: list[Directive] = []
    ended: list[Directive] = []
    words: list[str] = []
    for one in own:
        since = max(one.created_at, trouble or one.created_at)
        if one.pinned or at.now - since < settings.quiet:
            continue
        value = raised(parse_limit(one.limit, one.value), parse_limit(one.limit, one.base))
        ended.append(one)
        if value is None:
            words.append(f"{one.limit} is as configured again")
            continue
        words.append(f"{one.limit} {one.value} -> {value}")
        created.append(
            msgspec.structs.replace(
                one,
                id=ids(),
                op_id=op_id,
                value=str(value),
                created_at=at.now,
                continues=one.continues or one.id,
            )
        )
    if not ended:
        return nothing
    quiet = round(settings.quiet.total_seconds() / 60, 1)
    detail = f"{unit.name}: {', '.join(words)}, after {quiet:g} quiet min ({ended[0].rule})"
    return Change(target=unit, detail=detail, created=tuple(created), ended=tuple(ended))


def units_in_step_down(directives: Sequence[Directive]) -> list[Target]:
    """Units with a limit that quiet time may raise."""
    return list(dict.fromkeys(one.target for one in directives if one.rule and one.base and not one.pinned))


def is_held(state: HostState, unit: Target) -> bool:
    """Whether nothing may be sent at `unit`: then silence is no sign of quiet."""
    name, _, vmta = unit.name.rpartition("/")
    site, provider = (name, "") if unit.kind is TargetKind.QUEUE else ("", name)
    return state.vmta_block(VmtaName(vmta), site, ProviderName(provider)) is not None


def halved(value: int | Rate) -> int | Rate:
    """One step down: half, never below one connection or one message a minute (or what it was, if that is less)."""
    if isinstance(value, int):
        return max(1, value // 2)
    if value.interval_s >= FLOOR.interval_s:
        return value
    return _like(value, max(1, _per_minute(value) // 2))


def quarter(value: int | Rate) -> int | Rate:
    """What is left right after a suspension."""
    return halved(halved(value))


def raised(value: int | Rate, base: int | Rate) -> int | Rate | None:
    """One step up: a quarter of `base` more; None when that is `base` again."""
    if isinstance(value, int):
        assert isinstance(base, int)  # noqa: S101  # both are values of one limit
        more = value + max(1, int(base * CLIMB))
        return more if more < base else None
    assert isinstance(base, Rate)  # noqa: S101
    if base.interval_s >= FLOOR.interval_s:
        return None
    count = _per_minute(value) + max(1, int(_per_minute(base) * CLIMB))
    return _like(base, count) if count < _per_minute(base) else None


def _like(rate: Rate, per_minute: int) -> Rate:
    """`per_minute` in the unit of `rate` where that is exact, so that a reader sees 50/s beside 100/s."""
    if rate.period_s == 1 and per_minute % 60 == 0:
        return Rate(count=per_minute // 60, period_s=1)
    return Rate(count=per_minute, period_s=60)


def _per_minute(rate: Rate) -> int:
    return max(1, rate.count * 60 // rate.period_s)


_LIMITED = frozenset((TargetKind.CELL, TargetKind.QUEUE))


def _bases(unit: Target, limits: PathLimits, observed: Rate | None) -> dict[str, int | Rate]:
    """The limits of `unit` that are stepped down, and what they are without automation.

    The rate starts from what is really sent: half of a limit that is never reached would change nothing. But not from
    next to nothing, which only says that there was little mail in the last minute.
    """
    prefix = "provider_" if unit.kind is TargetKind.CELL else ""
    bases: dict[str, int | Rate] = {}
    for name in (f"{prefix}connections", "connections"):
        connections = getattr(limits, name).value
        if connections is not None:
            bases[name] = connections
            break
    rates = [getattr(limits, name).value for name in dict.fromkeys((f"{prefix}rate", "rate"))]
    if observed is not None:
        rates.append(min(observed, LEAST_BASE, key=lambda rate: rate.interval_s))
    rates = [rate for rate in rates if rate is not None]
    if rates:
        bases[f"{prefix}rate"] = max(rates, key=lambda rate: rate.interval_s)
    return bases


def _own(directives: Sequence[Directive], unit: Target) -> list[Directive]:
    return [one for one in directives if one.rule and one.target == unit]


class _Draft:
    """Collects what one order makes and ends."""

    def __init__(
        self, at: Situation, order: Order, ids: Callable[[], DirectiveId], op_id: OpId, life: timedelta
    ) -> None:
        self._at = at
        self._order = order
        self._ids = ids
        self._op_id = op_id
        self._life = life
        self._created: list[Directive] = []
        self._ended: list[Directive] = []
        self._words: list[str] = []
        self._own = _own(at.state.directives, order.unit)

    def change(self) -> Change:
        """What came of it."""
        order = self._order
        detail = f"{order.unit.name}: {', '.join(self._words)} ({self._reason()})" if self._words else ""
        return Change(target=order.unit, detail=detail, created=tuple(self._created), ended=tuple(self._ended))

    def step_down(self, bases: dict[str, int | Rate]) -> None:
        """Each limit to half of what it is now."""
        for name, base in bases.items():
            live = self._live(DirectiveKind.LIMIT, name)
            known: int | Rate = parse_limit(name, live.base or live.value) if live is not None else base
            value = halved(parse_limit(name, live.value) if live is not None else base)
            self._limit(name, value, known, live, self._life)

    def set_limits(self, values: dict[str, str]) -> None:
        """The limits that the rule names; at a provider, over all its sites where there is such a limit."""
        for key, value in values.items():
            over_all = f"provider_{key}"
            name = over_all if self._order.unit.kind is TargetKind.CELL and over_all in PROVIDER_LIMITS else key
            self._limit(name, parse_limit(name, value), None, self._live(DirectiveKind.LIMIT, name), self._life)

    def suspend(self, bases: dict[str, int | Rate], afterwards: timedelta, most: timedelta) -> None:
        """Nothing goes for the life of the order; and limits that hold afterwards, until quiet time has raised them.

        Together at most `most`, so that mail never comes back all at once.
        """
        if bases:
            self._life = min(self._life, most - afterwards)
        live = self._live(DirectiveKind.SUSPEND)
        if self._stays(live, self._life):
            return
        self._make(DirectiveKind.SUSPEND, live, self._life)
        self._words.append(f"suspended for {_minutes(self._life)}")
        for name, base in bases.items():
            lowered = self._live(DirectiveKind.LIMIT, name)
            known = parse_limit(name, lowered.base or lowered.value) if lowered is not None else base
            self._limit(name, quarter(known), known, lowered, self._life + afterwards, after=True)

    def _limit(
        self,
        name: str,
        value: int | Rate,
        base: int | Rate | None,
        live: Directive | None,
        life: timedelta,
        *,
        after: bool = False,
    ) -> None:
        if live is not None and (live.pinned or (str(value) == live.value and self._stays(live, life))):
            return
        if live is None and base is not None and value == base:
            return  # it is at the floor by configuration
        made = self._make(DirectiveKind.LIMIT, live, life)
        text = "" if base is None else str(base)
        self._created[-1] = msgspec.structs.replace(made, limit=name, value=str(value), base=text, after=after)
        before = live.value if live is not None else text
        self._words.append(f"{name} {before} -> {value}" if before and before != str(value) else f"{name} {value}")

    def _make(self, kind: DirectiveKind, live: Directive | None, life: timedelta) -> Directive:
        if live is not None:
            self._ended.append(live)
        made = Directive(
            id=self._ids(),
            kind=kind,
            target=self._order.unit,
            author=AUTHOR,
            reason=self._reason(),
            created_at=self._at.now,
            expires_at=self._at.now + life,
            op_id=self._op_id,
            rule=self._order.rule.name,
            reply=codec.cut(self._order.seen.reply.line(), REPLY_CHARS),
        )
        self._created.append(made)
        return made

    def _reason(self) -> str:
        order = self._order
        threshold = order.rule.rule.threshold
        count = f"{order.matches} in {_minutes(timedelta(seconds=threshold.period_s))}: " if threshold else ""
        return f"rule {order.rule.name}: {count}{codec.cut(order.seen.reply.line(), REPLY_CHARS)}"

    def _live(self, kind: DirectiveKind, limit: str = "") -> Directive | None:
        return next((one for one in self._own if one.kind is kind and one.limit == limit), None)

    def _stays(self, live: Directive | None, life: timedelta) -> bool:
        """Whether a live one need not be written again: it is pinned, or has more than half of its life to go."""
        if live is None:
            return False
        return live.pinned or live.expires_at is None or live.expires_at - self._at.now > life / 2


def _minutes(span: timedelta) -> str:
    minutes = span.total_seconds() / 60
    return f"{minutes / 60:g} h" if minutes >= 60 else f"{minutes:g} min"


def _remember(table: OrderedDict[K, V], key: K, value: V) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > MAX_TALLIES:
        table.popitem(last=False)
