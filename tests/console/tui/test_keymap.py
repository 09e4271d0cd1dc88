"""Keys of one's own."""

from pathlib import Path

import pytest
from textual.dom import DOMNode

from mailagent.config.errors import ConfigError
from mailctl.ops.own import config_path
from mailctl.tui.app import ConsoleApp
from mailctl.tui.dialogs.confirm import ConfirmDialog
from mailctl.tui.keymap import load_keymap
from mailctl.tui.start import binding_ids
from tests.console.tui.doubles import NOW, StillFleet, StillOperator
from tests.console.tui.test_screens import ready, shown, table
from tests.console.tui.waiting import until


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_without_a_file_all_keys_are_the_shipped_ones(tmp_path: Path) -> None:
    assert load_keymap(tmp_path / "config.yaml", binding_ids()) == {}
    assert load_keymap(written(tmp_path / "config.yaml", "keys:\n"), binding_ids()) == {}


def test_the_file_stands_where_the_desktop_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_path() == tmp_path / "mailctl/config.yaml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_path() == tmp_path / ".config/mailctl/config.yaml"


def test_all_mistakes_are_named_with_their_line(tmp_path: Path) -> None:
    path = written(tmp_path / "config.yaml", "kees: {}\nkeys:\n  verb.drian: x\n  verb.drain: ''\n  verb.undo: u\n")
    with pytest.raises(ConfigError) as caught:
        load_keymap(path, binding_ids())
    assert str(caught.value).splitlines() == [
        f"{path}:1: kees: no such key; did you mean keys?",
        f"{path}:3: keys.verb.drian: no binding has this id; did you mean verb.drain or verb.rebind or verb.rotate?",
        f"{path}:4: keys.verb.drain: wants keys, such as `ctrl+d` or `down,n`",
    ]


def test_the_document_has_every_id() -> None:
    text = (Path(__file__).parents[3] / "docs/console.md").read_text()
    missing = [name for name in sorted(binding_ids()) if f"`{name}`" not in text]
    assert missing == sorted(f"demo.incident-{key}" for key in range(6, 12))  # it names the first and the last


async def test_a_remapped_key_acts_and_the_old_one_does_not() -> None:
    operator = StillOperator()
    app = ConsoleApp(StillFleet(), operator, now=lambda: NOW, keys={"verb.drain": "f9", "view.filter": "w"})
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("2")
        await until(pilot, lambda: table(pilot).cursor == "pool:cold")
        await until(pilot, lambda: "f9" in shown(pilot))
        await pilot.press("D")
        assert not operator.plans
        await pilot.press("f9")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        assert operator.plans[0].title == "drain pool:cold"


def test_every_binding_of_ours_can_be_remapped() -> None:
    def all_of(kind: type[DOMNode]) -> list[type[DOMNode]]:
        below: list[type[DOMNode]] = kind.__subclasses__()
        return [kind, *(one for each in below for one in all_of(each))]

    known = binding_ids()  # loads all screens
    kinds = {one for one in all_of(DOMNode) if one.__module__.startswith("mailctl.")}
    bindings = [binding for kind in kinds for binding in vars(kind).get("BINDINGS", ())]
    assert len(bindings) > 60
    assert [binding for binding in bindings if not binding.id] == []
    assert {binding.id for binding in bindings} == known
