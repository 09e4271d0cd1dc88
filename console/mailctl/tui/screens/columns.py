"""Cells that several screens share."""

from collections.abc import Collection
from datetime import datetime

from textual.content import Content

from mailagent.api.views import Flow
from mailctl.fleet.state import FleetState, HostState, deferral_share
from mailctl.tui.listing import Cell
from mailctl.tui.states import deferral_tone
from mailctl.tui.text import NOTHING, clean, count, share, since, some
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.detail import beside, fact
from mailctl.tui.widgets.sparkline import sparkline

SPARK_WIDTH = 24
"""Cells of a sparkline at most: one for each bucket of `Flow.recent`. A narrower column shows the newest."""

STALE_GLYPH = "~"
"""Before numbers of a host that does not answer."""
UNTOLD = Cell("–", Tone.QUIET)
"""In place of what a host's engine does not tell; the host's detail names it."""
OTHER_ENGINE = "≈"
"""Behind the name of a host whose engine is not our own: some verbs are done by other means, some figures lack."""


def number(value: int, *, stale: bool = False, tone: Tone = Tone.TEXT) -> Cell:
    """A count; zero and old numbers are quiet, old ones also marked."""
    if stale:
        return Cell(f"{STALE_GLYPH}{count(value)}", Tone.QUIET)
    return Cell(some(value), tone if value else Tone.QUIET)


def told(untold: Collection[str], name: str, cell: Cell) -> Cell:
    """`cell`, or the dash in its place when the engine does not tell that field."""
    return UNTOLD if name in untold else cell


def host_name(state: FleetState, name: str) -> str:
    """`mx4 ≈`, with the mark of another engine."""
    known = state.host(name)
    return f"{name} {OTHER_ENGINE}" if known is not None and known.other_engine else name


def engine_facts(host: HostState, *, brief: bool = False) -> list[Content]:
    """What another engine does by other means and does not tell; nothing for our own.

    `brief`: of the means only which verbs they are for; the question of each says how.
    """
    if not host.other_engine:
        return []
    emulated = host.hello.emulated if host.hello is not None else {}
    rows = [fact(OTHER_ENGINE, host.other_engine, Tone.STRONG)]
    if brief and emulated:
        rows[0] = beside(rows[0], fact("emulated", ", ".join(sorted(emulated)).replace("_", " ")))
    if missing := host.view.unknown if host.view is not None else ():
        rows.append(fact(f"does not tell ({UNTOLD.text})", ", ".join(missing).replace("_", " ")))
    if host.view is not None and host.view.notice:
        rows.append(Content.styled(clean(host.view.notice), Tone.WARN.style))
    for verb, sentence in sorted(emulated.items()) if not brief else ():
        rows.append(fact(f"emulated: {verb.replace('_', ' ')}", clean(sentence)))
    return rows


def rate(flow: Flow, *, stale: bool = False) -> Cell:
    """Deliveries of the last minute."""
    return number(flow.delivered_1m, stale=stale, tone=Tone.STRONG)


def failing(flow: Flow, *, stale: bool = False) -> Cell:
    """Share of failed attempts in the last minute."""
    fraction = deferral_share(flow)
    return Cell(share(fraction), Tone.QUIET if stale else deferral_tone(fraction))


def trend(flow: Flow, width: int = SPARK_WIDTH, *, stale: bool = False) -> Cell:
    """Deliveries of the last two minutes as a sparkline; blank without any."""
    if not any(flow.recent):
        return Cell(sparkline(flow.recent, width), Tone.QUIET)
    return Cell(sparkline(flow.recent, width), Tone.QUIET if stale else Tone.FLOW)


def age(moment: datetime | None, now: datetime, *, stale: bool = False) -> Cell:
    """Time since; over an hour is worth a look."""
    old = moment is not None and (now - moment).total_seconds() > 3600
    return Cell(since(moment, now), Tone.QUIET if stale or moment is None else Tone.WARN if old else Tone.TEXT)


def gauge(used: int, limit: int | None, *, stale: bool = False) -> Cell:
    """`4/10`: used of a limit; at the limit it stands out."""
    if limit is None:
        return number(used, stale=stale)
    tone = Tone.WARN if used >= limit else Tone.TEXT if used else Tone.QUIET
    return Cell(f"{count(used) if used else NOTHING}/{count(limit)}", Tone.QUIET if stale else tone)
