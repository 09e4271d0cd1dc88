"""One host, watched: connect, say hello, subscribe, take changes, and again when the connection is gone."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol

import msgspec

from mailagent.api import codec, replies, requests
from mailagent.api.errors import ApiError, InvalidRequest
from mailagent.api.ids import HostName
from mailagent.api.trace import TraceLines, TraceRequest
from mailagent.api.views import Changes, Snapshot
from mailagent.config.structs import FleetHost
from mailctl.fleet.client import CALL_DEADLINE_S, Client
from mailctl.fleet.errors import Denied, Incompatible, LinkError, LinkLost, NoAnswer, Unreachable
from mailctl.fleet.state import HostState, LinkState, apply_changes
from mailctl.fleet.trace import follow

CONNECT_DEADLINE_S = 20.0
RETRY_FIRST_S = 0.5
RETRY_MAX_S = 30.0
RETRY_YOUNG_S = 2.0
"""Longest wait while a screen is still patient with a host that was never reached: it may be just starting."""
LATE_PERIODS = 2.5
"""A host is late when it was silent for more than two periods and a little."""
SILENCE_S = 15.0
"""Silence after which a link is given up: its host's numbers are too old to stand in any sum."""
SILENCE_PERIODS = 5.0
"""But never before that many periods have passed."""

logger = logging.getLogger(__name__)


class Link(Protocol):
    """A client and the transport under it."""

    @property
    def client(self) -> Client:
        """The client, open."""

    async def close(self) -> None:
        """Close both."""


Dial = Callable[[HostName, FleetHost], Awaitable[Link]]
"""Coroutine function that opens a `Link` to a host, or raises LinkError."""


class Tap(Protocol):
    """Hears what comes from the hosts, as it comes."""

    def connected(self, host: HostName, hello: replies.Hello, snapshot: Snapshot) -> None:
        """A subscription begins."""

    def changed(self, host: HostName, changes: msgspec.Raw) -> None:
        """Changes came, still undecoded."""

    def lost(self, host: HostName, state: LinkState, reason: str) -> None:
        """A connection, or an attempt to make one, ended."""


