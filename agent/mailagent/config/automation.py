"""Adaptive shaping: the `automation` section, and the rules that providers carry."""

from datetime import timedelta
from enum import StrEnum

import msgspec

from mailagent.api.classification import Category
from mailagent.config.rates import Rate


class RuleAct(StrEnum):
    """What a rule does when its threshold is reached."""

    BACKOFF = "backoff"  # connections and rate down by a step, up again by steps of quiet time
    LIMIT = "limit"  # the limits in `set`, for `life`
    SUSPEND = "suspend"  # nothing is sent for `life`; then at a quarter of the rate, up by steps
    HOLD = "hold"  # the whole stream is held for `life`: a fault of ours that no provider will forgive
    NONE = "none"  # nothing: what this rule matches, no later rule sees


class RuleScope(StrEnum):
    """What a suspension concerns, at this provider."""

    VMTA = "vmta"  # the virtual MTA that heard the reply; others of its pool go on
    STREAM = "stream"  # the stream: another address would not help


class Step(StrEnum):
    """What `backoff` takes down."""

    CONNECTIONS = "connections"
    RATE = "rate"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule on replies of a provider. Its own rules go before those of `default`; the first that matches counts."""

    categories: tuple[Category, ...] = ()  # of the reply, any of these; none: any
    text: str = ""  # pattern (regular expression, in any case) in the reply with its codes
    threshold: Rate | None = None  # matches; None: the section's, or the section's share of the last attempts
    act: RuleAct = RuleAct.BACKOFF
    scope: RuleScope = RuleScope.VMTA
    steps: tuple[Step, ...] = (Step.CONNECTIONS, Step.RATE)  # act backoff: what goes down
    set: dict[str, str] = {}  # act limit: name of the limit and value
    life: timedelta | None = None  # None: the section's
    example: str = ""  # a reply that it must match
    source: str = ""  # where it comes from, with date


class AutomationMode(StrEnum):
    """Whether automation acts."""

    ON = "on"
    DRY_RUN = "dry-run"  # says what it would do
    OFF = "off"


class Automation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How automation acts on rules, for all providers (handbook/engine section 10)."""

    mode: AutomationMode = AutomationMode.ON
    off: tuple[str, ...] = ()  # rules that are not asked: `yahoo.complaints`
    dry_run: tuple[str, ...] = ()  # rules that only say what they would do
    threshold: Rate = Rate(count=3, period_s=3600)  # matches per virtual MTA and provider
    share: float = 0.2  # or this share of the last `attempts`
    attempts: int = 50
    pause: timedelta = timedelta(minutes=1)  # between two steps down: what is under way has been answered by then
    quiet: timedelta = timedelta(minutes=15)  # time without a match for one step up, by a quarter of the limit
    life: timedelta = timedelta(hours=4)  # of every act, renewed by new matches
    max_life: timedelta = timedelta(hours=24)  # of acts of rules that say more; at most this
