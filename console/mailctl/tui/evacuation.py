"""Evacuation from the console: the question, the courier in the background, and how far it is."""

import logging
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

from textual.app import App
from textual.content import Content

from mailagent.api import evacuation as api
from mailagent.api.errors import ApiError
from mailagent.api.ids import HostName
from mailagent.api.requests import Empty
from mailctl.fleet.errors import LinkError
from mailctl.fleet.state import HostState
from mailctl.ops.carrying import question
from mailctl.ops.courier import Progress
from mailctl.ops.errors import OpsError
from mailctl.ops.evacuation import EvacuationPlan
from mailctl.ops.plan import LineResult, Options, Plan
from mailctl.tui.desk import Desk
from mailctl.tui.dialogs.report import ReportDialog
from mailctl.tui.source import FleetSource
from mailctl.tui.text import clean, count, listed
from mailctl.tui.theme import Tone

GROUP = "evacuation"
GO_ON = "go on"
"""What is typed in place of hosts when an evacuation is under way."""
TURN = 10
"""Looks after which every host was asked once: a large fleet is not asked all at once."""
MOST_AT_ONCE = 20
LOOK_S = 2.0
STILL_S = 15.0
"""Without a recipient moved, nobody carries it."""
BAR = 10
"""Cells of a progress bar."""

logger = logging.getLogger(__name__)


def takes_mail(host: HostState) -> bool:
    """Whether mail can go to a host now."""
    taking = host.state.is_fresh and host.view is not None and host.view.accepting
    return taking and not host.lacks("evacuate_admit")


