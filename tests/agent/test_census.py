"""Counts of what waits, by pool."""

from typing import Any, cast

from mailagent.census import Census
from mailagent.spool.records import DeferredTotal
from mailagent.spool.store import Spool


def census(by_pool: dict[str, int]) -> Census:
    made = Census(cast(Spool, cast(Any, None)))
    made.by_pool = by_pool
    made.deferred = [
        DeferredTotal(provider="gmail", vmta=vmta, count=count, oldest_at=0) for vmta, count in (("a1", 3), ("b1", 4))
    ]
    return made


def test_mail_of_a_pool_is_counted_whoever_tried_it() -> None:
    assert census({"a": 5, "b": 0}).in_pool("a", ("a1", "a2")) == 5
    assert census({"a": 5, "b": 0}).in_pool("b", ("b1",)) == 0


def test_mail_without_a_pool_counts_where_it_was_tried() -> None:
    assert census({"": 9}).in_pool("a", ("a1", "a2")) == 3
    assert census({"": 9}).in_pool("a", ()) == 0
    assert census({"": 1, "a": 6}).in_pool("a", ("a1",)) == 6
