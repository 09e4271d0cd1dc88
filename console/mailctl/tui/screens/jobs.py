"""Jobs: campaigns by their X-Job over all hosts, how far they are, and what holds them."""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget

from mailagent.api.ids import HostName
from mailagent.api.jobs import JobDetail, JobPage, JobQuery, JobState
from mailagent.api.requests import Empty, HistoryScope
from mailctl.fleet.jobs import JobRow, merged_jobs
from mailctl.fleet.lists import sum_groups
from mailctl.fleet.state import FleetState
from mailctl.ops.plan import Options, Verb
from mailctl.ops.selector import TermKind
from mailctl.tui.desk import Scope
from mailctl.tui.listing import BLANK, Cell, Column, Listing
from mailctl.tui.screens.columns import number
from mailctl.tui.screens.reasons import reason_mark
from mailctl.tui.screens.view import View
from mailctl.tui.source import ASK_DEADLINE_S
from mailctl.tui.states import job_cell
from mailctl.tui.text import NOTHING, clean, count, cut, listed, plural, since, span, until
from mailctl.tui.theme import Tone
from mailctl.tui.verdicts import Subject
from mailctl.tui.widgets.detail import Detail, beside, fact, lines
from mailctl.tui.widgets.table import FleetTable

_WAITING = Column("WAITING", 7, right=True, sort=lambda row: row.sum("waiting"), descending=True)
COLUMNS = (
    Column("JOB", 16, grow=4, most=32, sort=lambda row: row.name),
    Column("STATE", 11, sort=lambda row: row.state),
    Column("HOSTS", 5, right=True, drop=4),
    _WAITING,
    Column("OUT", 7, right=True, sort=lambda row: row.sum("delivered"), descending=True),
    Column("FAILED", 6, right=True, sort=lambda row: row.sum("bounced"), descending=True),
    Column("PACE", 7, right=True, sort=lambda row: row.pace, descending=True),
    Column("LIMIT", 6, grow=1, most=10, drop=3),
    Column("DONE", 10),
    Column("ENDS", 7, right=True, drop=2),
    Column("AGE", 6, right=True, drop=5),
    Column("NOTE", 10, grow=6, drop=1),
)
MOST_REPLIES = 6
REPLY_CHARS = 90
"""Of a reply in the pane: Deferred (4) has it whole."""


