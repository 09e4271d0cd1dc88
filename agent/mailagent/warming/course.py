"""The course of one virtual MTA at one provider: its day in the plan, what came of its mail, and what follows. Pure.

    climbing --a good day with enough mail--> climbing, one day further, up to the last one: done
    climbing --a day with too little mail, or with trouble--> held: the same day once more
    climbing, held --throttled, or complaints--> held, two days back, at once
    climbing, held --blocked, or many complaints--> paused for a day

Gates and numbers: handbook/deliverability 6.2. Shares are believed from LEAST of their kind on.
"""

from typing import Final

import msgspec

from mailagent.api.classification import Category
from mailagent.api.ids import ProviderName, VmtaName
from mailagent.api.warm_up import WarmUpDay, WarmUpState
from mailagent.config.warm_up import WarmUpPlan
from mailagent.words import many

ENOUGH: Final = 0.5
"""Part of the ceiling that makes a day count once it was delivered."""
LEAST: Final = 3
"""Fewer replies or reports of a kind mean nothing, whatever share they are."""
BLOCKED: Final = 0.05
"""Share of attempts refused as blocked that pauses."""
THROTTLED_BACK: Final = 0.10
"""Share of attempts throttled that goes back."""
THROTTLED_HOLD: Final = 0.05
BOUNCED_HOLD: Final = 0.03
COMPLAINTS_PAUSE: Final = 0.003
"""Complaints of a day by what was delivered on it, or on the last day with mail: they come hours later."""
COMPLAINTS_BACK: Final = 0.001
BACK: Final = 2
"""Days back."""
IDLE_DAYS: Final = 30
"""Receivers forget who was silent for so long."""
KEPT_DAYS: Final = 120
BLOCKS: Final = frozenset((Category.IP_BLOCKLIST, Category.IP_REPUTATION))
"""Refusals of the address, if for good."""
THROTTLES: Final = frozenset(
    (Category.RATE_LIMIT, Category.IP_BLOCKLIST, Category.IP_REPUTATION, Category.DOMAIN_REPUTATION)
)
"""Deferrals that say that we are too many, or too new."""


