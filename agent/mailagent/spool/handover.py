"""Who owns a parcel, at every moment: the rules of a hand-over between two hosts that only a courier connects.

    source   PACKED ──give──▶ GIVEN            target   (nothing) ──put──▶ ARRIVING ──last part──▶ STORED
                └───return──▶ RETURNED                  ARRIVING, STORED ──key of `returned`──▶ DROPPED
                                                        STORED ──key of `given`──▶ ACTIVE

The source decides once, in one transaction. It gives up only for a receipt, which a target can make only of the whole
content, and does make only when that is durable. The target believes nobody but the one of two keys that the source
shows after its decision. So whatever is lost, repeated, late or killed, mail is sent by the source (RETURNED), by the
target (ACTIVE), or waits for a courier; it is never sent by both and never with neither. Pure.
"""

import hashlib
from typing import Final

from mailagent.api.evacuation import ParcelState, Seals

DECIDED: Final = (ParcelState.GIVEN, ParcelState.RETURNED)
SETTLED: Final = (ParcelState.ACTIVE, ParcelState.DROPPED)


class HandoverRefused(Exception):
    """A step that the rules do not allow; nothing has changed."""


def seal(key: str) -> str:
    """What a target is given of a key before the decision."""
    return hashlib.sha256(key.encode()).hexdigest()


def digest(content: bytes) -> str:
    """What tells that the content arrived as it left."""
    return hashlib.sha256(content).hexdigest()


def receipt(content: bytes) -> str:
    """What only somebody has who has seen all of the content; no part of a parcel's header."""
    return hashlib.sha256(b"stored:" + content).hexdigest()


def give(state: ParcelState, *, shown: str, expected: str) -> ParcelState:
    """Source: the decision after a courier asked for the parcel to be given up; one that was made stands.

    Raises:
        HandoverRefused: the target's receipt is not that of this parcel.
    """
    if state in DECIDED:
        return state
    if shown != expected:
        raise HandoverRefused("the target has not confirmed that it has all of the parcel")
    return ParcelState.GIVEN


def give_back(state: ParcelState) -> ParcelState:
    """Source: the decision after the evacuation was cancelled; one that was made stands."""
    return state if state in DECIDED else ParcelState.RETURNED


def settle(state: ParcelState | None, *, key: str, seals: Seals) -> ParcelState:
    """Target: the state after a key was shown; None: it never saw the parcel.

    Raises:
        HandoverRefused: no key of this parcel, or one that contradicts what is here.
    """
    shown = seal(key)
    if shown == seals.returned:
        if state is ParcelState.ACTIVE:
            raise HandoverRefused("the parcel is in the queue here: its source cannot have it back")
        return ParcelState.DROPPED
    if shown != seals.given:
        raise HandoverRefused("that is no key of this parcel")
    if state not in (ParcelState.STORED, ParcelState.ACTIVE):
        raise HandoverRefused("the parcel is not whole here: its source cannot have given it up")
    return ParcelState.ACTIVE
