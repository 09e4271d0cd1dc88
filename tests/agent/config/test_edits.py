"""Edits of a YAML text change the words that they are about, and nothing else."""

import difflib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.edits import CannotEdit, Edits

FLOW = """\
# the fleet
pools:
  marketing: {active: [mkt-1, "mkt-2"], standby: [mkt-3]}  # by price
  cold: {active: [cold-1]}
providers: {gmail: {rate: 20/s}}   # careful
"""
BLOCK = """\
pools:
  marketing:
    active:
      - mkt-1  # the old one
      - mkt-2
    # nobody in between

    standby:
    - mkt-3
providers:
  gmail:
    rate: 20/s  # since May
    # more to come

hosts:
  mx1: {}
"""


def changed(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


def test_a_flow_list_loses_and_gains_a_name() -> None:
    edits = Edits(FLOW)
    edits.remove(("pools", "marketing", "active"), "mkt-2")
    edits.append(("pools", "marketing", "active"), "mkt-3")
    edits.remove(("pools", "marketing", "standby"), "mkt-3")
    edits.append(("pools", "marketing", "quarantined"), "mkt-2")
    assert changed(FLOW, edits.text) == [
        '-   marketing: {active: [mkt-1, "mkt-2"], standby: [mkt-3]}  # by price',
        "+   marketing: {active: [mkt-1, mkt-3], standby: [], quarantined: [mkt-2]}  # by price",
    ]


def test_a_block_list_keeps_the_comments_of_others() -> None:
    edits = Edits(BLOCK)
    edits.remove(("pools", "marketing", "active"), "mkt-2")
    edits.append(("pools", "marketing", "active"), "mkt-3")
    edits.remove(("pools", "marketing", "standby"), "mkt-3")
    edits.append(("pools", "marketing", "quarantined"), "mkt-2")
    assert changed(BLOCK, edits.text) == [
        "-       - mkt-2",
        "+       - mkt-3",
        "-     standby:",
        "+     standby: []",
        "-     - mkt-3",
        "+     quarantined: [mkt-2]",
    ]


@pytest.mark.parametrize("text", [FLOW, BLOCK])
def test_values_are_replaced_and_added_with_what_is_around_them(text: str) -> None:
    edits = Edits(text)
    edits.set(("providers", "gmail", "rate"), "10/s")
    edits.set(("providers", "gmail", "connections"), "3")
    edits.set(("providers", "yahoo", "rate"), "5/s")
    edits.set(("retry", "expire"), "2d")
    said = yaml.safe_load(edits.text)
    assert said["providers"] == {"gmail": {"rate": "10/s", "connections": 3}, "yahoo": {"rate": "5/s"}}
    assert said["retry"] == {"expire": "2d"}
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert [line.partition("#")[2] for line in edits.text.splitlines() if "#" in line] == comments


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("a:\n", {"a": {"b": "c"}}),
        ("a: {}\n", {"a": {"b": "c"}}),
        ("a:   # soon\nz: 1", {"a": {"b": "c"}, "z": 1}),
        ("z: 1", {"z": 1, "a": {"b": "c"}}),
        ("a: {b: {x: 1}, c: d}".replace("{b: {x: 1}, c: d}", "{c: d}"), {"a": {"c": "d", "b": "c"}}),
    ],
)
def test_a_key_is_added_where_there_is_little(text: str, after: Any) -> None:
    edits = Edits(text)
    edits.set(("a", "b"), "c")
    assert yaml.safe_load(edits.text) == after


def test_an_empty_list_takes_a_name() -> None:
    for text in ("a: []\n", "a:\n", ""):
        edits = Edits(f"z: 1\n{text}")
        edits.append(("a",), "x")
        assert yaml.safe_load(edits.text) == {"z": 1, "a": ["x"]}


def test_what_stands_in_two_places_is_left_to_people() -> None:
    edits = Edits("a: &one [x]\nb: *one\n")
    with pytest.raises(CannotEdit, match="behind an alias"):
        edits.append(("b",), "y")
    with pytest.raises(CannotEdit, match="no mapping"):
        Edits("- a\n").set(("a",), "x")
    with pytest.raises(CannotEdit, match="a has no y"):
        Edits("a: [x]").remove(("a",), "y")


names = st.lists(st.from_regex(r"[a-z]{1,4}-[0-9]", fullmatch=True), min_size=1, max_size=5, unique=True)


@given(names, st.booleans(), st.data())
def test_lists_end_up_as_told(items: list[str], flow: bool, data: st.DataObject) -> None:
    written = yaml.safe_dump({"before": 1, "list": items, "after": {"x": [1]}}, default_flow_style=flow)
    edits = Edits(f"# top\n{written}# end\n")
    gone = data.draw(st.sampled_from(items))
    edits.remove(("list",), gone)
    edits.append(("list",), "new-9")
    assert yaml.safe_load(edits.text) == {
        "before": 1,
        "list": [*(item for item in items if item != gone), "new-9"],
        "after": {"x": [1]},
    }
    assert edits.text.startswith("# top\n")
    assert edits.text.endswith("# end\n")
