"""Warm-up on the wire: how far each course is."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.ids import ProviderName, VmtaName


class WarmUpState(StrEnum):
    """State of the course of a virtual MTA at a provider."""

    CLIMBING = "climbing"
    HELD = "held"  # the day is repeated
    PAUSED = "paused"  # nothing is sent
    DONE = "done"  # no ceiling any more
    TRICKLE = "trickle"  # a standby that is kept warm: the same every day


class WarmUpView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A course today; counts are recipients since its day began."""

    provider: ProviderName
    state: WarmUpState
    day: int  # of the plan, from 1; 0: a trickle has no plan
    days: int
    ceiling: int  # of today; where it is paused, of the day that it goes on with
    used: int  # placed, and not given back
    delivered: int
    deferred: int
    bounced: int
    why: str = ""  # what keeps it from the next day, or pauses it
    until: datetime | None = None  # end of the pause, where it is known
    last_at: datetime | None = None  # last attempt


def sentence(courses: Sequence[WarmUpView]) -> str:
    """How far a virtual MTA is at all providers together; empty: nowhere."""
    if not courses:
        return ""
    if not courses[0].days:
        return "kept warm by a trickle"
    days = sorted({one.day for one in courses})
    span = f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"
    paused = ", ".join(one.provider for one in courses if one.state is WarmUpState.PAUSED)
    return f"warm-up day {span} of {courses[0].days}" + (f", paused at {paused}" if paused else "")


class WarmUpDay(msgspec.Struct, frozen=True, kw_only=True):
    """A day that is over."""

    began: float  # Unix time
    day: int  # of the plan, from 1
    ceiling: int
    used: int
    delivered: int
    deferred: int
    bounced: int
    why: str = ""  # what kept it from the next day


class WarmUpRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Courses of a virtual MTA, or of all; at a provider, or at all."""

    vmta: VmtaName = VmtaName("")
    provider: ProviderName = ProviderName("")


class WarmUpCourse(msgspec.Struct, frozen=True, kw_only=True):
    """A course with its past."""

    vmta: VmtaName
    now: WarmUpView
    past: tuple[WarmUpDay, ...] = ()  # days with mail, oldest first


class WarmUps(msgspec.Struct, frozen=True, kw_only=True):
    """All courses that were asked for, by virtual MTA and provider."""

    courses: tuple[WarmUpCourse, ...]
