"""Calls of commands to the running agent, with every failure as a sentence and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailagent.api.errors import ApiError, InvalidRequest, Refused, RoleRefused
from mailagent.cli.call import AgentCalls, AgentSilent
from mailagent.cli.failure import FAILED, REFUSED, UNKNOWN, UNREACHABLE, USAGE, Failure


@contextmanager
def calling(path: Path, timeout_s: float) -> Iterator[AgentCalls]:
    """The agent whose socket is at `path`.

    Raises:
        Failure: for everything that goes wrong, in the block too.
    """
    try:
        with AgentCalls(path, timeout_s) as agent:
            yield agent
    except AgentSilent as exc:
        raise Failure(str(exc), UNKNOWN if exc.sent else UNREACHABLE) from exc
    except PermissionError as exc:
        raise Failure(f"{path}: this user may not open the agent's socket; join a group of rpc.roles", REFUSED) from exc
    except OSError as exc:
        raise Failure(f"no agent answers at {path}: {exc.strerror}; is it running?", UNREACHABLE) from exc
    except (Refused, RoleRefused) as exc:
        raise Failure(exc.message, REFUSED) from exc
    except InvalidRequest as exc:
        raise Failure(exc.message, USAGE) from exc
    except ApiError as exc:
        raise Failure(exc.message, FAILED) from exc
