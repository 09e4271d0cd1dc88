"""Rollout: each host beside its part of the fleet file, and the way it gets there."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mailagent.api.ids import HostName
from mailagent.api.rollout import FileState
from mailagent.config.errors import ConfigError
from mailctl.fleet.state import FleetState
from mailctl.ops.adopt import Adopted, adopt, put
from mailctl.ops.errors import OpsError
from mailctl.ops.own import READ_ONLY_REFUSAL
from mailctl.ops.plan import Line, LineResult, Verb
from mailctl.ops.rollout import HostPlan, Phase
from mailctl.ops.selector import TermKind
from mailctl.output.effects import effects, head
from mailctl.tui.dialogs.page import PageDialog
from mailctl.tui.listing import BLANK, Cell, Column, Listing, Row
from mailctl.tui.rollout import Rollouts
from mailctl.tui.screens.columns import number
from mailctl.tui.screens.view import View
from mailctl.tui.text import clean, listed, plural, since
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.detail import lines
from mailctl.tui.widgets.table import FleetTable

COLUMNS = (
    Column("HOST", 6, grow=2, most=20, sort=lambda row: row.host),
    Column("FILE", 18, grow=3, most=30),
    Column("CHANGES", 7, right=True, sort=lambda row: row.count("changes"), descending=True),
    Column("CEILINGS", 8, right=True, drop=3),
    Column("QUEUES", 6, right=True, drop=2),
    Column("WAITING", 7, right=True, sort=lambda row: row.count("waiting"), descending=True),
    Column("ROLL-OUT", 12, grow=4, most=40),
)
_RESULTS = {
    LineResult.APPLIED: Cell("● applied", Tone.GOOD),
    LineResult.NOTHING_TO_DO: Cell("○ nothing to do", Tone.QUIET),
    LineResult.NOT_REACHED: Cell("− not reached", Tone.WARN),
    LineResult.UNKNOWN: Cell("? unknown", Tone.WARN),
}


class _Compared(NamedTuple):
    """One host of the fleet."""

    host: HostName
    found: HostPlan | None  # None: not asked yet
    result: Cell  # of the roll-out

    def count(self, what: str) -> int:
        """A figure to order by."""
        plan = self.found.plan if self.found else None
        value = getattr(plan, what) if plan else 0
        return value if isinstance(value, int) else len(value)


class RolloutView(View):
    """The fleet file's way to the hosts: compare, apply in batches, stop, roll back, adopt."""

    TAB = "Rollout"
    COLUMNS = COLUMNS
    EMPTY = "no host passes the filter"
    HINTS = (("A", "apply"), ("X", "stop"), ("U", "roll back"), ("W", "adopt orders"), ("r", "compare"))
    VERBS: ClassVar[dict[str, Verb]] = {}
    DEFAULT_CSS = """
    RolloutView FleetTable { height: auto; max-height: 60%; }
    RolloutView .progress { height: 1; padding: 0 1; display: none; }
    RolloutView VerticalScroll { height: 1fr; border-top: solid $rule; padding: 0 1; scrollbar-size-vertical: 1; }
    RolloutView .effects { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("A", "apply", "Apply", show=False, id="rollout.apply"),
        Binding("X", "stop", "Stop", show=False, id="rollout.stop"),
        Binding("W", "adopt", "Adopt", show=False, id="rollout.adopt"),
        Binding("r", "compare", "Compare", show=False, id="rollout.compare"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rollouts = Rollouts(self._ended)
        self._found: dict[HostName, HostPlan] = {}
        self._against: object = None  # the file that it was compared with
        self._compared_at: datetime | None = None

    def body(self) -> Iterable[Widget]:
        """The hosts, how far a roll-out is, and what would change on the host under the cursor."""
        yield FleetTable(empty=self.EMPTY)
        yield Static(classes="progress", markup=False)
        with VerticalScroll():
            yield Static(classes="effects", markup=False)

    def poll(self) -> None:
        """Compare once, and again when the file is another one."""
        if self._against is not self.desk.drift.config and not self.is_asking("compare"):
            self._against = self.desk.drift.config
            self.action_compare()
        if self.rollouts.is_under_way:
            self.show(self.desk.state, self.desk.now())

    def action_compare(self) -> None:
        """Ask the hosts again."""
        self.say("comparing …", Tone.QUIET)
        self.fetch("compare", self._compare)

    async def _compare(self) -> None:
        try:
            found = await self.desk.operator.compare()
        except OpsError as exc:
            self.say(str(exc), Tone.WARN)
            return
        self._found = {one.host: one for one in found}
        self._compared_at = self.desk.now()
        if self.is_drawable:
            differ, silent = sum(one.differs for one in found), [one.host for one in found if one.plan is None]
            without = f"; without {listed(silent)}" if silent else ""
            self.say(
                f"{plural(differ, 'host')} of {len(found)} would change{without}", Tone.WARN if silent else Tone.TEXT
            )
            self.show(self.desk.state, self.desk.now())

    def _ended(self) -> None:
        """A roll-out has come to its end, or was not agreed to."""
        if self.is_drawable:
            self.action_compare()

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw the hosts."""
        told = self._told()
        rows = [
            _Compared(host.name, self._found.get(host.name), told.get(host.name, BLANK))
            for host in state.hosts
            if self.filter.admits({TermKind.HOST: (host.name,)}, f"{host.name} {host.region}")
        ]
        listing = Listing.of(
            COLUMNS, rows, lambda row: row.host, _cells, total=_total(rows), sorted_by=self.ordering.by
        )
        self.table.show(self.hold(listing))
        progress = self.query_one(".progress", Static)
        progress.display = self.rollouts.now is not None
        progress.update(self.rollouts.line("X stops it"))
        self.query_one(".effects", Static).update(self._effects(now))

    def _told(self) -> dict[HostName, Cell]:
        """What a roll-out, the one under way or the last, has to say about hosts."""
        now, last = self.rollouts.now, self.rollouts.last
        if now is None:
            done = last.report.lines if last else ()
            back = last.rolled_back.lines if last and last.rolled_back else ()
            if last and last.report.verb is Verb.CONFIG_UNDO:
                done, back = (), done
            return {line.host: _result(line) for line in done} | {line.host: _put_back(line) for line in back}
        words = {Phase.TELLS: "▷ is told", Phase.WATCHES: "◔ is watched", Phase.PUTS_BACK: "↶ is put back"}
        cells = {line.host: _result(line) for line in now.done}
        return cells | {host: Cell(words[now.phase], Tone.ACCENT) for host in now.hosts}

    def _row(self) -> HostPlan | None:
        return self._found.get(HostName(self.table.cursor)) if self.table.cursor else None

    def _effects(self, now: datetime) -> Content:
        found = self._row()
        if found is None:
            return Content("")
        if found.plan is None:
            return Content.styled(f"{found.host}: {clean(found.error)}", Tone.BAD.style)
        plan = found.plan
        rows = [Content.styled(clean(f"{found.host}: {head(plan)}"), Tone.STRONG.style)]
        if plan.last is not None:
            reason = f": {plan.last.reason}" if plan.last.reason else ""
            text = f"last apply {since(plan.last.at, now)} ago by {plan.last.author} ({plan.last.op_id}){reason}"
            rows.append(Content.styled(clean(text), Tone.QUIET.style))
        for text in effects(plan):
            tone = Tone.BAD if text.startswith("refused") else Tone.WARN if "(lower)" in text else Tone.TEXT
            rows.append(Content.styled(f"  {text}", tone.style))
        rows += [Content.styled(f"    {clean(text)}", Tone.WARN.style) for text in plan.edits]
        return lines(*rows)

    def copied(self) -> str:
        """What would change on the host under the cursor."""
        found = self._row()
        return "\n".join((head(found.plan), *effects(found.plan))) if found and found.plan else ""

    # verbs

    def _why_not(self) -> str:
        if self.desk.read_only:
            return READ_ONLY_REFUSAL
        return "a roll-out is under way; X stops it" if self.rollouts.is_under_way else ""

    def action_apply(self) -> None:
        """Tell the marked hosts, or all that differ, their part of the file."""
        marked = [HostName(key) for key in self.table.selected()] if self.table.marks else []
        hosts = marked or [host for host, one in self._found.items() if one.differs]
        if why := self._why_not():
            self.say(why, Tone.WARN)
        elif not self._found:
            self.say("not compared yet", Tone.WARN)
        elif not hosts:
            self.say("every host that answers runs what the file says", Tone.WARN)
        else:
            self.rollouts.ask(self.desk, hosts)

    def action_stop(self) -> None:
        """Tell no further batch."""
        if self.rollouts.stop():
            self.say("stops after this batch; what was told stands, U rolls it back", Tone.WARN)
        else:
            self.say("no roll-out is under way", Tone.WARN)

    def action_undo(self) -> None:
        """Put back the files that the last apply of the host under the cursor replaced, on all its hosts."""
        found = self._row()
        last = found.plan.last if found and found.plan else None
        if why := self._why_not():
            self.say(why, Tone.WARN)
        elif last is None:
            self.say("this host remembers no apply: choose one that does", Tone.WARN)
        elif last.undoes is not None:
            self.say(f"the last apply there was put back already, by {last.op_id}", Tone.WARN)
        else:
            self.rollouts.ask_back(self.desk, last.op_id)

    def action_adopt(self) -> None:
        """Show standing orders as an edit of the fleet file; `y` writes it."""
        if why := self._why_not():
            self.say(why, Tone.WARN)
        else:
            self.fetch("adopt", self._adopt)

    async def _adopt(self) -> None:
        path = self.desk.path
        try:
            made = await asyncio.to_thread(adopt, self.desk.state.directives, path, (), everything=True)
        except (OpsError, ConfigError, OSError) as exc:
            self.say(clean(str(exc)), Tone.WARN)
            return
        question = f"writes {path.name}; an apply then ends the orders" if made.text != made.before else ""
        self.app.push_screen(
            PageDialog("Standing orders as an edit of the fleet file", _adopted(made), question),
            lambda agreed: self.fetch("put", partial(self._put, made)) if agreed else None,
        )

    async def _put(self, made: Adopted) -> None:
        try:
            await asyncio.to_thread(put, self.desk.path, made)
        except OpsError as exc:
            self.say(str(exc), Tone.BAD)
        else:
            self.desk.say(f"{self.desk.path.name} is written; A applies it", Tone.GOOD)


