"""Full disks: that of Postfix, and that of the agent in front of it. Real ones, of a few megabytes."""

import asyncio
import os
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailagent.api import requests
from mailagent.api.errors import Refused
from mailagent.api.ids import OpId
from mailagent.api.operations import OperationResult
from mailagent.api.targets import Target, TargetKind
from mailagent.control.state import host_state
from mailagent.host import Principal
from mailagent.postfix import maps
from mailagent.postfix.commands import Programs
from mailagent.postfix.host import PostfixHost
from mailagent.postfix.installing import Installing
from mailagent.spool import writer
from tests.integration.processes import until
from tests.integration.sink import Sink
from tests.postfix.hosts import agent
from tests.postfix.instances import OwnPostfix, own_postfix
from tests.postfix.test_log import accounted, followed

pytestmark = [pytest.mark.needs("mounts", "postfix", "root", "unshare"), pytest.mark.timeout(120)]

SECTIONS = """\
virtual_mtas: {mkt-1: {address: 127.0.1.1}}
pools: {marketing: {active: [mkt-1]}}
streams: {marketing: {pool: marketing}}
default_stream: marketing
"""
POOL = Target(kind=TargetKind.POOL, name="marketing")
DAVE = Principal("dave", requests.Role.ADMIN)


class Disk:
    """A disk that can be filled to its last byte."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        with (self.path / "filler").open("ab", buffering=0) as filler:
            room = os.statvfs(self.path)
            filler.truncate(filler.tell())
            left = room.f_bavail * room.f_frsize
            while left > 0:
                try:
                    left -= filler.write(bytes(min(left, 1 << 20)))
                except OSError:
                    return

    def make_room(self) -> None:
        (self.path / "filler").unlink()


@contextmanager
def disk(path: Path, mib: int) -> Iterator[Disk]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=755", "tmpfs", str(path)], check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


async def told(host: PostfixHost, *words: str) -> None:
    """Wait until the host's notice, or why it takes no mail, has all of `words`."""

    async def there() -> bool:
        host._mirror.look_soon()
        view = host.snapshot().host
        return all(word in f"{view.notice} {view.intake_reason} {view.stuck}" for word in words)

    await until(there, f"the host says {words}")


async def order(host: PostfixHost, verb: str, number: int) -> OperationResult:
    kind = {"suspend": requests.Suspend, "resume": requests.Resume}[verb]
    return await host.verbs[verb](kind(op_id=OpId(f"op{number}"), reason="test", target=POOL), DAVE)


async def test_a_postfix_without_room_is_told_harmed_by_nothing_and_followed_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "RETRY_S", 0.2)
    with (
        disk(place / "disk", 24) as full,
        own_postfix(full.path / "postfix", {"message_size_limit": "2000000"}) as own,
    ):
        before = set(await asyncio.to_thread(own.send, "news@example.test", ["a@one.test"], count=5))
        await asyncio.to_thread(own.settle, "deferred", 5)
        async with agent(own, place, sections=SECTIONS) as host:
            programs = Programs(host.config.postfix, str(own.config_dir))
            installing = Installing(host.config, programs, host_state(host.config, ()))
            await installing.apply(await installing.plan())
            await followed(host)
            standing = {path: path.read_bytes() for path in (own.config_dir / "mailagent").rglob("*") if path.is_file()}
            full.fill()
            await told(host, "disk full: 0 MiB free, 3 MiB are kept free", "the disk of the log is full")
            assert not host.snapshot().host.accepting
            with pytest.raises(smtplib.SMTPException, match="Insufficient system storage"):
                await asyncio.to_thread(_refused, own)
            result = await order(host, "suspend", 1)
            assert any("stay as they were" in warning for warning in result.warnings)
            assert {
                path: path.read_bytes() for path in (own.config_dir / "mailagent").rglob("*") if path.is_file()
            } == standing
            assert set(await asyncio.to_thread(own.queue)) == before
            full.make_room()

            async def accepts() -> bool:
                host._mirror.look_soon()
                return host.snapshot().host.accepting

            await until(accepts, "the host takes mail again")
            (late,) = await asyncio.to_thread(own.send, "news@example.test", ["late@two.test"])
            assert set(await asyncio.to_thread(own.queue)) == before | {late}

            async def held() -> bool:
                await asyncio.to_thread(own.run, "postqueue", "-f")
                reasons = [one.delay_reason for one in (await asyncio.to_thread(own.queue))[late].recipients]
                return any("held by mailagent" in reason for reason in reasons)

            await until(held, "the suspension is in effect")
            assert not host.failed.done()


def _refused(own: OwnPostfix) -> None:
    with smtplib.SMTP("127.0.0.1", own.port, timeout=30) as client:
        client.sendmail("news@example.test", ["b@one.test"], "Subject: test\r\n\r\n")


async def test_an_agent_without_room_stays_and_loses_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PATIENCE_S", 0.1)
    async with Sink() as sink:
        settings = {"relayhost": f"[127.0.0.1]:{sink.port}"}
        with own_postfix(place / "postfix", settings) as own, disk(place / "disk", 8) as full:
            async with agent(own, full.path) as host:
                await followed(host)
                await asyncio.to_thread(own.send, "news@example.test", ["a@one.test"])
                await accounted(full.path / "state", 1)
                full.fill()
                for n in range(30):
                    await asyncio.to_thread(own.send, "news@example.test", [f"b{n}@one.test"])

                async def stuck() -> bool:
                    return bool(host.snapshot().host.stuck)

                await until(stuck, "the host says that nothing can be stored")
                with pytest.raises(Refused, match="cannot store an order now"):
                    await order(host, "suspend", 1)
                await asyncio.to_thread(own.settle, "deferred", 0)
                assert len(sink.received) == 31, "Postfix goes on"
                assert not host.failed.done()
                full.make_room()
                lines = await accounted(full.path / "state", 31)
                assert {line["recipient"] for line in lines} == set(sink.received)
                assert len({line["event"] for line in lines}) == 31

                async def free() -> bool:
                    return not await stuck()

                await until(free, "the host says that all is well")
                full.fill()
                await asyncio.to_thread(own.send, "news@example.test", ["last@one.test"])
                await until(stuck, "there is no room again")
            full.make_room()
            async with agent(own, full.path) as host:  # what could not be stored before the stop
                assert (await accounted(full.path / "state", 32))[31]["recipient"] == "last@one.test"
