"""Verbs on waiting mail: standing orders over the recipients that match a filter, frozen when the order is given."""

import msgspec

from mailagent.api.requests import Mutation
from mailagent.api.targets import MessageFilter, Target


class MailVerb(Mutation, frozen=True, kw_only=True):
    """What each of them carries. `filter.before` freezes it: None means now, on the agent's clock."""

    filter: MessageFilter
    max_affected: int | None = None


class Hold(MailVerb, frozen=True, kw_only=True):
    """Matching mail is not sent for a time."""


class Release(MailVerb, frozen=True, kw_only=True):
    """Matching mail that a hold has is free again."""


class Bounce(MailVerb, frozen=True, kw_only=True):
    """Matching mail is given up after a grace, with a DSN."""


class Delete(MailVerb, frozen=True, kw_only=True):
    """Matching mail is given up after a grace, and nobody is told."""


class Rebind(MailVerb, frozen=True, kw_only=True):
    """Matching mail leaves from another pool, with its signatures."""

    pool: str


class Requeue(MailVerb, frozen=True, kw_only=True):
    """Matching mail goes through its host's queue anew: addresses are rewritten and routes looked up again.

    Only hosts that run Postfix have it. A message gets another id by it.
    """


class Probe(Mutation, frozen=True, kw_only=True):
    """One waiting message goes through a path although an order holds it. Target: queue or cell."""

    target: Target


class MailProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an order on mail is. Numbers are recipients."""

    held: int  # that it has now
    in_flight: int = 0  # that were on their way when it came to them, and were left alone
    settled: bool = True  # all that matched was looked at
    note: str = ""  # what was left alone and why, or what the order waits for, as a sentence
