"""The rules of a hand-over under everything that a courier can do to them: lose, repeat, delay, die, come back."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from mailagent.api.evacuation import ParcelState, Seals
from mailagent.spool import handover
from mailagent.spool.handover import DECIDED, SETTLED, HandoverRefused

CONTENT = b"mail"
KEYS = {ParcelState.GIVEN: "key of given", ParcelState.RETURNED: "key of returned"}
SEALS = Seals(given=handover.seal(KEYS[ParcelState.GIVEN]), returned=handover.seal(KEYS[ParcelState.RETURNED]))
PARTS = 2


class Courier(RuleBasedStateMachine):
    """Two hosts that keep what they decided, and messages between them that arrive any number of times, or never.

    A host that dies forgets nothing that it has answered; what it had not answered is a call that never came.
    """

    receipts = Bundle("receipts")
    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.source = ParcelState.PACKED
        self.target: ParcelState | None = None
        self.parts: set[int] = set()
        self.decided: ParcelState | None = None
        self.activations = 0

    @rule(target=receipts, part=st.integers(0, PARTS - 1))
    def put(self, part: int) -> object:
        self._put(part)
        return handover.receipt(CONTENT) if self.target is ParcelState.STORED else multiple()

    def _put(self, part: int) -> None:
        if self.target not in SETTLED:
            self.parts.add(part)
            self.target = ParcelState.STORED if len(self.parts) == PARTS else ParcelState.ARRIVING

    @rule(target=keys, receipt=receipts)
    def ask_to_give_up(self, receipt: str) -> str:
        self.source = handover.give(self.source, shown=receipt, expected=handover.receipt(CONTENT))
        return KEYS[self.source]

    @rule(target=keys, receipt=st.sampled_from(["", handover.digest(CONTENT), "a guess"]))
    def ask_without_a_receipt(self, receipt: str) -> object:
        before = self.source
        try:
            self.source = handover.give(self.source, shown=receipt, expected=handover.receipt(CONTENT))
        except HandoverRefused:
            assert self.source is before is ParcelState.PACKED
            return multiple()
        return KEYS[self.source]

    @rule()
    def cancel(self) -> None:
        self.source = handover.give_back(self.source)

    @rule(key=keys)
    def settle(self, key: str) -> None:
        before = self.target
        self.target = handover.settle(before, key=key, seals=SEALS)
        self.activations += self.target is ParcelState.ACTIVE and before is not ParcelState.ACTIVE

    @rule(key=st.sampled_from(["", "a guess", SEALS.given, SEALS.returned]))
    def settle_with_a_wrong_key(self, key: str) -> None:
        try:
            handover.settle(self.target, key=key, seals=SEALS)
        except HandoverRefused:
            return
        raise AssertionError("a wrong key was taken")

    @invariant()
    def one_owner(self) -> None:
        source_sends = self.source is ParcelState.RETURNED
        target_sends = self.target is ParcelState.ACTIVE
        assert not (source_sends and target_sends)
        assert self.activations <= 1
        source_has = self.source in (ParcelState.PACKED, ParcelState.RETURNED)
        target_has = self.target in (ParcelState.STORED, ParcelState.ACTIVE)
        assert source_has or target_has
        if target_sends:
            assert self.source is ParcelState.GIVEN
        if self.target is ParcelState.DROPPED:
            assert self.source is ParcelState.RETURNED

    @invariant()
    def a_decision_stands(self) -> None:
        if self.decided is not None:
            assert self.source is self.decided
        if self.source in DECIDED:
            self.decided = self.source

    def teardown(self) -> None:
        """A courier that comes back and goes to the end always finds one."""
        for part in range(PARTS):
            self._put(part)
        self.source = handover.give(self.source, shown=handover.receipt(CONTENT), expected=handover.receipt(CONTENT))
        end = handover.settle(self.target, key=KEYS[self.source], seals=SEALS)
        assert (self.source, end) in (
            (ParcelState.GIVEN, ParcelState.ACTIVE),
            (ParcelState.RETURNED, ParcelState.DROPPED),
        )


Courier.TestCase.settings = settings(max_examples=200, stateful_step_count=20, deadline=None)
TestCourier = Courier.TestCase
