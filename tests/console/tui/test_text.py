"""Numbers and remote text on the screens."""

from hypothesis import given
from hypothesis import strategies as st

from mailctl.tui.text import NOTHING, clean, count, few, listed, share, span
from mailctl.tui.widgets.sparkline import sparkline
from mailctl.tui.widgets.table import sized


@given(st.text())
def test_remote_text_never_reaches_the_terminal_with_control_characters(text: str) -> None:
    assert all(char.isprintable() or char == " " for char in clean(text) if char != "\u3000" and not char.isspace())
    assert "\x1b" not in clean(text)
    assert "\n" not in clean(text)


@given(st.floats(0, 99 * 86400))
def test_an_age_is_never_wider_than_six_cells(seconds: float) -> None:
    assert 2 <= len(span(seconds)) <= 6


def test_ages_have_two_units_at_most() -> None:
    assert [span(s) for s in (8, 125, 720, 3600, 11_520, 187_200)] == ["8s", "2m05s", "12m", "1h", "3h12m", "2d4h"]


def test_counts_and_shares_are_short() -> None:
    assert [count(n) for n in (0, 1204, 1_240_000)] == ["0", "1,204", "1.24M"]
    assert [share(f) for f in (None, 0.0, 0.0001, 0.021, 0.34)] == [NOTHING, NOTHING, "<0.1%", "2.1%", "34%"]


def test_a_long_list_says_how_many_are_left_out() -> None:
    assert listed(["a", "b", "c", "d", "e"], 3) == "a, b and 3 more"
    assert listed(["a", "b"]) == "a, b"


@given(st.lists(st.integers(0, 10_000), max_size=40), st.integers(1, 30))
def test_a_sparkline_is_as_wide_as_asked_and_shows_anything_above_zero(values: list[int], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == width
    for value, block in zip(reversed(values), reversed(line), strict=False):
        assert (block == "▁") == (value == 0)


@given(st.text(alphabet="ab漢é·", max_size=20), st.integers(0, 12), st.booleans())
def test_a_cell_fills_its_width_exactly_also_with_wide_characters(text: str, width: int, right: bool) -> None:
    from rich.cells import cell_len

    assert cell_len(sized(text, width, right=right)) == width


def test_of_many_objects_a_title_names_the_first() -> None:
    assert few("drain pool:marketing") == "drain pool:marketing"
    assert few("suspend cell:a/1 cell:a/2 cell:a/3") == "suspend cell:a/1 cell:a/2 cell:a/3"
    assert few("suspend cell:a/1 cell:a/2 cell:a/3 cell:a/4") == "suspend cell:a/1 and 3 more"
    assert few("job pause a b c") == "job pause a b c"
    assert few("job pause a b c d") == "job pause a and 3 more"
