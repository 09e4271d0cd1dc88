"""`mailctl suppression` against a running agent."""

from pathlib import Path

import pytest

from mailctl.cli.exits import Exit
from tests.integration.rig import rig
from tests.integration.shell import Shell

UNKNOWN = b"550 5.1.1 no such user\r\n"


async def test_the_list_is_shown_changed_written_and_read(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        shell = Shell(one, tmp_path)
        assert (await shell.json("suppression", "list"))["rows"] == []
        done = await shell.json(
            "suppression", "add", "Anna@Example.com", "b@example.com", "--because", "complaint", "--yes",
            "--reason", "letter of 3 May",
        )  # fmt: skip
        (result,) = done["operation"]["results"]
        assert (result["result"], result["detail"]) == ("applied", "2 addresses put on the suppression list")
        assert "suppression add Anna@Example.com b@example.com --because complaint" in done["operation"]["command"]
        (row,) = (await shell.json("suppression", "list", "anna@example.com"))["rows"]
        assert (row["host"], row["reason"], row["evidence"]) == ("mx1", "complaint", "letter of 3 May")
        assert (await one.send("anna@example.com")).startswith("550 5.7.1")

        code, out, err = await shell.run("suppression", "list")
        assert code == Exit.DONE, err
        assert "2 in effect, 0 pending" in out
        code, out, _ = await shell.run("suppression", "export", "--because", "complaint")
        assert code == Exit.DONE
        assert out == "address,reason,expires,stream\nanna@example.com,complaint,,\nb@example.com,complaint,,\n"

        await shell.json("suppression", "remove", "anna@example.com", "--yes")
        again = tmp_path / "list.csv"
        again.write_text(out, encoding="utf-8")
        looked = await shell.json("suppression", "import", str(again), "--dry-run")
        assert looked["rows"] == [{"host": "mx1", "added": 2, "error": ""}]
        assert len((await shell.json("suppression", "list"))["rows"]) == 1
        await shell.json("suppression", "import", str(again), "--yes", "--reason", "from the old system")
        assert len((await shell.json("suppression", "list"))["rows"]) == 2


async def test_a_long_list_is_read_in_parts_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        shell = Shell(one, tmp_path)
        names = [f"user{n:04d}@example.com" for n in range(1000)]
        source = tmp_path / "list.csv"
        source.write_text(
            "address,reason,expires\n" + "".join(f"{name},manual,2030-01-01T00:00:00Z\n" for name in names)
        )
        for _ in range(2):
            done = await shell.json("suppression", "import", str(source), "--yes")
            assert done["rows"] == [{"host": "mx1", "added": 1000, "error": ""}]
        _, out, _ = await shell.run("suppression", "export")
        assert [line.split(",")[0] for line in out.splitlines()[1:]] == names
        listed = await shell.json("suppression", "list", "--limit", "700")
        assert (len(listed["rows"]), listed["truncated"]) == (700, True)


async def test_a_domain_is_one_in_its_letters_and_as_a_labels(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        shell = Shell(one, tmp_path)
        added = await shell.json("suppression", "add", "anna@bücher.example", "--yes")
        assert added["operation"]["results"][0]["target"] == "anna@xn--bcher-kva.example"
        for address in ("anna@BÜCHER.example", "anna@xn--bcher-kva.example"):
            (row,) = (await shell.json("suppression", "list", address))["rows"]
            assert row["address"] == "anna@xn--bcher-kva.example"
        await shell.json("suppression", "remove", "anna@bücher.example", "--yes")
        assert not (await shell.json("suppression", "list"))["rows"]


async def test_a_freeze_is_ordered_shown_and_decided_about(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        shell = Shell(one, tmp_path)
        one.sink.refuse = lambda mail, recipient: UNKNOWN if recipient.startswith("nobody") else None
        await shell.json("suppression", "freeze", "host:mx1", "--for", "2h", "--yes", "--reason", "they are wrong")
        _, out, _ = await shell.run("directives")
        assert "freeze-suppression" in out
        await one.accepted("nobody@a.example")
        while not (await shell.json("suppression", "list", "--pending"))["rows"]:
            pass
        await shell.json("suppression", "thaw", "host:mx1", "--yes")
        planned = await shell.json("suppression", "pending", "discard", "--dry-run")
        assert planned["operation"]["results"][0]["detail"] == "1 pending entry: it is forgotten"
        await shell.json("suppression", "pending", "discard", "--yes")
        assert (await shell.json("suppression", "list"))["rows"] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1 names the columns"),
        ("mail\na@b.example\n", "line 1 names the columns"),
        ("address,reason\na@b.example\n", "line 2 has 1 fields"),
        ("address\nnobody\n", "line 2: `nobody` is no address"),
        ("address,reason\na@b.example,hated\n", "line 2: `hated` is no reason"),
        ("address,expires\na@b.example,tomorrow\n", "line 2: "),
        ("address,expires\na@b.example,2030-01-01\n", "has no time zone"),
        ('address\n"a@b.example" x\n', "is no CSV"),
    ],
)
async def test_a_file_with_a_mistake_is_not_used(tmp_path: Path, text: str, why: str) -> None:
    async with rig(tmp_path) as one:
        source = tmp_path / "list.csv"
        source.write_text(text, encoding="utf-8")
        code, _, err = await Shell(one, tmp_path).run("suppression", "import", str(source), "--yes")
        assert code == Exit.USAGE
        assert why in err
        assert "Traceback" not in err
