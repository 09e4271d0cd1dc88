"""Operations: standing orders with owner, age, end and progress; and the log of what was done.

Orders of automation stand among the others: with their rule, the value before and now, and the reply behind them.
"""

import textwrap
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mailagent.api.directives import DirectiveKind, DrainProgress
from mailagent.api.ids import DirectiveId, OpId
from mailagent.api.operations import OperationRecord, Result
from mailagent.api.replies import OperationPage
from mailagent.api.requests import PageRequest
from mailagent.api.targets import TargetKind
from mailagent.api.words import command, verb
from mailctl.fleet.state import DirectiveRow, FleetState
from mailctl.ops.acts import is_act, operation_of
from mailctl.ops.moments import past
from mailctl.ops.plan import Options, Plan, Verb
from mailctl.ops.selector import TermKind
from mailctl.tui.dialogs.confirm import seconds_in
from mailctl.tui.listing import Cell, Column, Listing
from mailctl.tui.screens.orders import in_order, order_facts, order_key, order_words
from mailctl.tui.screens.view import View
from mailctl.tui.source import ASK_DEADLINE_S
from mailctl.tui.text import clean, clock, count, listed, plural, since, until
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.detail import beside, fact, lines
from mailctl.tui.widgets.table import FleetTable

LOG_ROWS = 500

ORDER_COLUMNS = (
    Column("ORDER", 8, grow=1, most=12),
    Column("TARGET", 18, grow=12, most=44),
    Column("HOSTS", 7, grow=1, most=16),
    Column("BY", 10, grow=1, most=12),
    Column("AGE", 5, right=True, drop=1),
    Column("ENDS", 9, right=True),
    Column("PROGRESS", 12, grow=2, most=44),
    Column("REASON", 12, grow=3, drop=2),
)
LOG_COLUMNS = (
    Column("DONE", 8),
    Column("VERB", 8, grow=2, most=19),
    Column("TARGET", 14, grow=3, most=34),
    Column("HOSTS", 7, grow=1, most=16),
    Column("BY", 10, grow=1, most=12),
    Column("RESULT", 9, grow=1, most=16),
    Column("OPERATION", 15, drop=1),
    Column("REASON", 8, grow=4, drop=2),
)


@dataclass(frozen=True, slots=True)
class LogRow:
    """One operation over the hosts that did it; where none had anything to do, over those."""

    op_id: OpId
    record: OperationRecord  # of the first of them
    hosts: tuple[str, ...]
    undone: bool
    others: int = 0  # targets beside the one of `record`


def logged(pages: dict[str, OperationPage]) -> list[LogRow]:
    """Operations of all hosts, newest first; what belongs to one operation is one row."""
    parts: dict[OpId, list[tuple[str, OperationRecord]]] = {}
    for host, page in pages.items():
        for record in page.rows:
            parts.setdefault(operation_of(record), []).append((host, record))
    rows = []
    for op_id, every in parts.items():
        same = [(host, record) for host, record in every if record.result is Result.APPLIED] or every
        rows.append(
            LogRow(
                op_id,
                same[0][1],
                tuple(dict.fromkeys(host for host, _ in same)),
                all(record.undone_by is not None for _, record in same),
                len({_done_to(record) for _, record in same}) - 1,
            )
        )
    rows.sort(key=lambda row: (row.record.at, row.op_id), reverse=True)
    return rows


