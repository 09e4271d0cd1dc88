"""The table: keyed cursor and marks, cost flat in rows."""

from collections.abc import Callable
from time import perf_counter

from textual.app import App, ComposeResult
from textual.pilot import Pilot

from mailctl.tui.listing import Cell, Column, Listing, Row
from mailctl.tui.theme import DARK
from mailctl.tui.widgets.table import FleetTable
from tests.console.tui.waiting import until

COLUMNS = (Column("NAME", 10, grow=1), Column("COUNT", 8, right=True), Column("TEXT", 12, grow=3, drop=1))


def rows(names: list[str], count: int = 1, *, total: bool = False) -> Listing[str]:
    return Listing.of(
        COLUMNS,
        names,
        str,
        lambda name: (Cell(name), Cell(str(count)), Cell("[bold]not markup[/]")),
        total=Row("total", (Cell("total"), Cell("9"), Cell(""))) if total else None,
    )


class TableApp(App[None]):
    def __init__(self, source: Listing[str]) -> None:
        super().__init__()
        self.source = source

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(DARK.variables)

    def compose(self) -> ComposeResult:
        yield FleetTable()

    def on_mount(self) -> None:
        self.query_one(FleetTable).show(self.source)
        self.query_one(FleetTable).focus()


def table_of(pilot: Pilot[None]) -> FleetTable:
    return pilot.app.query_one(FleetTable)


def text(table: FleetTable) -> list[str]:
    return [table.render_line(y).text.rstrip() for y in range(table.size.height)]


async def test_cursor_stays_on_its_key_when_rows_move() -> None:
    async with TableApp(rows(["a", "b", "c", "d"])).run_test(size=(60, 12)) as pilot:
        table = table_of(pilot)
        await pilot.press("j", "j")
        assert table.cursor == "c"
        table.show(rows(["c", "d", "a", "b", "e"]))
        assert table.cursor == "c"
        await pilot.press("j")
        assert table.cursor == "d"


async def test_cursor_takes_the_row_that_follows_when_its_own_goes() -> None:
    async with TableApp(rows(["a", "b", "c"])).run_test(size=(60, 12)) as pilot:
        table = table_of(pilot)
        await pilot.press("j")
        table.show(rows(["a", "c"]))
        assert table.cursor == "c"
        table.show(rows([]))
        assert table.selected() == ()
        assert "nothing here" in text(table)[1]


async def test_the_cursor_row_keeps_its_screen_line_when_rows_come_in_above() -> None:
    names = [f"r{index:03d}" for index in range(100)]
    async with TableApp(rows(names)).run_test(size=(60, 12)) as pilot:
        table = table_of(pilot)
        table.move_to("r050")
        await pilot.pause()
        line = next(y for y, shown in enumerate(text(table)) if "r050" in shown)
        table.show(rows([f"new{index}" for index in range(7)] + names))
        await until(pilot, lambda: "r050" in text(table)[line])


async def test_cursor_and_view_stay_on_the_first_row_until_somebody_moves() -> None:
    names = [f"r{index:03d}" for index in range(100)]
    async with TableApp(rows(names)).run_test(size=(60, 12)) as pilot:
        table = table_of(pilot)
        worse = [f"new{index}" for index in range(7)]
        table.show(rows(worse + names))
        await pilot.pause()
        assert table.cursor == "new0"
        assert "new0" in text(table)[1]
        await pilot.press("j")
        table.show(rows(["worst", *worse, *names]))
        assert table.cursor == "new1"


async def test_marks_are_keys_and_leave_with_their_rows() -> None:
    async with TableApp(rows(["a", "b", "c"])).run_test(size=(60, 12)) as pilot:
        table = table_of(pilot)
        await pilot.press("space", "space")
        assert table.marks == {"a", "b"}
        assert table.selected() == ("a", "b")
        table.show(rows(["c", "b"]))
        assert table.selected() == ("b",)
        await pilot.press("backslash")
        assert table.selected() == (table.cursor,)


async def test_header_and_sum_row_stay_while_rows_scroll() -> None:
    names = [f"r{index:03d}" for index in range(100)]
    async with TableApp(rows(names, total=True)).run_test(size=(60, 12)) as pilot:
        table = table_of(pilot)
        await pilot.press("G")
        await until(pilot, lambda: "r099" in text(table)[-2])
        assert "NAME" in text(table)[0]
        assert text(table)[-1].strip().startswith("total")


async def test_markup_in_a_row_is_text() -> None:
    async with TableApp(rows(["a"])).run_test(size=(80, 6)) as pilot:
        assert "[bold]not markup[/]" in text(table_of(pilot))[1]


def drawn(step: int) -> Callable[[str], tuple[Cell, ...]]:
    """Every row changes with each step."""
    return lambda name: (Cell(name), Cell(str(step)), Cell("x"))


async def test_a_frame_costs_the_same_with_a_hundred_thousand_rows() -> None:
    costs = {}
    for size in (1_000, 100_000):
        names = [f"r{index:06d}" for index in range(size)]
        async with TableApp(rows(names)).run_test(size=(80, 40)) as pilot:
            table = table_of(pilot)
            table.move_to(names[size // 2])
            await pilot.pause()
            places = {name: index for index, name in enumerate(names)}
            started = perf_counter()
            for step in range(100):
                table.show(Listing(COLUMNS, names, names, places, drawn(step)))
                text(table)
            costs[size] = (perf_counter() - started) / 100
    print(f"frame: {costs[1_000] * 1e3:.2f} ms of 1,000 rows, {costs[100_000] * 1e3:.2f} ms of 100,000")
    assert costs[100_000] < costs[1_000] * 4 + 0.005