class Course(msgspec.Struct, kw_only=True):
    """One course, as it is kept on disk; times are Unix times."""

    vmta: VmtaName
    provider: ProviderName
    source: str  # the addresses: others begin anew
    began: float  # when its day began
    day: int = 0  # of the plan, from 0; the number of its days: done
    plan_days: int = 0  # of that plan; 0: not looked at by one
    earned: int = 0  # its ceiling by that plan
    used: int = 0  # recipients placed today
    delivered: int = 0  # of today's attempts
    deferred: int = 0
    bounced: int = 0
    throttled: int = 0  # of those deferred, for who we are or how many
    blocked: int = 0  # of those refused
    complaints: int = 0  # that came today
    why: str = ""  # what keeps it from the next day; empty: nothing
    went_back: bool = False  # today
    paused_until: float = 0.0
    last_at: float = 0.0  # last attempt
    past: list[WarmUpDay] = []

    @property
    def attempts(self) -> int:
        """Recipients tried today."""
        return self.delivered + self.deferred + self.bounced

    def ceiling(self, plan: WarmUpPlan) -> int:
        """Recipients of today, were it not paused."""
        return plan.ceiling(self.provider, self.day)

    def is_done(self, plan: WarmUpPlan) -> bool:
        """Whether the last day of the plan went well; a trickle has none."""
        return 0 < plan.days <= self.day

    def state(self, plan: WarmUpPlan, now: float) -> WarmUpState:
        """See the module."""
        if now < self.paused_until:
            return WarmUpState.PAUSED
        if not plan.days:
            return WarmUpState.TRICKLE
        if self.is_done(plan):
            return WarmUpState.DONE
        return WarmUpState.HELD if self.why else WarmUpState.CLIMBING

    # -- what happens --------------------------------------------------------------------------------------------

    def count(self, delivered: int, deferred: int, bounced: int, now: float) -> None:
        """Outcomes of attempts."""
        self.delivered += delivered
        self.deferred += deferred
        self.bounced += bounced
        if delivered or deferred or bounced:
            self.last_at = now

    def refused(self, category: Category, *, permanent: bool, count: int) -> None:
        """A reply that is among the outcomes, for so many recipients."""
        if permanent and category in BLOCKS:
            self.blocked += count
        elif category in THROTTLES:
            self.throttled += count

    def look(self, plan: WarmUpPlan, now: float) -> str:
        """Go on with the time; what is to be told, empty: nothing happened."""
        if plan.days:
            self._find_day(plan)
        told = self._look(plan, now)
        if plan.days:
            self.plan_days, self.earned = plan.days, self.ceiling(plan)
        return told

    def _find_day(self, plan: WarmUpPlan) -> None:
        """In another plan it goes on with the day of the ceiling that it has earned."""
        if not self.plan_days or (self.plan_days, self.earned) == (plan.days, self.ceiling(plan)):
            return
        if self.day >= self.plan_days:
            self.day = plan.days
        else:
            days = range(1, plan.days)
            self.day = max((day for day in days if plan.ceiling(self.provider, day) <= self.earned), default=0)

    def _look(self, plan: WarmUpPlan, now: float) -> str:
        self.paused_until = min(self.paused_until, now + plan.day_s)  # the clock may have been set back
        if self.why.startswith("paused") and now >= self.paused_until:
            self.why = f"was {self.why}"
        told = self._alarmed(plan, now)
        today = now - now % plan.day_s
        if now < self.began + plan.day_s:
            self.began = min(self.began, today)  # likewise
            return told
        return self._next_day(plan, today) or told

    def _alarmed(self, plan: WarmUpPlan, now: float) -> str:
        """What cannot wait for the end of the day."""
        if now < self.paused_until:
            return ""
        about = max(self.delivered, self.past[-1].delivered if self.past else 0)
        pause = self._too_many(self.blocked, self.attempts, BLOCKED, "refused as blocked")
        pause = pause or self._too_many(self.complaints, about, COMPLAINTS_PAUSE, "complained about")
        if pause:
            self.blocked = self.complaints = 0  # a pause of a day answers them
            self.paused_until = now + plan.day_s
            if self.is_done(plan):
                self.day = plan.days - 1
            self.why = f"paused for a day: {pause}"
            return self.why
        if self.went_back or not (self.day and plan.days):
            return ""
        back = self._too_many(self.throttled, self.attempts, THROTTLED_BACK, "throttled")
        back = back or self._too_many(self.complaints, about, COMPLAINTS_BACK, "complained about")
        if not back:
            return ""
        self.went_back = True
        self.day = max(0, min(self.day, plan.days - 1) - BACK)
        self.why = f"went back to day {self.day + 1}: {back}"
        return self.why

    def _next_day(self, plan: WarmUpPlan, today: float) -> str:
        """A day is over, or many; what came of it."""
        before, ceiling = self.day, self.ceiling(plan)
        if not plan.days:
            self.why = ""
        elif self.last_at and today - self.last_at >= IDLE_DAYS * plan.day_s:
            self.day = 0
            self.why = f"begins anew: no mail for {IDLE_DAYS} days"
        elif not self.is_done(plan):
            self.why = self._amber(ceiling)
            self.day += not self.why
        if self.used or self.attempts:
            ended = WarmUpDay(
                began=self.began,
                day=before + 1,
                ceiling=ceiling,
                used=self.used,
                delivered=self.delivered,
                deferred=self.deferred,
                bounced=self.bounced,
                why=self.why,
            )
            self.past = [*self.past[1 - KEPT_DAYS :], ended]
        self.began = today
        self.used = self.delivered = self.deferred = self.bounced = 0
        self.throttled = self.blocked = self.complaints = 0
        self.went_back = False
        if self.day > before:  # each day of each provider would be a line
            return "the plan is done" if self.is_done(plan) else ""
        return self.why if self.day < before else ""

    def _amber(self, ceiling: int) -> str:
        """Why the day that is over does not lead to the next one."""
        if self.went_back or self.paused_until > self.began:
            return self.why
        for count, share, what in (
            (self.throttled, THROTTLED_HOLD, "throttled"),
            (self.bounced, BOUNCED_HOLD, "bounced"),
        ):
            if found := self._too_many(count, self.attempts, share, what):
                return f"held: {found} on the day before"
        if self.delivered < ENOUGH * ceiling:
            return f"held: {self.delivered:,} of {ceiling:,} were delivered on the day before, half of it counts"
        return ""

    def _too_many(self, count: int, of: int, share: float, what: str) -> str:
        if count < LEAST or count <= share * of:
            return ""
        return f"{count:,} of {many(max(of, count), 'recipient')} {what}"
