"""Another configuration takes effect whole, or not at all with the reason."""

import asyncio
import signal
import subprocess
from pathlib import Path

from mailagent.api.operations import Result
from mailagent.api.reasons import ReasonKind
from tests.integration.client import BODY, Client
from tests.integration.processes import MAILAGENT
from tests.integration.rig import LATE, POOLS, SOON, Rig, rig

WITHOUT_TX = (
    POOLS.replace("  tx-1: {address: 127.0.2.1}\n", "")
    .replace("  tx: {active: [tx-1]}\n", "")
    .replace('  tx: {pool: tx, priority: high, senders: ["*@tx.example"]}\n', "")
)


async def test_a_new_stream_pool_and_limit_take_effect_on_sighup(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        await one.accepted("before@a.example", headers="X-Virtual-MTA: cold\r\n")
        await one.delivered("before@a.example")
        generation = (await one.snapshot()).host.generation
        text = POOLS.replace("pools:\n", "  cold-1: {address: 127.0.3.1}\npools:\n  cold: {active: [cold-1]}\n")
        text = text.replace("streams:\n", "streams:\n  cold: {pool: cold}\n")
        one.configure(text + LATE + "providers: {default: {connections: 1}}\n")
        signalled(one, signal.SIGHUP)
        await one.shows(lambda now: "cold" in now.streams, "the new stream")
        one.sink.gate = asyncio.Event()
        recipients = [f"r{n}@a.example" for n in range(5)]
        await one.accepted(*recipients, headers="X-Virtual-MTA: cold\r\n")
        await one.holds(lambda: one.sink.at_gate == 1, "a connection at work")
        reasons = (await one.explain("r4@a.example")).reasons
        assert [(reason.kind, reason.key, reason.value) for reason in reasons] == [
            (ReasonKind.LIMIT, "connections", "1")
        ]
        one.sink.gate.set()
        await one.delivered(*recipients)
        assert one.sink.sources_of(*recipients) == {"127.0.3.1"}
        assert "127.0.3.1" not in one.sink.sources_of("before@a.example")
        assert (await one.snapshot()).host.generation > generation


async def test_a_wrong_file_keeps_the_old_configuration_and_says_why(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.configure(POOLS.replace("active: [tx-1]", "active: [tx-9]") + LATE)
        code, words = await reloaded(one)
        assert code == 2
        assert "agent.yaml:" in words
        assert "tx-9" in words
        signalled(one, signal.SIGHUP)

        def refused() -> list[str]:
            lines = one.agent.log.read_text(encoding="utf-8").splitlines()
            return [line for line in lines if "reload refused" in line and "tx-9" in line]

        await one.holds(lambda: bool(refused()), "the refusal in the log, with its reason")
        one.configure(POOLS + LATE)
        text = one.agent.config.read_text(encoding="utf-8")
        one.agent.config.write_text(text.replace("host: mx1", "host: mx9"), encoding="utf-8")
        code, words = await reloaded(one)
        assert code == 2
        assert "host can only change with a restart" in words
        await one.accepted("r@a.example", sender="x@tx.example")
        await one.delivered("r@a.example")
        one.configure(POOLS + LATE)
        code, out = await reloaded(one)
        assert (code, out.partition(";")[0]) == (0, "nothing-to-do: the file says what is already in effect")


async def test_a_reload_is_an_operation_that_is_done_once(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.configure(POOLS.replace("tx-1: {address: 127.0.2.1}", "tx-1: {address: 127.0.2.9}") + LATE)
        planned = await one.do("reload", op_id="reload-1", dry_run=True)
        assert (planned.result, planned.detail) == (Result.PLANNED, "would change virtual_mtas")
        done = await one.do("reload", op_id="reload-1")
        assert (done.result, done.detail) == (Result.APPLIED, "changed virtual_mtas")
        one.configure(POOLS + LATE)
        assert await one.do("reload", op_id="reload-1") == done
        row, start = (await one.call("operations")).rows
        assert (row.op_id, row.verb, row.detail, row.undoable) == ("reload-1", "reload", "changed virtual_mtas", False)
        assert (start.verb, start.undoable) == ("start", False)
        assert (await one.do("reload")).result is Result.APPLIED


async def test_nothing_leaves_from_an_address_that_the_file_no_longer_names(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        await one.accepted("before@a.example", sender="x@tx.example")
        await one.delivered("before@a.example")  # its connection stays open for a while
        one.configure(POOLS.replace("tx-1: {address: 127.0.2.1}", "tx-1: {address: 127.0.2.9}") + LATE)
        await one.do("reload")
        await one.accepted("after@a.example", sender="x@tx.example")
        await one.delivered("after@a.example")
        assert one.sink.sources_of("after@a.example") == {"127.0.2.9"}


async def test_mail_for_a_dead_next_hop_leaves_by_the_new_route(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE + 'routes: [{match: "*", to: "127.255.255.254:9"}]\n') as one:
        recipients = [f"r{n}@a.example" for n in range(4)]
        await one.accepted(*recipients, sender="x@tx.example")
        await one.deferred(1)  # one bears the failure, the others wait with the queue
        one.configure(POOLS + LATE + f'routes: [{{match: "*", to: "127.0.0.1:{one.sink.port}"}}]\n')
        await one.do("reload")
        await one.delivered(*recipients[1:], timeout_s=5)
        await one.shows(lambda now: now.host.waiting == 1, "the outcomes on disk")
        (row,) = await one.waiting()
        assert row.recipient == recipients[0]


async def test_a_new_provider_rule_holds_for_sites_in_use(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        await one.accepted("before@a.example", sender="x@tx.example")
        await one.delivered("before@a.example")
        one.configure(POOLS + LATE + "providers: {big: {mx: [a.example]}}\n")
        await one.do("reload")
        await one.accepted("after@a.example", sender="x@tx.example")
        await one.delivered("after@a.example")
        await one.stop()
        assert [line["provider"] for line in one.accounting()] == ["default", "big"]


async def test_mail_of_a_pool_that_is_gone_waits_for_it(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        await one.do("drain", "pool:tx")
        await one.accepted("r@a.example", sender="x@tx.example")
        one.configure(WITHOUT_TX + LATE)
        await one.do("reload")
        await one.accepted("s@a.example", sender="x@tx.example")  # the default stream takes it
        await one.delivered("s@a.example")
        (reason,) = (await one.explain("r@a.example")).reasons
        assert reason.kind is ReasonKind.NO_SOURCE
        one.configure(POOLS + LATE)
        await one.do("reload")
        await one.do("undrain", "pool:tx")
        await one.delivered("r@a.example")
        assert one.sink.received == {"r@a.example": 1, "s@a.example": 1}


async def test_reloads_that_take_a_pool_away_and_back_under_load_lose_nothing(tmp_path: Path) -> None:
    total = 800
    async with rig(tmp_path, POOLS + SOON) as one:
        recipients = [f"r{n}@d{n % 9}.example" for n in range(total)]
        client = Client(one.port, iter(recipients), body=b"X-Virtual-MTA: tx\r\n" + BODY)
        sending = asyncio.create_task(client.run(8), name="client")
        while not sending.done():
            for text in (WITHOUT_TX, POOLS):
                one.configure(text + SOON)
                await one.do("reload")
        await sending
        await one.delivered(*recipients)
        await one.shows(lambda now: (now.host.waiting, now.host.window) == (0, 0), "nothing waits")
        assert set(one.sink.received.values()) == {1}
        assert "Traceback" not in one.agent.log.read_text(encoding="utf-8")


def signalled(one: Rig, number: signal.Signals) -> None:
    assert one.agent.process is not None
    one.agent.process.send_signal(number)


async def reloaded(one: Rig) -> tuple[int, str]:
    done = await asyncio.to_thread(
        subprocess.run,
        [*MAILAGENT, "reload", "--config", str(one.agent.config), "--socket", str(one.agent.socket)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout
