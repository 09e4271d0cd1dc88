"""Playbooks: conditions on the figures of the fleet, and what to do when they hold. Pure, but for reading the file.

name: gmail-throttles
when:
  - {figure: deferrals, of: "cell:*", above: 0.4}     # `*`: each one is a candidate, worst first
  - {figure: state, of: "vmta:{vmta}", equals: active}
do:
  - {verb: rotate, select: "vmta:{vmta}"}
cooldown: 6h
at_most: 1
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import msgspec

from mailagent.api.requests import HistoryScope
from mailagent.config.errors import ConfigError, Problem
from mailagent.config.nodes import Key, compose
from mailagent.config.reading import Reader
from mailagent.config.scalars import format_duration, parse_duration
from mailctl.ops.checkup import summed
from mailctl.ops.errors import OpsError
from mailctl.ops.facts import Facts
from mailctl.ops.plan import Options, Verb
from mailctl.ops.selector import parse

VERBS = (Verb.DRAIN, Verb.UNDRAIN, Verb.SUSPEND, Verb.RESUME, Verb.ROTATE, Verb.LIMIT, Verb.RETRY)
"""What a playbook may do: no verb after which mail is gone. Guards and locks hold; there is no override."""
SCOPES = (
    HistoryScope.HOST,
    HistoryScope.POOL,
    HistoryScope.STREAM,
    HistoryScope.PROVIDER,
    HistoryScope.VMTA,
    HistoryScope.CELL,
)
_RATED = tuple(str(scope) for scope in SCOPES)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOLE = re.compile(r"\{(\w*)\}")


class Figure(StrEnum):
    """What a condition looks at; as in the thresholds of the fleet file."""

    DEFERRALS = "deferrals"  # t ÷ (t + d) in the period
    BOUNCES = "bounces"  # b ÷ (b + d) in the period
    WAITING = "waiting"  # recipients
    OLDEST = "oldest"  # age of the oldest waiting message
    STATE = "state"  # `active`, `suspended` …


KINDS: Mapping[Figure, tuple[str, ...]] = {
    Figure.DEFERRALS: _RATED,
    Figure.BOUNCES: _RATED,
    Figure.WAITING: ("host", "pool", "provider"),
    Figure.OLDEST: ("host", "pool", "provider"),
    Figure.STATE: ("pool", "vmta", "provider"),
}
"""Objects that have the figure."""


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One figure of one object, or of each (`*`, in the first condition alone)."""

    figure: Figure
    of: str
    above: str = ""
    below: str = ""
    equals: str = ""  # of a state


