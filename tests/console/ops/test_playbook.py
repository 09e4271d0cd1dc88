"""Playbooks: the file, the conditions, and what a run does within its bounds."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from mailagent.api.requests import HistoryScope
from mailagent.api.sums import SumRow, Sums
from mailagent.config.errors import ConfigError
from mailctl.fleet import Fleet
from mailctl.ops.playbook import Playbook, candidates, load_playbook
from mailctl.ops.playing import Played, Turn, look, play
from tests.console.loopback import START, LoopbackAgent, fleet_config

Agents = dict[str, LoopbackAgent]
EXAMPLES = re.findall(
    r"```yaml\n(.*?)```", (Path(__file__).parents[3] / "docs/playbooks.md").read_text(encoding="utf-8"), re.DOTALL
)
REST = """\
name: rest
when:
  - {figure: deferrals, of: "provider:*", above: 0.4}
  - {figure: state, of: "provider:{name}", equals: active}
do:
  - {verb: suspend, select: "provider:{name}", lasts: 20m}
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def book(tmp_path: Path, text: str = REST) -> Playbook:
    return load_playbook(written(tmp_path / "book.yaml", text))


def rates(agents: Agents, **shares: int) -> None:
    """Deferrals of a thousand attempts, per provider."""
    rows = tuple(
        SumRow(scope=HistoryScope.PROVIDER, name=name, received=0, delivered=1000 - bad, deferred=bad, bounced=0)
        for name, bad in shares.items()
    )
    for agent in agents.values():
        agent.sums = Sums(since=START, until=START, rows=rows)


@pytest.fixture
async def fleet(agents: Agents) -> AsyncIterator[Fleet]:
    rates(agents, gmail=500, outlook=800, yahoo=10)
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        yield fleet


async def turns(fleet: Fleet, playbook: Playbook, *, dry_run: bool = False) -> tuple[Played, ...]:
    facts = await look(fleet, playbook, deadline_s=5)
    return await play(fleet, playbook, facts, dry_run=dry_run, settle_s=1)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split()[1])
def test_the_examples_of_the_page_are_well(tmp_path: Path, text: str) -> None:
    assert book(tmp_path, text).when


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("above: 0.4", "above: much", "when[0]: `much` is no number"),
        ("above: 0.4", "equals: active", "deferrals wants one of above, below"),
        ("equals: active", "above: 1", "state wants one of equals"),
        ("figure: deferrals", "figure: mood", "`mood` is none of deferrals"),
        ('of: "provider:*"', 'of: "queue:*"', "has no deferrals; write KIND:NAME"),
        ('provider:{name}", lasts', 'provider:{vmta}", lasts', "no {vmta}; there are {name}, {provider}"),
        ('of: "provider:{name}"', 'of: "provider:*"', "`*` stands alone"),
        ("verb: suspend", "verb: delete", "`delete` is not for playbooks"),
        ("verb: suspend", "verb: retry", "retry wants max_affected"),
        ("verb: suspend", "verb: limit", "belongs to limit, and is KEY=VALUE"),
        ('select: "provider:{name}"', 'select: "nothing"', "is no selector"),
        ("name: rest", "name: rest\nat_most: 0", "at_most: `0` is no whole number"),
        ("name: rest", "name: rest\ncooldown: 30d", "hosts forget older operations"),
        ("name: rest", "name: rest\noverride: true", "unknown key"),
        ("name: rest\n", "", "name: is missing"),
    ],
)
def test_mistakes_are_named_with_line_and_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in REST
    with pytest.raises(ConfigError) as caught:
        book(tmp_path, REST.replace(old, new, 1))
    assert says in str(caught.value)
    assert "book.yaml:" in str(caught.value)


