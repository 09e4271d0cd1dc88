"""Orders of the night become the least edit of the fleet file."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailagent.api.directives import Directive, DirectiveKind, DirectiveView
from mailagent.api.ids import DirectiveId, HostName, OpId
from mailagent.api.targets import Target, TargetKind
from mailagent.config import load_fleet
from mailctl.fleet.state import DirectiveRow
from mailctl.ops.adopt import adopt
from mailctl.ops.errors import NothingSelected

FILE = """\
# who sends what
hosts:
  mx1: {virtual_mtas: {mkt-1: {address: 127.0.0.1}, mkt-2: {address: 127.0.0.2}}}  # the old one
  mx2:
    virtual_mtas:
      mkt-3: {address: 127.0.0.3}
pools:
  marketing:
    active: [mkt-1, mkt-3]  # by age
    standby: [mkt-2]
providers:
  gmail:
    rate: 20/s  # since May
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "fleet.yaml"
    found.write_text(FILE, encoding="utf-8")
    load_fleet(found)
    return found


def order(
    id: str,
    kind: DirectiveKind,
    target: str,
    *hosts: str,
    standby: str = "",
    limit: str = "",
    value: str = "",
    rule: str = "",
) -> DirectiveRow:
    about, _, name = target.partition(":")
    one = Directive(
        id=DirectiveId(id),
        kind=kind,
        target=Target(kind=TargetKind(about), name=name),
        author="alice",
        reason="at night",
        created_at=datetime(2026, 7, 1, 3, tzinfo=UTC),
        expires_at=None,
        op_id=OpId(id),
        standby=standby,
        limit=limit,
        value=value,
        rule=rule,
    )
    parts = tuple((HostName(host), DirectiveView(directive=one)) for host in hosts)
    return DirectiveRow(directive=one, progress=None, waiting=0, parts=parts, stale=False)


ROTATED = order("rot", DirectiveKind.ROTATE, "vmta:mkt-1", "mx1", standby="mkt-2")
SLOWER = order("slow", DirectiveKind.LIMIT, "provider:gmail", "mx1", "mx2", limit="rate", value="10/s")


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def test_a_rotation_and_a_limit_change_their_own_lines_only(path: Path) -> None:
    made = adopt([ROTATED, SLOWER], path, [], everything=True)
    assert [row.result for row in made.rows] == ["fits", "fits"]
    assert sorted(lines(made.difference)) == sorted(
        [
            "-    active: [mkt-1, mkt-3]  # by age",
            "+    active: [mkt-3, mkt-2]  # by age",
            "-    standby: [mkt-2]",
            "+    standby: []",
            "+    quarantined: [mkt-1]",
            "-    rate: 20/s  # since May",
            "+    rate: 10/s  # since May",
        ]
    )
    assert path.read_text(encoding="utf-8") == FILE
    assert made.hosts == ("mx1", "mx2")


def test_adopting_twice_finds_nothing_to_do(path: Path) -> None:
    path.write_text(adopt([ROTATED, SLOWER], path, ["rot", "slow"]).text, encoding="utf-8")
    again = adopt([ROTATED, SLOWER], path, ["rot", "slow"])
    assert ([row.result for row in again.rows], again.difference) == (["nothing-to-do"] * 2, "")


def test_a_drain_and_the_cap_of_a_virtual_mta_have_their_places(path: Path) -> None:
    drained = order("d", DirectiveKind.DRAIN, "vmta:mkt-3", "mx2")
    capped = order("c", DirectiveKind.LIMIT, "vmta:mkt-2", "mx1", limit="vmta_rate", value="5/s")
    made = adopt([drained, capped], path, ["d", "c"])
    path.write_text(made.text, encoding="utf-8")
    config = load_fleet(path)
    (pool,) = config.pools.values()
    assert (pool.active, pool.quarantined) == (("mkt-1",), ("mkt-3",))
    assert "mkt-2: {address: 127.0.0.2, vmta_rate: 5/s}" in made.text


def test_an_order_of_some_hosts_says_that_the_file_is_for_all(path: Path) -> None:
    here = order("slow", DirectiveKind.LIMIT, "provider:yahoo", "mx2", limit="connections", value="3")
    (row,) = adopt([here], path, ["slow"]).rows
    assert row.detail == ("providers.yahoo.connections: 3; on all hosts, while the order stands on mx2 only")
    assert "+  yahoo: {connections: 3}" in row.edit


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (order("x", DirectiveKind.SUSPEND, "pool:marketing", "mx1"), "no words for suspend of pool:marketing"),
        (order("x", DirectiveKind.DRAIN, "host:mx1", "mx1"), "no words for drain of host:mx1"),
        (
            order("x", DirectiveKind.LIMIT, "queue:gmail/mkt-1", "mx1", limit="rate", value="1/s"),
            "no words for a lowered rate of queue:gmail/mkt-1",
        ),
        (order("x", DirectiveKind.DRAIN, "vmta:tx-9", "mx1"), "no pool of the file has tx-9"),
        (
            order("x", DirectiveKind.ROTATE, "vmta:mkt-1", "mx1", standby="tx-9"),
            "tx-9 is not in the pool of mkt-1, marketing",
        ),
    ],
)
def test_what_the_file_cannot_say_is_refused_alone(path: Path, refused: DirectiveRow, why: str) -> None:
    made = adopt([refused, SLOWER], path, ["x", "slow"])
    assert {row.directive.id: row.result for row in made.rows} == {"x": "refused", "slow": "fits"}
    assert why in next(row.detail for row in made.rows if row.result == "refused")


def test_orders_of_automation_are_adopted_by_name_only(path: Path) -> None:
    own = order("auto", DirectiveKind.LIMIT, "provider:gmail", "mx1", limit="rate", value="5/s", rule="gmail.x")
    with pytest.raises(NothingSelected, match="no rotation"):
        adopt([own], path, [], everything=True)
    assert adopt([own], path, ["auto"]).rows[0].result == "fits"
    with pytest.raises(NothingSelected, match="--all"):
        adopt([own], path, [])
    with pytest.raises(NothingSelected, match="no host has a live directive nope"):
        adopt([own], path, ["nope"])
