"""Each verb once: plan, execute, report. The screens and the commands share it."""

from mailctl.ops.errors import NothingSelected, OpsError, OptionError, SelectorError
from mailctl.ops.execution import execute, settle
from mailctl.ops.filters import Filter
from mailctl.ops.grammar import TermKind
from mailctl.ops.objects import ACTS_ON
from mailctl.ops.plan import Line, LineResult, Options, Plan, Report, Step, StepState, Verb
from mailctl.ops.rollout import (
    Course,
    HostPlan,
    Phase,
    RolledOut,
    Rolling,
    compare,
    course_of,
    plan_apply,
    plan_undo_apply,
    roll_out,
)
from mailctl.ops.selector import Selection, parse
from mailctl.ops.undo import plan_undo, plan_undo_last, plan_undo_since
from mailctl.ops.verbs import check, plan, plan_cancel, plan_edit, plan_request
from mailctl.ops.wait import WaitResult, wait_empty

__all__ = [
    "ACTS_ON",
    "Course",
    "Filter",
    "HostPlan",
    "Line",
    "LineResult",
    "NothingSelected",
    "OpsError",
    "OptionError",
    "Options",
    "Phase",
    "Plan",
    "Report",
    "RolledOut",
    "Rolling",
    "Selection",
    "SelectorError",
    "Step",
    "StepState",
    "TermKind",
    "Verb",
    "WaitResult",
    "check",
    "compare",
    "course_of",
    "execute",
    "parse",
    "plan",
    "plan_apply",
    "plan_cancel",
    "plan_edit",
    "plan_request",
    "plan_undo",
    "plan_undo_apply",
    "plan_undo_last",
    "plan_undo_since",
    "roll_out",
    "settle",
    "wait_empty",
]
