"""Evacuation from the console: the question, the courier in the background, and how far it is."""

import logging
import re
from functools import partial
from typing import Any, cast

from textual.app import App
from textual.content import Content

from mailagent.api.errors import ApiError
from mailagent.api.ids import HostName
from mailctl.fleet.errors import LinkError
from mailctl.ops.carrying import question
from mailctl.ops.courier import Progress
from mailctl.ops.errors import OpsError
from mailctl.ops.evacuation import EvacuationPlan
from mailctl.ops.plan import LineResult, Options, Plan
from mailctl.tui.desk import Desk
from mailctl.tui.dialogs.report import ReportDialog
from mailctl.tui.text import clean, count
from mailctl.tui.theme import Tone

GROUP = "evacuation"
GO_ON = "go on"
"""What is typed in place of hosts when an evacuation is under way."""
BAR = 10
"""Cells of a progress bar."""

logger = logging.getLogger(__name__)


class Evacuations:
    """Those that this console carries, by host. They end with the console, and go on when somebody runs them again."""

    def __init__(self) -> None:
        self.carried: dict[HostName, Progress | None] = {}

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
            f"Evacuate {source} to", f"{', '.join(known)}; `{GO_ON}` resumes one that is under way", check, then
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
        if report.succeeded:
            desk.say(f"{title}: done; {report.count(LineResult.APPLIED)} hosts took part", Tone.GOOD)
        else:
            desk.say(f"{title}: {report.summary}", Tone.BAD)
            await cast("App[Any]", desk).push_screen_wait(ReportDialog(report))

    def lines(self) -> list[Content]:
        """How far each is, on two lines."""
        return [line for source, now in self.carried.items() if now is not None for line in _lines(source, now)]


def hosts_in(text: str) -> tuple[str, ...]:
    """Hosts of `mx2, mx3` or `mx2 mx3`, each once; none of GO_ON."""
    if text.strip() == GO_ON:
        return ()
    return tuple(dict.fromkeys(name.removeprefix("host:") for name in re.split(r"[\s,]+", text.strip()) if name))


def _lines(source: HostName, now: Progress) -> tuple[Content, Content]:
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
    return bar, Content.styled(counts, Tone.TEXT.style)
