"""Exit codes, the same for every command (CONVENTIONS section 9)."""

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailctl.fleet import FleetState
    from mailctl.ops import Plan, Report


class Exit(IntEnum):
    """What a script may conclude."""

    DONE = 0
    INCOMPLETE = 1  # some targets failed, or a read lacks a host
    USAGE = 2  # usage or configuration
    UNREACHABLE = 3  # no host
    REFUSED = 4  # a guard, a role or a stale plan
    CROSSED = 5  # a threshold of a check; of `plan`: hosts run something else than the fleet file says
    UNKNOWN = 6  # the outcome on a host
    INTERRUPTED = 130


def of_read(state: "FleetState", *, failed: int = 0) -> Exit:
    """The code of a read; `failed`: hosts that were connected and still gave no answer."""
    answered = state.coverage.fresh - failed
    if answered <= 0:
        return Exit.UNREACHABLE
    return Exit.DONE if answered == state.coverage.of else Exit.INCOMPLETE


def of_report(report: "Report") -> Exit:
    """The code of a verb. What is unknown comes first: it needs a person."""
    return of_results({str(line.result) for line in report.lines})


def of_plan(plan: "Plan") -> Exit:
    """The code of a dry run."""
    return of_results({str(step.state) for step in plan.steps})


def of_results(results: set[str]) -> Exit:
    """The code of the results of steps; done when there are none."""
    if "unknown" in results:
        return Exit.UNKNOWN
    bad = results - {"applied", "ready", "nothing-to-do"}
    if not bad:
        return Exit.DONE
    if bad == results == {"unreachable"}:
        return Exit.UNREACHABLE
    if "refused" in bad and bad == results:
        return Exit.REFUSED
    return Exit.INCOMPLETE
