"""The Unix socket: hello, dispatch, bounds, life of the socket."""

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mailagent.api import codec, requests
from mailagent.api.errors import ApiError, InvalidRequest, Refused, Unavailable, VersionMismatch
from mailagent.api.ids import OpId
from mailagent.api.methods import MAX_REQUEST_BYTES, METHODS, PROTOCOL_VERSION
from mailagent.api.requests import Role
from mailagent.api.targets import Target, TargetKind
from mailagent.host import Host
from mailagent.rpc import RpcServer, SocketTaken
from mailagent.rpc.calls import OWN
from mailagent.rpc.session import PARALLEL_CALLS
from tests.agent.rpc.host import Bench, QuietHost, serving, somebody

MARKETING = Target(kind=TargetKind.POOL, name="marketing")
DRAIN = requests.Drain(op_id=OpId("op1"), target=MARKETING, reason="gmail throttles")


def test_the_quiet_host_is_a_host() -> None:
    host: Host = QuietHost()
    assert {*host.reads, *host.verbs, *OWN} == set(METHODS)


async def test_a_method_that_this_host_lacks_is_not_listed_and_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        bench.host.lacks = ("rotate",)
        hello = await lines.hello()
        assert set(METHODS) - set(hello.features) == {"rotate"}
        with pytest.raises(ApiError, match="no method rotate"):
            await lines.call("rotate", requests.Rotate(op_id=OpId("op1"), target=MARKETING))


