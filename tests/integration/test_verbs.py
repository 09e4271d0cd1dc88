"""What holds for every verb: idempotency, stale plans, dry runs, and the record of it."""

import json
import signal
from pathlib import Path

import pytest

from mailagent.api.errors import InvalidRequest, NotFound, Refused, StalePlan
from mailagent.api.operations import Result
from tests.integration.rig import LATE, POOLS, rig


async def test_a_verb_acts_once_per_op_id_and_refuses_another_body_even_after_a_kill(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        first = await one.do("drain", "pool:marketing", op_id="op-x")
        assert await one.do("drain", "pool:marketing", op_id="op-x") == first
        with pytest.raises(InvalidRequest, match="op-x stands for another request"):
            await one.do("drain", "pool:tx", op_id="op-x")
        await one.restart(signal.SIGKILL)
        assert await one.do("drain", "pool:marketing", op_id="op-x") == first
        with pytest.raises(InvalidRequest, match="op-x stands for another request"):
            await one.do("drain", "pool:marketing", op_id="op-x", reason="another")
        record = await one.call("operation", op_id="op-x")
        assert (record.verb, record.result, record.reason) == ("drain", Result.APPLIED, "test")
        assert await one.call("operation", op_id="op-never") is None
        assert len((await one.snapshot()).directives) == 1


async def test_a_stale_plan_is_refused_and_says_who_was_faster(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        planned = await one.do("drain", "pool:marketing", dry_run=True)
        await one.do("suspend", "pool:marketing")
        with pytest.raises(StalePlan, match="suspend"):
            await one.do("drain", "pool:marketing", expect=planned.generation)
        fresh = await one.do("drain", "pool:marketing", dry_run=True)
        assert (await one.do("drain", "pool:marketing", expect=fresh.generation)).result is Result.APPLIED


async def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.refuse = lambda mail, recipient: b"450 4.2.0 not now\r\n"
        await one.accepted("r@a.example")
        await one.deferred(1)
        before = await one.waiting()
        verbs: tuple[tuple[str, str, dict[str, object]], ...] = (
            ("drain", "pool:marketing", {}),
            ("drain", "host:mx1", {}),
            ("suspend", "provider:gmail", {}),
            ("rotate", "vmta:mkt-1", {}),
            ("limit", "vmta:mkt-1", {"limit": "rate", "value": "1/h"}),
        )
        for verb, target, fields in verbs:
            result = await one.do(verb, target, dry_run=True, **fields)
            assert result.result is Result.PLANNED, verb
        assert await one.waiting() == before
        snapshot = await one.snapshot()
        assert snapshot.directives == ()
        assert [row.verb for row in (await one.call("operations")).rows] == ["start"]
        assert (await one.send("s@a.example")).startswith("250")


async def test_verbs_on_what_does_not_exist_are_refused_by_name_and_all_calls_are_audited(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        with pytest.raises(NotFound, match="marketing"):
            await one.do("drain", "pool:marketin")
        with pytest.raises(Refused):
            await one.do("undo", undoes="op-never")
        await one.do("suspend", "stream:tx", op_id="op-y", reason="why not")
        assert (await one.do("suspend", "stream:tx")).result is Result.NOTHING_TO_DO
        audit = [json.loads(line) for line in (tmp_path / "state" / "audit.jsonl").read_text().splitlines()]
        assert [(line["verb"], line["event"]) for line in audit] == [
            ("drain", "asked"), ("drain", "refused"), ("undo", "asked"), ("undo", "refused"),
            ("suspend", "asked"), ("suspend", "done"), ("suspend", "asked"), ("suspend", "done"),
        ]  # fmt: skip
        assert audit[4]["request"]["reason"] == "why not"
        (row, *_) = (await one.call("operations")).rows
        assert (row.verb, str(row.target)) == ("suspend", "stream:tx")
