"""Evacuation on the wire: the queue of a host moves to others in parcels that an operator's command carries.

Agents do not reach each other. The source packs waiting recipients into a parcel, the command brings it to the target,
which keeps it inert, the source gives it up, and the command shows the target the key that proves it.
docs/decisions/0010 has the reasons.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.ids import HostName, OpId, PoolName, StreamName
from mailagent.api.requests import Mutation

PART_BYTES = 45_000
"""Bytes of one part of a parcel: in base64 with all around it a request stays under MAX_REQUEST_BYTES."""
MAX_PARTS = 8
"""Parts of one answer: in base64 under MAX_PAGE_BYTES."""
PARCEL_BYTES = 512 * 1024
"""A parcel is closed when it has so much; one larger message travels alone."""
PARCEL_RECIPIENTS = 200
MAX_OPEN = 32
"""Parcels of one evacuation that are under way at most, so that little mail is inert at a time."""


class Direction(StrEnum):
    """Which side of an evacuation a host is on."""

    OUT = "out"
    IN = "in"


class EvacuationState(StrEnum):
    """Where an evacuation stands on one host."""

    OPEN = "open"
    DONE = "done"
    CANCELLED = "cancelled"


class ParcelState(StrEnum):
    """Where a parcel stands on one host."""

    PACKED = "packed"  # source: out of its queue, inert, still its own
    GIVEN = "given"  # source: given up for good; the target's key is known
    RETURNED = "returned"  # source: back in its queue for good
    ARRIVING = "arriving"  # target: parts are missing
    STORED = "stored"  # target: whole and durable, inert
    ACTIVE = "active"  # target: in its queue
    DROPPED = "dropped"  # target: the source has it back


class EvacuationTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where mail may go, and which streams that host has."""

    host: HostName
    spool_id: str
    streams: tuple[StreamName, ...]


class Evacuate(Mutation, frozen=True, kw_only=True):
    """Source: let mail of `streams` leave to `targets`. The evacuation's id is the op_id."""

    streams: tuple[StreamName, ...]
    targets: tuple[EvacuationTarget, ...]


class EvacuateAdmit(Mutation, frozen=True, kw_only=True):
    """Target: take parcels of an evacuation."""

    evacuation: OpId
    source: HostName


class EvacuateEnd(Mutation, frozen=True, kw_only=True):
    """Either side: nothing more moves. With `cancel` the source takes back what it has not given up."""

    evacuation: OpId
    cancel: bool = False


class EvacuationRoomQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Could this host take mail of these streams?"""

    streams: tuple[StreamName, ...]


class StreamRoom(msgspec.Struct, frozen=True, kw_only=True):
    """What a host says about one stream."""

    stream: StreamName
    pool: PoolName = PoolName("")  # that its mail would leave from
    senders: int = 0  # virtual MTAs of the pool that may send now
    refusal: str = ""  # why it takes none; empty: it takes it
    held: str = ""  # what would hold it there now


class EvacuationRoom(msgspec.Struct, frozen=True, kw_only=True):
    """What a host could take."""

    host: HostName
    spool_id: str
    streams: tuple[StreamRoom, ...]
    free_bytes: int  # before intake would stop for want of disk
    waiting: int
    waiting_limit: int | None = None  # queue.waiting
    refusal: str = ""  # why it takes nothing now


class Leaving(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting recipients of one stream and pool of the source."""

    stream: StreamName
    pool: PoolName
    waiting: int
    held: str = ""  # the directive that holds it here
    stays: str = ""  # why none of it may leave


class EvacuationSource(msgspec.Struct, frozen=True, kw_only=True):
    """What waits on a host, as far as it could leave."""

    host: HostName
    rows: tuple[Leaving, ...]
    message_bytes: int  # average of a message, of the oldest thousand
    in_window: int  # recipients in memory: those under way stay until they are settled
    accepting: bool  # new mail comes in all the same


class Seals(msgspec.Struct, frozen=True, kw_only=True):
    """SHA-256 of the two keys of a parcel, of which the source ever shows one."""

    given: str
    returned: str


class ParcelHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What travels with each part of a parcel."""

    id: str
    evacuation: OpId
    source: HostName
    source_tag: str  # of its message names
    target: HostName
    target_spool: str
    messages: int
    recipients: int
    size_bytes: int
    digest: str  # SHA-256 of the content
    seals: Seals


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """A parcel as one side has it."""

    header: ParcelHeader
    state: ParcelState
    closed: bool = False  # nothing is left to be done about it


class EvacuationView(msgspec.Struct, frozen=True, kw_only=True):
    """One evacuation on one of its hosts. Numbers are recipients."""

    id: OpId
    direction: Direction
    state: EvacuationState
    peers: tuple[HostName, ...]  # the targets, or the source
    streams: tuple[StreamName, ...] = ()
    targets: tuple[EvacuationTarget, ...] = ()
    author: str
    reason: str
    at: datetime
    ended_at: datetime | None = None
    moved: int = 0  # given up here, or in the queue here
    inert: int = 0  # packed here, or stored here and not in the queue
    returned: int = 0
    parcels: tuple[Parcel, ...] = ()  # those about which something is left to be done


class Evacuations(msgspec.Struct, frozen=True, kw_only=True):
    """Evacuations that this host remembers, the newest first."""

    rows: tuple[EvacuationView, ...]


class ParcelTake(msgspec.Struct, frozen=True, kw_only=True):
    """Source: pack the next recipients for one target."""

    evacuation: OpId
    target: HostName
    recipients: int = PARCEL_RECIPIENTS  # at most


class ParcelTaken(msgspec.Struct, frozen=True, kw_only=True):
    """The parcel; None when nothing that may go there waits outside deliveries under way."""

    header: ParcelHeader | None = None
    under_way: int = 0  # recipients that stay until they are settled


class ParcelRead(msgspec.Struct, frozen=True, kw_only=True):
    """Source: up to MAX_PARTS parts from number `part` on."""

    parcel: str
    part: int = 0


class ParcelParts(msgspec.Struct, frozen=True, kw_only=True):
    """Parts in order; none behind the last."""

    parts: tuple[bytes, ...]


class ParcelPut(msgspec.Struct, frozen=True, kw_only=True):
    """Target: keep one part. The same part twice is one."""

    header: ParcelHeader
    part: int
    data: bytes


class ParcelKept(msgspec.Struct, frozen=True, kw_only=True):
    """What the target has. `receipt` proves that all of it is durable, empty before."""

    state: ParcelState
    receipt: str = ""


class ParcelDecide(msgspec.Struct, frozen=True, kw_only=True):
    """Source: give the parcel up, if it was not returned. A receipt of the target is what it is given up for."""

    parcel: str
    receipt: str = ""


class ParcelDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What the source has decided for good, and the key that proves it."""

    state: ParcelState  # given or returned
    key: str


class ParcelSettle(msgspec.Struct, frozen=True, kw_only=True):
    """Target: do what the source decided."""

    header: ParcelHeader
    key: str


class ParcelClose(msgspec.Struct, frozen=True, kw_only=True):
    """Source: the target has done it."""

    parcel: str
