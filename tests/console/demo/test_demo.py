"""The whole demo: real agents as processes, from the command to the last trace of it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mailctl.demo import judge
from mailctl.demo.blueprint import Blueprint

READY_S = 30.0
GONE_S = 15.0
COMMAND = "import sys; from pathlib import Path; from mailctl.demo.command import demo_command; "
FOREGROUND = COMMAND + "demo_command(lambda fleet: 0)()"
CONSOLE = COMMAND + "demo_command(lambda fleet: print(fleet, flush=True) or len(sys.stdin.readline()))()"


def until(condition: Callable[[], bool], deadline_s: float) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "condition not met in time"
        time.sleep(0.05)


def processes(directory: Path) -> list[str]:
    """Command lines that name `directory`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line:
            found.append(line)
    return found


def leftovers(temporary: Path) -> list[str]:
    """Processes that were started with `temporary` as their TMPDIR, and what is still in it."""
    found = [path.name for path in temporary.iterdir()]
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TMPDIR={temporary}".encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


class Run:
    """One `mailctl demo`."""

    def __init__(self, program: str, *arguments: str, temporary: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )

    def line(self) -> str:
        """The next line of standard output."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=5)[1]
        return line

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(GONE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=GONE_S)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory with a short name: the demo keeps sockets in it."""
    with TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start_one(program: str, *arguments: str, temporary: Path = tmp_path) -> Run:
        runs.append(Run(program, *arguments, temporary=temporary))
        return runs[-1]

    yield start_one
    for run in runs:
        run.close()


