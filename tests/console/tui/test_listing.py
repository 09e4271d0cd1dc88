"""Columns that fit, and rows that hold still."""

from hypothesis import given
from hypothesis import strategies as st

from mailctl.tui.listing import GAP, Cell, Column, Listing, fit

columns = st.lists(
    st.builds(
        Column,
        title=st.just("X"),
        width=st.integers(1, 12),
        grow=st.integers(0, 5),
        most=st.sampled_from([0, 14, 20]),
        drop=st.integers(0, 4),
    ),
    min_size=1,
    max_size=12,
)


@given(columns, st.integers(0, 250))
def test_fitted_columns_never_exceed_the_width_unless_only_those_that_stay_are_left(
    cols: list[Column], width: int
) -> None:
    fitted = fit(cols, width)
    used = sum(cells for _, cells in fitted) + GAP * (len(fitted) - 1)
    if used > width:
        assert all(not cols[index].drop for index, _ in fitted)
    assert all(cells >= cols[index].width for index, cells in fitted)
    assert [index for index, _ in fitted] == sorted(index for index, _ in fitted)
    assert {index for index, col in enumerate(cols) if not col.drop} <= {index for index, _ in fitted}


@given(columns, st.integers(0, 250))
def test_what_is_left_over_goes_to_columns_that_may_still_grow(cols: list[Column], width: int) -> None:
    fitted = fit(cols, width)
    used = sum(cells for _, cells in fitted) + GAP * (len(fitted) - 1)
    if used < width:
        assert all(cols[i].grow == 0 or (cols[i].most and cells >= cols[i].most) for i, cells in fitted)


COLUMNS = (Column("NAME", 4, sort=lambda pair: pair[0]), Column("N", 4, sort=lambda pair: pair[1], descending=True))


def listing(pairs: dict[str, int], order: tuple[int, bool] | None) -> Listing[tuple[str, int]]:
    return Listing.of(
        COLUMNS,
        list(pairs.items()),
        lambda pair: pair[0],
        lambda pair: (Cell(pair[0]), Cell(str(pair[1]))),
        sorted_by=order,
    )


def test_rows_are_ordered_by_a_column_and_found_by_key() -> None:
    rows = listing({"a": 1, "b": 3, "c": 2}, (1, True))
    assert list(rows.keys) == ["b", "c", "a"]
    assert rows.index_of("c") == 1
    assert rows.record("c") == ("c", 2)
    assert rows.index_of("z") is None


def test_rows_hold_their_places_and_new_ones_come_last() -> None:
    before = listing({"a": 1, "b": 3, "c": 2}, (1, True))
    after = listing({"a": 9, "d": 8, "c": 2}, (1, True)).in_order(before.places)
    assert list(after.keys) == ["c", "a", "d"]
    assert after.record("a") == ("a", 9)
