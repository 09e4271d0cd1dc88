"""Maps by the helper: what apply has set up is written, anything else is refused and nothing changes."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.ids import StreamName, VmtaName
from mailagent.postfix import helper
from mailagent.postfix.allowed import Allowed
from mailagent.postfix.asking import Helper
from mailagent.postfix.files import PLAIN, MapFolder, MapsFailed
from mailagent.postfix.tables import ALLOWED, FOLDER, HELD_MAP, is_waiting, map_text, slot_names, slots_text, waiting
from mailagent.postfix.writers import HelpedWriter

SLOTS = "marketing.slots"
HELD = waiting("provider gmail is suspended by alice: throttled")
GOOD = slots_text({VmtaName("mkt-1"): 3, VmtaName("mkt-2"): 1}, "[relay.example]:25", "")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A configuration directory in which apply has been."""
    folder = tmp_path / FOLDER
    folder.mkdir(mode=0o755)
    known = Allowed(PLAIN, ("mkt-1", "mkt-2"), (StreamName("marketing"),), "[relay.example]:25")
    (folder / ALLOWED).write_text(known.text(), encoding="ascii")
    (folder / ALLOWED).chmod(0o644)
    (tmp_path / "reloaded").write_text("")
    script = tmp_path / "postfix"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/reloaded\n')
    script.chmod(0o755)
    return tmp_path


def ask(place: Path, maps: object) -> str:
    """Have the helper write maps: what was in the way."""
    return helper.answer(json.dumps({"act": "maps", "maps": maps}).encode(), place, place).trouble


def test_maps_of_the_setup_are_written_all_at_once_and_only_what_changed_is_told(place: Path) -> None:
    maps = {SLOTS: GOOD, HELD_MAP: map_text({"gmail.com": HELD, "[192.0.2.1]": HELD}.items())}
    request = json.dumps({"act": "maps", "maps": maps}).encode()
    assert helper.answer(request, place, place).ids == {SLOTS, HELD_MAP}
    assert {name: (place / FOLDER / name).read_text() for name in maps} == maps
    assert helper.answer(request, place, place).ids == frozenset()


def test_a_reload_takes_nothing_from_the_request(place: Path) -> None:
    assert helper.answer(b'{"act": "reload", "maps": {"x": "y"}, "ids": ["-x"]}', place, place).trouble == ""
    assert (place / "reloaded").read_text() == f"-c {place} reload\n"


def rows(**changed: str) -> str:
    found = dict.fromkeys(slot_names(), "vmta-mkt-1:[relay.example]:25")
    return map_text({**found, **changed}.items())


@pytest.mark.parametrize(
    ("maps", "why"),
    [
        ({"../main.cf": GOOD}, "is no map that the agent writes"),
        ({"tx.slots": GOOD}, "is no map that the agent writes"),
        ({"marketing.senders": "/^a$/ found\n"}, "is no map that the agent writes"),
        ({ALLOWED: "{}"}, "is no map that the agent writes"),
        ({SLOTS: rows(**{"00": "smtp:[evil.example]"})}, "slot 00 has 'smtp:[evil.example]', which apply has not"),
        ({SLOTS: rows(**{"00": "vmta-mkt-1:[evil.example]"})}, "slot 00 has"),
        ({SLOTS: rows(**{"00": "vmta-mkt-3:[relay.example]:25"})}, "slot 00 has"),
        ({SLOTS: rows(**{"100": "vmta-mkt-1:[relay.example]:25"})}, "rows 00 to 99"),
        ({SLOTS: map_text([])}, "rows 00 to 99"),
        ({HELD_MAP: map_text([("a.example", "discard:")])}, "may only wait"),
        ({HELD_MAP: map_text([("a.example", f"{HELD}\x7f")])}, "not a table"),
        ({HELD_MAP: map_text([("*", HELD)])}, "only recipient domains"),
        ({HELD_MAP: map_text([(".example", HELD)])}, "only recipient domains"),
        ({HELD_MAP: map_text([("a@b.example", HELD)])}, "only recipient domains"),
        ({HELD_MAP: map_text([("a.example", HELD), ("a.example", HELD)])}, "not a table"),
        ({HELD_MAP: map_text([("a.example", HELD)]) + "# b\n"}, "not a table"),
        ({HELD_MAP: map_text([("a.example", HELD)]) + " discard:\n"}, "not a table"),
        ({HELD_MAP: f"a.example\t{HELD}\n"}, "not a table"),
        ({SLOTS: GOOD, HELD_MAP: "x"}, "not a table"),
        ([SLOTS], "maps are texts by name"),
        ({SLOTS: 1}, "maps are texts by name"),
    ],
)
def test_anything_else_is_refused_and_nothing_is_written(place: Path, maps: Mapping[str, str], why: str) -> None:
    assert why in ask(place, maps)
    assert {path.name for path in (place / FOLDER).iterdir()} == {ALLOWED}


@given(st.text(max_size=300))
def test_whatever_the_reason_says_a_row_that_waits_is_allowed(words: str) -> None:
    assert is_waiting(waiting(words))


def test_who_may_write_is_said_by_a_file_that_nobody_else_could_have_written(place: Path) -> None:
    path = place / FOLDER / ALLOWED
    path.chmod(0o664)
    assert "could be written by others" in ask(place, {SLOTS: GOOD})
    path.chmod(0o644)
    (place / FOLDER).chmod(0o777)
    assert "could be written by others" in ask(place, {SLOTS: GOOD})
    (place / FOLDER).chmod(0o755)
    path.rename(place / "elsewhere")
    assert "run mailagent postfix apply" in ask(place, {SLOTS: GOOD})
    path.symlink_to(place / "elsewhere")
    assert "cannot be read" in ask(place, {SLOTS: GOOD})
    path.unlink()
    path.write_text("[]")
    assert "cannot be read" in ask(place, {SLOTS: GOOD})


async def test_the_agent_asks_only_for_what_changes_and_hears_why_not(place: Path) -> None:
    folder = MapFolder(place / FOLDER, PLAIN)
    nobody = HelpedWriter(Helper([str(place / "none")]))
    with pytest.raises(MapsFailed, match=r"stay as they were: the helper .*none cannot be asked"):
        await nobody.write(folder, {SLOTS: GOOD})
    assert await asyncio.to_thread(ask, place, {SLOTS: GOOD}) == ""
    assert await nobody.write(folder, {SLOTS: GOOD}) == set()
    assert nobody.why_not(folder) == ""
    (folder.path / ALLOWED).unlink()
    assert "run mailagent postfix apply" in nobody.why_not(folder)