def ask(socket_path: Path, **command: str) -> dict[str, object]:
    """One command to the demo's control socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(socket_path))
        client.sendall(json.dumps(command).encode() + b"\n")
        answer: dict[str, object] = json.loads(client.makefile().readline())
        return answer


def greets(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2) as client:
            return client.recv(100).startswith(b"220")
    except OSError:
        return False


def delivered(log: Path) -> dict[str, list[judge.Line]]:
    lines: dict[str, list[judge.Line]] = {}
    for line in judge.read(log):
        if line.verb == "." and line.reply.startswith("250"):
            lines.setdefault(line.source_ip, []).append(line)
    return lines


def test_mail_flows_from_every_pool_of_every_host_and_a_signal_ends_it_without_a_trace(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = start(FOREGROUND, "--no-console", "--no-postfix")
    ready = json.loads(run.line())
    fleet, log = Path(ready["fleet"]), Path(ready["provider_log"])
    assert ready["ready"] is True
    assert len(ready["smtp"]) == 3
    plan = Blueprint.load(fleet.parent)
    active = {address for host in plan.hosts for address in {**host.active, **host.warming}.values()}
    until(lambda: log.exists() and active <= set(delivered(log)), READY_S)
    assert set(delivered(log)) == active  # and nothing from a standby
    assert len(processes(fleet.parent)) == 4
    assert run.end(signal.SIGTERM) == 0
    assert processes(fleet.parent) == []
    assert list(tmp_path.iterdir()) == []


def test_the_sudden_death_of_the_command_leaves_no_process_and_no_directory(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = start(FOREGROUND, "--no-console", "--no-postfix")
    directory = Path(json.loads(run.line())["fleet"]).parent
    run.end(signal.SIGKILL)
    until(lambda: processes(directory) == [] and not directory.exists(), GONE_S)
    assert list(tmp_path.iterdir()) == []


def test_the_death_of_the_world_takes_the_agents_with_it(start: Callable[..., Run], tmp_path: Path) -> None:
    run = start(FOREGROUND, "--no-console", "--no-postfix")
    directory = Path(json.loads(run.line())["fleet"]).parent
    world = next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"mailctl.demo\0" + bytes(directory) in path.read_bytes()
    )
    os.kill(world, signal.SIGKILL)
    assert run.process.wait(GONE_S) != 0
    until(lambda: processes(directory) == [], GONE_S)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs("postfix", "root")
def test_the_fourth_host_is_a_postfix_and_goes_with_the_world(start: Callable[..., Run], tmp_path: Path) -> None:
    tmp_path.chmod(0o711)  # its processes run as another user
    run = start(FOREGROUND, "--no-console", "--postfix")
    ready = json.loads(run.line())
    log = Path(ready["provider_log"])
    directory = log.parent
    assert len(ready["smtp"]) == 4
    active = set(Blueprint.load(directory).hosts[3].active.values())
    until(lambda: log.exists() and active <= set(delivered(log)), READY_S)
    assert any("master" in line for line in processes(directory))
    run.end(signal.SIGKILL)
    until(lambda: processes(directory) == [] and not directory.exists(), GONE_S)
    assert list(tmp_path.iterdir()) == []


def test_the_console_opens_at_once_and_its_end_is_the_end(start: Callable[..., Run], tmp_path: Path) -> None:
    run = start(CONSOLE, "--no-postfix")
    fleet = Path(run.line().strip())
    assert fleet.is_file()
    assert run.process.stdin is not None
    run.process.stdin.write("quit\n")
    run.process.stdin.flush()
    assert run.process.wait(GONE_S) == len("quit\n")
    assert processes(fleet.parent) == []
    assert list(tmp_path.iterdir()) == []


def test_a_closed_terminal_leaves_nothing(tmp_path: Path) -> None:
    mailctl = str(Path(sys.executable).with_name("mailctl"))
    temporary, screen = tmp_path / "tmp", tmp_path / "screen"
    temporary.mkdir()
    with screen.open("wb") as output:
        terminal = subprocess.Popen(  # holds the other end of the console's terminal
            [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", mailctl, "demo", "--no-postfix"],
            stdin=subprocess.PIPE,
            stdout=output,
            env={**os.environ, "TMPDIR": str(temporary), "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
        )
    try:
        until(lambda: b"live" in screen.read_bytes(), READY_S)
    finally:
        terminal.kill()
        terminal.communicate(timeout=GONE_S)
    until(lambda: not leftovers(temporary), GONE_S)


def test_a_host_dies_and_comes_back_on_command(start: Callable[..., Run]) -> None:
    run = start(FOREGROUND, "--no-console", "--no-postfix")
    ready = json.loads(run.line())
    control = Path(ready["fleet"]).with_name("demo.sock")
    assert ask(control, action="start", incident="host-down")["ok"] is True
    until(lambda: not greets(ready["smtp"][2]), READY_S)
    assert greets(ready["smtp"][0])
    assert ask(control, action="stop", incident="host-down")["ok"] is True
    until(lambda: greets(ready["smtp"][2]), READY_S)


def test_an_incident_runs_from_the_start_and_a_named_directory_stays(start: Callable[..., Run], tmp_path: Path) -> None:
    directory = tmp_path / "kept"
    run = start(
        FOREGROUND, "--no-console", "--no-postfix", "--incident", "throttle", "--dir", str(directory), "--rate", "100"
    )
    ready = json.loads(run.line())
    address = Blueprint.load(directory).hosts[0].active["mkt-1"]

    def throttled() -> bool:
        return any(
            line.source_ip == address and line.reply.startswith("421 4.7.28")
            for line in judge.read(Path(ready["provider_log"]))
        )

    until(throttled, READY_S)
    assert run.end(signal.SIGINT) == 130
    assert (directory / "mx1" / "agent.log").is_file()
    assert processes(directory) == []


def test_a_path_too_long_for_a_socket_is_refused_in_one_sentence(start: Callable[..., Run], tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    run = start(FOREGROUND, "--no-console", temporary=deep)
    _, errors = run.process.communicate(timeout=READY_S)
    assert run.process.returncode == 1
    assert "longer than the 107 bytes of a socket path" in errors
    assert list(deep.iterdir()) == []


def test_a_directory_that_cannot_be_used_is_refused_in_one_sentence(start: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = start(FOREGROUND, "--no-console", "--dir", str(tmp_path / "file" / "below"))
    _, errors = run.process.communicate(timeout=READY_S)
    assert run.process.returncode == 1
    assert errors.count("\n") == 1
    assert "Not a directory; choose another --dir" in errors
