"""The operator's own file, beyond keys."""

from pathlib import Path

import pytest

from mailagent.config.errors import ConfigError
from mailctl.ops.own import is_read_only


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_nothing_is_read_only_without_the_file_or_the_key(tmp_path: Path) -> None:
    assert not is_read_only(tmp_path / "none.yaml")
    assert not is_read_only(written(tmp_path / "a.yaml", "keys: {verb.drain: f9}\n"))
    assert not is_read_only(written(tmp_path / "b.yaml", "read_only: false\n"))
    assert is_read_only(written(tmp_path / "c.yaml", "read_only: true\n"))


@pytest.mark.parametrize("text", ["read_only: on\n", "read_only: [true]\n", "read_only:\n"])
def test_anything_but_true_and_false_is_a_mistake(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="read_only: wants true or false"):
        is_read_only(written(tmp_path / "own.yaml", text))
