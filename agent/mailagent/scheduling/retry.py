"""When a deferred message is tried again. Pure: jitter is passed in."""

from datetime import timedelta
from enum import StrEnum
from typing import Any

import msgspec

from mailagent.api.classification import Category
from mailagent.config.structs import Retry

LAST_TRY = timedelta(minutes=1)
"""How long before its time is over mail is tried for the last time, at the latest."""


class Schedule(StrEnum):
    """Which list of waits a failure follows."""

    REPLY = "reply"
    GREYLIST = "greylist"
    DNS = "dns"


def next_wait(
    attempt: int, policy: Retry, *, jitter: float, schedule: Schedule = Schedule.REPLY, category: Category | None = None
) -> timedelta:
    """Time to wait after failed attempt number `attempt` (1 for the first).

    Takes the waits of the schedule in order; the greylist and DNS lists are followed by the ordinary one, whose last
    wait repeats. A class of replies with a list of its own follows that, whose last wait repeats too. `jitter` in
    [-1, 1] moves the wait by at most `policy.jitter` of itself. The first wait is shorter than the 30 minutes that RFC
    5321 section 4.5.4.1 advises, because greylisting answers within minutes.

    Raises:
        ValueError: `attempt` is below 1.
    """
    if attempt < 1:
        raise ValueError(f"attempts count from 1, not {attempt}")
    waits = policy.waits
    if schedule is Schedule.GREYLIST:
        waits = policy.greylist + policy.waits
    elif schedule is Schedule.DNS:
        waits = policy.dns + policy.waits
    elif category in policy.classes:
        waits = policy.classes[category]
    wait = waits[min(attempt, len(waits)) - 1]
    return wait * (1 + policy.jitter * jitter)


def last_wait(left: timedelta, policy: Retry, *, jitter: float) -> timedelta | None:
    """Time to wait for a last attempt where the ordinary wait would outlast the `left` of the mail's time.

    None when that is sooner than after a first failure: then it is not worth it, and the mail expires. A wait of hours
    after one class of replies would else end mail of a stream that has minutes at its first attempt.
    """
    wait = (left - LAST_TRY) * (1 - policy.jitter * (1 + jitter) / 2)
    return wait if wait >= policy.waits[0] else None


def layered(shared: Retry, *layers: Retry | None) -> Retry:
    """`shared` with the keys of each layer that differ from it, later layers over earlier ones.

    A file completes the schedule of a stream, a provider or a domain from the shared one; what it does not say must not
    hide what another layer says.
    """
    said: dict[str, Any] = {}
    for layer in layers:
        if layer is not None:
            for name in Retry.__struct_fields__:
                if (value := getattr(layer, name)) != getattr(shared, name):
                    said[name] = value
    return msgspec.structs.replace(shared, **said) if said else shared