class Act(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One verb on a selection, where `{name}`, `{provider}` and `{vmta}` are those of the candidate."""

    verb: Verb
    select: str
    lasts: timedelta | None = None
    limit: str = ""  # `connections=2`
    standby: str = ""
    spread: timedelta = timedelta(minutes=1)
    max_affected: int | None = None

    def options(self, reason: str) -> Options:
        """What the verb is planned with."""
        limit, _, value = self.limit.partition("=")
        return Options(
            reason=reason,
            ttl_s=round(self.lasts.total_seconds()) if self.lasts is not None else None,
            limit=limit,
            value=value,
            standby=self.standby,
            spread_s=round(self.spread.total_seconds()),
            max_affected=self.max_affected,
        )


class Playbook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All conditions hold -> all acts, for the worst candidates first."""

    name: str
    description: str = ""
    period: timedelta = timedelta(hours=1)  # that shares are measured over
    least: int = 100  # events above which a share says something
    when: tuple[Condition, ...]
    do: tuple[Act, ...]
    cooldown: timedelta = timedelta(hours=1)  # before the same verb on the same object again
    at_most: int = 1  # acts in one run

    @property
    def reason(self) -> str:
        """As it stands with each operation."""
        return f"playbook {self.name}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the conditions hold for: the words that its acts take, and the figures in words."""

    words: Mapping[str, str]
    because: tuple[str, ...]

    def fill(self, text: str) -> str:
        """`text` with the words put in."""
        return _HOLE.sub(lambda hole: self.words.get(hole[1], hole[0]), text)


def load_playbook(path: Path) -> Playbook:
    """The playbook in a file.

    Raises:
        ConfigError: every mistake in it, with line and key.
    """
    problems: list[Problem] = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {exc}")]) from exc
    reader = Reader(str(path), path.absolute().parent, problems)
    root = compose(text, str(path), problems)
    found = reader.read(root, Playbook) if root is not None else None
    if found is not None:
        _check(found, reader)
    if problems or found is None:
        raise ConfigError(problems or [Problem(str(path), 0, "", "is empty")])
    return found


def candidates(playbook: Playbook, facts: Facts) -> tuple[Candidate, ...]:
    """What all conditions hold for, the worst first; one without a `*` in the conditions."""
    first, *others = playbook.when
    kind, _, wanted = first.of.partition(":")
    values = figures(playbook, facts, first.figure, kind)
    found = []
    for name, value in values.items():
        words = _words(kind, name) if wanted == "*" else {}
        if wanted not in ("*", name) or not _holds(first, value):
            continue
        told = [_told(first, kind, name, value)]
        candidate = Candidate(words, ())
        for other in others:
            kind_, _, name_ = candidate.fill(other.of).partition(":")
            value_ = figures(playbook, facts, other.figure, kind_).get(name_)
            if value_ is None or not _holds(other, value_):
                break
            told.append(_told(other, kind_, name_, value_))
        else:
            rank = value if isinstance(value, float) else 0.0
            found.append((rank if first.below else -rank, name, Candidate(words, tuple(told))))
    return tuple(candidate for _, _, candidate in sorted(found, key=lambda one: one[:2]))


def figures(playbook: Playbook, facts: Facts, figure: Figure, kind: str) -> Mapping[str, float | str]:
    """One figure of all objects of a kind, by name, of hosts whose numbers count."""
    match figure:
        case Figure.DEFERRALS | Figure.BOUNCES:
            shares = {}
            for name, one in summed(facts.sums, HistoryScope(kind)).items():
                bad = one.deferred if figure is Figure.DEFERRALS else one.bounced
                if bad + one.delivered > playbook.least:
                    shares[name] = bad / (bad + one.delivered)
            return shares
        case Figure.STATE:
            return _states(facts, kind)
    rows: list[tuple[str, int, datetime | None]] = []
    if kind == "host":
        rows = [(str(host.name), host.view.waiting, host.view.oldest_at) for host in facts.fresh if host.view]
    elif kind == "pool":
        rows = [(str(row.name), row.waiting, row.oldest_at) for row in facts.state.pools]
    elif kind == "provider":
        rows = [(str(row.name), row.waiting, row.oldest_at) for row in facts.state.providers]
    if figure is Figure.WAITING:
        return {name: float(waiting) for name, waiting, _ in rows}
    return {name: max(0.0, (facts.at - at).total_seconds()) for name, _, at in rows if at is not None}


def _states(facts: Facts, kind: str) -> Mapping[str, float | str]:
    if kind == "pool":
        return {str(row.name): str(row.state) for row in facts.state.pools}
    if kind == "provider":
        return {str(row.name): str(row.state) for row in facts.state.providers}
    return {str(row.view.name): str(row.view.state) for row in facts.state.vmtas if row.link.is_fresh}


def _words(kind: str, name: str) -> dict[str, str]:
    provider, _, vmta = name.partition("/") if kind == "cell" else ("", "", "")
    return {"name": name, kind: name} | ({"provider": provider, "vmta": vmta} if kind == "cell" else {})


def _limit(condition: Condition) -> float:
    """The number that the figure is held against."""
    text = condition.above or condition.below
    return parse_duration(text).total_seconds() if condition.figure is Figure.OLDEST else float(text)


def _holds(condition: Condition, value: float | str) -> bool:
    if isinstance(value, str):
        return value == condition.equals
    return value > _limit(condition) if condition.above else value < _limit(condition)


def _told(condition: Condition, kind: str, name: str, value: float | str) -> str:
    """`deferrals of cell gmail/mkt-1 are 52.1 %, above 0.4`."""
    if isinstance(value, str):
        return f"{kind} {name} is {value}"
    match condition.figure:
        case Figure.OLDEST:
            text = format_duration(timedelta(seconds=round(value)))
        case Figure.WAITING:
            text = f"{value:,.0f}"
        case _:
            text = f"{value:.1%}"
    side = f"above {condition.above}" if condition.above else f"below {condition.below}"
    return f"{condition.figure} of {kind} {name} is {text}, {side}"


# -- mistakes ----------------------------------------------------------------------------------------------------------


def _check(playbook: Playbook, report: Reader) -> None:
    if playbook.name and not _NAME.fullmatch(playbook.name):
        report.follow_up(("name",), "is 1 to 63 letters, digits, dots, hyphens and underscores")
    for key in ("when", "do"):
        if not getattr(playbook, key):
            report.follow_up((key,), "is empty")
    if not timedelta(minutes=1) <= playbook.period <= timedelta(days=1):
        report.follow_up(("period",), "must be from 1m to 1d")
    if playbook.cooldown > timedelta(days=7):
        report.follow_up(("cooldown",), "is at most 7d: hosts forget older operations")
    words: set[str] = set()
    for n, condition in enumerate(playbook.when):
        for what in _mistakes(condition, words, first=n == 0):
            report.follow_up(("when", n), what)
        kind, _, name = condition.of.partition(":")
        if n == 0 and name == "*":
            words = set(_words(kind, "x/x"))
    for n, act in enumerate(playbook.do):
        _check_act(act, ("do", n), words, report)


def _mistakes(condition: Condition, words: set[str], *, first: bool) -> Iterator[str]:
    kind, _, name = condition.of.partition(":")
    if kind not in KINDS[condition.figure] or not name:
        kinds = ", ".join(KINDS[condition.figure])
        yield f"`of: {condition.of}` has no {condition.figure}; write KIND:NAME with KIND one of {kinds}"
    if "*" in name and not (first and name == "*"):
        yield "`*` stands alone, for the name in the first condition"
    yield from _holes(condition.of, words)
    wanted = ("equals",) if condition.figure is Figure.STATE else ("above", "below")
    if sum(bool(getattr(condition, key)) for key in ("above", "below", "equals")) != 1 or not any(
        getattr(condition, key) for key in wanted
    ):
        yield f"{condition.figure} wants one of {', '.join(wanted)}"
    elif condition.figure is not Figure.STATE:
        try:
            _limit(condition)
        except ValueError:
            what = "age, such as 4h" if condition.figure is Figure.OLDEST else "number, such as 0.4"
            yield f"`{condition.above or condition.below}` is no {what}"


def _check_act(act: Act, key: Key, words: set[str], report: Reader) -> None:
    if act.verb not in VERBS:
        report.follow_up((*key, "verb"), f"`{act.verb}` is not for playbooks; there are {', '.join(VERBS)}")
    for hole in _holes(act.select, words):
        report.follow_up((*key, "select"), hole)
    try:
        if not parse(_HOLE.sub("x", act.select)).terms:
            report.follow_up((*key, "select"), "is empty")
    except OpsError as exc:
        report.follow_up((*key, "select"), str(exc))
    if (act.verb is Verb.LIMIT) != bool(act.limit) or (act.limit and not all(act.limit.partition("="))):
        report.follow_up((*key, "limit"), "belongs to limit, and is KEY=VALUE")
    if act.verb is Verb.RETRY and act.max_affected is None:
        report.follow_up(key, "retry wants max_affected")


def _holes(text: str, words: set[str]) -> Iterator[str]:
    for name in _HOLE.findall(text):
        if name not in words:
            known = ", ".join(f"{{{word}}}" for word in sorted(words)) or "none without a `*` in the first condition"
            yield f"no {{{name}}}; there are {known}"
