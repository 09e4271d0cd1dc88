"""Subscriptions: what differs, how often, and what becomes of slow readers."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api import codec, requests, views
from mailagent.api.ids import PoolName
from mailagent.api.methods import CHANGES
from mailagent.rpc import session
from mailagent.rpc.subscriptions import clamped, difference
from tests.agent.rpc.host import Lines, pool, serving, snapshot

_pools = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3)).map(
    lambda counts: tuple(pool(name, waiting) for name, waiting in counts.items())
)


@given(_pools, _pools)
def test_a_subscriber_that_applies_the_difference_has_the_new_rows(
    old: tuple[views.PoolView, ...], new: tuple[views.PoolView, ...]
) -> None:
    changes = difference(snapshot(1, old), snapshot(2, new))
    rows = {row.name: row for row in old}
    for key in changes.gone:
        section, _, name = key.partition(":")
        assert section == "pools"
        del rows[PoolName(name)]
    for row in changes.pools:
        assert rows.get(row.name) != row
        rows[row.name] = row
    assert rows == {row.name: row for row in new}
    assert changes.streams is None


def test_an_interval_is_kept_in_bounds() -> None:
    assert [clamped(0), clamped(2), clamped(1e9), clamped(-1)] == [0.25, 2, 60, 0.25]


async def next_changes(lines: Lines) -> views.Changes:
    frame = await lines.frame()
    assert frame.method == CHANGES
    changes = codec.decode(frame.params, views.Changes)
    assert isinstance(changes, views.Changes)
    return changes


async def test_a_subscriber_gets_a_snapshot_and_then_what_changed(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        bench.host.now = snapshot(1, (pool("a"), pool("b")))
        first = await lines.call("subscribe", requests.SubscribeRequest(interval_s=0.25))
        assert [row.name for row in first.snapshot.pools] == ["a", "b"]
        same = await next_changes(lines)  # a sign of life, with nothing in it
        assert (same.host, same.pools, same.gone) == (None, (), ())
        bench.host.now = msgspec.structs.replace(bench.host.now, seq=2, pools=(pool("b", 5),))
        while not (changes := await next_changes(lines)).pools:
            pass
        assert changes.seq == 2
        assert [(row.name, row.waiting) for row in changes.pools] == [("b", 5)]
        assert changes.gone == ("pools:a",)
        bench.host.now = msgspec.structs.replace(bench.host.now, seq=3, streams=())
        while (changes := await next_changes(lines)).streams is None:
            assert not changes.pools
        assert changes.streams == ()
        lines.writer.write(codec.call("unsubscribe", requests.Empty(), 99))
        while (await lines.frame()).id != 99:
            pass
        assert (await lines.call("snapshot")).seq == 3  # nothing in between


def _grown(bench_now: views.Snapshot) -> views.Snapshot:
    """The next snapshot: many pools, all changed."""
    seq = bench_now.seq + 1
    return msgspec.structs.replace(bench_now, seq=seq, pools=tuple(pool(f"pool-{n}", seq) for n in range(1500)))


async def test_a_reader_that_sleeps_gets_fewer_changes_and_still_the_last_state(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        await lines.call("subscribe", requests.SubscribeRequest(interval_s=0.25))
        (sleeper,) = bench.server._sessions
        transport = sleeper._transport
        assert transport is not None
        lines.writer.transport.pause_reading()  # type: ignore[attr-defined]
        ticks = asyncio.get_running_loop().time()
        async with asyncio.timeout(10):
            while not transport.get_write_buffer_size():  # until the kernel takes no more
                bench.host.now = _grown(bench.host.now)
                ticks += 1
                sleeper.tick(ticks, bench.host.snapshot, bench.server._differ)
                await asyncio.sleep(0)
        held = transport.get_write_buffer_size()
        for _ in range(5):
            bench.host.now = _grown(bench.host.now)
            ticks += 1
            sleeper.tick(ticks, bench.host.snapshot, bench.server._differ)
        assert transport.get_write_buffer_size() == held  # bounded: nothing is put on top
        lines.writer.transport.resume_reading()  # type: ignore[attr-defined]
        last = bench.host.now.seq
        changes = await next_changes(lines)
        while changes.seq < last:
            changes = await next_changes(lines)
        assert changes.pools[0].waiting == last


async def test_a_peer_that_takes_nothing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "STALLED_S", 0.3)
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        await lines.call("subscribe", requests.SubscribeRequest(interval_s=0.25))
        lines.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            while bench.server._sessions:
                bench.host.now = _grown(bench.host.now)
                for one in tuple(bench.server._sessions):
                    if one._talk is not None and one._talk.subscription is not None:
                        one._talk.subscription.due_at = 0
                await asyncio.sleep(0.02)


async def test_who_says_no_hello_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "HELLO_S", 0.1)
    async with serving(tmp_path) as bench, bench.connected() as lines:
        with pytest.raises(Exception, match="no hello within"):
            await lines.frame()
        assert await lines.ended()


async def test_who_follows_the_host_is_known_for_as_long_as_the_connection_stands(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench:
        assert bench.server.lookers() == {}
        async with bench.connected() as talk:
            await talk.hello()
            assert bench.server.lookers() == {}
            await talk.call("subscribe", requests.SubscribeRequest())
            (looker,) = bench.server.lookers().values()
            assert looker.user
        async with asyncio.timeout(5):
            while bench.server.lookers():  # noqa: ASYNC110  the server has no event for it
                await asyncio.sleep(0)
