"""The filter line."""

from hypothesis import given
from hypothesis import strategies as st

from mailctl.ops.selector import TermKind
from mailctl.tui.filters import Filter

names = st.text(alphabet="abcxyz019-/.", min_size=1, max_size=8)
terms = st.tuples(st.sampled_from(list(TermKind)), names).map(lambda pair: f"{pair[0]}:{pair[1]}")


@given(st.lists(st.one_of(terms, names), max_size=6))
def test_a_filter_reads_back_as_it_is_written(parts: list[str]) -> None:
    once = Filter.parse(" ".join(parts))
    assert Filter.parse(str(once)) == once


def test_terms_of_one_kind_are_alternatives_and_kinds_narrow() -> None:
    wanted = Filter.parse("vmta:mkt-1 vmta:mkt-2 host:mx1")
    facets = {TermKind.VMTA: ("mkt-2",), TermKind.HOST: ("mx1",)}
    assert wanted.admits(facets, "")
    assert not wanted.admits(facets | {TermKind.HOST: ("mx2",)}, "")


def test_a_kind_that_a_row_knows_nothing_of_does_not_hide_it() -> None:
    assert Filter.parse("stream:news").admits({TermKind.HOST: ("mx1",)}, "")


def test_words_are_searched_in_what_the_row_shows_and_all_must_be_there() -> None:
    assert Filter.parse("Gmail rate").admits({}, "unusual RATE of mail at gmail")
    assert not Filter.parse("gmail blocked").admits({}, "unusual rate of mail at gmail")


def test_going_down_replaces_terms_of_the_same_kind_and_drops_words() -> None:
    down = Filter.parse("host:mx1 vmta:mkt-1 slow").having((TermKind.VMTA, "mkt-2"))
    assert str(down) == "host:mx1 vmta:mkt-2"


def test_a_filter_becomes_what_an_agent_can_narrow_by() -> None:
    narrowed = Filter.parse("queue:gmail/mkt-1 host:mx1 word").message_filter(deferred_only=True)
    assert (narrowed.site, narrowed.vmta, narrowed.deferred_only) == ("gmail", "mkt-1", True)
