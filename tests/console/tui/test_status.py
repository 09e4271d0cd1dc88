"""The two lines at the bottom."""

import pytest

from mailctl.ops.plan import LineResult
from mailctl.tui.dialogs import report
from mailctl.tui.screens import help as help_page
from mailctl.tui.widgets.status import MOST_HINTS, Hint, fitting

STANDING = (Hint("?", "help"), Hint("q", "quit"))
OWN = tuple(
    Hint(key, label) for key, label in zip("DRSTLX", ("drain", "rotate", "suspend", "retry", "limit", "x"), strict=True)
)


@pytest.mark.parametrize("width", range(14, 90))
def test_help_and_quit_stay_and_nothing_is_cut_off(width: int) -> None:
    shown = fitting((*OWN, *STANDING), width)
    assert shown[-2:] == STANDING
    assert shown[:-2] == OWN[: len(shown) - 2]
    assert len("  ".join(f"{hint.key} {hint.label}" for hint in shown)) <= width
    assert len(shown) <= MOST_HINTS


def test_all_are_there_when_there_is_room() -> None:
    assert fitting((*OWN, *STANDING), 90) == (*OWN, *STANDING)


def test_columns_of_the_help_page_do_not_touch() -> None:
    for entries in (help_page._MOVE, help_page._LOOK):
        for key, what in entries:
            assert max(help_page._KEY, len(key) + 1) + len(what) <= help_page._WIDTH, key


def test_the_report_knows_every_result() -> None:
    assert set(report._RESULTS) == set(LineResult)
