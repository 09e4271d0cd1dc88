"""`mailctl jobs` and `mailctl job` against a running agent."""

from pathlib import Path

from mailctl.cli.exits import Exit
from tests.integration.rig import LATE, POOLS, rig
from tests.integration.shell import Shell


async def test_a_job_is_held_paced_and_cancelled_from_the_shell(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        shell = Shell(one, tmp_path)
        assert (await shell.json("jobs"))["rows"] == []
        _, out, _ = await shell.run("job", "pause", "spring", "--dry-run")
        assert "job pause spring: 1 of 1 host" in out
        assert "job pause spring\n" in out.partition("command: mailctl ")[2]
        _, _, err = await shell.run("job", "pause", "spring", "--yes", "--reason", "wrong price")
        assert "mailctl: job pause spring: applied on 1 of 1 host" in err
        await one.accepted("a@one.example", "b@one.example", headers="X-Job: spring\r\n")
        await one.accepted("c@one.example", headers="X-Job: other\r\n")
        await one.delivered("c@one.example")
        (row,) = (await shell.json("jobs", "job:spring"))["rows"]
        assert (row["host"], row["state"], row["waiting"]) == ("mx1", "paused", 2)
        _, out, _ = await shell.run("jobs")
        assert "wrong price" in out
        assert "other" in out
        code, out, _ = await shell.run("directives")
        assert code == Exit.DONE
        assert out.splitlines()[1].split()[:2] == ["pause", "job:spring"]
        _, out, _ = await shell.run("job", "pause", "spring", "--dry-run")
        assert "spring is already paused by " in out
        _, out, _ = await shell.run("job", "show", "spring")
        assert "mailctl job resume job:spring" in out
        listed = await shell.json("messages", "job:spring")
        assert len(listed["rows"]) == 2

        done = await shell.json("job", "set", "spring", "--end", "+2h", "--rate", "50/s", "--yes")
        assert "may send 50/s on this host" in done["operation"]["results"][0]["detail"]
        assert "job set spring" in done["operation"]["command"]
        _, out, err = await shell.run("job", "limit", "spring", "none", "--yes")
        assert " job limit spring none\n" in err
        assert "mailctl: job limit spring: applied on 1 of 1 host\n" in err
        one.sink.refuse = lambda mail, recipient: b"451 4.7.1 slow down\r\n"
        done = await shell.json("job", "resume", "job:spring", "--yes")
        assert (done["operation"]["verb"], done["operation"]["selection"]) == ("resume", "job:spring")
        assert "job resume spring" in done["operation"]["command"]
        await one.deferred(2)
        _, out, _ = await shell.run("job", "show", "spring")
        assert "2 wait at" in out
        assert "slow down" in out

        code, _, err = await shell.run("job", "cancel", "spring", "--yes")
        assert code == Exit.USAGE
        assert "--max-affected" in err
        planned = await shell.json("job", "cancel", "spring", "--dry-run")
        assert planned["operation"]["messages"] == 2
        await shell.json("job", "cancel", "spring", "--yes", "--max-affected", "1", code=Exit.REFUSED)
        await shell.json("job", "cancel", "spring", "--yes", "--max-affected", "2")
        await one.shows(lambda snapshot: snapshot.host.waiting == 0, "nothing waits")
        (row,) = (await shell.json("jobs", "job:spring"))["rows"]
        assert (row["state"], row["cancelled"]) == ("cancelled", 2)
        code, _, _ = await shell.run("job", "show", "nowhere")
        assert code == Exit.INCOMPLETE


async def test_a_verb_on_mail_does_not_take_a_name_that_nobody_has_for_an_empty_queue(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        shell = Shell(one, tmp_path)
        for words in ("hold pool:nope", "retry provider:nope", "delete --filter stream:nope", "queues vmta:nope"):
            code, out, err = await shell.run(*words.split(), *(() if "queues" in words else ("--dry-run",)))
            assert (code, out) == (Exit.USAGE, ""), words
            kind, _, name = words.split()[-1].partition(":")
            assert err.startswith(f"mailctl: error: no {kind} {name}; "), err
        code, out, _ = await shell.run("hold", "provider:gmail", "--dry-run")
        assert (code, "no mail matches" in out) == (Exit.DONE, True)
