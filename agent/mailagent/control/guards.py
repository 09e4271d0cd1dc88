"""Guards: what speaks against an act, unless somebody overrides it with a reason."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from mailagent.api.errors import GuardRefused, InvalidRequest
from mailagent.api.views import MemberState
from mailagent.config.scalars import format_duration
from mailagent.control.change import Change, Situation, after

SUSPEND_MAX_S: Final = 24 * 3600
"""A longer suspension wants an override: mail that waits a day is about to be late or expired."""


def guard(problems: list[str], *, override: bool) -> tuple[str, ...]:
    """The warnings that `problems` become when overridden.

    Raises:
        GuardRefused: there are problems and no override.
    """
    if problems and not override:
        raise GuardRefused(f"{'; '.join(problems)} (override with a reason to act all the same)")
    return tuple(f"overridden: {problem}" for problem in problems)


def floor(at: Situation, change: Change, *, override: bool, problems: Iterable[str] = ()) -> tuple[str, ...]:
    """Guard: an act on single virtual MTAs leaves each pool an eligible IP on this host; warnings when overridden.

    `problems` are what else speaks against the act. Holding a pool as a whole states its intent and is exempt.

    Raises:
        GuardRefused: there are problems and no override.
    """
    found = list(problems)
    then = after(at, change)
    for pool, members in at.config.pools.items():
        if members.min_active is not None and len(then.fit(pool)) < min(members.min_active, len(at.state.fit(pool))):
            left = len(then.fit(pool))
            found.append(f"pool {pool} would have {left} on {at.config.host}, its min_active is {members.min_active}")
        elif at.state.carriers(pool) and not then.carriers(pool) and then.fit(pool):
            small = ", ".join(then.fit(pool))
            found.append(f"what is left of pool {pool} on {at.config.host} is warming and cannot carry it: {small}")
        elif at.state.fit(pool) and not then.fit(pool):
            spare = [vmta for vmta in members.members if then.member(vmta).state is MemberState.STANDBY]
            hint = f"; rotate puts {spare[0]} in its place" if spare else ""
            found.append(f"no eligible IP of pool {pool} would be left on {at.config.host}{hint}")
    return guard(found, override=override)


def too_long(what: str, ttl_s: int) -> str:
    """Why a guard refuses an order that holds mail for longer than a day."""
    return f"{what} lasts {SUSPEND_MAX_S // 3600} h at most, {format_duration(timedelta(seconds=ttl_s))} is asked"


def check_spread(spread_s: int) -> None:
    """Refuse to spread attempts over longer than a suspension lasts.

    Raises:
        InvalidRequest: it is longer, or negative.
    """
    if not 0 <= spread_s <= SUSPEND_MAX_S:
        most, asked = (format_duration(timedelta(seconds=one)) for one in (SUSPEND_MAX_S, spread_s))
        raise InvalidRequest(f"attempts are spread over {most} at most (--spread), not over {asked}")
