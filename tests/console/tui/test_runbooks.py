"""Each runbook as an operator presses it: the keys of the page, on a fleet with that trouble, and what became of it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.reputation import IdentityKind
from mailagent.api.smtp import SmtpReply
from mailagent.api.views import Deferring
from mailctl.fleet.state import FleetState
from mailctl.ops.plan import Verb
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import DEAF_S, ConfirmDialog
from mailctl.tui.screens.view import View
from mailctl.tui.widgets.alarmline import AlarmLine
from mailctl.tui.widgets.table import FleetTable
from tests.console.ops.test_alarms import FAILING, QUIET, at_fault, rule, with_cells, with_host
from tests.console.tui.doubles import NOW, StillFleet, StillOperator, healthy, troubled
from tests.console.tui.test_confirm import Clock
from tests.console.tui.test_screens import ready, shown
from tests.console.tui.waiting import is_asked, until

PAGES = Path(__file__).parents[3] / "docs/runbooks"
MOST_KEYS = 4
VMTAS = tuple(f"{stem}-{number}" for stem in ("tx", "mkt", "cold") for number in (1, 3, 5))
FULL = SmtpReply(code=452, enhanced="4.2.2", text="The recipient's inbox is out of storage space.")
BLOCKED = SmtpReply(code=550, enhanced="5.7.1", text="part of their network is on our block list (S3150)")
SERVFAIL = Deferring(
    category="dns-temp",
    reply=SmtpReply(code=451, enhanced="4.4.3", text="SERVFAIL from 192.0.2.53:53 about MX a.example", local=True),
)
LISTED = msgspec.structs.replace(rule("suspend outlook.block-list"), reply=BLOCKED)
UNBOUND = WaitReason(kind=ReasonKind.BIND, detail="cannot bind 203.0.113.13")
TOO_MANY = WaitReason(kind=ReasonKind.LIMIT, detail="provider_connections 5 is used up", value="5")


@dataclass(frozen=True)
class Scene:
    """A fleet with a trouble, and what the keys of the runbook are to do there."""

    state: FleetState
    alarm: str  # begins the line at the top; empty: there is none
    done: tuple[str, ...] = ()  # titles of what was executed
    seen: str = ""  # on the screen after the last key

    @property
    def wanted(self) -> list[list[str]]:
        """Words of the titles: rows that are marked stand in the order of the screen."""
        return [sorted(title.split()) for title in self.done]


SCENES = {
    "throttled": Scene(healthy(), "gmail throttles mkt-1", ("rotate vmta:mkt-1",)),
    "blocked": Scene(
        with_cells(QUIET, "outlook", ("mkt-3",), binding=LISTED, flow=FAILING),
        "outlook blocks mkt-3",
        ("rotate vmta:mkt-3",),
    ),
    "unproven": Scene(
        at_fault(IdentityKind.PTR, "mkt-1"), "mkt-1 has no name that leads back to it", ("rotate vmta:mkt-1",)
    ),
    "complaints": Scene(
        with_cells(QUIET, "outlook", VMTAS, binding=rule("suspend outlook.complaints")),
        "outlook blocks 9 of 9 addresses",
        ("suspend provider:outlook",),
    ),
    "slow": Scene(
        with_cells(QUIET, "outlook", VMTAS, binding=TOO_MANY, ready=900, answer_ms=3000.0, usual_ms=20.0),
        "outlook is slow",
        seen="only mail for it is late",
    ),
    "host-unreachable": Scene(troubled(), "mx2 does not answer", seen="connection refused by 192.0.2.2 port 22"),
    "dns": Scene(with_host(QUIET, flow=FAILING, deferring=SERVFAIL), "DNS does not answer on mx1", ("retry group:g1",)),
    "full-mailboxes": Scene(
        with_cells(QUIET, "gmail", VMTAS, flow=FAILING, last_reply=FULL),
        "mailboxes at gmail are full",
        seen="this is about recipients",
    ),
    "host-takes-no-mail": Scene(
        with_host(QUIET, accepting=False, intake_reason="disk full: 1204 MiB free"),
        "mx1 takes no mail",
        ("evacuate mx1",),
    ),
    "address-cannot-send": Scene(
        with_cells(QUIET, "gmail", ("mkt-1",), binding=UNBOUND), "mkt-1 cannot send", ("rotate vmta:mkt-1",)
    ),
    "campaign": Scene(QUIET, "", ("job pause spring-sale",)),
    "wrong-mail": Scene(QUIET, "", ("hold group:g1",)),
}


def keys_of(name: str, what: str) -> tuple[str, ...]:
    """The keys of a line `**Keys** …` of a page."""
    line = re.search(rf"^\*\*{what}\*\* (.*)$", text_of(name), re.MULTILINE)
    assert line is not None
    return tuple(re.findall(r"`([^`]+)`", line[1]))


def index() -> dict[str, tuple[int, str]]:
    """Of each page in the table: how many keys, and the keys that take it back."""
    found = {}
    for line in text_of("README").splitlines():
        if (linked := re.search(r"\]\(([\w-]+)\.md\)", line)) and line.startswith("|"):
            _, _, number, _, back = line.strip("|").split("|")
            found[linked[1]] = (int(number), back)
    return found


def text_of(name: str) -> str:
    return (PAGES / f"{name}.md").read_text("utf-8")


def test_every_page_is_in_the_index_with_its_keys_and_has_a_scene() -> None:
    pages = {page.stem for page in PAGES.glob("*.md")} - {"README"}
    assert pages == set(SCENES) == set(index())
    for name, (number, back) in index().items():
        assert number == len(keys_of(name, "Keys")) <= MOST_KEYS
        assert tuple(re.findall(r"`([^`]+)`", back)) == keys_of(name, "Back")


async def press(pilot: Pilot[Any], clock: Clock, key: str) -> None:
    """Press `key` when what stands there takes keys."""
    await until(pilot, lambda: is_asked(pilot) or not isinstance(pilot.app.screen, ConfirmDialog))
    if isinstance(pilot.app.screen, ConfirmDialog):
        clock.now += DEAF_S
    before = pilot.app.screen
    await pilot.press(key)
    if key in "RSHTUVy" or key == "enter":
        await until(pilot, lambda: pilot.app.screen is not before)
    elif isinstance(before, View):
        await until(pilot, lambda: bool(pilot.app.screen.query(FleetTable)) and has_rows(pilot))


def has_rows(pilot: Pilot[Any]) -> bool:
    table = pilot.app.screen.query(FleetTable).first()
    return table.row_count > 0 and table.cursor is not None


def done(operator: StillOperator) -> tuple[str, ...]:
    """What was carried out."""
    moved = (f"evacuate {plan.source}" for plan in operator.evacuated)
    return (*(plan.title for plan in operator.executed), *moved)


@pytest.mark.parametrize("name", SCENES)
async def test_the_keys_of_a_runbook_do_what_it_says_and_are_taken_back(name: str) -> None:
    scene, operator, clock = SCENES[name], StillOperator(), Clock()
    app = ConsoleApp(StillFleet(scene.state), operator, now=lambda: NOW, clock=clock)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: app.alarms.standing != () or not scene.alarm)
        line = str(app.screen.query_one(AlarmLine).render())
        assert line.startswith(f"▲ {scene.alarm}") if scene.alarm else not line
        for key in keys_of(name, "Keys"):
            await press(pilot, clock, key)
        await until(pilot, lambda: [sorted(title.split()) for title in done(operator)] == scene.wanted)
        await until(pilot, lambda: scene.seen in shown(pilot))
        for key in keys_of(name, "Back"):
            await press(pilot, clock, key)
        if keys_of(name, "Back"):
            await until(pilot, lambda: bool(operator.undone) or Verb.UNDO in [plan.verb for plan in operator.executed])
