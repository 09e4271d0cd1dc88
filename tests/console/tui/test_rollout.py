"""The fleet file's way to the hosts, at the keyboard."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from mailagent.api.directives import DirectiveKind
from mailagent.api.ids import HostName, OpId
from mailagent.api.rollout import AppliedFile, Ceiling, ConfigChange, ConfigPlan, FileState, How
from mailagent.config import config_hash, host_part, load_fleet
from mailctl.fleet import Fleet, FleetState
from mailctl.fleet.drift import AT_ONCE, Drift
from mailctl.ops.errors import OptionError
from mailctl.ops.rollout import Course, HostPlan, course_of
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import DEAF_S, ConfirmDialog
from mailctl.tui.dialogs.page import PageDialog
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.dialogs.report import ReportDialog
from mailctl.tui.screens.rollout import RolloutView
from mailctl.tui.source import FleetOperator
from tests.console.loopback import LoopbackAgent, fleet_config
from tests.console.tui.doubles import NOW, StillFleet, StillOperator, healthy, host_state, order
from tests.console.tui.test_confirm import Clock, said
from tests.console.tui.test_console import answer_yes, live
from tests.console.tui.test_screens import SIZES, ready, shown, table
from tests.console.tui.waiting import is_asked, until

MX1, MX2, MX3 = HostName("mx1"), HostName("mx2"), HostName("mx3")
LAST = AppliedFile(op_id=OpId("01j9last0000000"), at=NOW, author="bob", reason="", before="a", after="b")


def compared() -> tuple[HostPlan, ...]:
    """mx1 differs in words that act on terminals, mx2 was edited by hand, mx3 gives no answer."""
    plan = ConfigPlan(
        host=MX1,
        file="/etc/mailagent/agent.yaml",
        state=FileState.IN_EFFECT,
        digest="d",
        same=False,
        last=LAST,
        changes=(ConfigChange(section="pool", name="marketing", how=How.CHANGED, detail="active: +mkt-3 \x1b[2J"),),
        ceilings=(Ceiling(provider="gmail", vmtas=("mkt-1",), limit="rate", before="20/s", after="10/s", lower=True),),
        queues=4,
        waiting=1204,
    )
    edited = msgspec.structs.replace(
        plan,
        host=MX2,
        changes=(),
        ceilings=(),
        state=FileState.EDITED,
        edits=("-rate: 20/s", "+rate: \u202e1/s"),
        last=None,
    )
    return (
        HostPlan(host=MX1, text="", plan=plan),
        HostPlan(host=MX2, text="", plan=edited),
        HostPlan(host=MX3, text="", error="no route \x1b[31m"),
    )


def app_with(operator: StillOperator, clock: Clock, state: FleetState | None = None) -> ConsoleApp:
    return ConsoleApp(StillFleet(state or healthy()), operator, now=lambda: NOW, clock=clock)


async def on_rollout(pilot: Pilot[Any]) -> None:
    await ready(pilot)
    await pilot.press("c")
    await until(pilot, lambda: isinstance(pilot.app.screen, RolloutView) and table(pilot).row_count == 3)
    await pilot.press("r")
    await until(pilot, lambda: "hosts of 3 would change" in said(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_each_host_is_compared_in_effect_terms_and_hostile_text_is_harmless(size: tuple[int, int]) -> None:
    async with app_with(StillOperator(compared=compared()), Clock()).run_test(size=size) as pilot:
        await on_rollout(pilot)
        for words in ("Δ differs", "✎ edited by hand", "2 of 3 differ", "1,204", "ceiling gmail x mkt-1"):
            await until(pilot, lambda words=words: words in shown(pilot))  # type: ignore[misc]
        assert "without mx3" in said(pilot)
        await pilot.press("j")
        await until(pilot, lambda: "+rate:" in shown(pilot))
        assert "\u202e" not in shown(pilot)
        await pilot.press("j")
        await until(pilot, lambda: "mx3: no route" in shown(pilot))
        assert "\x1b" not in shown(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_an_apply_asks_goes_in_batches_and_is_stopped(size: tuple[int, int]) -> None:
    operator, clock = StillOperator(compared=compared()), Clock()
    async with app_with(operator, clock).run_test(size=size) as pilot:
        await on_rollout(pilot)
        await pilot.press("A")
        await until(
            pilot, lambda: isinstance(pilot.app.screen, PromptDialog) and "canary=mx1 batch=20%" in shown(pilot)
        )
        await pilot.press("end", *" rolback", "enter")
        await until(pilot, lambda: "is none of canary=HOST" in shown(pilot))
        await pilot.press(*["backspace"] * 8, *" rollback", "enter")
        await until(pilot, lambda: is_asked(pilot))
        question = pilot.app.screen
        assert isinstance(question, ConfirmDialog)
        assert operator.courses[-1] == (Course(canaries=(MX1,), roll_back=True), False)
        assert [step.host for step in question.plan.steps] == ["mx1", "mx2"]  # those that differ
        await pilot.press(*["enter"] * 5)  # held down
        assert operator.executed == []
        clock.now += DEAF_S
        await pilot.press("y")
        await until(pilot, lambda: "batch 2 of 2: watches mx2" in shown(pilot))
        assert "● applied" in shown(pilot)
        await pilot.press("A")
        await until(pilot, lambda: "a roll-out is under way" in said(pilot))
        await pilot.press("X")
        await until(pilot, lambda: isinstance(pilot.app.screen, ReportDialog) and "not reached" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: "stopped by hand" in said(pilot) or "would change" in said(pilot))
        await pilot.press("X")
        await until(pilot, lambda: said(pilot) == "no roll-out is under way")


async def test_escape_leaves_all_hosts_alone() -> None:
    operator, clock = StillOperator(compared=compared()), Clock()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await on_rollout(pilot)
        await pilot.press("A")
        await until(pilot, lambda: isinstance(pilot.app.screen, PromptDialog) and pilot.app.screen.is_mounted)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RolloutView))
        await pilot.press("A")
        await until(pilot, lambda: isinstance(pilot.app.screen, PromptDialog) and pilot.app.screen.is_mounted)
        await pilot.press("enter")
        await until(pilot, lambda: is_asked(pilot))
        clock.now += DEAF_S
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RolloutView))
        view = pilot.app.screen
        assert isinstance(view, RolloutView)
        await until(pilot, lambda: not view.rollouts.is_under_way)
        assert operator.executed == []


async def test_the_last_apply_of_a_host_is_put_back_after_a_question() -> None:
    operator, clock = StillOperator(compared=compared()), Clock()
    operator.arrival.set()
    async with app_with(operator, clock).run_test(size=(120, 36)) as pilot:
        await on_rollout(pilot)
        await pilot.press("j", "U")
        await until(pilot, lambda: "remembers no apply" in said(pilot))
        await pilot.press("k", "U")
        await until(pilot, lambda: is_asked(pilot))
        assert operator.undone == [LAST.op_id]
        clock.now += DEAF_S
        await pilot.press("y")
        await until(pilot, lambda: len(operator.executed) == 1)


@pytest.mark.parametrize("key", ["A", "U", "W"])
async def test_nothing_is_told_to_hosts_where_nothing_may_be_changed(key: str) -> None:
    operator = StillOperator(compared=compared())
    app = ConsoleApp(StillFleet(), operator, now=lambda: NOW, read_only=True)
    async with app.run_test(size=(120, 36)) as pilot:
        await on_rollout(pilot)
        await pilot.press(key)
        await until(pilot, lambda: "read-only mode" in said(pilot))
        assert operator.plans == []


async def test_a_fleet_that_runs_what_the_file_says_has_nothing_to_apply() -> None:
    one = compared()[0]
    assert one.plan is not None
    same = HostPlan(host=MX1, text="", plan=msgspec.structs.replace(one.plan, same=True, changes=(), ceilings=()))
    async with app_with(StillOperator(compared=(same,)), Clock()).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("c", "A")
        await until(pilot, lambda: "not compared yet" in said(pilot))
        await pilot.press("r")
        await until(pilot, lambda: "0 hosts of 1 would change" in said(pilot))
        await pilot.press("A")
        await until(pilot, lambda: "every host that answers runs what the file says" in said(pilot))


FILE = """\
pools:
  marketing:
    active: [mkt-1]  # by age
    standby: [mkt-2]
