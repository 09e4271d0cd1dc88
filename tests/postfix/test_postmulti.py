"""Instances by the names that postmulti gives them, on a machine whose only Postfix configuration is the test's own.

The machine is a place apart in which a directory of the test stands at /etc/postfix: postmulti knows no other. The
agent reaches it through a command prefix, as it reaches a container.
"""

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailagent.api import mail
from mailagent.api.ids import OpId
from mailagent.api.replies import MessagePage
from mailagent.api.requests import PageRequest, Role
from mailagent.api.targets import MessageFilter
from mailagent.host import Principal
from mailagent.postfix import frozen_acts
from mailagent.postfix.host import PostfixHost
from mailctl.demo.instance import master_cf
from tests.integration.apart import Apart, apart
from tests.integration.postfix import main_cf
from tests.integration.processes import accepts, free_port, until, wait_until
from tests.postfix.hosts import AGENT_YAML, agent
from tests.postfix.instances import OwnPostfix

pytestmark = [pytest.mark.needs("mounts", "nsenter", "postfix", "root", "unshare"), pytest.mark.timeout(120)]

ETC = Path("/etc/postfix")
SETUP = 'cp -a /etc/postfix/. "$1"; printf "%s" "$2" > "$1/main.cf"; mount --bind "$1" /etc/postfix'
MULTI = {  # what `postmulti -e init` sets
    "multi_instance_enable": "yes",
    "multi_instance_wrapper": "${command_directory}/postmulti -p --",
    "maillog_file": "",  # of a Postfix that never ran, programs wait for its log
}
SECTIONS = """\
virtual_mtas: {mkt-1: {address: 127.0.1.1}}
pools: {marketing: {active: [mkt-1]}}
streams: {marketing: {pool: marketing}}
default_stream: marketing
"""


@dataclass(frozen=True)
class Machine:
    """Two instances, which run."""

    place: Apart
    out: OwnPostfix
    inner: OwnPostfix


def instance(place: Apart, directory: Path, name: str) -> OwnPostfix:
    """Have postmulti make an instance."""
    own = OwnPostfix(directory, free_port(), free_port(), place.prefix)
    (directory / "log").mkdir(parents=True)
    where = (
        f"config_directory={own.config_dir}",
        f"queue_directory={own.queue_dir}",
        f"data_directory={directory}/data",
    )
    place.run("postmulti", "-I", name, "-G", "mta", "-e", "create", *where)
    made = own.run("postconf", "-n", "multi_instance_name", "multi_instance_group")
    settings = {
        "relayhost": f"[127.0.0.1]:{own.nowhere}", "syslog_name": name, "enable_long_queue_ids": "yes",
        "minimal_backoff_time": "1h", "multi_instance_enable": "yes",
    }  # fmt: skip
    (own.config_dir / "main.cf").write_text(main_cf(directory, settings) + made, encoding="utf-8")
    (own.config_dir / "master.cf").write_text(master_cf(f"127.0.0.1:{own.port}"), encoding="utf-8")
    return own


@pytest.fixture
def machine(place: Path) -> Iterator[Machine]:
    before = {path: path.stat().st_mtime_ns for path in ETC.rglob("*")}
    place.chmod(0o711)  # Postfix's processes run as another user
    (place / "etc").mkdir()
    with apart(SETUP, str(place / "etc"), main_cf(place / "default", MULTI)) as one:
        out, inner = instance(one, place / "out", "postfix-out"), instance(one, place / "inner", "postfix-in")
        with ThreadPoolExecutor() as both:
            list(both.map(lambda name: one.run("postmulti", "-i", name, "-p", "start"), ("postfix-out", "postfix-in")))
        wait_until(lambda: accepts(out.port) and accepts(inner.port), "both greet")
        yield Machine(one, out, inner)
    assert {path: path.stat().st_mtime_ns for path in ETC.rglob("*")} == before


async def ids(host: PostfixHost) -> set[str]:
    page = await host.reads["messages"](PageRequest())
    assert isinstance(page, MessagePage)
    return {row.message_id for row in page.rows}


def reloads(one: OwnPostfix) -> int:
    return one.log.read_text(encoding="utf-8").count("refreshing the Postfix mail system")


async def until_greets(port: int) -> None:
    async def greets() -> bool:
        return await asyncio.to_thread(accepts, port)

    await until(greets, "the default instance greets")


async def test_an_instance_is_found_by_name_seen_acted_on_and_set_up(
    machine: Machine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_acts, "TICK_S", 0.01)
    out, inner = machine.out, machine.inner
    mine, theirs = out.send("a@example.test", ["a@one.test"]), inner.send("a@example.test", ["a@one.test"])
    await asyncio.to_thread(out.settle, "deferred", 1)
    await asyncio.to_thread(inner.settle, "deferred", 1)
    prefix = f", command: [{', '.join(machine.place.prefix)}], log: {out.log}"
    async with agent(out, place, instance="postfix-out", more=prefix, sections=SECTIONS) as host:

        async def seen() -> bool:
            host._mirror.look_soon()
            return await ids(host) == set(mine)

        await until(seen, "the mail of this instance is seen, and no other")
        assert host._mirror.instance.name == "postfix-out"
        assert host._mirror.instance.config_dir == str(out.config_dir)
        alice = Principal(user="alice", role=Role.OPERATOR)
        await host.verbs["hold"](mail.Hold(op_id=OpId("op1"), filter=MessageFilter(domain="one.test")), alice)

        async def held() -> bool:
            return (await asyncio.to_thread(out.queue))[mine[0]].queue_name == "hold"

        await until(held, "it is on hold")
        assert inner.queue()[theirs[0]].queue_name == "deferred"
    config = place / "agent.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace(prefix, ""), encoding="utf-8")
    files = {path: path.read_bytes() for one in (out, inner) for path in one.config_dir.glob("*.cf")}
    mailagent = (sys.executable, "-m", "mailagent", "postfix")
    at = ("--config", str(config))
    assert "Postfix has reloaded" in machine.place.run(*mailagent, "apply", "--yes", *at)
    assert "vmta-mkt-1" in out.run("postconf", "-M")
    assert "vmta-mkt-1" not in inner.run("postconf", "-M")
    machine.place.run(*mailagent, "remove", "--yes", *at)
    assert {path: path.read_bytes() for one in (out, inner) for path in one.config_dir.glob("*.cf")} == files


async def test_what_is_done_to_the_default_instance_is_done_to_no_other(machine: Machine, place: Path) -> None:
    default = OwnPostfix(place / "default", free_port(), free_port(), machine.place.prefix)
    for name in ("queue", "data"):
        (place / "default" / name).mkdir(parents=True)
    machine.place.run("chown", "postfix:", str(place / "default" / "data"))
    (place / "etc" / "master.cf").write_text(master_cf(f"127.0.0.1:{default.port}"), encoding="utf-8")
    machine.place.run("postmulti", "-i", "-", "-p", "start")
    await until_greets(default.port)
    before = {one: reloads(one) for one in (machine.out, machine.inner)}
    machine.inner.run("postconf", "-e", "inet_protocols=none at all")  # its `postfix check` fails
    config = place / "agent.yaml"
    text = AGENT_YAML.format(state=place / "state", instance='"-"', dns=default.nowhere, poll="1s", more="")
    config.write_text(text + SECTIONS, encoding="utf-8")
    said = machine.place.run(sys.executable, "-m", "mailagent", "postfix", "apply", "--yes", "--config", str(config))
    assert "Postfix has reloaded" in said
    assert "vmta-mkt-1" in machine.place.run("postconf", "-M")
    assert {one: reloads(one) for one in before} == before
