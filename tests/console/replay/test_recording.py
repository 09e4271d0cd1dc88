"""Recordings: what is written can be read at any moment of it, also when a file was cut."""

import asyncio
import gzip
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.api.replies import DeferredGroups
from mailagent.api.requests import HistoryRequest, HistoryScope, MessageRequest, PageRequest
from mailagent.api.targets import MessageFilter
from mailctl.fleet.errors import LinkError
from mailctl.fleet.state import FleetState, LinkState
from mailctl.replay import Player, Recorder, Recording, RecordingError
from mailctl.replay.player import MOST_S
from mailctl.replay.recorder import part
from tests.console.replay.conftest import HELLO, LOST_AT_S, SECONDS, Night, at
from tests.console.tui.doubles import HOSTS, snapshot

BEFORE = snapshot(0).host.waiting


@pytest.fixture(params=["night.jsonl", "night.jsonl.gz"], scope="module")
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / str(request.param)
    Night(path).through()
    return path


def seek(player: Player, seconds: float) -> None:
    player.seek(at(seconds))
    player.work(slice_s=None)


def waiting(player: Player, index: int = 0) -> int:
    view = player.state.hosts[index].view
    assert view is not None
    return view.waiting


def test_a_recording_has_a_section_each_minute(path: Path) -> None:
    recording = Recording.open(path)
    assert (recording.began_at, recording.ended_at) == (at(0), at(SECONDS))
    assert [section.at for section in recording.sections] == [at(0), at(60), at(120), at(180)]


@settings(max_examples=25)
@given(jumps=st.lists(st.integers(-10, SECONDS + 10), min_size=1, max_size=6))
def test_a_moment_looks_the_same_however_it_was_come_to(path: Path, jumps: list[int]) -> None:
    player = Player(Recording.open(path))
    for jump in jumps:
        seek(player, jump)
        here = max(0, min(jump, SECONDS))
        assert player.position == at(here)
        assert waiting(player) == BEFORE + here
        assert waiting(player, 1) == snapshot(1).host.waiting + min(here, LOST_AT_S)
        lost = player.state.hosts[1]
        assert (lost.state is LinkState.LOST) == (here >= LOST_AT_S)
        if here >= LOST_AT_S:
            assert lost.error == "no route"


def test_speed_and_pause_move_the_position(path: Path) -> None:
    player = Player(Recording.open(path), speed=10)
    player.advance(2.0)
    player.work(slice_s=None)
    assert player.position == at(20)
    player.pause()
    player.advance(2.0)
    player.work(slice_s=None)
    assert player.position == at(20)
    player.pause()
    player.change_speed(-1)
    assert player.speed == 5
    player.advance(1e6)
    player.work(slice_s=None)
    assert player.is_at_end


def test_a_long_jump_is_done_in_slices(path: Path) -> None:
    times = iter(range(100_000))
    player = Player(Recording.open(path), clock=lambda: float(next(times)))
    player.seek(at(59))
    rounds = 0
    while player.is_seeking:
        player.work()
        rounds += 1
    assert rounds > 10
    assert waiting(player) == BEFORE + 59


async def test_lists_are_as_recorded_and_the_rest_is_said_to_be_missing(path: Path) -> None:
    player = Player(Recording.open(path))
    for seconds in (10, 130):  # written once, and again in each section
        seek(player, seconds)
        answers = await player.ask_all("deferred", PageRequest(), hosts=("mx1",))
        assert isinstance(answers["mx1"], DeferredGroups)  # type: ignore[index]
        narrowed = await player.ask_all("deferred", PageRequest(filter=MessageFilter(provider="none")), hosts=("mx1",))
        assert narrowed["mx1"].groups == ()  # type: ignore[index]
    (missing,) = (await player.ask_all("message", MessageRequest(message_id="x"), hosts=("mx1",))).values()
    assert isinstance(missing, LinkError)


async def test_history_is_counted_while_playing_and_over_jumps_ahead(path: Path) -> None:
    player = Player(Recording.open(path))
    seek(player, 30)
    seek(player, 100)
    (series,) = (await player.ask_all("history", HistoryRequest(scope=HistoryScope.HOST), hosts=("mx1",))).values()
    assert len(series.delivered) == 100
    assert sum(series.delivered) == 700


def opened(tmp_path: Path, connected: dict[str, float], lost: dict[str, float]) -> Player:
    """A recording of 30 s that begins before hosts are reached: after so many seconds they are, or are not."""
    night = Night(tmp_path / "early.jsonl")
    early = [replace(host, state=LinkState.CONNECTING, hello=None, snapshot=None) for host in night.state().hosts]
    night.recorder.begin(lambda: FleetState(hosts=tuple(early)))
    for seconds, name in sorted((seconds, name) for name, seconds in (connected | lost).items()):
        night.now = at(seconds)
        index = HOSTS.index(name)
        if name in connected:
            night.recorder.connected(early[index].name, HELLO, night.snapshots[index])
        else:
            night.recorder.lost(early[index].name, LinkState.LOST, "no route")
    night.now = at(29)
    night.second()
    night.recorder.close()
    return Player(Recording.open(tmp_path / "early.jsonl"))


