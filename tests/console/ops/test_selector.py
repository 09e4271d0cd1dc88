"""The grammar of selections."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailctl.ops import op_ids
from mailctl.ops.errors import SelectorError
from mailctl.ops.grammar import folded
from mailctl.ops.selector import Selection, TermKind, near, parse

names = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1)
kinds = st.sampled_from([kind for kind in TermKind if kind not in (TermKind.AGE, TermKind.CODE)])
some = st.tuples(kinds, names.filter(lambda name: name.isascii() or "*" not in name))  # that is refused in a domain
terms = st.lists(some.map(lambda one: (one[0], folded(*one))), max_size=5)


@given(terms)
def test_a_selection_reads_back_what_it_shows(given_terms: list[tuple[TermKind, str]]) -> None:
    selection = Selection(tuple(dict.fromkeys(given_terms)))
    assert parse(str(selection)) == selection
    assert parse(shlex.split(" ".join(selection.words))) == selection


@pytest.mark.parametrize("word", ["marketing", ":marketing", "pol:marketing", "POOL:x"])
def test_a_bad_term_lists_the_kinds(word: str) -> None:
    with pytest.raises(SelectorError, match="host, pool, vmta, provider, queue, stream"):
        parse(word)


def test_a_selection_excludes_nothing() -> None:
    with pytest.raises(SelectorError, match="--filter"):
        parse("!pool:cold")


def test_near_names_are_offered() -> None:
    assert near("markting", ["marketing", "cold"]) == "; did you mean marketing?"
    assert near("zzz", ["marketing", "cold"]) == "; there is cold, marketing"
    assert near("x", []) == ""


def test_operation_ids_are_distinct_and_name_their_steps() -> None:
    made = [op_ids.new_op_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {len(one) for one in made} == {15}
    assert op_ids.belongs(op_ids.step_id(made[0], 3), made[0])
    assert not op_ids.belongs(made[1], made[0])
