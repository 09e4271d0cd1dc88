import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailagent.api.accounting import EventType
from mailagent.cli import main
from mailagent.config.accounting import Accounting
from mailagent.outcome.accounting import AccountingLog, AccountingRecord, event_id, line
from mailagent.spool.schema import FILE_NAME
from mailagent.version import __version__, is_compiled
from tests.agent.spool.mail import NOW, accept, deferred, message, settle, spool_in
from tests.certificates import Authority

AGENT = """\
host: mx1
state_dir: ./state
rpc: {socket: ./state/rpc.sock}
virtual_mtas: {a1: {address: 127.0.0.1}}
pools: {default: {active: [a1]}}
streams: {default: {pool: default}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(AGENT)
    return path


def run(*arguments: str | Path) -> int | str | None:
    """The exit code of `mailagent` with these arguments."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code
    return 0


def test_help_starts_without_the_engines_libraries() -> None:
    code = (
        "import sys; from mailagent.cli import main; main(['--help'])\n"
        "print({'uvloop', 'apsw', 'dns', 'yaml', 'msgspec', 'asyncio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("Usage: mailagent")
    assert done.stdout.endswith("set()\n")


def test_no_command_shows_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    out = capsys.readouterr()
    assert (out.out, out.err.startswith("Usage: mailagent")) == ("", True)


def test_an_unknown_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", "--confg", "x") == 2
    assert "mailagent: error: No such option '--confg'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        ("soon", "'soon' is not a valid number."),
        ("nan", "'nan' is not a valid number."),
        ("-1", "-1.0 is not in the range"),
        ("1e12", "1000000000000.0 is not in the range"),
    ],
)
def test_a_wait_that_is_none_is_told(
    seconds: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("ready", "--socket", tmp_path / "rpc.sock", "--timeout", seconds) == 2
    assert f"Invalid value for '--timeout': {told}" in capsys.readouterr().err


def test_ready_says_that_no_agent_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ready", "--socket", tmp_path / "rpc.sock") == 3
    assert "no agent answers at" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    run("version")
    run("--version")
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"mailagent {__version__}" + (", hot path compiled" if is_compiled() else "")
    assert __version__ in out.splitlines()[1]


def test_a_valid_file_gets_one_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", "--config", config) == 0
    assert capsys.readouterr().out == f"{config}: valid: host mx1, 1 virtual MTA, 1 pool, 1 stream, 0 routes\n"


def test_every_mistake_of_a_file_is_printed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(AGENT.replace("active: [a1]", "active: [a2]") + "dns: {timeout: 5}\n")
    assert run("validate", "--config", config) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{config}:4: virtual_mtas.a1: is in no pool, so nothing would ever leave from it; list it in one",
        f"{config}:5: pools.default.active[0]: `a2` is no virtual MTA; there are a1",
        f"{config}:7: dns.timeout: `5` has no unit; write 5s, 5m, 5h or 5d",
        f"mailagent: error: 3 mistakes in {config}",
    ]


def test_a_missing_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", "--config", tmp_path / "none.yaml") == 2
    assert (
        capsys.readouterr().err
        == f"mailagent: error: {tmp_path}/none.yaml: cannot be read: No such file or directory\n"
    )


def test_reload_says_that_no_agent_runs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("reload", "--config", config) == 3
    assert "no agent answers at" in capsys.readouterr().err