async def test_candidates_are_those_that_all_conditions_hold_for_the_worst_first(
    agents: Agents, fleet: Fleet, tmp_path: Path
) -> None:
    rest = book(tmp_path)
    found = candidates(rest, await look(fleet, rest, deadline_s=5))
    assert [one.words["name"] for one in found] == ["outlook", "gmail"]
    assert found[0].because == ("deferrals of provider outlook is 80.0%, above 0.4", "provider outlook is active")
    few = msgspec.structs.replace(rest, least=10_000)
    assert candidates(few, await look(fleet, few, deadline_s=5)) == ()


async def test_depth_age_and_state_are_figures_too(fleet: Fleet, tmp_path: Path) -> None:
    for condition, names in (
        ('{figure: waiting, of: "host:*", above: 10}', {"mx1", "mx2", "mx3"}),
        ('{figure: waiting, of: "host:mx2", above: 10}', {""}),
        ('{figure: waiting, of: "host:*", below: 10}', set()),
        ('{figure: oldest, of: "pool:*", above: 1h}', {"marketing", "transactional", "cold"}),
        (
            '{figure: state, of: "vmta:*", equals: standby}',
            {f"{pool}-{n}" for pool in ("mkt", "tx", "cold") for n in (2, 4, 6)},
        ),
    ):
        text = f"name: one\nwhen:\n  - {condition}\ndo:\n  - {{verb: undrain, select: pool:cold}}\n"
        one = book(tmp_path, text)
        found = candidates(one, await look(fleet, one, deadline_s=5))
        assert {candidate.words.get("name", "") for candidate in found} == names


async def test_a_dry_run_changes_nothing_and_says_what_and_why(agents: Agents, fleet: Fleet, tmp_path: Path) -> None:
    planned, beyond = await turns(fleet, book(tmp_path), dry_run=True)
    assert (planned.act, planned.turn) == ("suspend provider:outlook", Turn.PLANNED)
    assert (beyond.act, beyond.turn) == ("suspend provider:gmail", Turn.BEYOND)
    assert not any(agent.executed for agent in agents.values())


async def test_a_run_acts_at_most_so_often_and_every_act_is_recorded(
    agents: Agents, fleet: Fleet, tmp_path: Path
) -> None:
    done, beyond = await turns(fleet, book(tmp_path))
    assert (done.turn, beyond.turn) == (Turn.EXECUTED, Turn.BEYOND)
    assert done.report is not None
    assert done.report.succeeded
    for agent in agents.values():
        (record,) = agent.records.values()
        assert (record.reason, str(record.target)) == ("playbook rest", "provider:outlook")
        (order,) = agent.live.values()
        assert order.expires_at is not None


async def test_what_was_done_lately_cools_down_and_the_next_candidate_has_its_turn(
    agents: Agents, fleet: Fleet, tmp_path: Path
) -> None:
    await turns(fleet, book(tmp_path))
    cooling, done = await turns(fleet, book(tmp_path))
    assert (cooling.act, cooling.turn) == ("suspend provider:outlook", Turn.COOLING)
    assert (done.act, done.turn) == ("suspend provider:gmail", Turn.EXECUTED)
    later = msgspec.structs.replace(book(tmp_path), name="other")
    again, _ = await turns(fleet, later)  # another playbook has a cool-down of its own; it is so already
    assert again.turn is Turn.NOTHING_TO_DO


async def test_a_lock_of_others_holds_for_playbooks(agents: Agents, fleet: Fleet, tmp_path: Path) -> None:
    for agent in agents.values():
        agent.lock_of = "bob"
    first, *_ = await turns(fleet, book(tmp_path))
    assert first.turn is Turn.IMPOSSIBLE
    assert "locked by bob" in first.detail
    assert not any(agent.executed for agent in agents.values())


async def test_an_act_on_what_is_not_there_is_impossible_and_the_rest_goes_on(fleet: Fleet, tmp_path: Path) -> None:
    text = REST.replace("do:\n", "do:\n  - {verb: drain, select: pool:nowhere}\n")
    first, second, *_ = await turns(fleet, book(tmp_path, text))
    assert (first.turn, second.turn) == (Turn.IMPOSSIBLE, Turn.EXECUTED)
