"""Errors that cross the wire.

ApiError
├── VersionMismatch     the other side speaks another protocol version: upgrade one
├── InvalidRequest      the call itself is wrong: fix the caller
├── Refused             the agent will not: a guard, a pre-flight or a missing object
│   ├── NotFound        no such object on this host
│   ├── StalePlan       the object has moved on: plan again
│   ├── Locked          somebody else holds the lock: wait, ask them, or break it with a reason
│   └── GuardRefused    a floor or pre-flight says no: override with a reason, or choose otherwise
├── RoleRefused         the caller's role is too low
└── Unavailable         the agent cannot do it now: starting, stopping or its storage failed
"""

from typing import ClassVar


class ApiError(Exception):
    """A call that the agent answered with an error. `code` is the JSON-RPC error code."""

    code: ClassVar[int] = -32603

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class VersionMismatch(ApiError):
    """The other side speaks another protocol version."""

    code = -32006


class InvalidRequest(ApiError, ValueError):
    """The call is malformed, or its parameters contradict each other (also: an op_id reused with another body)."""

    code = -32602


class Refused(ApiError):
    """The agent understood and will not."""

    code = -32002


class NotFound(Refused, LookupError):
    """No such object on this host."""

    code = -32004


class StalePlan(Refused):
    """The object's generation is not the one that the plan was made on."""

    code = -32001


class GuardRefused(Refused):
    """A floor or a pre-flight refuses; `override` with a reason would act all the same."""

    code = -32005


class Locked(Refused):
    """Somebody else holds the lock of the host; `break_lock` with a reason would act all the same."""

    code = -32008


class RoleRefused(ApiError, PermissionError):
    """The caller's role is too low for the method, or the caller has none."""

    code = -32003


class Unavailable(ApiError):
    """Not now: the agent starts, stops, or its storage failed."""

    code = -32007


_KINDS = (
    ApiError,
    VersionMismatch,
    InvalidRequest,
    Refused,
    NotFound,
    StalePlan,
    GuardRefused,
    Locked,
    RoleRefused,
    Unavailable,
)
BY_CODE: dict[int, type[ApiError]] = {kind.code: kind for kind in _KINDS}
