"""What is said of a change, or refused, once its size is known."""

from dataclasses import replace

from mailagent.api import requests
from mailagent.api.errors import Refused, Unavailable
from mailagent.api.jobs import JobCancel
from mailagent.api.operations import Impact
from mailagent.control.change import Change
from mailagent.control.state import called


def sized(change: Change, request: requests.Mutation, impact: Impact | None) -> Change:
    """`change` now that its size is known; None where it could not be counted in time.

    Raises:
        Refused: more recipients match than the request may affect.
        Unavailable: that many may match, and they could not be counted.
    """
    match request:
        case requests.Retry():
            return _retry(change, request, impact)
        case JobCancel():
            return _job_cancel(change, request, impact)
        case _:
            return _order(change, request, impact)


def _retry(change: Change, request: requests.Retry, impact: Impact | None) -> Change:
    if impact is None:
        if request.max_affected is not None:
            raise Unavailable("matching mail could not be counted in time; try again, or without --max-affected")
        return replace(change, warnings=("matching mail was not counted in time",))
    if request.max_affected is not None and impact.messages > request.max_affected:
        raise Refused(f"{impact.messages} recipients match, more than {request.max_affected}; narrow the filter")
    if impact.messages == 0:
        return replace(change, detail="no deferred mail matches", due=None)
    what = "1 recipient becomes" if impact.messages == 1 else f"{impact.messages:,} recipients become"
    return replace(change, detail=f"{what} due within {request.spread_s} s")


def _job_cancel(change: Change, request: JobCancel, impact: Impact | None) -> Change:
    if impact is None:
        raise Unavailable("what waits of the job could not be counted in time; try again")
    if request.max_affected is not None and impact.messages > request.max_affected:
        raise Refused(f"{impact.messages} recipients wait, more than {request.max_affected}")
    return replace(change, detail=f"{impact.messages} recipients: {change.detail}")


def _order(change: Change, request: requests.Mutation, impact: Impact | None) -> Change:
    """A standing order may touch nothing yet: mail that it is about may come."""
    if impact is None:
        return replace(change, warnings=(*change.warnings, "what it touches was not counted in time"))
    is_empty = not (impact.messages or impact.connections)
    if is_empty and isinstance(request, requests.Suspend) and request.target.name.endswith("/"):  # mistyped?
        hint = f"no mail for {called(request.target)} is known to wait here now; mailctl queues names sites"
        return replace(change, warnings=(*change.warnings, hint))
    return change
