"""What a command says and how it ends when hosts give no answer, have nothing of the kind, or nobody can read it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from mailctl.cli import main
from tests.console.cli.conftest import Mailctl, edit
from tests.console.cli.test_check import calm
from tests.console.loopback import LoopbackAgent, summary

Agents = dict[str, LoopbackAgent]


def lose(agents: Agents, path: Path, *names: str) -> None:
    for name in names or agents:
        edit(path, str(agents[name].socket), "/nowhere/rpc.sock")


async def test_of_hosts_that_gave_no_answer_nothing_is_said(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    lose(agents, path)
    reads = ["deferred", "directives", "lock show", "in-doubt", "pools", "events", "note list"]
    for read, ran in zip(reads, await asyncio.gather(*(mailctl(*read.split()) for read in reads)), strict=True):
        assert (ran.code, ran.out) == (3, ""), read
        assert ran.err.count("lost: no agent socket at /nowhere/rpc.sock") == 3, read


async def test_a_list_that_no_host_gave_is_no_empty_list(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    lose(agents, path)
    ran = await mailctl("suppression", "export")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.count("lost: no agent socket at /nowhere/rpc.sock") == ran.err.count("its list is missing") == 3


@pytest.mark.parametrize("manner", ["--dry-run", "--yes"])
async def test_a_plan_says_which_host_is_not_there_and_why(
    agents: Agents, mailctl: Mailctl, path: Path, manner: str
) -> None:
    lose(agents, path, "mx3")
    drain = ("drain", "host:mx2", "host:mx3", manner)
    assert "mailctl: mx3: lost: no agent socket at /nowhere/rpc.sock" in (await mailctl(*drain)).err
    (error,) = (await mailctl(*drain, "--json")).document["errors"]
    assert error.startswith("mx3: lost: no agent socket")


@pytest.mark.parametrize("command", ["dkim rotate --due --yes", "adopt --all", "adopt abc"])
async def test_whether_there_is_anything_to_do_only_hosts_know(
    agents: Agents, mailctl: Mailctl, path: Path, command: str
) -> None:
    lose(agents, path, "mx3")
    some = await mailctl(*command.split())
    assert some.code == (2 if "abc" in command else 1)
    assert (
        some.out
        == {
            "dkim": "no key is due (said by 2 of 3 hosts)\n",
            "adopt --all": "no rotation, drain of a virtual MTA or lowered limit stands (said by 2 of 3 hosts)\n",
            "adopt abc": "",
        }[command.partition(" rotate")[0]]
    )
    assert "mx3: lost: no agent socket" in some.err
    lose(agents, path, "mx1", "mx2")
    none = await mailctl(*command.split())
    assert (none.code, none.out) == (3, "")
    assert none.err.count("lost: no agent socket") == 3


async def test_that_there_is_nothing_names_how_many_hosts_say_so(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    lose(agents, path, "mx3")
    ran = await mailctl("deferred")
    assert (ran.code, ran.out) == (1, "nothing is deferred (said by 2 of 3 hosts)\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("jobs job:nope", "no job nope on mx1, mx2"),
        ("jobs job:nope job:n* host:mx1", "no job nope or n* on mx1"),
        ("job show nope", "no job nope on mx1, mx2"),
        ("history job:nope", "no job nope on mx1, mx2"),
        ("why queue:nope/x", "queue:nope/x: not on mx1, mx2, mx3 now; `mailctl queues` lists what is ready"),
    ],
)
async def test_what_is_named_and_is_nowhere_is_one(
    agents: Agents, mailctl: Mailctl, path: Path, words: str, told: str
) -> None:
    agents["mx3"].engine, agents["mx3"].lacks = "postfix 3.7.11", ("jobs", "job")
    for one in (await mailctl(*words.split()), await mailctl(*words.split(), "--json")):
        assert (one.code, one.err.splitlines()[-1]) == (1, f"mailctl: {told}")
    assert (one.document["rows"], one.document["errors"][-1]) == ([], told)
    lose(agents, path)  # nobody can say
    none = await mailctl(*words.split())
    assert (none.code, none.out, told.partition(" on ")[0] in none.err) == (3, "", False)


@pytest.mark.parametrize("read", ["jobs job:spring", "job show spring", "history job:spring"])
async def test_a_job_is_known_where_one_host_has_it(agents: Agents, mailctl: Mailctl, read: str) -> None:
    agents["mx2"].jobs = ("spring",)
    assert (await mailctl(*read.split())).code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--timeout abc status", "Invalid value for '--timeout': 'abc' is not a valid number."),
        ("--timeout nan status", "Invalid value for '--timeout': 'nan' is not a valid number."),
        ("--timeout 0 status", "Invalid value for '--timeout': 0.0 is not in the range 0.1<=x<=600."),
        ("find x --since 4000000d", "Invalid value for '--since': `4000000d` is too long; 100 years are the most"),
        (
            "undo --mine --since 14",
            "Invalid value for '--since': `14` is no time; write 14:00 (UTC), 2h or 2026-07-01T09:00:00Z",
        ),
        (
            "job set x --start +9999999d",
            "Invalid value for '--start': `+9999999d` is no time; write 2026-07-01T09:00:00Z, now or +2h",
        ),
        ("report day --day tomorrow", "Invalid value for '--day': `tomorrow` is no day; write 2026-11-21"),
        (f"note add {'x' * 501} --yes", "a note has 1 to 500 characters, not 501"),
        (
            "drain pool:cold --yes --reason --dry-run",
            "Invalid value for '--reason': its value is missing, --dry-run is an option",
        ),
        ("drain pool:cold --key --yes", "Invalid value for '--key': its value is missing, --yes is an option"),
        ("apply --undo --dry-run", "Invalid value for '--undo': its value is missing, --dry-run is an option"),
        ("messages --limit few", "Invalid value for '--limit': 'few' is not a valid number."),
        ("suppression pending", "Missing argument '{apply|discard}'. Choose from: apply, discard"),
    ],
)
def test_a_value_that_is_none_is_told_in_a_sentence(capsys: pytest.CaptureFixture[str], words: str, told: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.splitlines()[0]) == (2, "", f"mailctl: error: {told}")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("suppression list", "suppression-list"),
        ("note list", "note-list"),
        ("dkim list", "dkim-list"),
        ("in-doubt", "in-doubt"),
        ("job limit spring 5/s --dry-run", "job-set"),
        ("note add hello --dry-run", "note-add"),
    ],
)
async def test_the_name_of_a_document_is_one_word(agents: Agents, mailctl: Mailctl, words: str, name: str) -> None:
    ran = await mailctl(*words.split(), "--json")
    assert (ran.code, ran.document["schema"]) == (0, f"mailctl.{name}/1"), ran.err
    assert not any(agent.executed for agent in agents.values())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("status --fleet f.yaml", "No such option '--fleet'; it stands before the command: mailctl --fleet … status"),
        ("job show x --timeout 3", "No such option '--timeout'; it stands before the command: mailctl --timeout … job"),
        ("drain --read-only", "No such option '--read-only'; it stands before the command: mailctl --read-only drain"),
    ],
)
def test_an_option_of_all_commands_behind_one_is_told_its_place(
    capsys: pytest.CaptureFixture[str], words: str, told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.splitlines()[0]) == (2, "", f"mailctl: error: {told}")


async def test_a_trace_says_of_hosts_that_are_away_what_every_command_says(
    agents: Agents, mailctl: Mailctl, path: Path
) -> None:
    lose(agents, path, "mx3")
    some = await mailctl("trace", "provider:gmail")
    assert (some.code, "mailctl: mx3: lost: no agent socket at /nowhere/rpc.sock" in some.err) == (1, True), some.err
    lose(agents, path, "mx1", "mx2")
    none = await mailctl("trace", "provider:gmail")
    assert (none.code, none.out, none.err.count("lost: no agent socket")) == (3, "", 3)


async def test_to_adopt_all_of_nothing_is_done(agents: Agents, mailctl: Mailctl) -> None:
    ran = await mailctl("adopt", "--all", "--write")
    assert (ran.code, ran.out, ran.err) == (0, "no rotation, drain of a virtual MTA or lowered limit stands\n", "")
    machine = await mailctl("adopt", "--all", "--json")
    assert (machine.code, machine.document["rows"], machine.document["truncated"]) == (0, [], False)
    assert not any(agent.executed for agent in agents.values())


async def test_that_no_condition_holds_is_said_of_hosts_that_answered(
    agents: Agents, mailctl: Mailctl, path: Path, tmp_path: Path
) -> None:
    (book := tmp_path / "book.yaml").write_text(
        "name: deep\nwhen: [{figure: waiting, of: 'host:*', above: 5000}]\ndo: [{verb: drain, select: 'host:{name}'}]\n"
    )
    lose(agents, path, "mx3")
    some = await mailctl("playbook", "run", str(book))
    assert (some.code, some.out) == (1, "deep: its conditions do not hold (said by 2 of 3 hosts)\n"), some.err
    lose(agents, path, "mx1", "mx2")
    none = await mailctl("playbook", "run", str(book))
    assert (none.code, none.out, none.err.count("not looked at: lost")) == (3, "", 3)


async def test_whether_there_is_an_operation_only_hosts_know(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    lose(agents, path)
    verbs = ["undo abc", "undo last", "undo --mine --since 2h", "cancel abc"]
    for verb, ran in zip(
        verbs, await asyncio.gather(*(mailctl(*verb.split(), "--yes") for verb in verbs)), strict=True
    ):
        assert (ran.code, ran.out) == (3, ""), verb
        assert "mailctl: error: mx1: lost: no agent socket" in ran.err, verb


async def test_what_an_engine_has_nothing_of_is_a_note_and_no_gap(agents: Agents, mailctl: Mailctl, path: Path) -> None:
    agents["mx3"].engine, agents["mx3"].lacks = "postfix 3.7.11", ("events", "in_doubt", "suppressions")
    ran = await mailctl("events", "host:mx3")
    assert (ran.code, ran.out) == (0, "no event sinks are configured\n")
    assert ran.err == "mailctl: mx3: `events` is not possible with its engine, postfix 3.7.11\n"
    assert (await mailctl("in-doubt", "host:mx3")).code == 0
    calm(path)
    ran = await mailctl("check")
    assert ran.code == 0
    assert "nothing to check on mx3 (its engine has none): in_doubt, events, undecided" in ran.out
    assert (await mailctl("check", "--nagios")).code == 0


async def test_what_an_old_agent_has_not_is_a_gap(agents: Agents, mailctl: Mailctl) -> None:
    agents["mx3"].lacks = ("events",)
    ran = await mailctl("events")
    assert (ran.code, "upgrade it" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("end", "code", "err"),
    [
        (">/dev/full", 1, "mailctl: error: the result could not be written: No space left on device\n"),
        (">&-", 0, ""),
    ],
)
async def test_a_result_that_cannot_be_written_is_no_traceback(
    agents: Agents, path: Path, tmp_path: Path, end: str, code: int, err: str
) -> None:
    process = await asyncio.create_subprocess_shell(
        f'{sys.executable} -c "from mailctl.cli import main; main()" status {end}',
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "HOME": str(tmp_path), "MAILCTL_FLEET": str(path)},
    )
    async with asyncio.timeout(30):
        _, told = await process.communicate()
    assert (process.returncode, told.decode()) == (code, err)


async def test_a_reader_that_has_seen_enough_is_no_failure(agents: Agents, path: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from mailctl.cli import main; main()",
        "status",
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "HOME": str(tmp_path), "MAILCTL_FLEET": str(path)},
    )
    os.close(writer)
    async with asyncio.timeout(30):
        _, told = await process.communicate()
    assert (process.returncode, told) == (0, b"")


async def test_a_name_that_no_host_has_is_a_mistake_and_no_empty_table(
    agents: Agents, mailctl: Mailctl, path: Path
) -> None:
    for words, told in (
        ("pools pool:markting", "no pool markting; did you mean marketing?"),
        ("ips vmta:mkt-3 host:mx1", "no vmta mkt-3 on mx1; did you mean mkt-2 or mkt-1?"),
    ):
        ran = await mailctl(*words.split())
        assert (ran.code, ran.out, ran.err) == (2, "", f"mailctl: error: {told}\n")
    lose(agents, path, "mx3")
    assert (await mailctl("pools", "pool:markting")).code == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("history --step 1s --last 1h", "steps of 1s are kept for 15m; 1m reaches back 8d, 1h 400d"),
        ("history --last 9d", "steps of 1m are kept for 8d"),
        ("timeline --since 30d", "hosts remember operations for 7d"),
    ],
)
def test_a_time_that_nobody_remembers_is_refused(capsys: pytest.CaptureFixture[str], words: str, told: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert (ended.value.code, told in capsys.readouterr().err) == (2, True)


async def test_a_host_is_said_to_a_list_of_addresses_by_its_option(agents: Agents, mailctl: Mailctl) -> None:
    ran = await mailctl("suppression", "add", "anna@example.com", "--host", "mx1", "--dry-run", "--json")
    command = ran.document["operation"]["command"]
    assert command.endswith(" suppression add anna@example.com --host mx1")


async def test_a_job_without_anything_to_set_is_a_mistake(agents: Agents, mailctl: Mailctl) -> None:
    ran = await mailctl("job", "set", "spring", "--dry-run")
    assert (ran.code, ran.err) == (2, "mailctl: error: job set wants a start, an end or a rate\n")


@pytest.mark.parametrize(
    ("word", "env", "code", "told"),
    [
        (b"job:\xff", {}, 2, "mailctl: error: an argument is not UTF-8: b'job:\\xff'\n"),
        ("to:*@b\u00fccher.example".encode(), {"LC_ALL": "C", "PYTHONUTF8": "0"}, 0, ""),
        (b"job:x", {"PYTHONIOENCODING": "latin-1"}, 0, ""),
    ],
)
async def test_letters_that_a_locale_has_not_end_nothing(
    agents: Agents, path: Path, tmp_path: Path, word: bytes, env: dict[str, str], code: int, told: str
) -> None:
    agents["mx1"].messages = (summary(1, recipient="x\u2014y@gmail.com"),)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from mailctl.cli import main; main()",
        "messages",
        word,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "HOME": str(tmp_path), "MAILCTL_FLEET": str(path)} | env,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (code, told)
    assert code or (b"x\\u2014y@" if "PYTHONIOENCODING" in env else "x\u2014y@".encode()) in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "queues pool:cold",
            "queues cannot be narrowed by pool:; it knows host:, queue:, cell:, vmta:, provider:, site:",
        ),
        ("ages pool:cold", "ages cannot be narrowed by pool:; it knows host:, provider:, stream:"),
        ("operations pool:cold", "operations cannot be narrowed by pool:; it knows host:"),
        ("in-doubt pool:cold", "in-doubt cannot be narrowed by pool:; it knows host:"),
        ("events pool:cold", "events cannot be narrowed by pool:; it knows host:"),
        ("automation pool:cold", "automation cannot be narrowed by pool:; it knows host:"),
        ("lock show pool:cold", "lock cannot be narrowed by pool:; it knows host:"),
        ("note list pool:cold", "note list cannot be narrowed by pool:; it knows host:"),
        ("credentials list pool:cold", "credentials list cannot be narrowed by pool:; it knows host:"),
        ("why queue:gmail/mkt-1 pool:cold", "why cannot be narrowed by pool:; it knows host:, queue:, message:"),
        ("why queue:gmail", "gmail is no queue; write SITE/VMTA, or SITE/ for all of a site: queue:gmail/mkt-1"),
        (
            "job pause pool:cold --yes",
            "pool:cold: only job: and host: belong here; a job of that name is job:pool:cold",
        ),
        ("record host:mx1", "host:mx1 names no file; write the file first, or ./host:mx1 for one of that name"),
    ],
)
def test_what_would_narrow_nothing_is_refused(capsys: pytest.CaptureFixture[str], words: str, told: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.splitlines()[0]) == (2, "", f"mailctl: error: {told}")


async def test_an_engine_without_traces_is_no_gap(agents: Agents, mailctl: Mailctl) -> None:
    for name in ("mx2", "mx3"):
        agents[name].engine, agents[name].lacks = "postfix 3.7.11", ("trace",)
    ran = await mailctl("trace", "provider:nope")
    assert ran.code == 2
    assert "mailctl: mx3: `trace` is not possible with its engine, postfix 3.7.11\n" in ran.err
