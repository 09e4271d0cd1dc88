"""The `warm_up` section: how much mail a warming virtual MTA may send to each provider, from day to day. Pure."""

from datetime import timedelta
from typing import Final

import msgspec

from mailagent.api.ids import ProviderName

STARTS: Final = {ProviderName("gmail"): 100, ProviderName("outlook"): 20}
"""Recipients of the first day where no file says so (handbook/deliverability 6.2)."""
START: Final = 50
"""The same at every other provider."""


class CourseEnds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From how many recipients a day to how many, at one provider; None: as everywhere."""

    start: int | None = None
    target: int | None = None


class PoolWarmUp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pool says otherwise; None: as everywhere."""

    enabled: bool | None = None
    weeks: int | None = None
    start: int | None = None
    target: int | None = None
    providers: dict[ProviderName, CourseEnds] = {}


class WarmUp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How members that are `warming` begin; counts are recipients per virtual MTA × provider."""

    enabled: bool = True
    weeks: int = 6  # from the first day to the target, if every day goes well
    start: int | None = None  # of the first day; None: 100 at gmail, 20 at outlook, 50 elsewhere
    target: int = 50_000  # of the last day; behind it the limits of the provider hold alone
    providers: dict[ProviderName, CourseEnds] = {}  # where start or target are others
    spread: timedelta = timedelta(hours=12)  # the part of a day that its mail is spread over
    day: timedelta = timedelta(days=1)  # shorter to try it


MOST_GROWTH: Final = 2.0
"""Growth from day to day that published plans do not exceed (handbook/deliverability 6.1)."""
DAYS_A_WEEK: Final = 7


class WarmUpPlan:
    """What `warm_up` and a pool's own say, provider by provider.

    The ceiling of day n (from 0) is start × growth^n: the first day has `start`, the last one `target`.
    """

    def __init__(self, shared: WarmUp, own: PoolWarmUp | None = None) -> None:
        self._shared = shared
        self._own = own or PoolWarmUp()
        self.enabled = shared.enabled if self._own.enabled is None else self._own.enabled
        self.days = DAYS_A_WEEK * (self._own.weeks or shared.weeks)
        self.day_s = shared.day.total_seconds()
        self.spread_s = min(shared.spread, shared.day).total_seconds()

    def start(self, provider: ProviderName) -> int:
        """Recipients of the first day."""
        own, shared = self._courses(provider)
        said = (own.start, self._own.start, shared.start, self._shared.start)
        shipped = min(STARTS.get(provider, START), self.target(provider))
        return next((one for one in said if one is not None), shipped)

    def target(self, provider: ProviderName) -> int:
        """Recipients of the last day."""
        own, shared = self._courses(provider)
        said = (own.target, self._own.target, shared.target)
        return next((one for one in said if one is not None), self._shared.target)

    def growth(self, provider: ProviderName) -> float:
        """How many times the mail of the day before each day may have."""
        return float((self.target(provider) / self.start(provider)) ** (1 / (self.days - 1)))

    def ceiling(self, provider: ProviderName, day: int) -> int:
        """Recipients of a day, counted from 0."""
        steps = min(day, self.days - 1)
        return max(1, round(self.start(provider) * self.growth(provider) ** steps))

    def _courses(self, provider: ProviderName) -> tuple[CourseEnds, CourseEnds]:
        nothing = CourseEnds()
        return self._own.providers.get(provider, nothing), self._shared.providers.get(provider, nothing)


class Trickle(WarmUpPlan):
    """What a standby sends to each provider to stay warm: the same every day, without an end."""

    def __init__(self, shared: WarmUp, recipients: int) -> None:
        super().__init__(shared, PoolWarmUp(enabled=True, start=recipients, target=recipients))
        self.days = 0
