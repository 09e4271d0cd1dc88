"""Control on the real spool: what was ordered survives, and a lost answer never splits disk and effect."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mailagent.api import requests
from mailagent.api.ids import OpId
from mailagent.api.operations import Result
from mailagent.api.targets import MessageFilter
from mailagent.api.views import PoolState
from mailagent.control.verbs import Control
from mailagent.spool.records import LedgerEntry
from mailagent.spool.store import Spool
from tests.agent.control.bench import ALICE, BOB, Flow
from tests.agent.control.fleet import CONFIG, MARKETING, MKT_1, MKT_2, target

DRAIN = requests.Drain(op_id=OpId("op1"), target=target("pool:marketing"), reason="gmail throttles")


@asynccontextmanager
async def spooled(path: Path) -> AsyncIterator[tuple[Control, Flow, Spool]]:
    spool = await Spool.open(path)
    try:
        flow = Flow()
        control = Control(CONFIG, ledger=spool, effects=flow)
        await control.load()
        yield control, flow, spool
    finally:
        await spool.close(clean=True)


async def test_directives_answers_and_undo_survive_restarts(tmp_path: Path) -> None:
    async with spooled(tmp_path) as (control, _, _):
        drained = await control.drain(DRAIN, ALICE)
        rotate = requests.Rotate(op_id=OpId("op2"), target=target("vmta:mkt-1"))
        await control.rotate(rotate, ALICE)
        before = control.state.directives
    async with spooled(tmp_path) as (control, flow, spool):
        assert control.state.directives == before
        assert control.state.fit(MARKETING) == (MKT_2,)
        assert await control.drain(DRAIN, ALICE) == drained
        await control.undo(requests.Undo(op_id=OpId("op3"), undoes=OpId("op1")), BOB)
        again = await control.undo(requests.Undo(op_id=OpId("op4"), undoes=OpId("op1")), BOB)
        assert again.result is Result.NOTHING_TO_DO
        await control.undo(requests.Undo(op_id=OpId("op5"), undoes=OpId("op3")), ALICE)
        assert flow.applied[-1].pool(MARKETING).state is PoolState.DRAINING
        await control.undo(requests.Undo(op_id=OpId("op6"), undoes=OpId("op1")), ALICE)
        await control.undo(requests.Undo(op_id=OpId("op7"), undoes=OpId("op2")), ALICE)
        page = await spool.operations("", 10)
        assert [row.op_id for row in page.rows] == ["op7", "op6", "op5", "op4", "op3", "op2", "op1"]
        assert page.rows[-1].undone_by == "op6"
    async with spooled(tmp_path) as (control, _, _):
        assert not control.state.directives
        assert control.state.fit(MARKETING) == (MKT_1,)


async def test_a_retry_is_written_with_its_due_change(tmp_path: Path) -> None:
    async with spooled(tmp_path) as (control, _, spool):
        request = requests.Retry(op_id=OpId("op1"), filter=MessageFilter(provider="gmail"))
        result = await control.retry(request, ALICE)
        stored = await spool.stored_operation(OpId("op1"))
    assert stored is not None
    assert stored.result == result
    assert stored.record.filter == MessageFilter(provider="gmail", deferred_only=True)


async def test_an_order_cut_off_while_it_is_written_is_in_effect_once_it_is_on_disk(tmp_path: Path) -> None:
    async with spooled(tmp_path) as (_, flow, spool):
        written = asyncio.Event()

        class Late:
            """The spool, but its answer comes too late."""

            stored_operation = staticmethod(spool.stored_operation)
            operations = staticmethod(spool.operations)
            directives = staticmethod(spool.directives)

            async def record(self, entry: LedgerEntry) -> int:
                await spool.record(entry)
                written.set()
                return await asyncio.Future()

        control = Control(CONFIG, ledger=Late(), effects=flow)
        order = asyncio.create_task(control.drain(DRAIN, ALICE), name="order")
        await written.wait()
        order.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await order
        assert not flow.applied
        await control.expire(control._clock())  # whatever comes next finds out
        assert flow.applied[-1].pool(MARKETING).state is PoolState.DRAINING
        assert (await control.drain(DRAIN, ALICE)).result is Result.APPLIED
