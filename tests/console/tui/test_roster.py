"""The roster shows what a listing made from nothing would show."""

from hypothesis import given
from hypothesis import strategies as st

from mailctl.tui.listing import Cell, Column, Listing
from mailctl.tui.roster import Part, Roster

Record = tuple[str, int]
COLUMNS = (Column("NAME", 4), Column("N", 4, sort=lambda row: row[1], descending=True))
worlds = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.integers(0, 5), st.integers(0, 3), max_size=5))


def rows(host: str, cells: dict[int, int]) -> list[Record]:
    return [(f"{number}/{host}", value) for number, value in cells.items()]


def draw(row: Record) -> tuple[Cell, ...]:
    return (Cell(row[0]), Cell(str(row[1])))


def roster() -> Roster[Record, int]:
    return Roster(COLUMNS, lambda row: row[0], lambda row: row[0], lambda some: sum(value for _, value in some))


def shown(listing: Listing[Record]) -> list[object]:
    return [listing.row(index) for index in range(len(listing))]


def take(one: Roster[Record, int], world: dict[str, dict[int, int]]) -> None:
    one.update(Part(host, tuple(cells.items()), lambda h=host, c=cells: rows(h, c)) for host, cells in world.items())  # type: ignore[misc]


@given(st.lists(st.tuples(worlds, st.booleans(), st.booleans()), min_size=1, max_size=6))
def test_it_shows_what_a_new_listing_would(steps: list[tuple[dict[str, dict[int, int]], bool, bool]]) -> None:
    one, places = roster(), dict[str, int]()
    for world, ordered, still in steps:
        take(one, world)
        sorted_by = (1, True) if ordered else None
        listing = one.listing(draw, sorted_by=sorted_by, still=still, total=None)
        records = sorted(row for host, cells in world.items() for row in rows(host, cells))
        fresh = Listing.of(COLUMNS, records, lambda row: row[0], draw, sorted_by=sorted_by)
        if still and ordered:
            # Rows hold their places; where new ones stand among themselves is their own order.
            held = [key for key in listing.keys if key in places]
            assert held == sorted(held, key=places.__getitem__)
            assert set(shown(listing)) == set(shown(fresh))
        else:
            assert shown(listing) == shown(fresh)
        assert {key: listing.index_of(key) for key in listing.keys} == {k: n for n, k in enumerate(listing.keys)}
        assert sum(one.tallies) == sum(value for _, value in records)
        places = dict(listing.places)


def test_what_was_never_ordered_does_not_stand_still() -> None:
    one = roster()
    for world in ({}, {"a": {1: 1, 2: 7, 3: 4}}):
        take(one, world)
        listing = one.listing(draw, sorted_by=(1, True), still=True, total=None)
    assert [key.partition("/")[0] for key in listing.keys] == ["2", "3", "1"]


def test_only_hosts_that_changed_are_asked_for_their_rows() -> None:
    one, asked = roster(), list[str]()

    def part(host: str, version: int) -> Part[Record]:
        def make() -> list[Record]:
            asked.append(host)
            return rows(host, {1: version})

        return Part(host, version, make)

    one.update([part("a", 1), part("b", 1)])
    one.update([part("a", 1), part("b", 2)])
    assert asked == ["a", "b", "b"]
    listing = one.listing(draw, sorted_by=None, still=False, total=None)
    assert shown(listing)[1] == ("1/b", (Cell("1/b"), Cell("2")))
