"""The `suppression` section: when addresses are not mailed any more, and what intake says about them."""

from datetime import timedelta
from enum import StrEnum

import msgspec


class AtIntake(StrEnum):
    """What happens to a recipient on the list that is handed in."""

    REFUSE = "refuse"  # 550 to RCPT
    BOUNCE = "bounce"  # taken, and bounced before any attempt


class Keep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long entries live, by reason; None: for good."""

    hard_bounce: timedelta | None = None
    soft_bounces: timedelta | None = timedelta(days=90)
    complaint: timedelta | None = None
    unsubscribe: timedelta | None = None
    manual: timedelta | None = None


class SoftBounces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many refused messages, over how long, suppress an address (action `retry-then-suppress`)."""

    messages: int = 3
    over: timedelta = timedelta(days=15)
    forget: timedelta = timedelta(days=45)  # a count without another refusal; a delivery forgets it at once


class Incident(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a provider suddenly calls many addresses unknown, it is wrong: nothing is suppressed for a time."""

    share: float = 0.1  # of a provider's outcomes within `window`; 0: never freeze
    window: timedelta = timedelta(minutes=10)
    least: int = 50  # outcomes that would suppress, below which a share says nothing
    freeze: timedelta = timedelta(hours=4)


class SuppressionList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The list of one host."""

    bounces: bool = True  # bounces suppress; without it only operators and reports do
    intake: AtIntake = AtIntake.REFUSE
    keep: Keep = Keep()
    soft: SoftBounces = SoftBounces()
    confirm_domain: timedelta = timedelta(hours=1)  # a domain that is not there must be so again after this
    incident: Incident = Incident()
