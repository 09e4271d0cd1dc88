"""The lock of a host: while one account holds it, verbs of others are refused."""

from mailagent.api.requests import Mutation


class LockTake(Mutation, frozen=True, kw_only=True):
    """Take the lock, or give one's own another end: 30 minutes unless `ttl_s` says otherwise, 24 hours at most."""


class LockRelease(Mutation, frozen=True, kw_only=True):
    """Give the lock back; that of somebody else with `break_lock`."""
