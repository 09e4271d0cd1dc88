"""An agent that is not root in front of a real Postfix: with the helper it does what root does, without it says so."""

import asyncio
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mailagent.api.errors import Refused
from mailagent.api.methods import METHODS
from mailagent.api.operations import OperationResult, Result
from mailagent.api.rollout import pack
from mailagent.api.targets import Target, TargetKind
from mailagent.config import load_agent
from mailagent.control.state import host_state
from mailagent.postfix.asking import Helper
from mailagent.postfix.commands import Programs
from mailagent.postfix.helper import show_question, understood
from mailagent.postfix.installing import Installing
from tests.integration.processes import MAILAGENT, Agent, agent, until
from tests.integration.rpc import Caller
from tests.integration.sink import Sink
from tests.postfix.instances import OwnPostfix

pytestmark = [pytest.mark.needs("postfix", "root"), pytest.mark.timeout(120)]

NOBODY = pwd.getpwnam("nobody")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups", "--")
HOST = """\
host: mx1
engine: postfix
state_dir: ./state
rpc: {{socket: ./state/rpc.sock}}
postfix: {{instance: {instance}, poll: 1s{helper}}}
dns: {{servers: ["127.0.0.1:{nowhere}"], timeout: 1s}}
virtual_mtas:
  mkt-1: {{address: 127.0.1.1}}
  mkt-2: {{address: 127.0.1.2}}
  mkt-3: {{address: 127.0.1.3}}
pools: {{marketing: {{active: [mkt-1, mkt-2], standby: [mkt-3]}}}}
streams: {{marketing: {{pool: marketing}}}}
default_stream: marketing
"""


@asynccontextmanager
async def helping(path: Path, own: OwnPostfix) -> AsyncIterator[None]:
    """What systemd does with the socket unit: a helper for each connection, which is its standard input."""
    command = [sys.executable, "-m", "mailagent", "postfix", "helper", "--config", str(own.config_dir), "--user"]
    loop = asyncio.get_running_loop()

    async def accept(server: socket.socket) -> None:
        while True:
            connection, _ = await loop.sock_accept(server)
            with connection:
                connection.setblocking(True)
                process = await asyncio.create_subprocess_exec(
                    *command, NOBODY.pw_name, stdin=connection.fileno(), stderr=subprocess.DEVNULL
                )
                await process.wait()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        server.listen()
        server.setblocking(False)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(accept(server), name="helpers")
            yield
            task.cancel()


class Desk:
    """Gives orders to the agent, and sends mail through its Postfix."""

    def __init__(self, own: OwnPostfix, one: Agent, sink: Sink) -> None:
        self.own = own
        self.sink = sink
        self._agent = one
        self._ops = itertools.count(1)

    async def order(self, verb: str, **fields: object) -> OperationResult:
        result: OperationResult = await self.ask(verb, op_id=f"op-{next(self._ops)}", reason="throttled", **fields)
        return result

    async def ask(self, method: str, **fields: object) -> Any:
        caller = await Caller.connect(self._agent.socket, all_methods=False)
        try:
            return await caller.call(method, METHODS[method].params(**fields))
        finally:
            await caller.close()

    async def takes_a_file(self, text: str) -> None:
        """A file with another virtual MTA takes effect, but for what is root's: the plan and the host say so."""
        before = (self.own.config_dir / "master.cf").read_bytes()
        more = text.replace("pools:", "  mkt-4: {address: 127.0.1.4}\npools:").replace("[mkt-3]", "[mkt-3, mkt-4]")
        plan = await self.ask("config_plan", packed=pack(more))
        hint = next(note for note in plan.notes if note.startswith("this agent may not write main.cf"))
        assert "vmta-mkt-4/unix" in hint
        done = await self.order("config_apply", packed=pack(more))
        assert (done.result, hint in done.detail) == (Result.APPLIED, True)
        assert (self.own.config_dir / "master.cf").read_bytes() == before

        async def told() -> bool:
            notice = (await self.ask("snapshot")).host.notice
            return "Postfix is not set up as the file says (vmta-mkt-4/unix" in notice

        await until(told, "the host says what is to be run")

    async def sources(self, *recipients: str) -> set[str]:
        """Send a message to each: the addresses that they were delivered from."""
        for recipient in recipients:
            await asyncio.to_thread(self.own.send, "news@shop.example", [recipient])

        async def there() -> bool:
            return all(self.sink.received[one] for one in recipients)

        await until(there, "all are delivered")
        return self.sink.sources_of(*recipients)


def vmta(name: str) -> Target:
    return Target(kind=TargetKind.VMTA, name=name)


def far(name: str) -> Sequence[str]:
    return [f"{name}{n}@far.example" for n in range(8)]


async def test_with_the_helper_it_does_what_root_does_and_without_it_says_how_to_get_one(
    own: OwnPostfix, place: Path
) -> None:
    path = place / "helper.sock"
    text = HOST.format(instance=own.config_dir, nowhere=own.nowhere, helper=f", helper: [{path}]")
    async with Sink() as sink, helping(path, own):
        await set_up(own, place, text, sink.port)
        with agent(place, text, 0, (*AS_NOBODY, *MAILAGENT)) as process:
            one = Desk(own, process, sink)
            assert (await one.order("drain", target=vmta("mkt-1"))).warnings == ()
            assert await one.sources(*far("a")) == {"127.0.1.2"}
            assert (await one.order("rotate", target=vmta("mkt-2"))).warnings == ()
            assert await one.sources(*far("b")) == {"127.0.1.3"}
            await asyncio.to_thread(own.run, "postfix", "stop")
            assert (await one.order("suspend", target=Target(kind=TargetKind.POOL, name="marketing"))).warnings == ()
            await asyncio.to_thread(own.run, "postfix", "start")
            await asyncio.to_thread(own.send, "news@shop.example", ["held@far.example"])
            entry = next(iter((await asyncio.to_thread(own.settle, "deferred", 1)).values()))
            assert entry.recipients[0].delay_reason.startswith("held by mailagent: pool marketing is suspended by root")
            shown = understood(await Helper([str(path)]).ask(show_question(entry.queue_id, 4096)))
            assert (shown.text.endswith(b"\n\ntext\n"), shown.trouble) == (True, "")
            await one.takes_a_file(text)
            folder = own.config_dir / "mailagent"
            assert {path.stat().st_uid for path in (folder, *folder.iterdir())} == {0}
        alone = HOST.format(instance=own.config_dir, nowhere=own.nowhere, helper="")
        why = "has no helper: set up `mailagent postfix helper` there and name it"
        with agent(place, alone, 0, (*AS_NOBODY, *MAILAGENT)) as process, pytest.raises(Refused, match=why):
            await Desk(own, process, sink).order("drain", target=vmta("mkt-3"))


async def set_up(own: OwnPostfix, place: Path, text: str, port: int) -> None:
    """What root does before: Postfix sends to `port`, the agent's file and folder are there, and `apply` was run."""
    own.set(relayhost=f"[127.0.0.1]:{port}")
    (place / "agent.yaml").write_text(text, encoding="utf-8")
    (place / "state").mkdir()
    for path in (place, place / "agent.yaml", place / "state"):  # it replaces its file, beside it
        shutil.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    config = load_agent(place / "agent.yaml")
    installing = Installing(config, Programs(config.postfix, str(own.config_dir)), host_state(config, ()))
    await installing.apply(await installing.plan())