class HostWatch:
    """Keeps one host's link and its last snapshot; `on_change` is called after each change."""

    def __init__(
        self,
        name: HostName,
        host: FleetHost,
        dial: Dial,
        *,
        as_role: requests.Role | None,
        interval_s: float,
        patience_s: float,
        silence_s: float,
        on_change: Callable[[], None],
        tap: Tap | None = None,
    ) -> None:
        """For `patience_s` a host that was never reached counts as connecting, whatever its first attempts say.

        A link that is silent for `silence_s` is given up.
        """
        self.name = name
        self.host = host  # as the fleet file has it
        self._dial = dial
        self._as_role = as_role
        self._interval_s = interval_s
        self._patient_until = time.monotonic() + patience_s
        self._silence_s = max(silence_s, SILENCE_PERIODS * interval_s)
        self._on_change = on_change
        self._tap = tap
        self._client: Client | None = None  # only while hello and subscription stand
        self._hello: replies.Hello | None = None
        self._snapshot: Snapshot | None = None
        self._heard_at: float | None = None  # monotonic
        self._failure: LinkError | None = None
        self._next_try_at: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the first attempt has come to an end, good or bad."""
        return self._client is not None or self._failure is not None

    def state(self) -> HostState:
        """The host now."""
        now = time.monotonic()
        age_s = None if self._heard_at is None else now - self._heard_at
        error, next_try_s = "", None
        if self._client is not None:
            late = age_s is not None and age_s > LATE_PERIODS * self._interval_s
            state = LinkState.LATE if late else LinkState.LIVE
        elif (failure := self._failure) is None or self._is_young(failure, now):
            state = LinkState.CONNECTING
        else:
            state = _state_of(failure)
            error = failure.reason
            next_try_s = max(0.0, self._next_try_at - now) if self._next_try_at else None
        return HostState(
            name=self.name,
            region=self.host.region,
            machine=self.host.machine,
            state=state,
            age_s=age_s,
            error=error,
            next_try_s=next_try_s,
            hello=self._hello,
            snapshot=self._snapshot,
        )

    def _is_young(self, failure: LinkError, now: float) -> bool:
        """Whether the host may be just starting."""
        refused = isinstance(failure, Denied | Incompatible)
        return self._heard_at is None and now < self._patient_until and not refused

    async def ask(self, method: str, params: msgspec.Struct, deadline_s: float = CALL_DEADLINE_S) -> Any:
        """The result of one call; see `Client.call`.

        Raises:
            LinkError: not connected, lost, or too late.
            ApiError: the agent's answer is an error.
        """
        if (client := self._client) is None:
            raise self._not_connected()
        return await client.call(method, params, deadline_s=deadline_s)

    def trace(self, request: TraceRequest, deadline_s: float = CALL_DEADLINE_S) -> AsyncGenerator[TraceLines]:
        """Lines of a live trace until it ends; see `follow`."""
        if (client := self._client) is None:
            raise self._not_connected()
        return follow(client, request, deadline_s)

    def _not_connected(self) -> LinkError:
        """Why nothing is sent. What became of an earlier call is another matter: it is no answer to this one."""
        if isinstance(self._failure, NoAnswer | LinkLost):
            return Unreachable(self.name, self._failure.reason)
        return self._failure or Unreachable(self.name, "not connected yet")

    async def run(self) -> None:
        """Stay connected until cancelled."""
        failures = 0
        failure: LinkError
        while True:
            try:
                await self._stay()
            except LinkError as exc:
                failure = exc
            except Exception as exc:
                # One host's trouble, even a mistake of ours, must not take the others down.
                logger.exception("host=%s link failed", self.name)
                failure = Unreachable(self.name, f"internal error: {exc}")
            was_connected = self._client is not None
            self._client = None
            failures = 0 if was_connected else failures + 1
            self._failure = failure
            wait_s = retry_wait_s(failures, denied=isinstance(failure, Denied | Incompatible), jitter=random.random())
            if self._is_young(failure, time.monotonic()):
                wait_s = min(wait_s, RETRY_YOUNG_S)
            self._next_try_at = time.monotonic() + wait_s
            logger.info("host=%s link=%s retry_s=%.1f reason=%s", self.name, _state_of(failure), wait_s, failure.reason)
            if self._tap is not None:
                self._tap.lost(self.name, _state_of(failure), failure.reason)
            self._on_change()
            await asyncio.sleep(wait_s)

    async def _stay(self) -> None:
        """One connection from dialling to its end, which is always a LinkError."""
        try:
            async with asyncio.timeout(CONNECT_DEADLINE_S):
                link = await self._dial(self.name, self.host)
        except TimeoutError:
            raise Unreachable(self.name, f"no connection within {CONNECT_DEADLINE_S:g} s") from None
        client = link.client
        try:
            self._hello = await client.hello(self._as_role)
            # Changes may stand in the same bytes as the answer that they build on, so they wait until it is taken.
            early: list[msgspec.Raw] = []
            client.on_changes = early.append
            start = await self._subscribe(client)
            self._heard(start.snapshot)
            if self._tap is not None:
                self._tap.connected(self.name, self._hello, start.snapshot)
            self._failure = None
            self._client = client
            client.on_changes = self._take
            for params in early:
                self._take(params)
            logger.info("host=%s link=live user=%s role=%s", self.name, self._hello.user, self._hello.role)
            raise await self._end_of(client)
        finally:
            await link.close()

    async def _end_of(self, client: Client) -> LinkError:
        """Why the link is at its end: it broke, or nothing came for too long."""
        while True:
            silent_s = 0.0 if self._heard_at is None else time.monotonic() - self._heard_at
            if silent_s >= self._silence_s:
                return NoAnswer(self.name, f"no news for {self._silence_s:g} s; the agent hangs or the line is dead")
            await asyncio.wait([client.lost], timeout=self._silence_s - silent_s)
            if client.lost.done():
                return client.lost.result()

    async def _subscribe(self, client: Client) -> replies.Subscription:
        try:
            start: replies.Subscription = await client.call(
                "subscribe", requests.SubscribeRequest(interval_s=self._interval_s)
            )
        except ApiError as exc:
            raise Unreachable(self.name, f"the agent gives no snapshot: {exc.message}") from exc
        return start

    def _take(self, params: msgspec.Raw) -> None:
        try:
            changes: Changes = codec.decode(params, Changes)
        except InvalidRequest as exc:
            logger.warning("host=%s changes not understood: %s", self.name, exc.message)
            return
        if self._snapshot is not None:
            self._heard(apply_changes(self._snapshot, changes))
            if self._tap is not None:
                self._tap.changed(self.name, params)

    def _heard(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._heard_at = time.monotonic()
        self._on_change()


def retry_wait_s(failures: int, *, denied: bool, jitter: float) -> float:
    """Seconds before the next try after `failures` in a row (0: a good connection broke); `jitter` in [0, 1].

    Doubles from RETRY_FIRST_S to RETRY_MAX_S, with the upper half of each wait by chance, so that a fleet does not come
    back in one clump. After a refusal the wait is long at once: sshd punishes sources that keep failing
    (PerSourcePenalties).
    """
    top = RETRY_MAX_S if denied else min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(failures, 10))
    return max(RETRY_FIRST_S, top / 2 + top / 2 * jitter)


def _state_of(failure: LinkError) -> LinkState:
    if isinstance(failure, Denied):
        return LinkState.DENIED
    if isinstance(failure, Incompatible):
        return LinkState.INCOMPATIBLE
    return LinkState.LOST
