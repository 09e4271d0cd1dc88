"""Events to the application: every one, in order, whatever happens to files, sinks and processes."""

import json
import os
import select
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.accounting import EventType
from mailagent.api.events import SinkState
from mailagent.api.ids import StreamName
from mailagent.config.accounting import Accounting
from mailagent.config.events import EventSink
from mailagent.outcome.accounting import AccountingLog
from mailagent.outcome.events import cursor as cursors
from mailagent.outcome.events import sinks as module
from mailagent.outcome.events.cursor import Cursor
from mailagent.outcome.events.delivery import NotTaken, Webhook
from mailagent.outcome.events.sinks import Events, Sink
from tests.agent.outcome.records import written
from tests.agent.outcome.webhook import SECRET, application
from tests.certificates import Authority
from tests.integration.processes import wait_until


def record(number: int, kind: EventType = EventType.DELIVERED, stream: str = "news") -> bytes:
    return written(number, kind, time=datetime.now(UTC), stream=stream)


def secret_in(directory: Path) -> Path:
    path = directory / "secret"
    path.write_bytes(SECRET + b"\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def accounting(tmp_path: Path) -> AccountingLog:
    return AccountingLog(tmp_path / "accounting", Accounting(rotate_bytes=2000))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "RETRY_S", 0.01)


def sent(events: list[dict[str, object]]) -> list[str]:
    return [str(event["recipient"]) for event in events]


def all_of(count: int) -> list[str]:
    return [f"r{number}@two.test" for number in range(count)]


def test_a_webhook_gets_every_event_once_and_in_order_over_rotations(tmp_path: Path, accounting: AccountingLog) -> None:
    with application() as app:
        sink = EventSink(name="app", url=f"http://127.0.0.1:{app.port}/x?y=1", secret_file=secret_in(tmp_path), batch=7)
        events = Events("mx1", accounting, tmp_path / "events")
        accounting.write([record(-1)])
        events.configure((sink,))
        for number in range(100):
            accounting.write([record(number)])
        wait_until(lambda: len(app.events) >= 100, "all events")
        assert sent(app.events) == all_of(100), "a new sink begins with what comes from now on"
        assert {(batch["sink"], batch["host"]) for batch in app.batches} == {("app", "mx1")}
        assert max(len(batch["events"]) for batch in app.batches) <= 7
        (running,) = events._sinks.values()
        wait_until(lambda: running.view().state is SinkState.CURRENT, "it has everything")
        view = running.view()
        assert (view.acknowledged, view.failures, view.behind_bytes, view.last_error) == (100, 0, 0, "")
        assert view.target == f"http://127.0.0.1:{app.port}/x"
        assert view.lag_p50_s is not None
        assert view.lag_p95_s is not None
        assert 0 <= view.lag_p50_s <= view.lag_p95_s
        events.stop()
    accounting.close()


def test_a_sink_that_refuses_gets_the_same_batch_until_it_takes_it(tmp_path: Path, accounting: AccountingLog) -> None:
    with application() as app:
        answers = iter([500, 302, 429, 404])
        app.answer = lambda batch: next(answers, 204)
        sink = EventSink(name="app", url=f"http://127.0.0.1:{app.port}/", secret_file=secret_in(tmp_path))
        events = Events("mx1", accounting, tmp_path / "events")
        events.configure((sink,))
        accounting.write([record(number) for number in range(5)])
        wait_until(lambda: len(app.events) >= 5, "all events")
        assert sent(app.events) == all_of(5)
        assert len({batch["batch"] for batch in app.requests}) == 1
        (running,) = events._sinks.values()
        wait_until(lambda: running.view().state is SinkState.CURRENT, "it recovered")
        assert running.view().failures == 4
        events.stop()
    accounting.close()