class Evacuations:
    """Those that this console carries, by host, and those that it only sees.

    What it carries ends with it, and goes on when somebody runs it again.
    """

    def __init__(self) -> None:
        self.carried: dict[HostName, Progress | None] = {}
        self.others: dict[HostName, Carried] = {}  # by source; also our own
        self._turn = 0

    def ask(self, desk: Desk, source: HostName) -> None:
        """Ask where to, then plan, ask and carry."""
        if source in self.carried:
            desk.say(f"{source} is being evacuated by this console", Tone.WARN)
            return
        known = [str(host.name) for host in desk.state.hosts if host.name != source]

        def check(text: str) -> str:
            unknown = [name for name in hosts_in(text) if name not in known]
            return f"no other host {unknown[0]}; there are {', '.join(known)}" if unknown else ""

        def then(text: str) -> None:
            self.carried[source] = None  # a second question about it is refused at once
            work = partial(self._work, desk, source, hosts_in(text))
            cast("App[Any]", desk).run_worker(cast(Any, work), name=f"{GROUP}:{source}", group=GROUP)

        desk.prompt(
            f"Evacuate {source} to",
            f"{', '.join(known)}; `{GO_ON}` resumes one that is under way",
            check,
            then,
            ",".join(str(host.name) for host in desk.state.hosts if host.name != source and takes_mail(host)),
        )

    async def _work(self, desk: Desk, source: HostName, to: tuple[str, ...]) -> None:
        title = f"evacuate host:{source}"
        made: list[EvacuationPlan] = []

        async def plan(options: Options) -> Plan:
            made[:] = [await desk.operator.plan_evacuation(source, to, options)]
            return question(made[0], options)

        try:
            if await desk.agreed(title, plan, Options()) is not None:
                await self._carry(desk, source, title, made[0])
        except (OpsError, LinkError, ApiError) as exc:
            desk.say(f"{title}: {exc}", Tone.WARN)
        except Exception:
            logger.exception("evacuation failed: %s", source)
            desk.say(f"{title}: failed inside the console; see its log", Tone.BAD)
        finally:
            self.carried.pop(source, None)

    async def _carry(self, desk: Desk, source: HostName, title: str, plan: EvacuationPlan) -> None:
        def told(now: Progress) -> None:
            self.carried[source] = now

        report = await desk.operator.evacuate(plan, told)
        desk.did(report)
        if report.succeeded:
            desk.say(f"{title}: done; {report.count(LineResult.APPLIED)} hosts took part", Tone.GOOD)
        else:
            desk.say(f"{title}: {report.summary}", Tone.BAD)
            await cast("App[Any]", desk).push_screen_wait(ReportDialog(report))

    def lines(self) -> list[Content]:
        """How far each is; first those that this console carries."""
        own = [line for source, now in self.carried.items() if now is not None for line in _lines(source, now)]
        others = (one for source, one in self.others.items() if source not in self.carried)
        return own + [line for one in others for line in _lines(one.source, one.progress, one.note)]

    async def look(self, source: FleetSource, hosts: Sequence[HostName], clock: Callable[[], float]) -> None:
        """Ask some of the hosts, in turn, and all that leave, how far evacuations are that others carry."""
        some = max(1, min(-(-len(hosts) // TURN), MOST_AT_ONCE))
        turn = [hosts[(self._turn + n) % len(hosts)] for n in range(some)] if hosts else []
        self._turn += some
        asked = dict.fromkeys((*turn, *self.others))
        for host, answer in (await source.ask_all("evacuations", Empty(), hosts=asked, deadline_s=LOOK_S)).items():
            view = under_way_of(answer.rows) if isinstance(answer, api.Evacuations) else None
            if view is None:
                self.others.pop(host, None)
                continue
            left = (await source.ask_all("evacuation_source", Empty(), hosts=(host,), deadline_s=LOOK_S))[host]
            waiting = (
                sum(row.waiting for row in left.rows if row.stream in view.streams and not row.stays)
                if isinstance(left, api.EvacuationSource)
                else 0
            )
            known = self.others.get(host)
            if known is None or known.view.id != view.id:
                known = self.others[host] = Carried(host, view, clock())
            known.take(view, waiting, clock())


def under_way_of(rows: Sequence[api.EvacuationView]) -> api.EvacuationView | None:
    """The evacuation out of a host that moves mail, or has parcels on their way."""
    out = [view for view in rows if view.direction is api.Direction.OUT]
    return next((one for one in out if one.state is api.EvacuationState.OPEN or one.parcels), None)


class Carried:
    """An evacuation that somebody else carries, as its source tells it."""

    def __init__(self, source: HostName, view: api.EvacuationView, at: float) -> None:
        self.source = source
        self.view = view
        self._first = (at, view.moved)
        self._moved_at = at
        self._at = at
        self._left = 0

    def take(self, view: api.EvacuationView, left: int, at: float) -> None:
        """What the source says now; `left` wait that may go."""
        if view.moved != self.view.moved:
            self._moved_at = at
        self.view, self._left, self._at = view, left, at

    @property
    def progress(self) -> Progress:
        """How far it is, with the rate since it was seen first."""
        since, moved = self._first
        per_s = (self.view.moved - moved) / (self._at - since) if self._at > since else 0.0
        eta = datetime.now(UTC) + timedelta(seconds=min(self._left / per_s, 30 * 86_400)) if per_s > 0 else None
        return Progress(
            moved=self.view.moved, left=self._left, in_parcels=self.view.inert, per_s=round(per_s, 1), eta=eta
        )

    @property
    def note(self) -> str:
        """Where to, who began it, and whether it stands still."""
        still = self._at - self._moved_at >= STILL_S
        words = f"to {listed(self.view.peers)}, begun by {self.view.author}"
        return f"{words}; nothing moves: V, `{GO_ON}` carries it" if still else words


def hosts_in(text: str) -> tuple[str, ...]:
    """Hosts of `mx2, mx3` or `mx2 mx3`, each once; none of GO_ON."""
    if text.strip() == GO_ON:
        return ()
    return tuple(dict.fromkeys(name.removeprefix("host:") for name in re.split(r"[\s,]+", text.strip()) if name))


def _lines(source: HostName, now: Progress, note: str = "") -> tuple[Content, ...]:
    whole = now.moved + now.in_parcels + now.left
    share = now.moved / whole if whole else 1.0
    filled = round(share * BAR)
    eta = f", done {now.eta:%H:%M:%S}" if now.eta is not None else ""
    counts = f"moved {count(now.moved)}, {count(now.left)} wait, {count(now.in_parcels)} in parcels"
    bar = Content.assemble(
        (f"{clean(source)} leaves ", Tone.STRONG.style),
        ("█" * filled, Tone.ACCENT.style),
        ("░" * (BAR - filled), Tone.QUIET.style),
        (f" {share:.0%}  {now.per_s:g}/s{eta}", Tone.TEXT.style),
    )
    below = (Content.styled(clean(note), Tone.QUIET.style),) if note else ()
    return bar, Content.styled(counts, Tone.TEXT.style), *below
