"""`mailctl dkim` against a running agent: each step and its exit code."""

import os
import time
from pathlib import Path

from mailctl.cli.exits import Exit
from tests.agent.dkim.material import key_file
from tests.integration.rig import POOLS, SOON, rig
from tests.integration.shell import Shell
from tests.integration.test_dkim_rotation import SECTION, publish, rows

TARGET = "dkim:sender.example/marketing"


async def test_keys_are_rotated_from_the_shell(tmp_path: Path) -> None:
    file = key_file(tmp_path, "mkt1.pem")
    async with rig(tmp_path, POOLS + SOON + SECTION.format(folder=tmp_path)) as one:
        shell = Shell(one, tmp_path)
        (row,) = (await shell.json("dkim", "list"))["rows"]
        assert (row["selector"], row["state"], row["due"]) == ("mkt1", "active", False)
        await shell.json("dkim", "rotate", "--due", "--yes")  # nothing is due
        old = time.time() - 366 * 86_400
        os.utime(file, (old, old))

        code, out, err = await shell.run("dkim", "rotate", "--due", "--yes")
        assert code == Exit.DONE, err
        assert "publish marketing-" in out
        _, out, _ = await shell.run("dkim", "list")
        assert "prepared" in out
        proof = await shell.json("dkim", "prove", TARGET, code=Exit.INCOMPLETE)
        assert [row["proven"] for row in proof["rows"]] == [False]
        waits = await shell.json("dkim", "rotate", "--due", "--yes", code=Exit.INCOMPLETE)
        assert [(row["step"], row["result"]) for row in waits["rows"]] == [("dkim switch", "refused")]

        (prepared,) = [row for row in (await rows(one)).values() if row.state == "prepared"]
        publish(one, prepared)
        await shell.json("dkim", "prove", TARGET)
        done = await shell.json("dkim", "rotate", "--due", "--yes", "--reason", "key age")
        assert [(row["step"], row["result"]) for row in done["rows"]] == [("dkim switch", "applied")]
        _, out, _ = await shell.run("dkim", "list", "pool:marketing")
        assert "stays published until" in out

        retired = await shell.json("dkim", "retire", TARGET, "--yes", code=Exit.REFUSED)
        assert "may be on its way" in retired["operation"]["results"][0]["detail"]
        found = await shell.json("dkim", "retire", TARGET, "--yes", "--override", "--reason", "leaked")
        assert found["operation"]["results"][0]["result"] == "applied"
        assert "mailctl" in found["operation"]["command"]
        assert f"dkim retire {TARGET}" in found["operation"]["command"]
