"""Lanes: mail that is due on disk, by what it needs to move on.

A lane is the mail of one pool, stream and priority, and of one job if it has one, to one site. Many scheduled queues
may belong to it: all domains that one provider hosts. The disk is read lane by lane in turn, so that a site gets its
share whether its mail is for one domain or for a hundred thousand. A lane that cannot move leaves the turn and costs
nothing until it is called:

    turn --its ready queues have no place--> full --one of them has--> turn
    turn --a directive holds it--> blocked --directives have changed--> turn

Queues of a lane that is out of the turn are parked on disk under its key, once none of their mail is in the window.
"""

from collections.abc import Callable, Iterator
from enum import Enum, auto

from mailagent.api.ids import PoolName, StreamName
from mailagent.config.structs import Priority
from mailagent.routing import Site
from mailagent.scheduling.window import Hot
from mailagent.spool.records import QueueName

UNKNOWN_SITE = ""
"""Stands for the site of a domain that is not looked up yet."""

LaneId = tuple[str, str, str, str, str]
"""(pool, stream, priority, site, job)."""


class Place(Enum):
    """Where a lane stands; see the module."""

    TURN = auto()
    FULL = auto()
    BLOCKED = auto()


class Lane:
    """One lane. `hots` are its queues in memory with rows due on disk, `on_disk` says that others are parked."""

    __slots__ = ("hots", "id", "job", "on_disk", "place", "pool", "priority", "site", "stream")

    def __init__(self, lane: LaneId, site: Site | None) -> None:
        self.id = lane
        self.pool = PoolName(lane[0])
        self.stream = StreamName(lane[1])
        self.priority = lane[2]
        self.job = lane[4]
        self.site = site  # None: not known yet
        self.place = Place.TURN
        self.hots: dict[int, Hot] = {}
        self.on_disk = False

    @property
    def key(self) -> str:
        """The parking key."""
        return "/".join(self.id if self.job else self.id[:4])

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it waits on disk, as far as it was noted."""
        return not (self.hots or self.on_disk)

    def add(self, hot: Hot) -> None:
        """Rows of `hot` are due on disk."""
        self.hots[hot.id] = hot
        hot.lane = self

    def remove(self, hot: Hot) -> None:
        """They are being read, or parked."""
        del self.hots[hot.id]
        hot.lane = None


class Lanes:
    """All lanes with mail due on disk."""

    def __init__(self, site_of: Callable[[str], Site | None]) -> None:
        self._site_of = site_of
        self._lanes: dict[LaneId, Lane] = {}
        self._turns: dict[str, dict[LaneId, Lane]] = {priority: {} for priority in Priority}
        self.full: dict[str, dict[LaneId, Lane]] = {}
        """Those whose ready queues have no place, by site."""

    def get(self, name: QueueName, site: Site | None) -> Lane | None:
        """The lane of a queue, when mail of it is due on disk."""
        return self._lanes.get(_id(name, site)) if self._lanes else None

    def of(self, queue: Hot | QueueName) -> Lane:
        """The lane of a queue by what is known of its site now, made when needed; a new one has its turn."""
        return self.at(queue, self._site_of(queue.domain))

    def at(self, queue: Hot | QueueName, site: Site | None) -> Lane:
        """The lane of a queue whose site is `site`, made when needed; a new one has its turn."""
        name = _id(queue, site)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, site)
            self._turns[lane.priority][name] = lane
        return lane

    def turn(self, priority: str) -> list[Lane]:
        """Lanes of one class that may be read, in turn."""
        return list(self._turns[priority].values())

    def queues_in_turn(self, priority: str) -> int:
        """Queues in memory whose turn is coming."""
        return sum(len(lane.hots) for lane in self._turns[priority].values())

    def has_turn(self, priority: str) -> bool:
        """Whether any lane of one class may be read."""
        return bool(self._turns[priority])

    def to_end(self, lane: Lane) -> None:
        """It had its turn; when nothing of it is left, it goes."""
        turn = self._turns[lane.priority]
        turn.pop(lane.id, None)
        if lane.is_empty:
            self._forget(lane)
        elif lane.place is Place.TURN:
            turn[lane.id] = lane

    def hold(self, lane: Lane, place: Place) -> None:
        """It cannot move: out of the turn."""
        self._leave(lane)
        lane.place = place
        if place is Place.FULL:
            self.full.setdefault(lane.id[3], {})[lane.id] = lane

    def waiting_for(self, site: str) -> tuple[Lane, ...]:
        """Lanes that wait until ready queues of `site` have a place."""
        full = self.full.get(site)
        return tuple(full.values()) if full else ()

    def call(self, lane: Lane) -> None:
        """What it waited for may be there: back into the turn."""
        self._leave(lane)
        if lane.is_empty:
            self._forget(lane)
        else:
            lane.place = Place.TURN
            self._turns[lane.priority][lane.id] = lane

    def call_known(self, lane: LaneId) -> None:
        """The same for a lane that may be gone, or have its turn already."""
        found = self._lanes.get(lane)
        if found is not None and found.place is Place.FULL:
            self.call(found)

    def call_all(self) -> None:
        """Everything may have changed."""
        for lane in list(self._lanes.values()):
            if lane.place is not Place.TURN:
                self.call(lane)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def _leave(self, lane: Lane) -> None:
        if lane.place is Place.TURN:
            self._turns[lane.priority].pop(lane.id, None)
        elif lane.place is Place.FULL:
            full = self.full[lane.id[3]]
            del full[lane.id]
            if not full:
                del self.full[lane.id[3]]

    def _forget(self, lane: Lane) -> None:
        if self._lanes.get(lane.id) is lane:
            del self._lanes[lane.id]


def _id(queue: Hot | QueueName, site: Site | None) -> LaneId:
    return queue.pool, queue.stream, queue.priority, site.name if site is not None else UNKNOWN_SITE, queue.job
