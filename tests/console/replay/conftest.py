"""A recording of three hosts over three minutes, written by the recorder with a clock of our own."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from mailagent.api import codec, replies
from mailagent.api.methods import PROTOCOL_VERSION
from mailagent.api.requests import Role
from mailagent.api.views import Changes, Snapshot
from mailctl.fleet.state import FleetState, HostState, LinkState, apply_changes
from mailctl.replay import Recorder
from tests.console.tui.doubles import HOSTS, NOW, groups, snapshot

HELLO = replies.Hello(
    protocol=PROTOCOL_VERSION,
    version="0.1.0",
    host="mx1",
    spool_id="spool",
    boot_id="boot",
    features=(),
    user="alice",
    role=Role.ADMIN,
    server_time=NOW,
)
SECONDS = 180
LOST_AT_S = 90


class Night:
    """Three hosts whose queue grows by one each second; mx2 is lost after 90 s."""

    def __init__(self, path: Path, **more: int) -> None:
        self.now = NOW
        self.recorder = Recorder(path, now=lambda: self.now, **more)
        self.snapshots: list[Snapshot] = [snapshot(index) for index in range(3)]
        self.lost = False

    def state(self) -> FleetState:
        hosts = []
        for name, one in zip(HOSTS, self.snapshots, strict=True):
            link = LinkState.LOST if self.lost and name == "mx2" else LinkState.LIVE
            error = "no route" if link is LinkState.LOST else ""
            hosts.append(HostState(name, "eu", link, 0.0, error, hello=HELLO, snapshot=one))  # type: ignore[arg-type]
        return FleetState(hosts=tuple(hosts), pool_hosts={"cold": HOSTS})  # type: ignore[dict-item]

    def second(self) -> None:
        """All hosts that are not lost send their changes."""
        self.now += timedelta(seconds=1)
        for index, state in enumerate(self.state().hosts):
            if state.state is not LinkState.LIVE:
                continue
            old = self.snapshots[index]
            flow = msgspec.structs.replace(old.host.flow, delivered=old.host.flow.delivered + 7)
            host = msgspec.structs.replace(old.host, waiting=old.host.waiting + 1, flow=flow)
            changes = Changes(seq=old.seq + 1, at=self.now, host=host)
            self.snapshots[index] = apply_changes(old, changes)
            self.recorder.changed(state.name, msgspec.Raw(codec.encode(changes)))
        self.recorder.tick()

    def through(self) -> None:
        """The whole of it."""
        self.recorder.begin(self.state)
        self.recorder.answered(self.state().hosts[0].name, "deferred", replies.DeferredGroups(groups=groups()))
        for second in range(SECONDS):
            if second == LOST_AT_S:
                self.lost = True
                self.recorder.lost(self.state().hosts[1].name, LinkState.LOST, "no route")
            self.second()
        self.recorder.close()


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


Clock = Callable[[], float]
