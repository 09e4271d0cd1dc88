"""What is new between two states of the fleet."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.ids import HostName
from mailagent.api.views import PoolView, Snapshot
from mailctl.fleet import FleetState, HostState, LinkState
from mailctl.ops.errors import SelectorError
from mailctl.ops.news import Event, News, RowKind, news
from mailctl.ops.selector import parse
from tests.console.loopback import LoopbackAgent

AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
BASE = LoopbackAgent("mx1", 0, Path("/none")).snapshot()


def fleet(snapshot: Snapshot | None, state: LinkState = LinkState.LIVE, error: str = "") -> FleetState:
    return FleetState(hosts=(HostState(name=HostName("mx1"), state=state, error=error, snapshot=snapshot),))


def told(before: FleetState | None, after: FleetState, *words: str, kinds: tuple[RowKind, ...] = ()) -> list[News]:
    return news(before, after, at=AT, kinds=kinds, selection=parse(words))


def test_the_first_look_tells_every_row_and_the_second_none() -> None:
    first = told(None, fleet(BASE))
    assert {one.event for one in first} == {Event.SNAPSHOT}
    assert {one.kind for one in first} == set(RowKind) - {RowKind.DIRECTIVE}
    assert next(one.key for one in first if one.kind is RowKind.DESTINATION) == "gmail/mkt-1"
    assert told(fleet(BASE), fleet(msgspec.structs.replace(BASE, seq=9))) == []


def test_a_lost_host_is_told_once_and_its_rows_stay() -> None:
    after = fleet(BASE, LinkState.LOST, "reset")
    (line,) = told(fleet(BASE), after, "pool:marketing")
    assert (line.kind, line.event, line.row.state, line.row.error) == ("link", "change", "lost", "reset")
    assert told(after, after) == []


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (("pool:marketing",), {"link", "pool", "vmta", "destination"}),
        (("provider:gmail",), {"link", "provider", "destination"}),
        (("provider:gmail", "pool:marketing"), {"link", "destination"}),
        (("cell:gmail/mkt-1",), {"link", "destination"}),
        (("stream:news",), {"link"}),
        (("host:mx1",), {"link", "host", "pool", "vmta", "provider", "destination"}),
        (("host:mx2",), set()),
    ],
)
def test_a_selection_leaves_the_rows_that_it_names(words: tuple[str, ...], kinds: set[str]) -> None:
    assert {str(one.kind) for one in told(None, fleet(BASE), *words)} == kinds


def test_kinds_leave_only_theirs_and_unknown_selections_are_refused() -> None:
    assert {one.kind for one in told(None, fleet(BASE), kinds=(RowKind.POOL,))} == {RowKind.POOL}
    with pytest.raises(SelectorError, match="watch cannot be narrowed by recipient:"):
        told(None, fleet(BASE), "recipient:a@b.example")


pools: st.SearchStrategy[tuple[PoolView, ...]] = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.integers(0, 2), max_size=3
).map(
    lambda found: tuple(
        msgspec.structs.replace(BASE.pools[0], name=name, waiting=waiting) for name, waiting in found.items()
    )
)


@given(pools, pools)
def test_who_applies_the_lines_has_the_state(old: tuple[PoolView, ...], new: tuple[PoolView, ...]) -> None:
    before, after = (fleet(msgspec.structs.replace(BASE, pools=one)) for one in (old, new))
    held: dict[str, Any] = {}
    for line in (*told(None, before, kinds=(RowKind.POOL,)), *told(before, after, kinds=(RowKind.POOL,))):
        if line.event is Event.GONE:
            del held[line.key]
        else:
            assert (line.event is Event.CHANGE) == (line.key in held)
            held[line.key] = line.row
    assert held == {str(row.name): row for row in new}
