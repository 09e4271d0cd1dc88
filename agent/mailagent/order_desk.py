"""Orders on waiting mail, whatever carries it: a turn for each in rounds, and an answer that waits a moment for it."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import msgspec

from mailagent.api.directives import Directive
from mailagent.api.errors import InvalidRequest, Unavailable
from mailagent.api.operations import Impact, OperationResult, Result
from mailagent.api.requests import Mutation
from mailagent.api.targets import MessageFilter
from mailagent.control import mail as changes
from mailagent.control.change import Change, Situation
from mailagent.control.verbs import Control
from mailagent.host import Principal
from mailagent.spool import held
from mailagent.spool.errors import StorageError
from mailagent.spool.ids import arrival_ms

log = logging.getLogger(__name__)

COUNT_S: Final = 4.0
"""Longest time that a plan counts. It is not under the lock of verbs."""
SOON_S: Final = 2.0
"""How long an answer waits for the order to be carried out, so that it can tell the outcome."""
LOOK_S: Final = 60.0
RETRY_S: Final = 5.0
MOST_PARTS: Final = 50


class OrderDesk(ABC):
    """Takes orders and gives each its turn, in the task `run`."""

    def __init__(self, control: Control, *, turn_s: float) -> None:
        """`turn_s` is how long one order is carried out before another has its turn."""
        self._control = control
        self._turn_s = turn_s
        self._turn_ends = 0.0
        self._wake = asyncio.Event()
        self._round_done = asyncio.Event()

    def look(self) -> None:
        """Directives have changed."""
        self._wake.set()

    async def run(self) -> None:
        """Carry orders out until cancelled."""
        while True:
            self._wake.clear()
            try:
                pause_s = await self._round()
            except (StorageError, OSError, Unavailable) as exc:  # TimeoutError is an OSError
                log.error("orders on mail: %r; next try in %g s", exc, RETRY_S)
                pause_s = RETRY_S
            self._round_done.set()
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    @abstractmethod
    async def _round(self) -> float:
        """Give every order, the oldest first, its turn; how long there is nothing to do."""

    @abstractmethod
    def _is_carried_out(self, directive: Directive) -> bool:
        """Whether there is nothing left to do for an order for now."""

    @abstractmethod
    def _told(self, directive: Directive, planned: str, *, in_time: bool) -> str:
        """What has become of an order, as a sentence; `in_time`: it is carried out."""

    async def _give(
        self, verb: str, request: Mutation, caller: Principal, plan: Callable[[Situation], Change]
    ) -> OperationResult:
        """Give the order; the answer says what is done by SOON_S."""
        result = await self._control.execute(verb, request, caller, plan)
        if result.result is not Result.APPLIED or not result.directives:
            return result
        directive, in_time = result.directives[0], True
        try:
            async with asyncio.timeout(SOON_S):
                while not self._is_carried_out(directive):
                    self._round_done.clear()
                    await self._round_done.wait()
        except TimeoutError:
            in_time = False
        return msgspec.structs.replace(result, detail=self._told(directive, result.detail, in_time=in_time))

    def _live(self) -> list[Directive]:
        return [one for one in self._control.state.directives if one.kind in changes.ORDERS]

    def _is_live(self, directive: Directive) -> bool:
        return any(one.id == directive.id for one in self._control.state.directives)

    def _begin_turn(self) -> None:
        self._turn_ends = time.monotonic() + self._turn_s

    def _is_turn_over(self) -> bool:
        """Whether another order has its turn; this one goes on in the next round."""
        if time.monotonic() < self._turn_ends:
            return False
        self._wake.set()
        return True


def root(directive: Directive) -> str:
    """The name of its order: an edit and an undo go on with the same one."""
    return directive.continues or directive.id


def frozen_at(asked: MessageFilter) -> datetime:
    """Up to when mail arrived that an order is about: now, or before that.

    Raises:
        InvalidRequest: the filter's time has no zone.
    """
    if asked.before is not None and asked.before.tzinfo is None:
        raise InvalidRequest("filter.before has no time zone; write 2026-07-01T09:00:00Z")
    now = datetime.now(UTC)
    return min(asked.before or now, now)


@asynccontextmanager
async def counting() -> AsyncIterator[None]:
    """A count that ends in COUNT_S.

    Raises:
        Unavailable: it does not, or the spool does not answer.
    """
    try:
        async with asyncio.timeout(COUNT_S):
            yield
    except (TimeoutError, StorageError) as exc:
        raise Unavailable(f"matching mail could not be counted in time ({exc!r}); narrow the filter") from exc


def impact(parts: held.Parts, lowest: int | None, *, but: int) -> Impact:
    """The size of what matches; `but` recipients of it are left alone, `lowest` is the number of the oldest message."""
    return Impact(
        messages=sum(parts.values()) - but,
        parts=held.part_views(parts, MOST_PARTS),
        oldest_at=datetime.fromtimestamp(arrival_ms(lowest) / 1000, UTC) if lowest is not None else None,
    )