hosts:
  mx1:
    virtual_mtas:
      mkt-1: {address: 127.0.0.1, ehlo: a.example}
      mkt-2: {address: 127.0.0.2, ehlo: b.example}
"""


def rotated() -> FleetState:
    one = host_state(0)
    assert one.snapshot is not None
    views = (order(DirectiveKind.ROTATE, "vmta:mkt-1", standby="mkt-2"),)
    snapshot = msgspec.structs.replace(one.snapshot, directives=views)
    return FleetState(tick=9, hosts=(host_state(0, snapshot=snapshot),))


async def test_orders_of_the_night_become_an_edit_of_the_file_after_a_question(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FILE)
    app = ConsoleApp(StillFleet(rotated()), StillOperator(), now=lambda: NOW, path=path)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, RolloutView))
        await pilot.press("W")
        await until(pilot, lambda: isinstance(app.screen, PageDialog) and "quarantined" in shown(pilot))
        dialog = app.screen
        assert isinstance(dialog, PageDialog)
        await until(pilot, lambda: not dialog.is_deaf)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RolloutView))
        assert path.read_text() == FILE
        await pilot.press("W")
        await until(pilot, lambda: isinstance(app.screen, PageDialog) and not app.screen.is_deaf)
        await pilot.press("y")
        await until(pilot, lambda: said(pilot) == "fleet.yaml is written; A applies it")
    assert load_fleet(path).pools["marketing"].quarantined == ("mkt-1",)  # type: ignore[index]
    assert "# by age" in path.read_text()


async def test_without_orders_there_is_nothing_to_adopt(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FILE)
    app = ConsoleApp(StillFleet(), StillOperator(), now=lambda: NOW, path=path)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, RolloutView))
        await pilot.press("W")
        await until(pilot, lambda: "no rotation, drain of a virtual MTA or lowered limit stands" in said(pilot))


async def test_real_hosts_are_told_and_put_back(agents: dict[str, LoopbackAgent]) -> None:
    clock, config = Clock(), fleet_config(agents)
    fleet = Fleet(config)
    app = ConsoleApp(fleet, FleetOperator(fleet), clock=clock)
    app.drift.follow(config)
    async with app.run_test(size=(120, 36)) as pilot:
        await live(pilot, 3)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, RolloutView) and "3 hosts of 3 would change" in said(pilot))
        await pilot.press("A")
        await until(pilot, lambda: isinstance(app.screen, PromptDialog) and app.screen.is_mounted)
        await pilot.press(*["backspace"] * 60, *"batch=2 pause=0", "enter")
        await answer_yes(pilot, clock)
        await until(pilot, lambda: all(agent.executed == ["config_apply"] for agent in agents.values()))
        await until(pilot, lambda: "0 hosts of 3 would change" in said(pilot))
        assert "● applied" in shown(pilot)


@pytest.mark.parametrize("course", [Course(), Course(canaries=("mx1", "mx2"), batch="3", pause_s=0, roll_back=True)])
def test_a_course_is_read_as_it_is_written(course: Course) -> None:
    assert course_of(course.line, (MX1, MX2)) == (course, False)
    assert course_of(f"{course.line} restart-later", (MX1, MX2)) == (course, True)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("canary=mx9", "canary mx9"),
        ("batch=0", "batch 0"),
        ("pause=soon", "pause: "),
        ("max-deferral=200%", "none of canary=HOST"),
        ("rollback=1", "none of canary=HOST"),
        ("nonsense", "'nonsense' is none of"),
    ],
)
def test_a_course_with_a_mistake_says_what_it_wants(line: str, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        course_of(line, (MX1, MX2))


def test_drift_is_told_by_the_hash_a_few_hosts_at_a_time() -> None:
    agents = {f"mx{n}": LoopbackAgent(f"mx{n}", n, Path(f"/{n}")) for n in range(1, AT_ONCE + 4)}
    config = fleet_config(agents)
    one = host_state(0)
    assert one.snapshot is not None
    right = config_hash(host_part(config, MX1))

    def running(digest: str) -> Any:
        view = msgspec.structs.replace(one.snapshot.host, config_hash=digest)  # type: ignore[union-attr]
        return host_state(0, snapshot=msgspec.structs.replace(one.snapshot, host=view))  # type: ignore[type-var]

    drift = Drift()
    drift.look([running("x")])
    assert not drift.differs(running("x"))  # nothing is known
    drift.follow(config)
    drift.look([running("x")])
    assert drift.differs(running("x"))
    assert not drift.differs(running(right))
    assert not drift.differs(running(""))


async def test_a_host_that_drifted_stands_out_on_fleet() -> None:
    config = fleet_config({"mx1": LoopbackAgent("mx1", 0, Path("/1"))})
    app = ConsoleApp(StillFleet(), StillOperator(), now=lambda: NOW)
    app.drift.follow(config)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "Δ● live" in shown(pilot))
        await until(pilot, lambda: "c compares" in shown(pilot))


async def test_a_roll_out_by_command_is_halted(agents: dict[str, LoopbackAgent]) -> None:
    from mailctl import ops

    halt = asyncio.Event()
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        course = Course(pause_s=60, batch="1", roll_back=True)
        options = ops.Options(everything=True)
        plan, _ = await ops.plan_apply(fleet, ops.parse(""), options, course)
        done = await ops.roll_out(
            fleet,
            plan,
            course,
            settle_s=10,
            halt=halt,
            progress=lambda now: halt.set() if "watches" in str(now) else None,
        )
    assert done.stopped == "stopped by hand"
    assert done.rolled_back is None
    assert [line.result for line in done.report.lines] == ["applied", "not-reached", "not-reached"]
