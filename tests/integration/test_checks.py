"""Streams that check their mail, on a running agent."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from tests.integration.processes import MAILAGENT
from tests.integration.rig import rig

SECTIONS = """\
virtual_mtas:
  mkt-1: {address: 127.0.1.1}
  tx-1: {address: 127.0.2.1}
pools: {marketing: {active: [mkt-1]}, tx: {active: [tx-1]}}
streams:
  news: {pool: marketing, kind: marketing, from_domains: [shop.example], senders: ["*@news.example"]}
  receipts:
    pool: tx
    kind: transactional
    protect: {action: move, move_to: news}
  plain: {pool: marketing, senders: ["*@plain.example"]}
default_stream: receipts
"""
BULK = (
    "From: a@shop.example\r\nDate: Tue, 01 Jan 2030 00:00:00 +0000\r\nMessage-ID: <1@shop.example>\r\n"
    "List-Unsubscribe: <https://shop.example/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
)


async def test_mail_is_checked_moved_and_counted_by_the_rules_of_its_stream(tmp_path: Path) -> None:
    async with rig(tmp_path, SECTIONS) as one:
        reply = await one.send("r@a.example", sender="a@news.example")
        assert reply.startswith("550 5.7.1 check aligned: From is in no domain of this stream")
        await one.accepted("r1@a.example", sender="a@news.example", headers=BULK)
        await one.accepted("r2@a.example")  # nothing but warnings
        await one.accepted("r3@a.example", headers=BULK)  # moved
        await one.accepted("r4@a.example", sender="a@plain.example")
        await one.delivered("r1@a.example", "r2@a.example", "r3@a.example", "r4@a.example")
        assert one.sink.sources_of("r1@a.example", "r3@a.example", "r4@a.example") == {"127.0.1.1"}
        assert one.sink.sources_of("r2@a.example") == {"127.0.2.1"}
        rows = {(row.stream, row.check): row for row in (await one.call("checks")).rows}
        assert rows["news", "aligned"].refused == 1
        assert rows["receipts", "bulk"].moved == 1
        assert rows["receipts", "date"].warned == 1
        assert not any(stream == "plain" for stream, _ in rows)
        command = [*MAILAGENT, "checks", "--config", str(tmp_path / "agent.yaml")]
        listed = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True, text=True)
        assert "refused 1" in listed.stdout
        fleet = tmp_path / "fleet.yaml"
        fleet.write_text(
            f"hosts: {{mx1: {{transport: local, rpc: {{socket: {one.agent.socket}}},"
            " virtual_mtas: {mkt-1: {address: 127.0.1.1}}}}\npools: {marketing: {active: [mkt-1]}}\n"
        )
        console = [sys.executable, "-c", "from mailctl.cli import main; main()", "--fleet", str(fleet), "checks"]
        shown = await asyncio.to_thread(
            subprocess.run, [*console, "stream:news", "--json"], check=False, capture_output=True, text=True
        )
        (row,) = json.loads(shown.stdout)["rows"]
        assert (row["stream"], row["check"], row["refused"]) == ("news", "aligned", 1)


async def test_accounting_names_the_checks_that_only_warned(tmp_path: Path) -> None:
    async with rig(tmp_path, SECTIONS + "accounting: {records: [r]}\n") as one:
        await one.accepted("r1@a.example", sender="a@receipts.example")
        await one.accepted("r2@a.example", sender="a@plain.example")
        await one.stop()
        warned = {line["recipient"]: line.get("warned", "") for line in one.accounting()}
        assert warned == {"r1@a.example": "date,message_id", "r2@a.example": ""}
        await one.start()