@pytest.mark.parametrize(
    ("connected", "lost", "opens_s", "states"),
    [
        ({"mx1": 0.2, "mx2": 0.4, "mx3": 0.9}, {}, 0.9, "live live live"),
        ({"mx1": 0.2, "mx3": 0.9}, {"mx2": 0.5}, 0.9, "live lost live"),
        ({"mx1": 8, "mx2": 8.5}, {"mx3": 20}, 8.5, "live live connecting"),
        ({}, {"mx1": 3, "mx2": 3, "mx3": 3}, 3, "lost lost lost"),
        ({}, {}, 0, "connecting connecting connecting"),
    ],
)
def test_a_replay_begins_where_hosts_are_known(
    tmp_path: Path, connected: dict[str, float], lost: dict[str, float], opens_s: float, states: str
) -> None:
    player = opened(tmp_path, connected, lost)
    player.pause()
    for seconds in (opens_s, 25, 0):
        seek(player, seconds)
    assert player.position == at(opens_s)
    assert " ".join(host.state for host in player.state.hosts) == states
    if connected:
        assert player.state.totals.waiting == sum(snapshot(HOSTS.index(name)).host.waiting for name in connected)


def test_memory_does_not_grow_with_what_was_played(path: Path) -> None:
    player = Player(Recording.open(path))
    for _ in range(3):
        seek(player, 0)
        seek(player, SECONDS)
    assert sum(len(past) for past in player._past.values()) <= 3 * 900


def test_a_file_by_size_and_older_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    Night(path, max_bytes=60_000, keep=3).through()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["night.jsonl", "night.jsonl.1", "night.jsonl.2"]
    whole = Recording.open(path)
    assert whole.files == (part(path, 2), part(path, 1), path)
    assert whole.began_at > at(0)
    player = Player(whole)
    assert waiting(player) == BEFORE + (whole.began_at - at(0)).total_seconds()
    seek(player, SECONDS)
    assert waiting(player) == BEFORE + SECONDS
    alone = Player(Recording.open(part(path, 1)))  # with the older one, as it stands
    assert alone.recording.files == (part(path, 1),)


@pytest.mark.parametrize("cut", [1, 7, 4000])
def test_a_file_that_was_cut_is_read_up_to_there(path: Path, tmp_path: Path, cut: int) -> None:
    short = tmp_path / path.name
    short.write_bytes(path.read_bytes()[:-cut])
    player = Player(Recording.open(short))
    seek(player, SECONDS)
    assert at(60) <= player.position <= at(SECONDS)


def test_a_plain_recording_that_was_packed_later_is_read_too(tmp_path: Path) -> None:
    plain = tmp_path / "night.jsonl"
    Night(plain).through()
    packed = tmp_path / "night.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    player = Player(Recording.open(packed))
    seek(player, 150)
    assert waiting(player) == BEFORE + 150


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "nothing is recorded"),
        (b"hello\n", "no recording"),
        (b'{"kind":"start","at":"2026-01-01T00:00:00Z","format":9,"mailctl":"9.0","hosts":{},"pools":{}}\n', "9.0"),
        (b'{"kind":"start",\n', "not a line"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(text)
    with pytest.raises(RecordingError, match=said):
        Recording.open(path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        Recorder(path)
    assert path.read_text() == "mine"


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.sampled_from(["play", "pause", "faster", "slower"])), min_size=1, max_size=20
    )
)
@settings(max_examples=25)
def test_what_is_played_is_time_by_speed_while_it_is_not_paused(path: Path, steps: list[tuple[float, str]]) -> None:
    player, expected = Player(Recording.open(path)), 0.0
    for seconds, act in steps:
        if act == "pause":
            player.pause()
        elif act != "play":
            player.change_speed(1 if act == "faster" else -1)
        if not player.is_paused:
            expected = min(expected + seconds * player.speed, SECONDS)
        player.advance(seconds)
        player.work(slice_s=None)
        assert abs((player.position - at(expected)).total_seconds()) < 0.001
        assert player.is_at_end == (player.position == at(SECONDS))


@pytest.mark.parametrize(
    ("speed", "by", "then"), [(7, 1, 10), (7, -1, 5), (60, 1, 60), (0.25, -1, 0.25), (59, 1, 60), (1, -1, 0.5)]
)
def test_the_next_speed_is_never_further_than_one_step(path: Path, speed: float, by: int, then: float) -> None:
    player = Player(Recording.open(path), speed=speed)
    assert player.change_speed(by) is (then != speed)
    assert player.speed == then


@pytest.mark.parametrize(
    ("seconds", "here"), [(-1, 0), (0, 0), (59.999, 59), (60, 60), (SECONDS, SECONDS), (1e6, SECONDS)]
)
def test_a_jump_to_a_boundary_lands_on_it(path: Path, seconds: float, here: int) -> None:
    player = Player(Recording.open(path))
    seek(player, 130)
    seek(player, seconds)
    assert player.position == at(max(0.0, min(seconds, SECONDS)))
    assert waiting(player) == BEFORE + here
    player.advance(1.0)
    player.work(slice_s=None)
    assert player.position == at(min(max(0.0, seconds) + 1, SECONDS))


async def test_a_console_that_was_stopped_goes_on_where_it_stood(path: Path) -> None:
    now = [0.0]
    async with Player(Recording.open(path), clock=lambda: now[0]) as player:
        await asyncio.sleep(0)
        now[0] = 3600.0
        async with asyncio.timeout(10):
            while player.position == at(0):  # noqa: ASYNC110  the player has no event for it
                await asyncio.sleep(0.01)
        assert player.position <= at(MOST_S)
