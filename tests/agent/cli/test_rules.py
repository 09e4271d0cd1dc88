"""`mailagent classify` and `mailagent rules check`."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest

HEADER = "provider,smtp_code,enhanced_code,text_sample"


def mailagent(*arguments: str, stdin: bytes | str = b"") -> subprocess.CompletedProcess[bytes]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    return subprocess.run([sys.executable, "-m", "mailagent", *arguments], input=data, capture_output=True, timeout=30)


def rows(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, str]]:
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout.decode())))


def test_each_row_comes_back_with_category_action_and_rule() -> None:
    source = Path(__file__).parents[1] / "outcome" / "smtp-responses.csv"
    found = rows(mailagent("classify", stdin=source.read_bytes()))
    with source.open(encoding="utf-8", newline="") as file:
        wanted = list(csv.DictReader(file))
    assert [{name: row[name] for name in wanted[0]} for row in found] == wanted
    assert all(row["rule"] for row in found)
    assert list(found[0])[-3:] == ["category", "action", "rule"]


def test_columns_may_stand_in_any_order_and_others_are_kept() -> None:
    header = "\ufefftext_sample,note,verb,provider,enhanced_code,smtp_code"
    stdin = f'{header}\r\n"User unknown, ""sorry""",n1,mail from,,,550\r\n\r\n'
    (row,) = rows(mailagent("classify", stdin=stdin))
    assert row["note"] == "n1"
    assert row["text_sample"] == 'User unknown, "sorry"'
    assert row["category"] == "sender-invalid"


@pytest.mark.parametrize(
    ("stdin", "why"),
    [
        ("", "the first line lacks provider, smtp_code, enhanced_code, text_sample"),
        ("provider,smtp_code\n", "the first line lacks enhanced_code, text_sample"),
        (f"{HEADER},provider\n", "names a column twice"),
        (f"{HEADER}\ngmail,550,5.1.1\n", "line 2: has 3 fields, the first line has 4"),
        (f"{HEADER}\ngmail,5x0,,text\n", "line 2: smtp_code `5x0` is no SMTP code"),
        (f"{HEADER},verb\ngmail,550,,text,SING\n", "line 2: verb `SING` is none of"),
        (f'{HEADER}\ngmail,550,,"text" more\n', "line 2: is no CSV"),
        (b"provider,smtp_code,enhanced_code,text_sample\ngmail,550,,\xff\xfe\n", "not UTF-8"),
    ],
)
def test_what_is_no_such_csv_is_refused_with_its_line(stdin: bytes | str, why: str) -> None:
    done = mailagent("classify", stdin=stdin)
    assert done.returncode == 2
    assert why in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize(
    ("word", "category"),
    [("RCPT TO", "bad-mailbox"), ("mail_from", "sender-invalid"), ("end of data", "bad-mailbox"), (".", "bad-mailbox")],
)
def test_a_verb_may_be_written_as_logs_write_it(word: str, category: str) -> None:
    (row,) = rows(mailagent("classify", stdin=f"{HEADER},verb\n,550,,User unknown,{word}\n"))
    assert row["category"] == category


def test_own_rules_are_tried(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("rules: [{id: mine, text: [qwerty], category: policy, examples: [550 Qwerty]}]\n")
    (row,) = rows(mailagent("classify", "--rules", str(own), stdin=f"{HEADER}\n,550,,Qwerty\n"))
    assert row["rule"] == "mine"
    assert mailagent("rules", "check", "--rules", str(own)).returncode == 0
    own.write_text("rules: [{id: mine, text: [mailbox], category: policy, examples: [550 x]}]\n")
    done = mailagent("rules", "check", "--rules", str(own))
    assert done.returncode == 1
    assert b"mine comes first" in done.stdout
    own.write_text("rules: [{id: mine, text: [Capital], category: policy}]\n")
    done = mailagent("classify", "--rules", str(own), stdin=f"{HEADER}\n")
    assert done.returncode == 2
    assert b"own.yaml:1: rules[0].text[0]: has a capital letter" in done.stderr