class OperationsView(View):
    """Standing orders above, log below; tab goes from one to the other."""

    TAB = "Operations"
    TABLES: ClassVar[Mapping[str, tuple[Column, ...]]] = {"orders": ORDER_COLUMNS, "log": LOG_COLUMNS}
    VERBS: ClassVar[dict[str, Verb]] = {}
    HINTS = (("U", "undo"), ("M", "undo mine"), ("X", "cancel"), ("P", "pin"), ("T", "time"), ("a", "all log"))
    AUTO_FOCUS = "#orders"
    DEFAULT_CSS = """
    OperationsView #orders { height: auto; max-height: 50%; min-height: 3; }
    OperationsView .order { height: auto; max-height: 5; padding: 0 1; border-top: solid $rule; }
    OperationsView #log { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("M", "undo_mine", "Undo mine", show=False, id="verb.undo-mine"),
        Binding("X", "end", "Cancel", show=False, id="order.cancel"),
        Binding("P", "pin", "Pin", show=False, id="order.pin"),
        Binding("T", "time", "Time", show=False, id="order.time"),
        Binding("a", "automation", "Automation", show=False, id="log.automation"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._log: list[LogRow] = []
        self._with_automation = False

    def body(self) -> Iterable[Widget]:
        """Two tables, and between them in full what is under the cursor of the one with the focus."""
        yield FleetTable(id="orders", empty="no standing orders: the configuration is the whole truth")
        yield Static(classes="order", markup=False)
        yield FleetTable(id="log", empty="asking the hosts …")

    def poll(self) -> None:
        """Ask for the log."""
        if not self.is_asking("log"):
            self.fetch("log", self._fetch)

    async def _fetch(self) -> None:
        answers = await self.desk.source.ask_all("operations", PageRequest(limit=LOG_ROWS), deadline_s=ASK_DEADLINE_S)
        if not self.is_drawable:
            return
        self._log = logged({str(host): page for host, page in answers.items() if isinstance(page, OperationPage)})
        hidden = "; a shows what agents did by themselves" if self._log else ""
        self.query_one("#log", FleetTable).empty = f"no operation in the last seven days{hidden}"
        self.show(self.desk.state, self.desk.now())

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw both tables."""
        orders = [
            row
            for row in state.directives
            if self.filter.admits(
                {TermKind.HOST: row.hosts},
                f"{row.directive.kind} {row.directive.target} {row.directive.author} {row.directive.rule}",
            )
        ]
        log = [
            row
            for row in self._log
            if (self._with_automation or is_act(row.record))
            and self.filter.admits({TermKind.HOST: row.hosts}, _log_words(row.record))
        ]
        self.query_one("#orders", FleetTable).show(
            Listing.of(ORDER_COLUMNS, in_order(orders), order_key, lambda row: _order_cells(row, now))
        )
        self.query_one("#log", FleetTable).show(
            Listing.of(LOG_COLUMNS, log, lambda row: str(row.op_id), lambda row: _log_cells(row))
        )
        self._draw_pane(now)

    def on_descendant_focus(self) -> None:
        """The pane tells of the row under the cursor of the table with the focus."""
        if self.is_drawable:
            self._draw_pane(self.desk.now())

    def _draw_pane(self, now: datetime) -> None:
        pane, width = self.query_one(".order", Static), self.size.width - 3
        text = None
        if self.table.id == "log":
            source, at = self.table.source, self.table.cursor
            done = source.record(at) if isinstance(source, Listing) and at else None
            text = _log_facts(done, width) if isinstance(done, LogRow) else None
        elif (chosen := self._order()) is not None:
            text = order_facts(chosen, now, width, _how_far(chosen))
        pane.display = text is not None
        if text is not None:
            pane.update(text)

    def action_automation(self) -> None:
        """Show or hide in the log what agents did by themselves: it would bury what people did."""
        self._with_automation = not self._with_automation
        self.show(self.desk.state, self.desk.now())
        shown = "with" if self._with_automation else "without"
        self.say(f"the log {shown} what hosts and automation did, and how orders went on")

    def _order(self) -> DirectiveRow | None:
        """The standing order under the cursor of the upper table."""
        orders = self.query_one("#orders", FleetTable)
        source = orders.source
        return source.record(orders.cursor) if isinstance(source, Listing) and orders.cursor else None

    def _change(self, what: str, planner: Callable[[DirectiveId, Options], Awaitable[Plan]], options: Options) -> None:
        """Ask before a verb on the order, unless the log has the focus."""
        row = self._order() if self.table.id == "orders" else None
        if row is None:
            self.say(f"nothing to {what} here: choose a standing order above (tab)", Tone.WARN)
            return
        order = row.directive
        self.desk.carry_out(f"{what} {order.kind} {order.target}", partial(planner, order.id), options)

    def action_end(self) -> None:
        """Cancel the order."""
        self._change("cancel", self.desk.operator.plan_cancel, Options())

    def action_pin(self) -> None:
        """Pin an order, so that automation leaves it alone; or let it go again."""
        pinned = (row := self._order()) is not None and row.directive.pinned
        self._change("unpin" if pinned else "pin", self.desk.operator.plan_edit, Options(pin=not pinned))

    def action_time(self) -> None:
        """Give the order another end."""
        if self._order() is None or self.table.id != "orders":
            self.say("nothing to shorten here: choose a standing order above (tab)", Tone.WARN)
            return
        self.desk.prompt(
            "How long from now",
            "10m, 2h, 1d",
            lambda text: "" if seconds_in(text) else f"{text!r} is no time",
            lambda text: self._change("edit", self.desk.operator.plan_edit, Options(ttl_s=seconds_in(text))),
        )

    def _selected(self) -> OpId | None:
        table = self.table
        source = table.source
        if table.cursor is None or not isinstance(source, Listing):
            return None
        record = source.record(table.cursor)
        return record.op_id if isinstance(record, LogRow | DirectiveRow) else None

    def action_undo(self) -> None:
        """Undo the operation under the cursor."""
        if (chosen := self._selected()) is not None:
            self.desk.ask_before_undo(chosen)
        else:
            self.say("nothing to undo here", Tone.WARN)

    def action_undo_mine(self) -> None:
        """Undo all that I did since a time, newest first."""

        def wrong(text: str) -> str:
            try:
                past(text, self.desk.now())
            except ValueError as exc:
                return str(exc)
            return ""

        def plan(text: str) -> None:
            since = past(text, self.desk.now())  # once: what is planned again is the same
            self.desk.carry_out(
                f"undo mine since {clock(since)}", lambda options: self.desk.operator.plan_undo_since(since, options)
            )

        self.desk.prompt("Undo all that I did since", "14:00 (UTC), 2h", wrong, plan)

    def copied(self) -> str:
        """The operation's id."""
        return str(self._selected() or "")


