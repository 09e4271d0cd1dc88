"""Rates over the last minutes, drawn by plotext. The only module that knows plotext.

plotext keeps one global figure and takes 15 to 70 ms for a braille plot, so a picture is drawn only for new data or a
new size, which come at most once a second.
"""

from collections.abc import Sequence

import plotext
from rich.text import Text
from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from mailagent.api.views import Series
from mailctl.tui.past import Before
from mailctl.tui.text import share
from mailctl.tui.theme import Tone, chart_colours

_TREND_S = 10  # seconds averaged for the figures of the legend


_DOT = "•"
"""Deferrals are drawn with this where there is no colour to tell their line from that of deliveries."""
_BEFORE = (Tone.ACCENT, Tone.QUIET)
"""Tones of what was at this time before: yesterday, last week."""


class Chart(Widget):
    """Delivered and deferred per second of one scope."""

    DEFAULT_CSS = """
    Chart { height: 1fr; background: $background; color: $tone-quiet; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title = ""
        self._series: Series | None = None
        self._before: tuple[Before, ...] = ()
        self._empty = "no history yet"
        self._drawn: tuple[object, Text] | None = None

    def plot(
        self, title: str, series: Series | None, before: tuple[Before, ...] = (), empty: str = "no history yet"
    ) -> None:
        """Show `series`, with deliveries of earlier days below; None: there is no data, and `empty` says why."""
        self._title = title  # for the legend
        if (series, before, empty) != (self._series, self._before, self._empty):
            self._series, self._before, self._empty = series, before, empty
            self.refresh()

    def legend(self) -> Content:
        """Title, and what the lines mean with their newest values."""
        parts: list[Content | tuple[str, str]] = [(self._title, Tone.STRONG.style)]
        if self._series is not None:
            step_s = self._series.step_s
            delivered, deferred = _mean(self._series.delivered, step_s), _mean(self._series.deferred, step_s)
            parts += [
                ("   ━ delivered ", Tone.GOOD.style),
                (f"{delivered:.0f}/s" if delivered >= 10 else f"{delivered:.1f}/s", Tone.STRONG.style),
                (f"   {_DOT if self.app.no_color else '━'} deferred ", Tone.WARN.style),
                (f"{deferred:.0f}/s" if deferred >= 10 else f"{deferred:.1f}/s", Tone.STRONG.style),
                (f"   {share(deferred / (delivered + deferred))} fail" if deferred else "", Tone.QUIET.style),
            ]
            for (words, past), tone in zip(self._before, _BEFORE, strict=False):
                mean = sum(past.delivered) / len(past.delivered) / past.step_s
                parts += [(f"   ┅ {words} ", tone.style), (f"{mean:.1f}/s", Tone.TEXT.style)]
        return Content.assemble(*parts)

    def render(self) -> RenderResult:
        """The plot, as tall and wide as there is room."""
        width, height = self.size
        if self._series is None or height < 4 or width < 24:
            return Content.styled(f"  {self._empty}" if self._series is None else "", Tone.QUIET.style)
        identity = (self._series, self._before, width, height, self.app.theme, self.app.no_color)
        if self._drawn is None or self._drawn[0] != identity:
            self._drawn = (identity, self._picture(self._series, width, height))
        return self._drawn[1]

    def _picture(self, series: Series, width: int, height: int) -> Text:
        colours = chart_colours(self.app.current_theme)
        points = (width - 6) * 2  # a braille cell is two points wide
        plotext.clear_figure()
        plotext.limit_size(False, False)
        plotext.plotsize(width, height)
        plotext.theme("clear")
        for (_, past), tone in zip(self._before, _BEFORE, strict=False):  # first, so that the present lies above
            xs, ys = _thinned(past.delivered, points, past.step_s)
            plotext.plot(xs, ys, marker="braille", color=colours[tone] or "gray")
        xs, ys = _thinned(series.delivered, points, series.step_s)
        plotext.plot(xs, ys, marker="braille", color=colours[Tone.GOOD] or "green")
        xs, ys = _thinned(series.deferred, points, series.step_s)
        marker = _DOT if self.app.no_color else "braille"
        plotext.plot(xs, ys, marker=marker, color=colours[Tone.WARN] or "orange")
        seconds = len(series.delivered) * series.step_s
        marks = [-seconds + seconds * part // 3 for part in range(4)]
        plotext.xticks(marks, [_ago(-mark) for mark in marks])
        top = max(1.0 / series.step_s, max((*series.delivered, *series.deferred), default=0) / series.step_s)
        top = max(top, *(max(past.delivered, default=0) / past.step_s for _, past in self._before), 0.0)
        plotext.ylim(0, top)
        steps = 3 if height >= 9 else 2
        ticks = [top * step / (steps - 1) for step in range(steps)]
        digits = 0 if top >= 4 else 1 if top >= 0.4 else 2
        plotext.yticks(ticks, [f"{tick:4.{digits}f}" for tick in ticks])
        plotext.xaxes(False, False)
        plotext.yaxes(False, False)
        picture = Text.from_ansi(plotext.build(), no_wrap=True)
        plotext.clear_figure()
        return picture


def _ago(seconds: int) -> str:
    """`12m ago`, `5d ago`, `now`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago" if seconds else "now"


def _mean(values: Sequence[int], step_s: int) -> float:
    """The newest rate a second: of the last ten seconds, or of the last step when that is longer."""
    newest = values[-max(1, _TREND_S // step_s) :]
    return sum(newest) / len(newest) / step_s if newest else 0.0


def _thinned(values: Sequence[int], points: int, step_s: int) -> tuple[list[float], list[float]]:
    """(seconds before now, mean a second) of at most `points` equal slices of `values`."""
    slice_len = max(1, -(-len(values) // max(1, points)), min(5, len(values) // 30))
    first = len(values) % slice_len  # whole slices, ending at the newest value
    xs, ys = [], []
    for start in range(first, len(values), slice_len):
        part = values[start : start + slice_len]
        xs.append(float((start + slice_len - len(values)) * step_s))
        ys.append(sum(part) / len(part) / step_s)
    return xs, ys
