"""Columns of one's own: how they are written, what fits, what is kept in the file, and the dialog."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.edits import CannotEdit
from mailagent.config.errors import ConfigError
from mailctl.tui.app import all_tables
from mailctl.tui.dialogs.columns import ColumnsDialog
from mailctl.tui.layout import Chosen, fitted, parse
from mailctl.tui.listing import GAP, Column, fit
from mailctl.tui.own import keep_layout, load_layouts, load_own
from mailctl.tui.screens.fleet import COLUMNS
from mailctl.tui.start import binding_ids
from tests.console.tui.doubles import StillFleet, troubled
from tests.console.tui.test_confirm import said
from tests.console.tui.test_screens import app_over, ready, shown, table
from tests.console.tui.waiting import until

TABLE = (Column("A", 4), Column("B", 6, grow=1, drop=1), Column("C", 8, grow=2, most=20))


@pytest.mark.parametrize(("text", "chosen"), [("HOST", Chosen("HOST")), ("OUT/MIN=12", Chosen("OUT/MIN", 12))])
def test_a_column_is_written_as_its_title_and_a_width(text: str, chosen: Chosen) -> None:
    assert parse(text, COLUMNS) == chosen
    assert str(chosen) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("HOTS", "no column 'HOTS'; did you mean HOST?"),
        ("HOST=", "HOST=: a width is a number from 1 to 200"),
        ("HOST=0", "HOST=0: a width"),
        ("HOST=²", "HOST=²: a width"),
    ],
)
def test_anything_else_is_a_mistake(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text, COLUMNS)
    assert str(caught.value).startswith(why)


def test_without_a_choice_all_is_as_shipped() -> None:
    assert fitted(TABLE, (), 40) == fit(TABLE, 40)
    assert fitted(TABLE, (Chosen("gone"),), 40) == fit(TABLE, 40)


def test_the_order_is_the_chosen_one_and_the_last_leave_first() -> None:
    layout = (Chosen("C", 10), Chosen("A"))
    assert fitted(TABLE, layout, 40) == ((2, 10), (0, 4))
    assert fitted(TABLE, layout, 12) == ((2, 10),)


@given(
    layout=st.lists(st.sampled_from([column.title for column in COLUMNS]), min_size=1, unique=True),
    widths=st.lists(st.none() | st.integers(1, 60), min_size=11, max_size=11),
    room=st.integers(1, 200),
)
def test_what_is_chosen_comes_first_and_never_overflows_but_for_one(
    layout: list[str], widths: list[int | None], room: int
) -> None:
    chosen = tuple(map(Chosen, layout, widths))
    pairs = fitted(COLUMNS, chosen, room)
    assert [COLUMNS[index].title for index, _ in pairs] == layout[: len(pairs)]
    assert len(pairs) == 1 or sum(width for _, width in pairs) + GAP * (len(pairs) - 1) <= room


def test_the_file_says_columns_of_each_table_and_all_mistakes_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("theme: beacon\ncolumns:\n  fleet: [HOST, STATE=9]\n  operations.log: [DONE]\n")
    own = load_own(path, binding_ids(), all_tables())
    assert own.theme == "beacon"
    assert own.layouts == {"fleet": (Chosen("HOST"), Chosen("STATE", 9)), "operations.log": (Chosen("DONE"),)}
    path.write_text("columns: {fleet: []}\n")
    assert load_own(path, binding_ids(), all_tables()).layouts == {}
    path.write_text("theme: x\nkeys: {nonsense: y}\ncolumns:\n  flet: [A]\n  pools: READY\n  fleet: [HOST, HOST, Q]\n")
    with pytest.raises(ConfigError) as caught:
        load_own(path, binding_ids(), all_tables())
    told = "\n".join(f"{one.line} {one.key} {one.message}" for one in caught.value.errors)
    for part in (
        "1 theme there is no such theme",
        "2 keys.nonsense no binding has this id",
        "4 columns.flet no such table; did you mean fleet?",
        "5 columns.pools wants a list",
        "6 columns.fleet HOST stands twice",
        "6 columns.fleet no column 'Q'",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "columns:\n  fleet: [HOST, STATE=9]\n"),
        ("# mine\ntheme: slate\n", "# mine\ntheme: slate\ncolumns:\n  fleet: [HOST, STATE=9]\n"),
        (
            "columns:\n  # why\n  fleet: [DATA, HOST=3]\n  pools: [READY]\n",
            "columns:\n  # why\n  fleet: [HOST, STATE=9]\n  pools: [READY]\n",
        ),
        ("columns:\n  pools: [READY]\n", "columns:\n  pools: [READY]\n  fleet: [HOST, STATE=9]\n"),
    ],
)
def test_columns_are_kept_and_the_rest_of_the_file_stays(tmp_path: Path, before: str | None, after: str) -> None:
    path = tmp_path / "mailctl" / "config.yaml"
    if before is not None:
        path.parent.mkdir()
        path.write_text(before)
    layout = (Chosen("HOST"), Chosen("STATE", 9))
    keep_layout(path, "fleet", layout, lambda draft: load_layouts(draft, all_tables()))
    assert path.read_text().replace('"', "") == after
    assert load_layouts(path, all_tables())["fleet"] == layout


def test_a_file_that_cannot_be_edited_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("columns:\n  fleet: &one [HOST]\n  pools: *one\n")
    with pytest.raises((CannotEdit, ConfigError)):
        keep_layout(path, "pools", (Chosen("READY"),), lambda draft: load_layouts(draft, all_tables()))
    assert "READY" not in path.read_text()
    assert [one.name for one in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_columns_are_chosen_in_a_dialog(size: tuple[int, int], tmp_path: Path) -> None:
    app = app_over(StillFleet(troubled()))
    app.comfort.own_path = tmp_path / "config.yaml"
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        assert "DEFERRED" in shown(pilot)
        await pilot.press("vertical_line")
        await until(pilot, lambda: isinstance(app.screen, ColumnsDialog) and "Columns of fleet" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, ColumnsDialog))
        assert app.layouts == {}
        await pilot.press("vertical_line")
        await until(pilot, lambda: isinstance(app.screen, ColumnsDialog))
        # STATE goes to the top and grows, all others but HOST are hidden
        await pilot.press("j", "K", "plus", "plus", *["j", "space"] * 1, *["j", "space"] * 9)
        await until(pilot, lambda: "10 wide" in shown(pilot))
        await pilot.press("S")
        await until(pilot, lambda: "kept in" in said(pilot))
        assert app.layouts == {"fleet": (Chosen("STATE", 10),)}
        await until(pilot, lambda: "DEFERRED" not in shown(pilot) and "STATE" in shown(pilot))
        assert "[STATE=10]" in (tmp_path / "config.yaml").read_text().replace('"', "")
        assert table(pilot).row_count == 3
        await pilot.press("vertical_line")
        await until(pilot, lambda: isinstance(app.screen, ColumnsDialog))
        await pilot.press("space", "d", "enter")
        await until(pilot, lambda: app.layouts == {} and "DEFERRED" in shown(pilot))


async def test_the_last_column_stays_and_a_screen_without_a_table_says_so() -> None:
    app = app_over()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("vertical_line")
        await until(pilot, lambda: isinstance(app.screen, ColumnsDialog))
        dialog = app.screen
        assert isinstance(dialog, ColumnsDialog)
        await pilot.press("space", *["j", "space"] * 12, "space", "space")
        await until(pilot, lambda: len(dialog.chosen) == 1)
        await pilot.press("escape", "5")
        await until(pilot, lambda: type(app.screen).__name__ == "MessageView")
        await pilot.press("vertical_line")
        await until(pilot, lambda: said(pilot) == "no table here")
