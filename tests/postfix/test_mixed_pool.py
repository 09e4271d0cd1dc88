"""A pool over a host of our own engine and a Postfix host: the same commands act on both."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mailagent.config import load_agent
from mailagent.control.state import host_state
from mailagent.postfix.commands import Programs
from mailagent.postfix.installing import Installing
from mailctl.cli.exits import Exit
from tests.integration.processes import agent, until
from tests.integration.rig import SOON, rig
from tests.postfix.instances import OwnPostfix

pytestmark = [pytest.mark.needs("postfix", "root"), pytest.mark.timeout(120)]

POOL = """\
virtual_mtas:
  {name}-1: {{address: 127.0.{net}.1}}
  {name}-2: {{address: 127.0.{net}.2}}
pools: {{marketing: {{active: [{name}-1], standby: [{name}-2]}}}}
streams: {{marketing: {{pool: marketing}}}}
default_stream: marketing
"""
BEHIND = """\
host: mx2
engine: postfix
state_dir: ./state
rpc: {{socket: ./state/rpc.sock}}
postfix: {{instance: {instance}, poll: 1s}}
dns: {{servers: ["127.0.0.1:{dns}"], timeout: 1s}}
"""
FLEET = """\
hosts:
  mx1:
    transport: local
    rpc: {{socket: {one}}}
    virtual_mtas: {{own-1: {{address: 127.0.3.1}}, own-2: {{address: 127.0.3.2}}}}
  mx2:
    transport: local
    engine: postfix
    rpc: {{socket: {two}}}
    virtual_mtas: {{pf-1: {{address: 127.0.4.1}}, pf-2: {{address: 127.0.4.2}}}}
pools: {{marketing: {{active: [own-1, pf-1], standby: [own-2, pf-2]}}}}
streams: {{marketing: {{pool: marketing}}}}
"""


async def test_drain_and_rotate_act_on_both_hosts_of_a_pool(own: OwnPostfix, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with rig(tmp_path / "one", POOL.format(name="own", net=3) + SOON) as one:
        hop = f"[127.0.0.1]:{one.sink.port}"
        own.set(relayhost=hop, transport_maps=f"inline:{{hop.example=:{hop}}}")
        text = BEHIND.format(instance=own.config_dir, dns=one.dns.port) + POOL.format(name="pf", net=4)
        (tmp_path / "two" / "agent.yaml").write_text(text, encoding="utf-8")
        (tmp_path / "two" / "state").mkdir()
        config = load_agent(tmp_path / "two" / "agent.yaml")
        programs = Programs(config.postfix, str(own.config_dir))
        installing = Installing(config, programs, host_state(config, ()))
        await installing.apply(await installing.plan())
        fleet = tmp_path / "fleet.yaml"

        async def mailctl(*words: str) -> Any:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "from mailctl.cli import main; main()", "--fleet", str(fleet), *words, "--json",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, err = await process.communicate()
            assert process.returncode == Exit.DONE, err.decode()
            return json.loads(out)

        async def sources(name: str) -> set[str]:
            """Send a message through each host: the addresses that the receiver saw."""
            await one.accepted(f"{name}-own@far.example")
            await asyncio.to_thread(own.send, "news@shop.example", [f"{name}-pf@far.example"])
            await one.delivered(f"{name}-own@far.example", f"{name}-pf@far.example")
            return one.sink.sources_of(f"{name}-own@far.example", f"{name}-pf@far.example")

        with agent(tmp_path / "two", text, 0) as two:
            fleet.write_text(FLEET.format(one=one.agent.socket, two=two.socket), encoding="utf-8")
            assert await sources("before") == {"127.0.3.1", "127.0.4.1"}
            for vmta in ("own-1", "pf-1"):
                await mailctl("rotate", f"vmta:{vmta}", "--yes", "--reason", "listed")
            assert await sources("rotated") == {"127.0.3.2", "127.0.4.2"}
            said = await mailctl("drain", "pool:marketing", "--yes", "--reason", "throttled")
            assert {(one["host"], one["result"]) for one in said["operation"]["results"]} == {
                ("mx1", "applied"), ("mx2", "applied"),
            }  # fmt: skip
            await one.accepted("held-own@far.example")
            await asyncio.to_thread(own.send, "news@shop.example", ["held-pf@far.example"])
            (hidden,) = await asyncio.to_thread(own.send, "news@shop.example", ["hidden@hop.example"])
            waiting = await asyncio.to_thread(own.settle, "deferred", 2)
            assert waiting[hidden].recipients[0].delay_reason == hop, "its row has taken the place of the reason"

            async def seen() -> bool:
                return any(row["message_id"] == hidden for row in (await mailctl("messages"))["rows"])

            await until(seen, "the message is on the screens")
            (found,) = (await mailctl("why", f"message:{hidden}"))["rows"]
            assert found["summary"]["reply"] is None
            assert found["reasons"][0]["detail"].startswith("pool marketing is drained by ")
            assert not {"held-own@far.example", "held-pf@far.example"} & one.sink.received.keys()
            rows = {row["name"]: row for row in (await mailctl("pools"))["rows"]}
            assert rows["marketing"]["state"] == "draining"
            await mailctl("undrain", "pool:marketing", "--yes")
            await asyncio.to_thread(own.run, "postfix", "reload")  # or within 10 s by itself

            async def delivered() -> bool:  # a queue manager that is about to reload forgets what it was asked
                await asyncio.to_thread(own.run, "postqueue", "-f")
                return {"held-own@far.example", "held-pf@far.example", "hidden@hop.example"} <= one.sink.received.keys()

            await until(delivered, "all that was held is delivered")
            held = await mailctl("suspend", "queue:mx.far.example/", "--yes", "--reason", "throttled")
            assert {(one["host"], one["result"]) for one in held["operation"]["results"]} == {
                ("mx1", "applied"), ("mx2", "applied"),
            }  # fmt: skip
            await one.accepted("site-own@far.example")
            await asyncio.to_thread(own.send, "news@shop.example", ["site-pf@far.example"])
            await asyncio.to_thread(own.settle, "deferred", 1)
            why = {row["host"]: row["reasons"][0] for row in (await mailctl("why", "queue:mx.far.example/"))["rows"]}
            assert {reason["release"] for reason in why.values()} == {"mailctl resume queue:mx.far.example/"}
            assert "≈" in why["mx2"]["detail"]

            async def counted() -> bool:
                rows = (await mailctl("why", "queue:mx.far.example/", "host:mx2"))["rows"]
                return "1 recipient(s) of the site wait" in rows[0]["reasons"][0]["detail"]

            await until(counted, "the message that waits is counted")
            await mailctl("undo", held["operation"]["op_id"], "--yes")
            await one.delivered("site-own@far.example")
