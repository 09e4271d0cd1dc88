"""The operator's own file, beyond keys."""

import pwd
from pathlib import Path
from typing import NoReturn

import click
import pytest

from mailagent.config.errors import ConfigError
from mailctl.cli.setup import Setup
from mailctl.ops.own import config_path, is_read_only


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_nothing_is_read_only_without_the_file_or_the_key(tmp_path: Path) -> None:
    assert not is_read_only(tmp_path / "none.yaml")
    assert not is_read_only(Path("/dev/null/.config/mailctl/config.yaml"))
    assert not is_read_only(written(tmp_path / "a.yaml", "keys: {verb.drain: f9}\n"))
    assert not is_read_only(written(tmp_path / "b.yaml", "read_only: false\n"))
    assert is_read_only(written(tmp_path / "c.yaml", "read_only: true\n"))


@pytest.mark.parametrize("text", ["read_only: on\n", "read_only: [true]\n", "read_only:\n"])
def test_anything_but_true_and_false_is_a_mistake(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="read_only: wants true or false"):
        is_read_only(written(tmp_path / "own.yaml", text))


def test_an_account_without_a_home_has_no_file_and_is_asked_for_the_fleet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nobody(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME", "MAILCTL_FLEET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert not is_read_only(config_path())
    with pytest.raises(click.UsageError, match="no fleet file"):
        Setup(fleet_file=None, role=None, timeout_s=1).path()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MAILCTL_FLEET", "~/a.yaml")
    assert Setup(fleet_file=None, role=None, timeout_s=1).path() == tmp_path / "a.yaml"
    assert Setup(fleet_file=Path("~/b.yaml"), role=None, timeout_s=1).path() == tmp_path / "b.yaml"
