"""The log of a real Postfix in a real journal.

Postfix and the distribution's journald run in a place apart that has a /dev/log and a /run of its own.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailagent.postfix.log import sources
from tests.conftest import program
from tests.integration.apart import Apart, apart
from tests.integration.postfix import postfix
from tests.integration.processes import free_port, until
from tests.integration.sink import Sink
from tests.postfix.hosts import agent
from tests.postfix.instances import OwnPostfix
from tests.postfix.test_log import accounted, accounting, followed

pytestmark = [
    pytest.mark.needs("journalctl", "mounts", "nsenter", "postfix", "root", "unshare"),
    pytest.mark.timeout(120),
]

DROPPED = """\
MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e
SYSLOG_IDENTIFIER=systemd-journald
MESSAGE=Suppressed 330 messages from postfix@-.service
OBJECT_SYSTEMD_UNIT=postfix@-.service
N_DROPPED=330
"""
"""What journald 252 writes when it does so again."""
JOURNALCTL = str(program("journalctl"))
SETUP = """\
mkdir "$1/dev"
mount -t tmpfs tmpfs "$1/dev"
for name in null zero full random urandom; do
    touch "$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
done
ln -s /run/systemd/journal/dev-log "$1/dev/log"
mount --rbind "$1/dev" /dev
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journald.conf.d
settings="Storage=volatile\\nReadKMsg=no\\nAudit=no\\nRateLimitBurst=0"
printf "[Journal]\\n$settings\\n" > /run/systemd/journald.conf.d/test.conf
/lib/systemd/systemd-journald >/dev/null 2>&1 &
until [ -S /run/systemd/journal/dev-log ] && [ -S /run/systemd/journal/io.systemd.journal ]; do sleep 0.05; done
"""


@pytest.fixture
def journal(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Apart]:
    """The place. `journalctl`, as the agent runs it, reads the journal there."""
    with apart(SETUP, str(place)) as one:
        inside = place / "bin" / "journalctl"
        inside.parent.mkdir()
        inside.write_text(f'#!/bin/sh\nexec {" ".join(one.prefix)} {JOURNALCTL} "$@"\n', encoding="utf-8")
        inside.chmod(0o755)
        monkeypatch.setenv("PATH", str(inside.parent), prepend=":")
        monkeypatch.setattr(sources, "AGAIN_S", 0.1)
        yield one


async def test_what_journald_drops_is_told_and_another_facility_is_read(journal: Apart, place: Path) -> None:
    port = free_port()
    settings = {"maillog_file": "", "syslog_facility": "local3", "transport_maps": "inline:{one.test=discard:}"}
    with postfix(place / "postfix", port, settings, prefix=journal.prefix):
        own = OwnPostfix(place / "postfix", port, 1, journal.prefix)
        more = f", command: [{', '.join(journal.prefix)}], log: journal"
        async with agent(own, place, more=more) as host:
            await followed(host)
            await asyncio.to_thread(own.send, "news@example.test", ["a@one.test"])
            await accounted(place / "state", 1)
            await asyncio.to_thread(journal.run, str(program("logger")), "--journald", stdin=DROPPED)

            async def told() -> bool:
                return "journald has dropped 330 lines of the log" in host.snapshot().host.notice

            await until(told, "the host says that lines are missing")


async def test_a_journal_is_followed_through_rotations_and_restarts(journal: Apart, place: Path) -> None:
    async with Sink() as sink:
        port = free_port()
        settings = {
            "maillog_file": "", "relayhost": f"[127.0.0.1]:{sink.port}", "enable_long_queue_ids": "yes",
        }  # fmt: skip
        with postfix(place / "postfix", port, settings, prefix=journal.prefix):
            own = OwnPostfix(place / "postfix", port, sink.port, journal.prefix)
            more = f", command: [{', '.join(journal.prefix)}], log: journal"

            async def send(*names: str) -> None:
                for name in names:  # one after the other: of two at once either may be the first in the log
                    await asyncio.to_thread(own.send, "news@example.test", [f"{name}@one.test"])
                    await asyncio.to_thread(own.settle, "deferred", 0)

            async def taken(name: str) -> None:
                async def there() -> bool:
                    return bool(sink.received[f"{name}@one.test"])

                await until(there, f"{name} is delivered")

            async with agent(own, place, more=more) as host:
                await followed(host)
                await send("a", "b")
                await accounted(place / "state", 2)
                await asyncio.to_thread(journal.run, JOURNALCTL, "--rotate")
                await send("c")
                await accounted(place / "state", 3)
                assert host._log.notices() == []
            await send("d")  # while nobody looks
            await taken("d")
            await asyncio.to_thread(journal.run, JOURNALCTL, "--rotate")
            await send("e", "f")
            await taken("f")
            async with agent(own, place, more=more) as host:
                lines = await accounted(place / "state", 6)
                assert [line["recipient"][0] for line in lines] == list("abcdef")
                assert len({line["event"] for line in lines}) == 6
                assert {line["type"] for line in lines} == {"delivered"}
                assert host._log.notices() == []
            await asyncio.to_thread(journal.run, JOURNALCTL, "--rotate")
            await asyncio.to_thread(journal.run, JOURNALCTL, "--vacuum-files=1")  # where reading stood is gone
            await send("g")
            await taken("g")
            async with agent(own, place, more=more) as host:
                assert (await accounted(place / "state", 7))[6]["recipient"] == "g@one.test"

                async def told() -> bool:
                    return "1 time the log was not the one read before" in host.snapshot().host.notice

                await until(told, "the host says that there is a gap")
    assert len(accounting(place / "state")) == 7
