"""Methods in the words of operators: what they typed, where the wire has another name for it."""

from collections.abc import Mapping
from typing import Final

import msgspec

from mailagent.api.targets import Target, TargetKind

_COMMANDS: Final[Mapping[str, str]] = {
    "in_doubt": "in-doubt",
    "config_plan": "plan",
    "config_apply": "apply",
    "config_undo": "apply --undo",
    "suppressions": "suppression list",
    "dkim": "dkim list",
    "parts": "message --parts",
    "untrace": "trace",
    "evacuations": "evacuate",
    "evacuation_source": "evacuate",
    "evacuation_room": "evacuate",
}
_OF_JOBS: Final[Mapping[str, str]] = {"suspend": "job pause", "resume": "job resume"}
"""Verbs that have a command of their own for jobs."""


def command(method: str, target: Target | str | None = None) -> str:
    """The command behind `method`: `dkim prepare` for `dkim_prepare`, `job pause` for `suspend` of `job:spring`."""
    if method in _OF_JOBS and _is_job(target):
        return _OF_JOBS[method]
    return _COMMANDS.get(method) or method.replace("credential_", "credentials ").replace("_", " ")


def verb(method: str, target: Target | None = None) -> str:
    """The same in front of the target that it acts on, which says itself what it is: `pause` (job:spring)."""
    words = command(method, target)
    return words.removeprefix("job ") if _is_job(target) else words


def asked(method: str, request: msgspec.Struct) -> str:
    """The command behind one request."""
    target = getattr(request, "target", None)
    return command(method, target if isinstance(target, Target) else None)


def _is_job(target: Target | str | None) -> bool:
    return str(target).startswith(f"{TargetKind.JOB}:")
