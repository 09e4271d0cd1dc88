"""The fleet as one object: links to all hosts, their merged state, and questions to them."""

import asyncio
import contextlib
import importlib
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from mailagent.api.errors import ApiError, Refused, RoleRefused
from mailagent.api.ids import HostName
from mailagent.api.methods import METHODS, TRACE
from mailagent.api.requests import Role
from mailagent.api.trace import TraceLines, TraceRequest
from mailagent.api.words import asked
from mailagent.config.structs import FleetConfig, FleetHost, Transport
from mailctl.fleet.client import CALL_DEADLINE_S, connect_local
from mailctl.fleet.errors import LinkError, Unreachable
from mailctl.fleet.inventory import Inventory
from mailctl.fleet.state import FleetState
from mailctl.fleet.watch import SILENCE_S, HostWatch, Link, Tap

if TYPE_CHECKING:
    from mailctl.fleet.link import SshDialler

TICK_S = 0.25
"""State is merged at most this often: four refreshes a second are what an eye can use."""
INTERVAL_S = 1.0
"""Period of the agents' changes."""
AGE_TICK_S = 1.0
"""Without news the state is merged for the ages alone."""

logger = logging.getLogger(__name__)
Answer = Any | LinkError | ApiError


class Fleet:
    """Links to every host of the inventory, for as long as the context is open.

    Enter and leave it in the same task (a Textual worker, or the main coroutine of a command):

        async with Fleet(config) as fleet:
            await fleet.settled(5)
            print(fleet.state.totals.waiting)
    """

    def __init__(
        self,
        config: FleetConfig,
        *,
        path: Path | None = None,
        only: Iterable[str] = (),
        as_role: Role | None = None,
        read_only: bool = False,
        interval_s: float = INTERVAL_S,
        patience_s: float = 0.0,
        silence_s: float = SILENCE_S,
        answer_s: float | None = None,
        tap: Tap | None = None,
    ) -> None:
        """`patience_s`: how long hosts that were never reached count as connecting rather than lost.

        `read_only`: refuse each call that changes something, before it leaves.

        `silence_s`: how long a link may bring no news before it is given up.

        `answer_s`: how long each answer is waited for, whatever the caller allows; None: as the caller says.

        `tap`: hears what comes from the hosts, as it comes.

        `path`: where the file was found when it was named by hand, for commands that are shown to be repeated.

        Raises:
            LookupError: `only` names a host that the file does not have.
        """
        self.config = config
        self.read_only = read_only
        self.path = path
        self.inventory = Inventory.of(config, only)
        self._only = tuple(only)
        self._answer_s = answer_s
        self._dialler = Dialler()
        self._dirty = asyncio.Event()
        self._news = asyncio.Event()  # like _dirty, without the pause of a tick
        self._listeners: list[Callable[[FleetState], None]] = []
        self._watch = partial(
            HostWatch,
            dial=self._dialler.dial,
            as_role=as_role,
            interval_s=interval_s,
            patience_s=patience_s,
            silence_s=silence_s,
            on_change=self._note,
            tap=tap,
        )
        self._watches = {name: self._watch(name, host) for name, host in self.inventory.hosts.items()}
        self._links: dict[HostName, asyncio.Task[None]] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._group = asyncio.TaskGroup()
        self._state = FleetState(pool_hosts=self.inventory.pools)
        self._merge()

    @property
    def state(self) -> FleetState:
        """The last merged state: a value that does not change."""
        return self._state

    def refreshed(self) -> FleetState:
        """The state with all that has come in, merged out of turn."""
        return self._merge()

    def take_over(self, config: FleetConfig) -> "Turnover":
        """Follow another fleet file from now on: new hosts are dialled, those it lacks are left, the others stay.

        Only a host that is reached in another way than before is dialled anew. Call it while the context is open.

        Raises:
            LookupError: this fleet is cut to a host that the file does not have.
        """
        before, inventory = self.inventory.hosts, Inventory.of(config, self._only)
        gone = tuple(name for name in before if name not in inventory.hosts)
        fresh = tuple(name for name in inventory.hosts if name not in before)
        moved = tuple(
            name for name, host in inventory.hosts.items() if name in before and _way(before[name]) != _way(host)
        )
        for name in (*gone, *moved):
            self._links.pop(name).cancel()
            del self._watches[name]
        self.config, self.inventory = config, inventory
        for name, host in inventory.hosts.items():
            if (watch := self._watches.get(name)) is not None:
                watch.host = host
            else:
                self._watches[name] = self._watch(name, host)
                self._follow(name)
        self._watches = {name: self._watches[name] for name in inventory.hosts}  # in the order of the file
        self._merge()
        self._note()
        return Turnover(fresh, gone, moved)

    def _follow(self, name: HostName) -> None:
        self._links[name] = self._group.create_task(self._watches[name].run(), name=f"watch:{name}")

    def on_change(self, listener: Callable[[FleetState], None]) -> Callable[[], None]:
        """Call `listener` with each new state, at most four times a second; the result ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        for name in self._watches:
            self._follow(name)
        self._ticking = self._group.create_task(self._tick(), name="fleet:tick")
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._links.values(), self._ticking):
            if task is not None:
                task.cancel()
        # The body's own error travels on by itself; the group would wrap it.
        await self._group.__aexit__(None, None, None)
        await self._dialler.close()

    async def ask(self, host: str, method: str, params: msgspec.Struct, *, deadline_s: float = CALL_DEADLINE_S) -> Any:
        """The decoded result of one call to one host.

        Raises:
            LinkError: the host cannot be asked; after NoAnswer and LinkLost the outcome of a verb is unknown.
            ApiError: the agent's answer is an error.
            RoleRefused: it would change something, and this fleet is for reading only.
            Refused: the host has no such method, as its hello says.
        """
        if self.read_only and METHODS[method].mutates and not getattr(params, "dry_run", False):
            raise RoleRefused(f"{asked(method, params)} is not sent to {host}: read-only mode")
        known = self._state.host(host)
        if known is not None and (why := known.lacks(method, asked(method, params))):
            raise Refused(why)
        return await self._watched(host).ask(method, params, self._answer_s or deadline_s)

    def _watched(self, host: str) -> HostWatch:
        """The watch of a host.

        Raises:
            Unreachable: the fleet file has no such host, or no more.
        """
        name = HostName(host)
        if name not in self._watches:
            raise Unreachable(name, "not in the fleet file")
        return self._watches[name]

    async def trace(self, host: str, request: TraceRequest) -> AsyncGenerator[TraceLines]:
        """Lines of a live trace on one host, until it ends or the generator is closed.

        Raises:
            LinkError: the host cannot be asked, or the link broke.
            ApiError: the host refuses.
            Refused: the host has no traces, as its hello says.
        """
        known = self._state.host(HostName(host))
        if known is not None and (why := known.lacks(TRACE)):
            raise Refused(why)
        async with contextlib.aclosing(
            self._watched(host).trace(request, self._answer_s or CALL_DEADLINE_S)
        ) as batches:
            async for batch in batches:
                yield batch

    async def ask_all(
        self,
        method: str,
        params: msgspec.Struct,
        *,
        hosts: Iterable[str] | None = None,
        deadline_s: float = CALL_DEADLINE_S,
    ) -> dict[HostName, Answer]:
        """Ask several hosts at once (None: all); the error of one is its part of the answer."""

        async def one(name: HostName) -> Answer:
            try:
                return await self.ask(name, method, params, deadline_s=deadline_s)
            except (LinkError, ApiError) as exc:
                return exc

        names = list(self._watches) if hosts is None else [HostName(name) for name in hosts]
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(one(name), name=f"ask:{method}:{name}") for name in names}
        return {name: task.result() for name, task in tasks.items()}

    async def settled(self, within_s: float, *, hosts: Collection[str] = ()) -> FleetState:
        """The state once each of `hosts` (none: all) is live or has failed once, or after `within_s`."""
        watches = [watch for name, watch in self._watches.items() if not hosts or name in hosts]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not all(watch.is_settled for watch in watches):
                    self._news.clear()
                    await self._news.wait()
        return self._merge()  # once: of a thousand hosts each merge costs milliseconds, and each host is news

    async def until(self, condition: Callable[[FleetState], bool], *, within_s: float) -> bool:
        """Whether `condition` came to hold of the state within the time."""
        try:
            async with asyncio.timeout(within_s):
                while not condition(self._merge()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return condition(self._merge())
        return True

    async def _tick(self) -> None:
        """Merge when something came in, and once a second for the ages."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGE_TICK_S):
                    await self._dirty.wait()
            self._dirty.clear()
            state = self._merge()
            for listener in tuple(self._listeners):
                try:
                    listener(state)
                except Exception:
                    logger.exception("a listener of the fleet's state failed")
            self._news.set()
            await asyncio.sleep(TICK_S)

    def _note(self) -> None:
        self._dirty.set()
        self._news.set()

    def _merge(self) -> FleetState:
        hosts = tuple(watch.state() for watch in self._watches.values())
        self._state = FleetState(tick=self._state.tick + 1, hosts=hosts, pool_hosts=self.inventory.pools)
        return self._state