def progress_cell(progress: DrainProgress) -> Cell:
    """How far a drain is."""
    if progress.empty:
        held = f", {count(progress.waiting)} held" if progress.waiting else ""
        return Cell(f"✓ empty{held}", Tone.GOOD)
    parts = [
        f"{count(number)} {word}"
        for number, word in (
            (progress.connections, "conn"),
            (progress.ready, "ready"),
            (progress.in_doubt, "in doubt"),
            (progress.waiting, "waiting"),
        )
        if number
    ]
    return Cell("▽ " + ", ".join(parts), Tone.WARN)


def _at(hosts: tuple[str, ...]) -> str:
    """The host, or how many."""
    return hosts[0] if len(hosts) == 1 else plural(len(hosts), "host")


def _how_far(row: DirectiveRow) -> Cell:
    if row.stale:  # whether it still stands there is not known either
        return Cell("~ a host is lost", Tone.WARN)
    if row.progress:
        return progress_cell(row.progress)
    held = f"{count(row.waiting)} held" if row.waiting else ""
    return Cell("; ".join(filter(None, (held, clean(row.note)))), Tone.TEXT)


def _order_cells(row: DirectiveRow, now: datetime) -> tuple[Cell, ...]:
    order = row.directive
    glyph = "‖" if order.kind is DirectiveKind.SUSPEND else "↓" if order.kind is DirectiveKind.LIMIT else "▽"
    ends = until(order.expires_at, now) if order.expires_at else "by undo"
    return (
        Cell(f"{glyph} {verb(order.kind, order.target)}", Tone.WARN),
        Cell(order_words(order), Tone.STRONG),
        Cell(_at(row.hosts), Tone.TEXT),
        Cell(clean(order.author), Tone.ACCENT if order.rule else Tone.TEXT),
        Cell(since(order.created_at, now), Tone.TEXT),
        Cell("◆ pinned" if order.pinned else ends, Tone.TEXT if order.pinned else Tone.QUIET),
        _how_far(row),
        Cell(clean(f"{order.rule}: {order.reply}" if order.rule else order.reason), Tone.QUIET),
    )


def _log_facts(row: LogRow, width: int) -> Content:
    """One operation in full: what its columns may cut."""
    record = row.record
    result = "undone" if row.undone else str(record.result).replace("-", " ")
    what = f"{command(record.verb, record.target)} {_done_to(record)}"
    others = [Content.styled(f"and {plural(row.others, 'other')}", Tone.TEXT.style)] if row.others else []
    by = f" by {record.undone_by}" if row.undone and record.undone_by else ""
    rows = [
        beside(Content.styled(clean(what), Tone.STRONG.style), *others, fact("by", clean(record.author))),
        beside(
            fact("id", str(row.op_id), Tone.ACCENT),
            fact("done", clock(record.at)),
            fact("on", listed(row.hosts)),
            Content.styled(clean(f"{result}{by}"), Tone.TEXT.style),
        ),
    ]
    for said in filter(None, (clean(record.reason), clean(record.detail))):
        rows += [Content.styled(line, Tone.TEXT.style) for line in textwrap.wrap(said, max(20, width))]
    return lines(*rows)


def _done_to(record: OperationRecord) -> str:
    """The target; of verbs on mail what was asked for, whether a host wrote that as a target or as a filter."""
    target = record.target
    if target is not None:
        return target.name if target.kind is TargetKind.MAIL else str(target)
    if record.undoes:
        return str(record.undoes)
    return str(record.filter) if record.filter is not None else "messages"


def _log_words(record: OperationRecord) -> str:
    """What a filter looks into: the verb as it is shown, and its name on the wire."""
    return f"{command(record.verb, record.target)} {record.verb} {record.target} {record.author}"


def _log_cells(row: LogRow) -> tuple[Cell, ...]:
    record = row.record
    what = _done_to(record)
    result = Cell("undone", Tone.QUIET) if row.undone else Cell(str(record.result).replace("-", " "), Tone.GOOD)
    return (
        Cell(clock(record.at), Tone.QUIET),
        Cell(command(record.verb, record.target), Tone.STRONG),
        Cell(f"{clean(what)} +{row.others}" if row.others else clean(what), Tone.TEXT),
        Cell(_at(row.hosts), Tone.TEXT),
        Cell(clean(record.author), Tone.TEXT),
        result,
        Cell(row.op_id, Tone.QUIET),
        Cell(clean(record.reason or record.detail), Tone.QUIET),
    )
