"""A roll-out of the fleet file from the console: the question, the batches in the background, and how far it is."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from textual.app import App
from textual.content import Content

from mailagent.api.errors import ApiError
from mailagent.api.ids import HostName, OpId
from mailctl.fleet.errors import LinkError
from mailctl.ops import selector
from mailctl.ops.errors import OpsError, OptionError
from mailctl.ops.plan import LineResult, Options, Plan
from mailctl.ops.rollout import Course, Phase, RolledOut, Rolling, course_of
from mailctl.ops.selector import TermKind
from mailctl.tui.desk import Desk, Planner
from mailctl.tui.dialogs.report import ReportDialog
from mailctl.tui.text import clean, listed
from mailctl.tui.theme import Tone

GROUP = "rollout"
BAR = 20
"""Cells of the progress bar."""

logger = logging.getLogger(__name__)


class Rollouts:
    """One roll-out at a time. It goes on while other screens are looked at, and ends with the console."""

    def __init__(self, finished: Callable[[], None]) -> None:
        self.now: Rolling | None = None  # None: it asks, or there is none
        self.last: RolledOut | None = None
        self._halt: asyncio.Event | None = None
        self._finished = finished

    @property
    def is_under_way(self) -> bool:
        """Whether one is asked about or goes on."""
        return self._halt is not None

    def ask(self, desk: Desk, hosts: Sequence[HostName]) -> None:
        """Ask how to go, then plan, ask and tell the hosts."""

        def check(line: str) -> str:
            try:
                course_of(line, hosts)
            except OptionError as exc:
                return str(exc)
            return ""

        def then(line: str) -> None:
            course, restart = course_of(line, hosts)
            selection = selector.of(TermKind.HOST, hosts)
            self._begin(
                desk,
                f"apply to {listed(hosts)}",
                lambda options: desk.operator.plan_apply(selection, options, course, restart=restart),
                course,
            )

        usual = Course(canaries=(hosts[0],)).line
        hint = "canary=HOST,… batch=N or 20%, pause=0 does not watch; rollback, restart-later"
        desk.prompt(f"Apply the fleet file to {listed(hosts)}", hint, check, then, usual)

    def ask_back(self, desk: Desk, operation: OpId) -> None:
        """Plan to put back the files before an apply, ask, and do it."""
        course = Course(pause_s=0, batch="100%")
        planner: Planner = lambda options: desk.operator.plan_undo_apply(operation, options, course)  # noqa: E731
        self._begin(desk, f"put back what {operation} replaced", planner, course)

    def stop(self) -> bool:
        """Tell no further batch; whether there was something to stop."""
        if self._halt is None or self.now is None:
            return False
        self._halt.set()
        return True

    def _begin(self, desk: Desk, title: str, planner: Planner, course: Course) -> None:
        self._halt, self.now = asyncio.Event(), None
        work = partial(self._work, desk, title, planner, course, self._halt)
        cast("App[Any]", desk).run_worker(cast(Any, work), name=GROUP, group=GROUP)

    async def _work(self, desk: Desk, title: str, planner: Planner, course: Course, halt: asyncio.Event) -> None:
        try:
            desk.say(f"planning {title} …", Tone.QUIET)
            plan = await desk.agreed(title, planner, Options())
            if plan is not None:
                await self._roll(desk, title, plan, course, halt)
        except (OpsError, LinkError, ApiError) as exc:
            desk.say(f"{title}: {exc}", Tone.WARN)
        except Exception:
            logger.exception("roll-out failed: %s", title)
            desk.say(f"{title}: failed inside the console; see its log", Tone.BAD)
        finally:
            self._halt = self.now = None
            self._finished()

    async def _roll(self, desk: Desk, title: str, plan: Plan, course: Course, halt: asyncio.Event) -> None:
        def told(now: Rolling) -> None:
            self.now = now

        done = self.last = await desk.operator.roll_out(plan, course, told, halt)
        back = f"; put back: {done.rolled_back.summary}" if done.rolled_back else ""
        stopped = f"; {done.stopped}" if done.stopped else ""
        text = f"{title}: {done.report.summary}{stopped}{back}"
        if done.report.succeeded and not done.stopped:
            desk.say(f"{text}  U rolls back", Tone.GOOD)
            return
        desk.say(text, Tone.BAD)
        await cast("App[Any]", desk).push_screen_wait(ReportDialog(done.report))

    def line(self, keys: str) -> Content:
        """How far it is; `keys`: what can be done about it."""
        now = self.now
        if now is None:
            return Content("")
        share = (now.batch - (now.phase is Phase.TELLS)) / now.batches
        filled = round(share * BAR)
        failed = sum(line.result not in (LineResult.APPLIED, LineResult.NOTHING_TO_DO) for line in now.done)
        halted = self._halt is not None and self._halt.is_set()
        return Content.assemble(
            ("█" * filled, Tone.ACCENT.style),
            ("░" * (BAR - filled), Tone.QUIET.style),
            (f" {clean(str(now))}", Tone.STRONG.style),
            (f"  {failed} failed" if failed else "", Tone.BAD.style),
            ("  stops after this batch" if halted else f"  {keys}", Tone.WARN.style if halted else Tone.QUIET.style),
        )