def test_a_sink_that_is_down_says_so_and_goes_on_where_it_was(tmp_path: Path, accounting: AccountingLog) -> None:
    with application() as app:
        url = f"http://127.0.0.1:{app.port}/"
    sink = EventSink(name="app", url=url, secret_file=secret_in(tmp_path))
    events = Events("mx1", accounting, tmp_path / "events")
    events.configure((sink,))
    accounting.write([record(number) for number in range(5)])
    (running,) = events._sinks.values()
    wait_until(lambda: running.view().failures >= 2, "it fails")
    view = running.view()
    assert view.state is SinkState.FAILING
    assert "refused" in view.last_error
    assert view.behind_bytes > 0
    assert view.oldest_at is not None
    assert view.next_try_at is not None
    events.stop()
    accounting.close()
    accounting = AccountingLog(tmp_path / "accounting", Accounting(compress=True))
    accounting.maintain()
    with application() as app:
        events = Events("mx1", accounting, tmp_path / "events")
        moved = EventSink(name="app", url=f"http://127.0.0.1:{app.port}/", secret_file=sink.secret_file)
        events.configure((moved,))
        wait_until(lambda: len(app.events) >= 5, "all events after a restart")
        assert sent(app.events) == all_of(5)
        events.configure(())
        accounting.write([record(9)])
        assert events._sinks == {}
    accounting.close()


def test_a_file_gets_lines_and_may_be_renamed_away(tmp_path: Path, accounting: AccountingLog) -> None:
    path = tmp_path / "events.jsonl"
    sink = EventSink(name="crm", file=path, types=("b", "f"), streams=(StreamName("news"),))
    events = Events("mx1", accounting, tmp_path / "events")
    events.configure((sink,))
    accounting.write([record(0, EventType.BOUNCED), record(1), record(2, EventType.BOUNCED, "tx")])
    accounting.write([record(3, EventType.FEEDBACK)])
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") == 2, "two lines")
    first = path.rename(tmp_path / "taken")
    accounting.write([record(4, EventType.BOUNCED)])
    wait_until(path.exists, "a new file")
    taken = [json.loads(text) for file in (first, path) for text in file.read_bytes().splitlines()]
    assert sent(taken) == ["r0@two.test", "r3@two.test", "r4@two.test"]
    events.stop()
    accounting.close()


def test_events_whose_files_were_deleted_are_counted_as_lost(tmp_path: Path, accounting: AccountingLog) -> None:
    directory = tmp_path / "events"
    directory.mkdir()
    cursors.save(directory / "crm.json", Cursor(accounting.number, 0))
    for number in range(40):
        accounting.write([record(number)])
    for path in sorted((tmp_path / "accounting").glob("*.jsonl"))[:2]:
        path.unlink()
    sink = Sink(EventSink(name="crm", file=tmp_path / "out"), "mx1", accounting, directory)
    sink.start()
    wait_until(lambda: sink.view().state is SinkState.CURRENT, "it has what is left")
    assert sink.view().lost_files == 2
    lines = [json.loads(text) for text in (tmp_path / "out").read_bytes().splitlines()]
    assert sent(lines) == all_of(40)[-len(lines) :]
    sink.stop()
    accounting.close()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(b"short"), "has 5 bytes"),
        (lambda path: path.chmod(0o644), "can be read by others"),
    ],
)
def test_a_secret_that_is_none_stops_the_sink_and_is_told(
    tmp_path: Path, accounting: AccountingLog, change: Callable[[Path], object], error: str
) -> None:
    secret = secret_in(tmp_path)
    change(secret)
    sink = Sink(EventSink(name="app", url="http://127.0.0.1:9/", secret_file=secret), "mx1", accounting, tmp_path)
    sink.start()
    wait_until(lambda: sink.view().state is SinkState.FAILING, "it fails")
    assert error in sink.view().last_error
    assert SECRET.decode() not in sink.view().last_error
    sink.stop()
    accounting.close()


