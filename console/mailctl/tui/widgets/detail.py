"""The pane below a table: a chart of what the cursor stands on, and facts about it."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

from mailagent.api.views import Series
from mailctl.tui.past import Before
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.chart import Chart

Piece = Content | tuple[str, str]


class Detail(Container):
    """Legend, chart and facts: side by side when wide, facts below when narrow, no chart when short."""

    DEFAULT_CSS = """
    Detail {
        height: 1fr; layout: vertical; background: $background; border-top: solid $rule; padding: 0 1;
        & > .legend { height: 1; color: $tone-quiet; }
        & > .sides { height: 1fr; layout: vertical; }
        & .facts { height: auto; color: $tone-text; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._legend = Static(classes="legend", markup=False)
        self._chart = Chart()
        self._facts = Static(classes="facts", markup=False)
        self._shown: Content | None = None

    def compose(self) -> ComposeResult:
        """Legend above, chart and facts below."""
        yield self._legend
        with Container(classes="sides"):
            yield self._chart
            yield self._facts

    def plot(
        self, title: str, series: Series | None, before: Sequence[Before] = (), empty: str = "no history yet"
    ) -> None:
        """Show a history, and below it what was at that time before; `empty` says why there is none."""
        self._chart.plot(title, series, tuple(before), empty)
        self._legend.update(self._chart.legend(), layout=False)  # always one line

    def describe(self, facts: Content) -> None:
        """Show facts."""
        if self._shown is None or facts != self._shown or facts.spans != self._shown.spans:
            self._shown = facts
            height = self._facts.styles.height  # beside the chart it does not hang on the text
            self._facts.update(facts, layout=height is None or height.is_auto)


def fact(label: str, value: str, tone: Tone = Tone.TEXT) -> Content:
    """One fact: a quiet label and its value."""
    return Content.assemble((f"{label} ", Tone.QUIET.style), (value, tone.style))


def lines(*rows: Content) -> Content:
    """Rows below each other."""
    return Content("\n").join(rows)


def spread(*facts: tuple[str, str, Tone], wide: bool) -> Content:
    """Facts as (label, value, tone): below each other, labels aligned, when there is room, else on one line."""
    if not wide:
        return beside(*(fact(*one) for one in facts))
    width = max(len(label) for label, _, _ in facts)
    return lines(*(fact(label.ljust(width + 1), value, tone) for label, value, tone in facts))


def beside(*facts: Content) -> Content:
    """Facts on one line."""
    return Content("   ").join(facts)
