"""Ages: how long mail waits, provider × age, as in qshape; below a row lie its messages."""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from mailagent.api.ages import BUCKET_MINUTES, AgeTable, AgeView
from mailagent.api.ids import HostName
from mailagent.api.requests import Empty
from mailagent.api.trace import TraceKind, TraceRequest
from mailctl.fleet.ages import UNKNOWN, AgeRow, age_rows
from mailctl.fleet.state import FleetState
from mailctl.ops.selector import TermKind
from mailctl.tui.desk import Traced
from mailctl.tui.listing import BLANK, Cell, Column, Listing, Row
from mailctl.tui.screens.columns import UNTOLD, age
from mailctl.tui.screens.view import View
from mailctl.tui.source import ASK_DEADLINE_S
from mailctl.tui.text import NOTHING, clean, listed
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.table import FleetTable

OLD_FROM = BUCKET_MINUTES.index(80)
"""Buckets from here on stand out: by then a throttle is no passing one."""


def _bucket(n: int) -> Column:
    title = f"{BUCKET_MINUTES[n]}" if n < len(BUCKET_MINUTES) else "more"
    # beside a stream, 80 columns have no room for all: then young mail is the least that one looks for
    drop = 3 - n if n < 3 else 0
    return Column(title, 4, right=True, grow=1, most=9, drop=drop, sort=lambda row: row.buckets[n], descending=True)


COLUMNS = (
    Column("PROVIDER", 8, grow=2, most=20, sort=lambda row: row.provider),
    Column("STREAM", 6, grow=2, most=16),
    Column("OLDEST", 6, right=True, drop=9),
    Column("ALL", 5, right=True, grow=1, most=10, sort=lambda row: row.waiting, descending=True),
    *(_bucket(n) for n in range(len(BUCKET_MINUTES) + 1)),
)


_STREAM_AT = 1
_WHOLE = COLUMNS[:_STREAM_AT] + COLUMNS[_STREAM_AT + 1 :]
NO_PROVIDER = "their provider is not known before the first look-up of MX"
_FIRST_BUCKET = len(COLUMNS) - len(BUCKET_MINUTES) - 1


def bucket_terms(n: int) -> tuple[tuple[TermKind, str], ...]:
    """The terms that mean bucket `n`: `age:>10m age:<20m`."""
    over = ((TermKind.AGE, f">{BUCKET_MINUTES[n - 1]}m"),) if n else ()
    under = ((TermKind.AGE, f"<{BUCKET_MINUTES[n]}m"),) if n < len(BUCKET_MINUTES) else ()
    return over + under


def bucket_words(n: int) -> str:
    """`10 to 20 minutes`."""
    if not n:
        return f"at most {BUCKET_MINUTES[0]} minutes"
    if n == len(BUCKET_MINUTES):
        return f"more than {BUCKET_MINUTES[-1]} minutes"
    return f"{BUCKET_MINUTES[n - 1]} to {BUCKET_MINUTES[n]} minutes"