@given(
    steps=st.lists(st.sampled_from(("write", "write", "write", "read", "restart", "pack", "fail")), max_size=80),
    rotate=st.integers(200, 2000),
    block=st.integers(300, 3000),
)
def test_a_cursor_passes_every_line_once_and_in_order(steps: list[str], rotate: int, block: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cursors, "READ_BYTES", max(block, 400))
        directory = Path(name)
        config = Accounting(rotate_bytes=rotate, compress=True, keep=timedelta(days=1))
        log = AccountingLog(directory, config)
        cursor = Cursor(*log.position())
        seen: list[bytes] = []
        written: list[bytes] = []

        def read() -> Cursor:
            chunk = cursors.read(log, cursor)
            assert chunk.lost == 0
            seen.extend(text for text, _ in chunk.lines)
            return chunk.after

        for step in [*steps, *["read"] * (len(steps) * 4 + 8)]:
            if step == "write":
                text = record(len(written))
                log.write([text])
                written.append(text.rstrip(b"\n"))
            elif step == "read":
                cursor = read()
            elif step == "restart":
                log.close()
                log = AccountingLog(directory, config)
            elif step == "pack":
                log.maintain()
            else:
                with pytest.MonkeyPatch.context() as full:

                    def no_room(fd: int, data: memoryview) -> int:
                        raise OSError(28, "No space left on device")

                    full.setattr(os, "write", no_room)
                    with pytest.raises(OSError, match="No space"):
                        log.write([record(99)])
        assert seen == written
        log.close()


def test_a_damaged_cursor_repeats_events_and_loses_none(tmp_path: Path, accounting: AccountingLog) -> None:
    for number in range(30):
        accounting.write([record(number)])
    directory = tmp_path / "events"
    directory.mkdir()
    (directory / "crm.json").write_bytes(b"")  # what a power loss may leave
    sink = Sink(EventSink(name="crm", file=tmp_path / "crm"), "mx1", accounting, directory)
    sink.start()
    wait_until(lambda: sink.view().acknowledged == 30, "all events")
    assert sink.view().lost_files == 0
    sink.stop()
    accounting.close()


def test_a_fault_within_a_sink_does_not_end_it(
    tmp_path: Path, accounting: AccountingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter([EOFError("a damaged file"), ValueError("odd")])
    read = cursors.read

    def broken(log: AccountingLog, cursor: Cursor) -> cursors.Chunk:
        if (fault := next(faults, None)) is not None:
            raise fault
        return read(log, cursor)

    monkeypatch.setattr(cursors, "read", broken)
    sink = Sink(EventSink(name="crm", file=tmp_path / "crm"), "mx1", accounting, tmp_path)
    sink.start()
    accounting.write([record(0)])
    wait_until(lambda: sink.view().acknowledged == 1, "the event")
    assert sink.view().failures == 2
    sink.stop()
    accounting.close()


@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_are_verified(tmp_path: Path, accounting: AccountingLog, trusted: bool) -> None:
    authority = Authority(tmp_path)
    with application(authority.issue("localhost").server()) as app:
        sink = Sink(
            EventSink(
                name="app",
                url=f"https://localhost:{app.port}/",
                secret_file=secret_in(tmp_path),
                ca_file=authority.file if trusted else None,
            ),
            "mx1",
            accounting,
            tmp_path,
        )
        sink.start()
        accounting.write([record(0)])
        if trusted:
            wait_until(lambda: bool(app.events), "the event")
        else:
            wait_until(lambda: sink.view().state is SinkState.FAILING, "it fails")
            assert "CERTIFICATE_VERIFY_FAILED" in sink.view().last_error
            assert not app.requests
        sink.stop()
    accounting.close()


def test_an_answer_that_drips_is_given_up(tmp_path: Path) -> None:
    """Each octet is in time, all of them together are not."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            peer, _ = server.accept()
            with peer, suppress(OSError):
                while peer.send(b"H"):
                    select.select((), (), (), 0.02)

        thread = threading.Thread(target=drip)
        thread.start()
        sink = EventSink(
            name="app",
            url=f"http://127.0.0.1:{server.getsockname()[1]}/",
            secret_file=secret_in(tmp_path),
            timeout=timedelta(seconds=0.1),
        )
        webhook = Webhook(sink, "mx1")
        with pytest.raises(NotTaken):
            webhook.deliver([b"{}"], Cursor(0, 0))
        thread.join()