def test_reload_of_a_broken_file_asks_no_agent(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(AGENT + "nonsense: 1\n")
    assert run("reload", "--config", config) == 2
    assert "nonsense: unknown key" in capsys.readouterr().err


async def test_spool_list_shows_what_waits_beside_a_running_agent(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with spool_in(tmp_path / "state") as spool:
        late = message(spool, "late@gmail.com", "evil@gmail.com")
        await accept(spool, late, message(spool, "new@example.com"))
        await settle(spool, deferred(late, 1, due=NOW + 10**12, text="busy \x1b[2J"))
        assert run("spool", "list", "--config", config) == 0
        shown = capsys.readouterr().out.splitlines()
        assert run("spool", "list", "--config", config, "--domain", "example.com", "--json") == 0
        (row,) = map(json.loads, capsys.readouterr().out.splitlines())
        assert run("spool", "list", "--config", config, "--limit", "1") == 0
        assert "stopped at --limit 1" in capsys.readouterr().err
    assert [line.split()[1] for line in shown] == ["RECIPIENT", "late@gmail.com", "evil@gmail.com", "new@example.com"]
    assert "busy ?[2J" in shown[2]
    assert row["recipient"] == "new@example.com"


@pytest.mark.parametrize("sound_pages", [2, 40], ids=["no tables", "no mail"])
async def test_spool_check_tells_a_sound_spool_from_a_damaged_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sound_pages: int
) -> None:
    async with spool_in(tmp_path) as spool:
        await accept(spool, *(message(spool, body=b"x" * 20_000) for _ in range(20)))
    assert run("spool", "check", "--state-dir", tmp_path) == 0
    assert capsys.readouterr().out == f"{tmp_path}: no findings\n"
    database = tmp_path / FILE_NAME
    data = bytearray(database.read_bytes())
    data[8192 * sound_pages :] = bytes(len(data) - 8192 * sound_pages)
    database.write_bytes(data)
    assert run("spool", "check", "--state-dir", tmp_path) == 1
    assert "in the spool at" in capsys.readouterr().err
    assert run("spool", "list", "--state-dir", tmp_path) == (1 if sound_pages == 2 else 0)


def test_a_spool_is_named_in_one_way(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("spool", "check") == 2
    assert run("spool", "check", "--config", config, "--state-dir", tmp_path) == 2
    assert run("spool", "check", "--state-dir", tmp_path) == 1
    assert "one of them" in capsys.readouterr().err


def accounted(n: int, recipient: str, kind: EventType) -> AccountingRecord:
    return AccountingRecord(
        event=event_id("0ABC", n, 1, kind), type=kind, time=datetime.now(UTC), host="mx1", message_id="0ABC", n=n,
        sender="s@one.test", recipient=recipient, stream="default", pool="default", size_bytes=1,
        text="\x1b[31mred",
    )  # fmt: skip


def test_log_ends_in_silence_when_its_reader_has_seen_enough(config: Path) -> None:
    AccountingLog(config.parent / "state" / "accounting", Accounting()).write(
        [line(accounted(0, "a@one.test", EventType.DELIVERED))]
    )
    reader, writer = os.pipe()
    os.close(reader)
    code = "from mailagent.cli import main; main()"
    command = [sys.executable, "-c", code, "log", "--config", str(config)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", ["log", "checks --help", "version"])
def test_a_result_that_cannot_be_written_is_told_of_the_result(config: Path, command: str) -> None:
    AccountingLog(config.parent / "state" / "accounting", Accounting()).write(
        [line(accounted(0, "a@one.test", EventType.DELIVERED))]
    )
    words = [sys.executable, "-c", "from mailagent.cli import main; main()", *command.split()]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*words, *(("--config", config) if command == "log" else ())],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    said = b"mailagent: error: the result could not be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_log_finds_a_recipient_in_live_and_finished_files(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "state" / "accounting"
    log = AccountingLog(directory, Accounting(rotate_bytes=1))
    for n, recipient in enumerate(("a@one.test", "b@two.test", "a@one.test")):
        log.write([line(accounted(n, recipient, EventType.DELIVERED if n else EventType.DEFERRED))])
    assert run("log", "--config", config, "--recipient", "a@one.test") == 0
    shown = capsys.readouterr().out.splitlines()
    assert ["  d  " in row or "  d   " in row for row in shown] == [True, False], "newest first"
    assert "\x1b" not in "".join(shown)
    assert run("log", "--config", config, "--message", "0abc.1", "--json", "--oldest-first") == 0
    assert [json.loads(row)["recipient"] for row in capsys.readouterr().out.splitlines()] == ["b@two.test"]
    assert run("log", "--config", config, "--type", "t", "--since", "1h") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert run("log", "--config", config, "--until", "1h") == 1
    assert "no record says that" in capsys.readouterr().err
    assert run("log", "--config", config, "--type", "z") == 2
    assert run("log", "--config", config, "--since", "yesterday") == 2
    log.close()


def test_validate_looks_at_certificates(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Authority(tmp_path).issue("mx1.test")
    files = f"certificate: {{cert: {made.file}, key: {made.key}}}"
    config.write_text(AGENT + f"intake: {{listeners: [{{address: 127.0.0.1, port: 25, tls: starttls, {files}}}]}}\n")
    assert run("validate", "--config", config) == 0
    made.key.chmod(0o604)
    assert run("validate", "--config", config) == 2
    assert f"{made.key}: everybody on this host can read or write the key" in capsys.readouterr().err


def test_validate_looks_at_secrets_and_authorities(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef\n")
    secret.chmod(0o644)
    (tmp_path / "ca.pem").write_text("no certificate")
    config.write_text(
        AGENT
        + 'routes: [{match: "*", to: "relay.test:587", auth: {user: u, password_file: secret}}]\n'
        + "events: [{name: app, url: 'https://app.test/', secret_file: secret, ca_file: gone.pem}]\n"
        + "tls: {ca_file: ca.pem}\n"
    )
    assert run("validate", "--config", config) == 2
    told = capsys.readouterr().err
    assert f"agent.yaml:7: routes[0].auth.password_file: {secret}: everybody on this host may read it" in told
    assert f"agent.yaml:8: events[0].secret_file: {secret} can be read by others; chmod 600" in told
    assert f"agent.yaml:8: events[0].ca_file: {tmp_path}/gone.pem: No such file or directory" in told
    assert f"agent.yaml:9: tls.ca_file: {tmp_path}/ca.pem: holds no PEM certificates" in told
    assert "mailagent: error: 4 mistakes in" in told