class Turnover(NamedTuple):
    """What another fleet file changed in the links."""

    fresh: tuple[HostName, ...]
    gone: tuple[HostName, ...]
    moved: tuple[HostName, ...]  # dialled anew, since they are reached in another way


def _way(host: FleetHost) -> tuple[object, ...]:
    """How a host is reached."""
    return host.transport, host.ssh, host.rpc.socket


class Dialler:
    """Opens links by each host's transport. asyncssh is loaded with the first host that needs it."""

    def __init__(self) -> None:
        self._ssh: SshDialler | None = None
        self._loading = asyncio.Lock()

    async def dial(self, name: HostName, host: FleetHost) -> Link:
        """A new link.

        Raises:
            LinkError: no connection, with the reason.
        """
        if host.transport is Transport.LOCAL:
            return await connect_local(name, host.rpc.socket)
        return await (await self._loaded()).dial(name, host)

    async def close(self) -> None:
        """Close the bastions."""
        if self._ssh is not None:
            await self._ssh.close()

    async def _loaded(self) -> "SshDialler":
        async with self._loading:
            if self._ssh is None:
                # 0.2 s of imports: in a thread, so that a screen that is up already stays alive.
                link = await asyncio.to_thread(importlib.import_module, "mailctl.fleet.link")
                self._ssh = link.SshDialler()
            return self._ssh
