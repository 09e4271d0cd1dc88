from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.scheduling.item import Item
from mailagent.scheduling.line import Line
from tests.agent.scheduling.mail import item

CLASSES = ["high", "normal", "bulk"]


@given(st.lists(st.sampled_from(CLASSES)))
def test_messages_leave_by_class_and_then_in_order_of_arrival(classes: list[str]) -> None:
    line = Line()
    items = [item(n, priority) for n, priority in enumerate(classes)]
    for one in items:
        line.push(one)
    expected = sorted(items, key=lambda one: CLASSES.index(one.priority))
    assert list(line) == expected
    assert [line.depth(name) for name in CLASSES] == [classes.count(name) for name in CLASSES]
    assert [line.pop() for _ in items] == expected
    with pytest.raises(IndexError):
        line.pop()


@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.booleans())))
def test_what_is_taken_out_leaves_the_others_in_their_order(drawn: list[tuple[str, bool]]) -> None:
    line = Line()
    goes: dict[Any, bool] = {}
    for n, (priority, leaves) in enumerate(drawn):
        one = item(n, priority)
        goes[one] = leaves
        line.push(one)
    before = list(line)
    condition = goes.__getitem__
    taken: list[Item] = line.take(condition)
    assert set(taken) == {one for one in before if goes[one]}
    assert list(line) == [one for one in before if not goes[one]]
    assert len(line) == len(before) - len(taken)
