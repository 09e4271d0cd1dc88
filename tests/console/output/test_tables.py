"""Tables, words and documents."""

import json
import os
import pty
import termios
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.dkim import DkimSelector, SelectorState
from mailagent.api.ids import HostName, ProviderName, StreamName
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.suppression import Suppression
from mailctl.cli.keys import key_table
from mailctl.cli.record_tables import age_table, reason_list
from mailctl.cli.setup import width
from mailctl.cli.suppressions import Found, suppression_table
from mailctl.fleet.state import FleetState, HostState, LinkState
from mailctl.output import human
from mailctl.output.document import at_host, document
from mailctl.output.tables import Column, cells, cut, fields, table, wrapped
from tests.console.loopback import LoopbackAgent
from tests.console.records import ages

NOW = datetime(2026, 9, 1, tzinfo=UTC)


@given(st.text(), st.integers(1, 40))
def test_cut_text_fits_its_width(text: str, width: int) -> None:
    assert cells(cut(text, width)) <= width
    if cells(text) <= width:
        assert cut(text, width) == text


@given(st.lists(st.lists(st.text(), min_size=3, max_size=3), max_size=5), st.integers(40, 120))
def test_remote_text_never_breaks_a_table(rows: list[list[str]], width: int) -> None:
    columns = [Column("A"), Column("B", right=True), Column("C", flex=True)]
    lines = table(columns, rows, width=width).split("\n")
    assert len(lines) == len(rows) + 1
    assert "\x1b" not in "".join(lines)


@given(st.text())
def test_printable_text_has_nothing_that_a_terminal_acts_on(text: str) -> None:
    shown = human.printable(text)
    assert len(shown) == len(text)
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or char in "\u202e\u2066\u200b" for char in shown)


def test_a_wide_table_cuts_its_flexible_column() -> None:
    columns = [Column("NAME"), Column("WHY", flex=True), Column("N", right=True)]
    shown = table(columns, [["mx1", "x" * 100, "5"]], total=["1 of 1 host", "", "5"], width=40)
    assert all(len(line) <= 40 for line in shown.split("\n"))
    assert shown.split("\n")[-2].startswith("-----------  ")
    assert "…" in shown
    assert "…" not in table(columns, [["mx1", "x" * 100, "5"]])


def test_a_narrow_terminal_leaves_out_spare_columns_and_says_which() -> None:
    columns = [Column("NAME"), Column("POOL", spare=1), Column("CONNS", right=True, spare=2), Column("WHY", flex=True)]
    row = ["mkt-1.example.com", "marketing", "5", "421 4.7.28 an unusual rate of mail"]
    narrow = table(columns, [row], width=50).split("\n")
    assert narrow[0].split() == ["NAME", "POOL", "WHY"]
    assert narrow[-1] == "(too narrow for CONNS; --json has all)"
    assert all(len(line) <= 50 for line in narrow)
    assert table(columns, [row], width=100).split("\n")[0].split() == ["NAME", "POOL", "CONNS", "WHY"]
    assert table(columns, [row]).split("\n")[1].endswith(row[-1])


@given(st.data(), st.integers(20, 100))
def test_no_table_is_wider_than_its_terminal(data: st.DataObject, width: int) -> None:
    ranks = st.integers(0, 3)
    columns = data.draw(
        st.lists(
            st.builds(Column, st.text("AB", min_size=1), st.booleans(), st.booleans(), spare=ranks, late=ranks),
            min_size=1,
            max_size=8,
        )
    )
    row = st.lists(st.text("ab …漢", max_size=50), min_size=len(columns), max_size=len(columns))
    rows = data.draw(st.lists(row, min_size=1, max_size=3))
    lines = table(columns, rows, total=data.draw(st.none() | row), width=width).split("\n")
    told = next((index for index, line in enumerate(lines) if line.startswith("(too narrow")), len(lines))
    assert max(map(cells, lines[:told])) <= width


def test_late_columns_go_when_cutting_is_not_enough_and_names_are_cut_last() -> None:
    columns = [
        Column("NAME"),
        Column("SENT", right=True, late=1),
        Column("DEFERRED", right=True),
        Column("WHY", flex=True),
    ]
    row = ["mkt-1", "1,000", "17", "421 4.7.28 an unusual rate of mail"]
    assert table(columns, [row], width=34).split("\n")[0].split() == ["NAME", "SENT", "DEFERRED", "WHY"]
    narrow = table(columns, [row], width=33).split("\n")
    assert narrow[0].split() == ["NAME", "DEFERRED", "WHY"]
    assert " ".join(narrow[2:]) == "(too narrow for SENT; --json has all)"
    long = ["a-virtual-mta-with-a-very-long-name", *row[1:]]
    assert table(columns, [long], width=44).split("\n")[1].split()[0] == "a-virtual-mta-with-a-…"
    assert table(columns, [long], width=33).split("\n")[1].split()[:2] == ["a-virtual-…", "17"]


def test_an_empty_column_that_gives_way_goes_before_others_and_without_a_word() -> None:
    columns = [Column("NAME"), Column("POOL", spare=1), Column("REASON", flex=True)]
    shown = table(columns, [["mkt-1", "marketing", ""]], width=17)
    assert shown.split("\n")[0].split() == ["NAME", "POOL"]
    assert len(shown.split("\n")) == 2


def test_wide_characters_take_two_columns() -> None:
    assert cells("日本") == 4
    assert cells("e\u0301") == 1


def test_sentences_wrap_at_words_and_links_stay_whole() -> None:
    link = "https://support.example.com/mail/?p=UnsolicitedRateLimitError"
    lines = wrapped(f"mail has been limited for now, see {link} about it", indent=2, width=30)
    assert lines == ["  mail has been limited for", "  now, see", f"  {link}", "  about it"]
    assert wrapped("a b", indent=2, width=None) == ["  a b"]


