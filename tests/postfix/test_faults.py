"""What goes wrong around the listing takes no message from the screens, and nothing from Postfix.

The agent reaches Postfix through a command prefix, as it does in a container; here that is a script which can spoil
what it hands on.
"""

import asyncio
import re
import signal
import socket
from pathlib import Path

import pytest

from mailagent.api.reasons import ReasonKind
from mailagent.api.replies import MessagePage
from mailagent.api.requests import MessageRequest, PageRequest
from mailagent.api.views import MessageDetail
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.host import PostfixHost
from tests.integration.processes import Agent, accepts, program, smtp_sink, until, wait_until
from tests.integration.rpc import Caller
from tests.postfix.hosts import AGENT_YAML, agent
from tests.postfix.instances import OwnPostfix, own_postfix

pytestmark = pytest.mark.needs("postfix", "root")

SAMPLES = Path(__file__).parents[1] / "data" / "postfix"
WRAPPER = """\
#!/bin/sh
# like `docker exec -i NAME`: runs what follows, where Postfix is; $0.fault has a filter of what is said
echo "$1" >> "$0.log"
if [ "$1" = postqueue ] && [ -e "$0.fault" ]; then
    "$@" | sh "$0.fault"
else
    exec "$@"
fi
"""


class Wrapper:
    """The script, and the fault that it has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text(WRAPPER, encoding="ascii")
        path.chmod(0o755)

    @property
    def config(self) -> str:
        """For the `postfix` section."""
        return f", command: [{self.path}]"

    def spoil(self, filter: str) -> None:
        """What postqueue says goes through `filter`, for the shell; empty: as it is."""
        fault = Path(f"{self.path}.fault")
        if filter:
            fault.write_text(filter, encoding="ascii")
        else:
            fault.unlink()

    def called(self) -> set[str]:
        """The programs that were run."""
        return set(Path(f"{self.path}.log").read_text(encoding="utf-8").splitlines())


@pytest.fixture
def wrapper(tmp_path: Path) -> Wrapper:
    return Wrapper(tmp_path / "enter")


@pytest.fixture
def full(own: OwnPostfix) -> OwnPostfix:
    """With five deferred messages."""
    own.send("news@example.test", ["a@one.test"], count=5)
    own.settle("deferred", 5)
    return own


async def ids(host: PostfixHost) -> list[str]:
    page = await host.reads["messages"](PageRequest())
    assert isinstance(page, MessagePage)
    return [row.message_id for row in page.rows]


async def looked(host: PostfixHost) -> None:
    async def has() -> bool:
        return host._mirror.complete

    await until(has, "the first listing is read")


async def test_everything_goes_through_the_prefix(full: OwnPostfix, wrapper: Wrapper, tmp_path: Path) -> None:
    async with agent(full, tmp_path, more=wrapper.config) as host:
        await looked(host)
        assert sorted(await ids(host)) == sorted(full.queue())
        (first, *_) = await ids(host)
        detail = await host.reads["message"](MessageRequest(message_id=first))
        assert isinstance(detail, MessageDetail)
        assert "Subject: test" in detail.headers
        assert detail.reasons[0].until is not None
    assert {"postconf", "find", "postqueue", "postcat"} <= wrapper.called()


async def test_a_message_that_one_listing_misses_stays(full: OwnPostfix, wrapper: Wrapper, tmp_path: Path) -> None:
    async with agent(full, tmp_path, more=wrapper.config, poll="600s") as host:
        await looked(host)
        before = await ids(host)
        wrapper.spoil("sed 2d")
        await host._mirror.look()
        assert await ids(host) == before
        wrapper.spoil("")
        await host._mirror.look()
        wrapper.spoil("sed '2d; 4p'")  # missed again, but not twice running; another comes twice
        await host._mirror.look()
        assert await ids(host) == before
        await host._mirror.look()
        assert len(await ids(host)) == 4
        wrapper.spoil("")
        await host._mirror.look()
        assert await ids(host) == before


async def test_a_listing_without_end_and_lines_that_are_none_take_nothing_away(
    full: OwnPostfix, wrapper: Wrapper, tmp_path: Path
) -> None:
    async with agent(full, tmp_path, more=wrapper.config) as host:
        await looked(host)
        before = await ids(host)
        wrapper.spoil("head -2; exit 75")
        for _ in range(3):
            with pytest.raises(PostfixError):
                await host._mirror.look()
        assert await ids(host) == before

        async def told() -> bool:
            host._mirror.look_soon()
            return "these figures are old" in host.snapshot().host.notice

        await until(told, "the host says that its figures are old")
        wrapper.spoil("sed 's/.*/nonsense/'")
        with pytest.raises(PostfixError):
            await host._mirror.look()
        wrapper.spoil("sed 's/^/{{/'")
        await host._mirror.look()
        await host._mirror.look()
        assert await ids(host) == before


async def test_what_3_5_and_3_11_listed_is_seen_the_same(own: OwnPostfix, wrapper: Wrapper, tmp_path: Path) -> None:
    """Listings that were recorded from both, of the same mail; 3.11 tells of an alias, and of a recipient given up."""
    seen: list[list[tuple[str, str, str, str]]] = []
    originals: list[str] = []
    async with agent(own, tmp_path, more=wrapper.config, poll="600s") as host:
        await looked(host)
        for version in ("3.5", "3.11"):
            wrapper.spoil(f"cat > /dev/null; cat {SAMPLES / version}.json")
            for _ in range(3):  # what was there before leaves
                await host._mirror.look()
            page = await host.reads["messages"](PageRequest())
            assert isinstance(page, MessagePage)
            seen.append(
                sorted(
                    (row.recipient, row.sender, row.held, row.reply.line() if row.reply else "") for row in page.rows
                )
            )
            (name, n) = next((row.message_id, row.n) for row in page.rows if row.recipient == "real@down.test")
            detail = await host.reads["message"](MessageRequest(message_id=name, n=n))
            assert isinstance(detail, MessageDetail)
            originals.append(detail.original)
    ports = re.compile(r":\d{5}: ")
    old, new = ([(*one[:3], ports.sub(": ", one[3])) for one in rows] for rows in seen)
    assert old == new
    assert len(new) == 13
    assert originals == ["", "alias@shop.test"]


async def test_a_postfix_that_is_stopped_is_told(full: OwnPostfix, tmp_path: Path) -> None:
    async with agent(full, tmp_path) as host:
        await looked(host)
        full.run("postfix", "stop")

        async def told() -> bool:
            host._mirror.look_soon()
            return not host.snapshot().host.accepting

        await until(told, "the host says that Postfix is not running")
        (first, *_) = await ids(host)
        detail = await host.reads["message"](MessageRequest(message_id=first))
        assert isinstance(detail, MessageDetail)
        assert detail.reasons[0].kind is ReasonKind.RESOURCE
        assert len(await ids(host)) == 5


async def test_an_active_queue_near_its_limit_raises_the_alarm(place: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections, and says nothing
        hop = f"[127.0.0.1]:{mute.getsockname()[1]}"
        with own_postfix(place / "postfix", {"qmgr_message_active_limit": "5", "relayhost": hop}) as own:
            own.send("news@example.test", ["a@one.test"], count=7)
            async with agent(own, tmp_path) as host:

                async def told() -> bool:
                    host._mirror.look_soon()
                    view = host.snapshot().host
                    told = "active queue holds 5 messages, the alarm stands at 4 (limit 5)" in view.notice
                    return told and (view.window, view.window_limit, view.waiting) == (5, 5, 7)

                await until(told, "the host says that the active queue is full")


@pytest.mark.needs("smtp-sink")
async def test_an_agent_that_is_killed_changes_nothing_in_delivery(full: OwnPostfix, tmp_path: Path) -> None:
    text = AGENT_YAML.format(state="./state", instance=full.config_dir, dns=full.nowhere, poll="1s", more="")
    one = Agent(tmp_path, text, 0)
    await asyncio.to_thread(one.start)
    caller = await Caller.connect(one.socket, all_methods=False)

    async def seen() -> bool:
        return bool((await caller.call("snapshot")).host.waiting == 5)

    await until(seen, "five messages are seen")
    listed = full.queue()
    await caller.close()
    one.stop(signal.SIGKILL)
    assert full.queue() == listed
    with program(*smtp_sink("-c", f"127.0.0.1:{full.nowhere}", "100"), ready=lambda: accepts(full.nowhere)):
        full.run("postqueue", "-f")
        await asyncio.to_thread(wait_until, lambda: not full.queue(), "everything is delivered without the agent")
    await asyncio.to_thread(one.start)
    again = await Caller.connect(one.socket, all_methods=False)

    async def gone() -> bool:
        return bool((await again.call("snapshot")).host.waiting == 0)

    await until(gone, "the agent sees that nothing waits")
    await again.close()
    assert one.stop() == 0