async def test_hello_names_agent_user_and_role_and_comes_first(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        with pytest.raises(InvalidRequest, match="hello comes first"):
            await lines.call("snapshot")
        hello = await lines.hello()
        assert (hello.host, hello.protocol, hello.role) == ("mx1", PROTOCOL_VERSION, Role.ADMIN)
        assert set(hello.features) == set(METHODS)
        assert (await lines.call("snapshot")).host.host == "mx1"
        with pytest.raises(InvalidRequest, match="already"):
            await lines.hello()


async def test_another_protocol_version_is_refused_with_who_must_upgrade(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        with pytest.raises(VersionMismatch, match="upgrade the agent"):
            await lines.hello(protocol=PROTOCOL_VERSION + 1)


async def test_the_kernel_names_the_caller(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    server = RpcServer(bench.config, bench.host, bench.audit_path)
    await server.start()
    try:
        async with bench.connected() as lines:
            hello = await lines.hello()
            await lines.call("drain", DRAIN)
    finally:
        await server.stop()
    assert hello.role is Role.ADMIN
    assert [(entry["uid"], entry["pid"]) for entry in bench.audit()] == [(os.getuid(), os.getpid())] * 2


async def test_unknown_methods_and_calls_without_id_are_refused_and_the_connection_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        lines.writer.write(b'{"jsonrpc":"2.0","id":"x","method":"explode"}\n\n')
        async with asyncio.timeout(5):
            frame = codec.parse_frame(await lines.reader.readline())
        assert frame.id == "x"
        assert frame.error is not None
        assert frame.error.code == -32601
        lines.writer.write(b'{"method":"snapshot"}\n')
        with pytest.raises(InvalidRequest, match="without an id"):
            await lines.frame()
        lines.writer.write(b'{"id":1,"method":"drain","params":{"op_id":7}}\n')
        with pytest.raises(InvalidRequest, match="op_id"):
            await lines.frame()
        await lines.call("snapshot")


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n", b"[]\n", b"\xff\xfe\x00\n", b'{"id":1}\n', b"x" * 70_000])
async def test_what_is_no_call_ends_the_connection_with_a_sentence(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        lines.writer.write(line)
        with pytest.raises(InvalidRequest, match=r"no JSON-RPC|longer than"):
            await lines.frame()
        assert await lines.ended()


async def test_a_call_of_exactly_the_limit_is_taken(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        call = b'{"id":1,"method":"snapshot","x":"' + b"y" * (MAX_REQUEST_BYTES - 35) + b'"}'
        assert len(call) == MAX_REQUEST_BYTES
        lines.writer.write(call[:100])
        lines.writer.write(call[100:] + b"\n")
        assert (await lines.frame()).id == 1


async def test_an_answer_over_the_limit_is_refused_not_cut(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        bench.host.headers = "x" * 1_100_000
        with pytest.raises(Refused, match="ask for fewer"):
            await lines.call("queues", requests.PageRequest())


async def test_page_limits_are_kept_in_bounds(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        for limit in (-1, 0, 20, 10**9):
            await lines.call("queues", requests.PageRequest(limit=limit))
    assert [page.limit for page in bench.host.pages] == [1, 1, 20, requests.PAGE_LIMIT]


async def test_a_failing_handler_tells_nothing_of_the_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        with pytest.raises(ApiError) as caught:
            await lines.call("history", requests.HistoryRequest(scope=requests.HistoryScope.HOST))
        assert "shadow" not in caught.value.message
        with pytest.raises(Unavailable, match="no answer"):
            await lines.call("messages", requests.PageRequest())
    assert "shadow" in caplog.text


async def test_calls_are_answered_as_they_are_done_and_only_so_many_at_a_time(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        for n in range(PARALLEL_CALLS - 1):
            lines.writer.write(codec.call("deferred", requests.PageRequest(), 100 + n))
        lines.writer.write(codec.call("snapshot", requests.Empty(), 1))
        assert (await lines.frame()).id == 1  # overtakes
        lines.writer.write(codec.call("deferred", requests.PageRequest(), 200))
        lines.writer.write(codec.call("snapshot", requests.Empty(), 2))
        bench.host.gate.set()
        ids = [(await lines.frame()).id for _ in range(PARALLEL_CALLS + 1)]
        assert set(ids) == {2, 200, *range(100, 100 + PARALLEL_CALLS - 1)}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_caller_that_leaves_takes_its_reads_along_and_its_orders_are_carried_out(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench:
        async with bench.connected() as lines:
            await lines.hello()
            lines.writer.transport.pause_reading()  # type: ignore[attr-defined]
            lines.writer.write(codec.call("snapshot", requests.Empty(), 1))
            lines.writer.write(codec.call("deferred", requests.PageRequest(), 2))
            lines.writer.write(codec.call("suspend", requests.Suspend(op_id=OpId("op1"), target=MARKETING), 3))
            await until(bench.audit)
        await until(lambda: bench.host.cancelled)
        bench.host.gate.set()
        await until(lambda: bench.host.orders)
    assert bench.host.cancelled == 1
    assert bench.host.orders[0][0] == "suspend"


async def test_piped_input_is_answered_before_the_connection_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        hello = requests.HelloRequest(protocol=PROTOCOL_VERSION)
        lines.writer.write(codec.call("hello", hello, 1) + codec.call("snapshot", requests.Empty(), 2))
        lines.writer.write_eof()
        assert [(await lines.frame()).id, (await lines.frame()).id] == [1, 2]
        assert await lines.ended()


async def test_the_socket_is_for_owner_and_group_and_goes_with_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench:
        mode = bench.config.socket.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o660
    assert not bench.config.socket.exists()


async def test_a_living_socket_is_refused_by_the_name_of_its_process(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench:
        second = RpcServer(bench.config, QuietHost(), tmp_path / "other.jsonl")
        with pytest.raises(SocketTaken, match=f"process {os.getpid()} answers there"):
            await second.start()
        async with bench.connected() as lines:
            await lines.hello()


async def test_a_dead_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "run" / "rpc.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
    path.write_text("precious")
    with pytest.raises(SocketTaken, match="no socket"):
        await bench.server.start()
    assert path.read_text() == "precious"


async def test_stopping_ends_connections_and_waits_for_orders(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        lines.writer.write(codec.call("suspend", requests.Suspend(op_id=OpId("op1"), target=MARKETING), 1))
        await until(bench.audit)
        asyncio.get_running_loop().call_later(0.05, bench.host.gate.set)
        await bench.server.stop()
        assert await lines.ended()
    assert [entry["event"] for entry in bench.audit()] == ["asked", "done"]


def test_it_works_on_uvloop_as_well(tmp_path: Path) -> None:
    import uvloop

    async def talk() -> None:
        bench = Bench(tmp_path)
        server = RpcServer(bench.config, bench.host, bench.audit_path)
        await server.start()
        async with bench.connected() as lines:
            assert (await lines.hello()).role is Role.ADMIN
            await lines.call("drain", DRAIN)
            first = await lines.call("subscribe", requests.SubscribeRequest(interval_s=0.25))
            assert first.interval_s == 0.25
            assert (await lines.frame()).method == "changes"
            lines.writer.write_eof()
            assert await lines.ended()
        await server.stop()
        assert not bench.config.socket.exists()

    uvloop.run(talk())


async def test_a_stranger_learns_that_he_has_no_role_and_leaves_a_line(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench:
        bench.peer = lambda _: somebody({1})
        async with bench.connected() as lines:
            with pytest.raises(ApiError, match=r"no group of rpc\.roles"):
                await lines.hello()
            with pytest.raises(InvalidRequest, match="hello comes first"):
                await lines.call("snapshot")
    (entry,) = bench.audit()
    assert (entry["event"], entry["verb"], entry["uid"]) == ("denied", "hello", 54_321)
