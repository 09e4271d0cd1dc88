"""What becomes of the messages of an order: decided from what was frozen and what the queue has now. Pure."""

from collections.abc import Mapping
from typing import Final, Protocol

from mailagent.api.directives import DirectiveKind
from mailagent.postfix.acts import Act
from mailagent.spool.frozen import Frozen, State, Tally

HOLD_QUEUE: Final = "hold"


class Entry(Protocol):
    """One message as `postqueue -j` lists it."""

    @property
    def queue_name(self) -> str:
        """The folder that it is in."""

    @property
    def arrival_time(self) -> int:
        """Seconds."""

    @property
    def message_size(self) -> int:
        """Bytes."""

    @property
    def mail_from(self) -> str:
        """Its sender, empty for a notification."""


def is_same(row: Frozen, entry: Entry) -> bool:
    """Whether the id still means the message that was frozen."""
    sender = entry.mail_from.encode("utf-8", "surrogateescape")
    return (row.arrived_at, row.size, row.sender) == (entry.arrival_time, entry.message_size, sender)


def fate(row: Frozen, entry: Entry | None, act: Act, *, ends: bool = False) -> State | None:
    """The state that `row` comes to without `act`; None: `act` is for it. `ends`: the order gives mail up.

    What somebody else has held or released since is theirs: it is left as it is. Only an order that gives mail up takes
    what is on hold already, and does not release it when it is taken back.
    """
    if entry is None:
        return State.GONE
    if not is_same(row, entry):
        return State.OTHER
    on_hold = entry.queue_name == HOLD_QUEUE
    match act:
        case Act.HOLD if on_hold:
            return State.HELD if row.state is State.HOLDING else State.KEPT if ends else State.LOOSE
        case Act.REQUEUE | Act.FLUSH if on_hold:
            return State.LOOSE
        case Act.RELEASE if not on_hold:
            return State.LOOSE
        case Act.EXPIRE | Act.DELETE if not on_hold and row.state in (State.HELD, State.KEPT):
            return State.LOOSE
    return None


_DONE: Final = {
    DirectiveKind.HOLD: "free again",
    DirectiveKind.RELEASE: "released",
    DirectiveKind.BOUNCE: "returned to the sender",
    DirectiveKind.DELETE: "deleted",
    DirectiveKind.RETRY: "tried again",
    DirectiveKind.REQUEUE: "requeued",
}
_LEFT: Final = {
    State.GONE: "not in the queue any more",
    State.OTHER: "left alone: the queue id means another message by now",
    State.SHORT: "left alone: a short queue id may mean another message by then",
    State.PARTLY: "left alone: other recipients do not match",
    State.LOOSE: "left alone: somebody else has held or released it",
    State.FAILED: "not done",
}


def left_words(tally: Tally) -> str:
    """What was not done, and why: `2 messages not in the queue any more; 1 message left alone: …`."""
    return "; ".join(f"{messages(tally[state][0])} {why}" for state, why in _LEFT.items() if state in tally)


def words(kind: DirectiveKind, tally: Tally, trouble: str, *, taken_back: bool = False) -> str:
    """What an order has done, once it is over."""
    verb = _DONE[DirectiveKind.HOLD if taken_back else kind]
    done = sum(tally.get(state, (0, 0))[0] for state in (State.DONE,))
    found = [f"{messages(done)} {verb}" if done else "", left_words(tally)]
    if State.KEPT in tally:
        found.append(f"{messages(tally[State.KEPT][0])} left on hold, as before")
    if trouble and State.FAILED in tally:
        found.append(trouble)
    return "; ".join(filter(None, found)) or f"nothing {verb}"


def counted(tally: Tally, states: Mapping[State, object] | tuple[State, ...]) -> int:
    """Recipients in `states`."""
    return sum(tally.get(state, (0, 0))[1] for state in states)


def messages(count: int) -> str:
    """`1 message`, `12,345 messages`."""
    return "1 message" if count == 1 else f"{count:,} messages"