class JobsView(View):
    """Jobs of the whole fleet; what is done stays for as long as hosts remember it."""

    TAB = "Jobs"
    COLUMNS = COLUMNS
    EMPTY = "asking the hosts …"
    HINTS = (("enter", "messages"), ("S", "pause"), ("E", "resume"), ("X", "cancel"), ("L", "rate"))
    VERBS: ClassVar[dict[str, Verb]] = View.VERBS | {"X": Verb.JOB_CANCEL}
    WORDS: ClassVar[dict[Verb, str]] = {Verb.SUSPEND: "job pause", Verb.RESUME: "job resume"}
    DEFAULT_CSS = """
    JobsView FleetTable { height: 1fr; }
    JobsView Detail { height: 8; }
    JobsView.-tall Detail { height: 15; }
    JobsView.-short Detail .legend, JobsView.-short Detail Chart { display: none; }
    JobsView.-short Detail { height: auto; max-height: 8; }
    JobsView.-short Detail > .sides { height: auto; }
    JobsView.-short Detail .facts { width: 1fr; padding-left: 0; }
    JobsView.-wide Detail .facts { width: 60; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("X", "verb('job_cancel')", "Cancel", show=False, id="verb.job-cancel"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[JobRow] = []
        self._details: tuple[str, dict[HostName, JobDetail]] = ("", {})
        self._missing: tuple[str, ...] = ()

    def body(self) -> Iterable[Widget]:
        """Table above, the job below."""
        yield FleetTable(empty=self.EMPTY)
        yield Detail()

    def poll(self) -> None:
        """Ask for all jobs, and for the one under the cursor."""
        super().poll()
        if not self.is_asking("jobs"):
            self.fetch("jobs", self._fetch)
        self._ask_details()

    def _ask_details(self) -> None:
        row = self._row()
        if row is not None and (row.name != self._details[0] or not self.is_asking("job")):
            self.fetch("job", self._fetch_details, row)

    async def _fetch(self) -> None:
        answers = await self.desk.source.ask_all("jobs", Empty(), deadline_s=ASK_DEADLINE_S)
        if not self.is_drawable:
            return
        pages = {host: answer for host, answer in answers.items() if isinstance(answer, JobPage)}
        self._rows = merged_jobs((host, view) for host, page in pages.items() for view in page.rows)
        self._missing = tuple(str(host) for host in answers if host not in pages)
        self.table.empty = "no mail with an X-Job in the last days"
        self.show(self.desk.state, self.desk.now())

    async def _fetch_details(self, row: JobRow) -> None:
        answers = await self.desk.source.ask_all(
            "job", JobQuery(name=row.name), hosts=row.hosts, deadline_s=ASK_DEADLINE_S
        )
        if self.is_drawable:
            found = {host: answer for host, answer in answers.items() if isinstance(answer, JobDetail)}
            self._details = (row.name, found)
            self.show(self.desk.state, self.desk.now())

    def on_fleet_table_cursor_moved(self) -> None:
        """Ask about the job at once."""
        self._ask_details()

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw the jobs."""
        del state
        rows = [
            row
            for row in self._rows
            if self.filter.admits(
                {TermKind.JOB: (row.name,), TermKind.HOST: row.hosts, TermKind.STATE: (row.state,)},
                f"{row.name} {row.state} {row.reasons}",
            )
        ]
        listing = Listing.of(
            COLUMNS, rows, lambda row: row.name, lambda row: _cells(row, now), sorted_by=self.ordering.by
        )
        self.table.show(self.hold(listing))
        self.query_one(Detail).describe(self._facts(now))

    def _row(self) -> JobRow | None:
        source = self.table.source
        return source.record(self.table.cursor) if isinstance(source, Listing) and self.table.cursor else None

    def _facts(self, now: datetime) -> Content:
        row = self._row()
        without = Content.styled(f"without {listed(self._missing)}", Tone.WARN.style) if self._missing else Content("")
        if row is None:
            return without
        first = [
            Content.styled(clean(row.name), Tone.STRONG.style),
            fact("on", listed(row.hosts)),
            fact("accepted", count(row.sum("accepted"))),
        ]
        if gone := row.sum("cancelled"):
            first.append(fact("given up", count(gone)))
        rows = [beside(*first, without)]
        window = [fact("starts", until(row.start, now), Tone.ACCENT)] if row.start else []
        window += [fact("ends", until(row.end, now), Tone.WARN if row.late else Tone.TEXT)] if row.end else []
        window += [fact("at most", f"{listed(row.rates)} a host")] if row.rates else []
        if window:
            rows.append(beside(*window))
        if self._details[0] == row.name:
            rows += self._causes(now)
        return lines(*rows)

    def _causes(self, now: datetime) -> list[Content]:
        """What binds the job, then the replies that its mail waits for."""
        found = self._details[1]
        reasons: dict[tuple[str, str], tuple[list[str], Content]] = {}
        for host, one in found.items():
            for reason in one.reasons:
                glyph, tone = reason_mark(reason)
                ends = f"  {until(reason.until, now)}" if reason.until else ""
                line = Content.styled(f"{glyph} {clean(reason.detail)}{ends}", tone.style)
                reasons.setdefault((reason.kind, reason.detail), ([], line))[0].append(str(host))
        rows = [
            Content.assemble(line, (f"  {listed(hosts)}", Tone.QUIET.style)) if len(found) > 1 else line
            for hosts, line in reasons.values()
        ]
        groups = sum_groups((host, group) for host, one in found.items() for group in one.deferred)
        for group in groups[:MOST_REPLIES]:
            category = f" {group.category}" if group.category else ""
            rows.append(
                Content.assemble(
                    (f"{count(group.count)} ", Tone.STRONG.style),
                    (f"{group.provider or NOTHING}{category} ", Tone.QUIET.style),
                    (f"{group.code or '---'} {cut(clean(group.text), REPLY_CHARS)}", Tone.WARN.style),
                )
            )
        return rows

    def scope(self) -> Scope | None:
        """The job."""
        row = self._row()
        if row is None:
            return None
        title = f"{clean(row.name)} on {plural(len(row.hosts), 'host')}"
        return Scope(title, HistoryScope.JOB, row.name, tuple(map(str, row.hosts)))

    def action_limit(self) -> None:
        """A rate for the job on each host."""
        subject = self.subject(Verb.JOB_SET)
        answer = self.verdict(Verb.JOB_SET)
        if subject is None or answer.verb is None:
            self.say(answer.why_not, Tone.WARN)
            return
        self.desk.prompt(
            f"Rate of {listed(subject.names)} on each host",
            "50/s, 600/m, or none to lift it",
            lambda text: "" if text == "none" or "/" in text else f"{text!r} is no rate",
            lambda text: self.desk.ask_before(Verb.JOB_SET, subject.selection, Options(rate=text)),
        )

    def subject(self, verb: Verb) -> Subject | None:
        """Jobs, of the hosts that the filter names."""
        hosts = self.filter.selection.hosts
        names = self.table.selected()
        if verb is Verb.RETRY:
            return Subject(TermKind.JOB, names, hosts) if len(names) == 1 else None
        return Subject(TermKind.JOB, names, hosts)

    def on_fleet_table_chosen(self, event: FleetTable.Chosen) -> None:
        """The waiting messages of the job."""
        self.desk.go_down("Messages", self.filter.having((TermKind.JOB, event.key)))


def _cells(row: JobRow, now: datetime) -> tuple[Cell, ...]:
    over = row.state in (JobState.DONE, JobState.CANCELLED)
    waiting, limits = row.sum("waiting"), row.rates
    return (
        Cell(clean(row.name), Tone.QUIET if over else Tone.STRONG),
        job_cell(row.state),
        Cell(str(len(row.parts)), Tone.QUIET),
        number(waiting, tone=Tone.STRONG),
        number(row.sum("delivered")),
        number(row.sum("bounced"), tone=Tone.WARN),
        Cell(f"{row.pace:.3g}/s" if row.pace else NOTHING, Tone.TEXT if row.pace else Tone.QUIET),
        Cell(limits[0] if limits else NOTHING, Tone.TEXT if limits else Tone.QUIET),
        _done(row, now) if waiting else BLANK,
        Cell(until(row.end, now) if row.end else NOTHING, Tone.WARN if row.late else Tone.QUIET),
        Cell(since(row.created_at, now), Tone.QUIET),
        Cell(clean("; ".join(row.reasons)), Tone.WARN if row.state is JobState.PAUSED else Tone.QUIET),
    )


def _done(row: JobRow, now: datetime) -> Cell:
    """When it is through at this pace; late stands out."""
    if row.eta is None:
        return Cell("late" if row.late else "?", Tone.WARN if row.late else Tone.QUIET)
    left = span((row.eta - now).total_seconds())
    return Cell(f"late {left}" if row.late else f"in {left}", Tone.WARN if row.late else Tone.TEXT)
