"""Answers of hosts, added up to one plan."""

import pytest

from mailagent.api import requests
from mailagent.api.ids import HostName, OpId
from mailctl.ops.dry_run import merged, way_back
from mailctl.ops.plan import Step, StepState


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ([], []),
        (["what was tried cannot be called back"], ["what was tried cannot be called back"]),
        (
            [f"what left from {name} by then stays sent" for name in ("tx-2", "tx-4", "tx-6")],
            ["what left from tx-2, tx-4 and tx-6 by then stays sent"],
        ),
        (["what left stays sent", "it is gone"], ["what left stays sent", "it is gone"]),
        (["2 of tx-2 are gone", "3 of tx-4 are gone"], ["2 of tx-2 are gone", "3 of tx-4 are gone"]),
    ],
)
def test_notes_that_differ_in_a_name_are_one(texts: list[str], told: list[str]) -> None:
    assert list(merged(texts)) == told


def step(host: str, *, undoable: bool, note: str = "") -> Step:
    asked = requests.Mutation(op_id=OpId("op1"))
    return Step(
        host=HostName(host),
        target="provider:gmail",
        state=StepState.READY,
        detail="",
        request=asked,
        undoable=undoable,
        undo_note=note,
    )


def test_a_way_back_that_only_some_hosts_have_says_which() -> None:
    gone = "mail that was tried again cannot be called back"
    own = [step(host, undoable=False, note=gone) for host in ("mx1", "mx2")]
    other = step("mx4", undoable=True, note="undo stops what is left of it")
    assert way_back(own) == (False, gone)
    assert way_back([other]) == (True, "undo stops what is left of it")
    assert way_back([*own, other]) == (False, f"{gone}; except on mx4: undo stops what is left of it")
    assert way_back([*own, step("mx4", undoable=True)]) == (False, f"{gone}; except on mx4")
    assert way_back([]) == (False, "")
