"""Accounting of real runs: the report that operators bring along, types of records, rotation while mail flows."""

import csv
import gzip
import json
import subprocess
from pathlib import Path

import pytest

from mailagent.api.events import SinkState
from tests.agent.outcome.webhook import SECRET, application
from tests.integration.processes import free_port, until
from tests.integration.rig import LATE, POOLS, SOON, rig
from tests.integration.sink import Mail

DEFERRAL_REPORT = """\
awk -F, 'NR>1 {
split($6,a,"@"); domain=a[2]
if($1=="t") def[domain]++
if($1=="d") del[domain]++
} END {
for(d in del) {
total=del[d]+def[d]
if(total>100) printf "%s: %.1f%% deferral\\n", d, def[d]/total*100
}
}' FILE | sort -t: -k2 -rn | head -10
"""
"""Hourly deferrals by domain, as written for PowerMTA's accounting file."""
CSV = "accounting: {records: [d, b, x, t, tq, r], csv: {records: [d, b, x, t, tq, r]}}\n"


def report(file: Path) -> str:
    """What it says about `file`."""
    command = DEFERRAL_REPORT.replace("FILE", str(file))
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout


@pytest.mark.needs("awk")
async def test_the_deferral_report_for_powermta_runs_unchanged(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON + CSV) as one:
        known: set[str] = set()

        def defer_once(mail: Mail, recipient: str) -> bytes | None:
            if recipient.endswith("@b.example") or recipient in known:
                return None
            known.add(recipient)
            return b"451 4.7.1 come back, later\r\n"

        one.sink.refuse = defer_once
        recipients = [f"r{n}@a.example" for n in range(60)] + [f"r{n}@b.example" for n in range(110)]
        awkward = '"comma, at @ and \\"quotes\\""@b.example'
        await one.accepted(awkward, sender='"a,b"@sender.example')
        reply = await one.send(*recipients)
        assert reply.startswith("250"), reply
        await one.delivered(*recipients)
        await one.stop()
        (file,) = (tmp_path / "state" / "accounting").glob("*.csv")
        assert report(file) == "a.example: 50.0% deferral\nb.example: 0.0% deferral\n"
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        assert sum(row["type"] == "r" for row in rows) == 171
        assert all(row["orcpt"] for row in rows)
        assert {row["jobId"] for row in rows} == {""}
        (odd,) = (row for row in rows if row["type"] == "d" and row["orig"].startswith("+22a"))
        assert odd["rcpt"].startswith("+22comma+2C at +40 and")
        line = next(line for line in one.accounting() if line["type"] == "delivered" and "comma" in line["recipient"])
        assert (line["recipient"], line["sender"]) == (awkward, '"a,b"@sender.example')


async def test_a_queue_without_connection_is_one_record_for_all_its_mail(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.configure(f'{POOLS}{LATE}routes: [{{match: "*", to: "127.0.0.1:{free_port()}"}}]\n')
        await one.do("reload")
        await one.accepted("a@a.example", "b@a.example", "c@a.example")
        await one.deferred(1)
        await one.stop()
        lines = one.accounting()
        failures = [line for line in lines if line["type"] == "queue-deferred"]
        assert failures
        assert all(line["recipient"] == "" and "refused" in line["text"] for line in failures)
        assert len({line["event"] for line in failures}) == len(failures)
        assert {line["pool"] for line in failures} == {"marketing"}


async def test_attempts_over_one_connection_share_its_session_and_say_what_the_peer_offers(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.accepted(*(f"r{n}@a.example" for n in range(3)), sender="a@tx.example")
        await one.delivered("r0@a.example", "r1@a.example", "r2@a.example")
        await one.stop()
        lines = one.accounting()
        assert {line["extensions"] for line in lines} == {"PIPELINING,8BITMIME,ENHANCEDSTATUSCODES"}
        by_connection = {line["session_id"] for line in lines}
        assert len(by_connection) == len({mail.connection for mail in one.sink.mails})


async def test_a_reload_begins_the_csv_and_packs_what_is_finished(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.accepted("a@a.example")
        await one.delivered("a@a.example")
        one.configure(f"{POOLS}{SOON}accounting: {{compress: true, rotate_after: 100ms, csv: {{}}}}\n")
        await one.do("reload")
        await one.accepted("b@a.example")
        await one.delivered("b@a.example")
        await one.restart()
        await one.stop()
        directory = tmp_path / "state" / "accounting"
        (file,) = directory.glob("*.csv")
        text = file.read_bytes()
        assert b"b@a.example" in text
        assert b"a@a.example" not in text.replace(b"b@a.example", b"")
        packed = b"".join(gzip.decompress(file.read_bytes()) for file in directory.glob("*.jsonl.gz"))
        plain = one.accounting()
        assert {line["recipient"] for line in (*map(json.loads, packed.splitlines()), *plain)} == {
            "a@a.example",
            "b@a.example",
        }


async def test_the_application_hears_of_outcomes_and_a_dead_webhook_holds_nothing_up(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    with application() as app:
        sinks = (
            f"events:\n  - {{name: app, url: 'http://127.0.0.1:{app.port}/', secret_file: {secret}, types: [d, t]}}\n"
            f"  - {{name: dead, url: 'http://127.0.0.1:{free_port()}/', secret_file: {secret}}}\n"
        )
        async with rig(tmp_path, POOLS + SOON + sinks) as one:
            refused: set[str] = set()

            def defer_once(mail: Mail, recipient: str) -> bytes | None:
                first = recipient not in refused
                refused.add(recipient)
                return b"450 4.2.0 later\r\n" if first else None

            one.sink.refuse = defer_once
            recipients = [f"r{n}@a.example" for n in range(20)]
            await one.accepted(*recipients)
            await one.delivered(*recipients)
            await one.holds(lambda: len(app.events) >= 40, "all events")
            for recipient in recipients:
                kinds = [event["type"] for event in app.events if event["recipient"] == recipient]
                assert kinds == ["deferred", "delivered"]

            async def has_failed() -> bool:
                rows = (await one.call("events")).rows
                assert [row.name for row in rows] == ["app", "dead"]
                return bool(rows[1].state is SinkState.FAILING and rows[0].acknowledged == 40)

            await until(has_failed, "the dead one is told")
            assert (await one.call("events")).rows[1].behind_bytes > 0