class AgesView(View):
    """Recipients that wait at most 5, 10, 20 … minutes; `f` splits providers by stream, arrows choose a bucket."""

    TAB = "Ages"
    COLUMNS = COLUMNS
    EMPTY = "asking the hosts …"
    HINTS = (("enter", "messages"), ("← →", "age"), ("f", "by stream"), ("w", "trace"), ("o", "order"))
    DEFAULT_CSS = """
    AgesView FleetTable { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "streams", "By stream", show=False, id="ages.streams"),
        Binding("left", "bucket(-1)", "Younger", show=False, priority=True, id="ages.younger"),
        Binding("right", "bucket(1)", "Older", show=False, priority=True, id="ages.older"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._parts: tuple[tuple[HostName, AgeView], ...] = ()
        self._by_stream = False
        self._bucket: int | None = None  # the chosen one

    def body(self) -> Iterable[Widget]:
        """The grid."""
        yield FleetTable(empty=self.EMPTY)

    def poll(self) -> None:
        """Ask for ages."""
        if not self.is_asking("ages"):
            self.fetch("ages", self._fetch)

    async def _fetch(self) -> None:
        answers = await self.desk.source.ask_all("ages", Empty(), deadline_s=ASK_DEADLINE_S)
        if not self.is_drawable:
            return
        tables = {host: answer for host, answer in answers.items() if isinstance(answer, AgeTable)}
        self._parts = tuple((host, row) for host, table in tables.items() for row in table.rows)
        counting = [str(host) for host, table in tables.items() if table.counted_at is None]
        missing = [str(host) for host in answers if host not in tables]
        if missing or counting:
            self.say(f"without {listed(missing + counting)}", Tone.WARN)
        self.table.empty = "nothing waits"
        self.show(self.desk.state, self.desk.now())

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw the grid with its sum."""
        del state
        parts = [
            (host, view)
            for host, view in self._parts
            if self.filter.admits(
                {TermKind.HOST: (host,), TermKind.PROVIDER: (view.provider,), TermKind.STREAM: (view.stream,)},
                f"{view.provider} {view.stream}",
            )
        ]
        rows = age_rows(parts, by_stream=self._by_stream)
        total, order = _total(rows, now), self.ordering.by
        if not self._by_stream:  # one column less to show, and to count
            total = Row(total.key, _whole(total.cells))
            order = order and (order[0] - (order[0] > _STREAM_AT), order[1])
        listing = Listing.of(
            COLUMNS if self._by_stream else _WHOLE,
            rows,
            lambda row: row.key,
            lambda row: _cells(row, now) if self._by_stream else _whole(_cells(row, now)),
            total=total,
            sorted_by=order,
        )
        self.table.show(listing)

    def action_bucket(self, by: int) -> None:
        """Choose the next older or younger bucket, which `enter` goes into; before the first, none."""
        chosen = (-1 if self._bucket is None else self._bucket) + by
        self._bucket = min(chosen, len(BUCKET_MINUTES)) if chosen >= 0 else None
        self._aim()
        self.say("all ages" if self._bucket is None else f"mail that waits {bucket_words(self._bucket)}")

    def _aim(self) -> None:
        bucket = self._bucket
        self.table.aim(None if bucket is None else _FIRST_BUCKET - (not self._by_stream) + bucket)

    def action_streams(self) -> None:
        """One row for each provider, or for each provider and stream."""
        self._by_stream = not self._by_stream
        self._aim()
        self.say("by provider and stream" if self._by_stream else "by provider")
        self.show(self.desk.state, self.desk.now())

    def on_fleet_table_chosen(self, event: FleetTable.Chosen) -> None:
        """The messages behind the row, or behind its chosen bucket, in order of arrival: the oldest first."""
        row = self._row(event.key)
        if row is None or row.provider == UNKNOWN:
            self.say(NO_PROVIDER, Tone.WARN)
            return
        terms = [(TermKind.PROVIDER, row.provider)]
        terms += [(TermKind.STREAM, row.stream)] if row.stream else []
        terms += [] if self._bucket is None else bucket_terms(self._bucket)
        self.desk.go_down("Messages", self.filter.having(*terms))

    def _row(self, key: str | None) -> AgeRow | None:
        source = self.table.source
        return source.record(key) if key and isinstance(source, Listing) else None

    def traced(self) -> Traced:
        """The provider, on the hosts where its mail waits."""
        row = self._row(self.table.cursor)
        if row is None:
            return "choose a row first"
        if row.provider == UNKNOWN:
            return NO_PROVIDER
        return row.hosts, TraceRequest(kind=TraceKind.PROVIDER, name=row.provider)


def _cells(row: AgeRow, now: datetime) -> tuple[Cell, ...]:
    return (
        Cell(clean(row.provider), Tone.STRONG),
        Cell(clean(row.stream), Tone.TEXT) if row.stream else UNTOLD,
        age(row.oldest_at, now),
        Cell(_short(row.waiting), Tone.STRONG),
        *_buckets(row.buckets),
    )


def _whole(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """`cells` without that of the stream."""
    return cells[:_STREAM_AT] + cells[_STREAM_AT + 1 :]


def _buckets(buckets: tuple[int, ...]) -> Iterable[Cell]:
    for n, value in enumerate(buckets):
        yield Cell(_short(value), Tone.QUIET if not value else Tone.WARN if n >= OLD_FROM else Tone.TEXT)


def _short(number: int) -> str:
    """At most four characters: `9999`, `12k`, `3M`."""
    if number < 10_000:
        return str(number or NOTHING)
    return f"{number // 1000}k" if number < 1_000_000 else f"{number // 1_000_000}M"


def _total(rows: list[AgeRow], now: datetime) -> Row:
    sums = tuple(sum(row.buckets[n] for row in rows) for n in range(len(BUCKET_MINUTES) + 1))
    first = age(min(row.oldest_at for row in rows), now) if rows else BLANK
    return Row("total", (Cell("total", Tone.STRONG), BLANK, first, Cell(_short(sum(sums))), *_buckets(sums)))