def test_fields_keep_lines_and_clean_them() -> None:
    assert fields([("a", "1\n2\x1b[31m"), ("long", "")]) == "a     1\n      2 [31m\nlong"


def test_long_fields_wrap_behind_their_names() -> None:
    assert fields([("a", "one two three"), ("long", "x")], 12) == "a     one\n      two\n      three\nlong  x"


def test_durations_have_two_units_at_most() -> None:
    assert [human.duration(one) for one in (0, 59, 60, 245, 3600, 11520, 187200)] == [
        "0s",
        "59s",
        "1m",
        "4m05s",
        "1h",
        "3h12m",
        "2d04h",
    ]


def test_percentages_are_precise_where_they_are_small() -> None:
    assert [human.percent(one) for one in (None, 0, 0.004, 0.0949, 0.0999, 1)] == [
        "-",
        "0%",
        "0.4%",
        "9.5%",
        "10%",
        "100%",
    ]


def test_times_are_relative_to_now() -> None:
    assert human.until(NOW + timedelta(minutes=4), NOW) == "in 4m"
    assert human.until(NOW - timedelta(minutes=4), NOW) == "now"
    assert human.until(None, NOW) == human.NOTHING
    assert human.ago(NOW - timedelta(hours=2), NOW) == "2h"
    assert human.clock(NOW) == "2026-09-01 00:00:00Z"
    assert [human.size(one) for one in (5, 9 * 1024, 1 << 34, 1 << 50)] == ["5 B", "9.0 KiB", "16 GiB", "1024.0 TiB"]


def test_a_document_has_the_shape_of_the_conventions() -> None:
    agent = LoopbackAgent("mx1", 0, Path("/nowhere"))
    snapshot = agent.snapshot()
    state = FleetState(
        hosts=(
            HostState(name=HostName("mx1"), state=LinkState.LIVE, age_s=0.25, snapshot=snapshot),
            HostState(name=HostName("mx2"), state=LinkState.LOST, error="no route"),
        )
    )
    rows = [at_host(HostName("mx1"), snapshot.pools[0])]
    made = json.loads(document("pools", state, rows=rows, truncated=False, errors=["mx2: lost: no route"]))
    assert made["schema"] == "mailctl.pools/1"
    assert made["hosts"] == [
        {"name": "mx1", "state": "live", "age_s": 0.25, "error": ""},
        {"name": "mx2", "state": "lost", "age_s": None, "error": "no route"},
    ]
    assert made["rows"][0]["host"] == "mx1"
    assert made["rows"][0]["flow"]["delivered_1m"] == 600
    assert made["errors"] == ["mx2: lost: no route"]
    assert "operation" not in made


def test_what_is_not_there_is_one_dash_in_every_table() -> None:
    entry = Suppression(address="a@one.example", added_at=datetime(2026, 7, 1, tzinfo=UTC), evidence="550")
    found = Found(rows=[(HostName("mx1"), entry)], truncated=False, active=1, pending=0, errors={})
    assert suppression_table(found, None).split("\n")[1].split()[5:] == ["-", "550"]
    key = DkimSelector(
        domain="one.example", pool="news", selector="n1", algorithm="rsa", bits=2048, state=SelectorState.ACTIVE,
        origin="agent.yaml:41", made_at=None, due=False, name="n1._domainkey.one.example", record="",
    )  # fmt: skip
    assert key_table([(HostName("mx1"), key)], None).split("\n")[1].split()[7] == "-"


def test_ages_leave_out_times_that_nothing_waits_before_anything_else_at_80_columns() -> None:
    row = msgspec.structs.replace(
        ages().rows[0],
        provider=ProviderName("google-workspace"),
        stream=StreamName("transactional"),
        waiting=14_010,
        buckets=(11_000, 3_000, 0, 0, 10, 0, 0, 0, 0, 0),
    )
    text = age_table([(HostName("mx1"), row)], 80)
    assert max(map(len, text.split("\n"))) <= 80
    head, first, *_ = text.split("\n")
    assert {"PROVIDER", "STREAM", "HOST", "OLDEST", "P95", "ALL", "5", "10", "80"} <= set(head.split())
    assert {"mx1", "14010", "11000", "3000"} <= set(first.split())
    assert "(too narrow for P50, 20, 40, 160, 320, 640, 1280, 1280+; --json has all)" in text
    tight = age_table([(HostName("mx1"), row)], 60)
    assert max(map(len, tight.split("\n"))) <= 60


def test_ages_say_what_their_columns_mean_and_the_oldest_of_all() -> None:
    rows = [(HostName("mx1"), row) for row in ages().rows]
    text = age_table(rows, None)
    assert "ALL" in text.split("\n")[0]
    assert "5 has waited up to 5, 10 from 5 to 10, 1280+ longer than 1280" in text.replace("\n", " ")
    total = next(line for line in text.split("\n") if line.startswith("TOTAL"))
    assert total.split()[1] == text.split("\n")[1].split()[3]


def test_a_wait_that_is_over_is_due_and_not_until_now() -> None:
    past = WaitReason(kind=ReasonKind.SCHEDULE, detail="attempt 2", until=NOW)
    assert "due since 2026-09-01" in reason_list(HostName("mx1"), [past], None)


def test_the_width_is_that_of_the_terminal_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, terminal = pty.openpty()
    try:
        termios.tcsetwinsize(terminal, (24, 70))
        with os.fdopen(os.dup(terminal), "w") as out:
            monkeypatch.setattr("sys.stdout", out)
            monkeypatch.setenv("COLUMNS", "200")
            assert width() == 70
    finally:
        os.close(leader)
        os.close(terminal)