def _adopted(made: Adopted) -> Content:
    rows = []
    for row in made.rows:
        tone = Tone.GOOD if row.result == "fits" else Tone.QUIET if row.result == "nothing-to-do" else Tone.WARN
        what = f"{row.directive.kind} {row.directive.target} by {row.directive.author}"
        rows.append(
            Content.assemble((f"{row.result}  ", tone.style), (clean(f"{what}: {row.detail}"), Tone.TEXT.style))
        )
    colours = {"+": Tone.GOOD, "-": Tone.BAD, "@": Tone.QUIET}
    rows.append(Content(""))
    rows += [
        Content.styled(clean(text), colours.get(text[:1], Tone.TEXT).style) for text in made.difference.splitlines()
    ]
    return lines(*rows)


def _result(line: Line) -> Cell:
    return _RESULTS.get(line.result) or Cell(f"✕ {line.result}: {clean(line.detail)}", Tone.BAD)


def _put_back(line: Line) -> Cell:
    return Cell("↶ put back", Tone.WARN) if line.result is LineResult.APPLIED else _result(line)


def _file(found: HostPlan | None) -> Cell:
    """How the host stands to its part of the file."""
    if found is None:
        return Cell("◌ not compared", Tone.QUIET)
    plan = found.plan
    if plan is None:
        return Cell(f"✕ {clean(found.error)}", Tone.BAD)
    if plan.problems:
        return Cell("⊘ would refuse it", Tone.BAD)
    if plan.state is FileState.EDITED:
        return Cell("✎ edited by hand", Tone.WARN)
    if plan.state is FileState.PENDING:
        return Cell("◷ waits for restart", Tone.WARN)
    return Cell("● as in the file", Tone.GOOD) if plan.same else Cell("Δ differs", Tone.WARN)


def _cells(row: _Compared) -> tuple[Cell, ...]:
    figures = [number(row.count(what)) for what in ("changes", "ceilings", "queues", "waiting")]
    return Cell(row.host, Tone.STRONG), _file(row.found), *figures, row.result


def _total(rows: list[_Compared]) -> Row:
    differ = sum(row.found is not None and row.found.differs for row in rows)
    sums = [number(sum(row.count(what) for row in rows)) for what in ("changes", "ceilings", "queues", "waiting")]
    head_cells = (
        Cell("total", Tone.STRONG),
        Cell(f"{differ} of {len(rows)} differ", Tone.WARN if differ else Tone.QUIET),
    )
    return Row("total", (*head_cells, *sums, BLANK))
