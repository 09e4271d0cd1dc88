"""Agents of one machine are one host that opens."""

from dataclasses import replace

from mailagent.api.views import EngineState
from mailctl.fleet.machines import as_one, host_lines
from mailctl.fleet.state import HostState, LinkState
from tests.console.tui.doubles import healthy


def sharing(*names: str) -> list[HostState]:
    """The three hosts of the still fleet, those of `names` on the machine `box`."""
    return [replace(host, machine="box" if host.name in names else "") for host in healthy().hosts]


def test_hosts_without_a_machine_are_lines_of_their_own() -> None:
    assert [[line.label for line in group] for group in host_lines(sharing())] == [["mx1"], ["mx2"], ["mx3"]]
    assert [[line.key for line in group] for group in host_lines(sharing("mx2"))] == [["mx1"], ["mx2"], ["mx3"]]


def test_a_machine_stands_where_its_first_agent_stood_and_opens() -> None:
    hosts = sharing("mx1", "mx3")
    (box, other) = host_lines(hosts)
    assert [(line.key, line.label, line.names) for line in box] == [("box/", "▸ box (2)", ("mx1", "mx3"))]
    assert [line.key for line in other] == ["mx2"]
    (box, _) = host_lines(hosts, {"box/"})
    assert [(line.key, line.label) for line in box] == [("box/", "▾ box (2)"), ("mx1", "  mx1"), ("mx3", "  mx3")]
    assert [line.names for line in box] == [("mx1", "mx3"), ("mx1",), ("mx3",)]


def test_a_machine_is_the_sum_of_its_agents_and_as_well_as_its_worst() -> None:
    one, two, _ = sharing("mx1", "mx2")
    both = as_one("box", [one, two])
    assert one.view is not None
    assert two.view is not None
    assert both.view is not None
    assert both.state is LinkState.LIVE
    assert both.view.waiting == one.view.waiting + two.view.waiting
    assert both.view.flow.delivered_1m == one.view.flow.delivered_1m + two.view.flow.delivered_1m
    assert both.view.disk_free_bytes == min(one.view.disk_free_bytes, two.view.disk_free_bytes)
    assert both.view.state is EngineState.RUNNING

    lost = as_one("box", [one, replace(two, state=LinkState.LOST, error="no route")])
    assert (lost.state, lost.error) == (LinkState.LOST, "mx2: no route")
    assert lost.view is not None
    assert lost.view.waiting == one.view.waiting
    assert as_one("box", [replace(one, snapshot=None), replace(two, snapshot=None)]).view is None
