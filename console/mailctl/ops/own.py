"""The operator's own file, `config.yaml`: where it is, and what of it concerns more than the screens."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from mailagent.config.errors import ConfigError, Problem
from mailagent.config.nodes import Mapping, Node, Scalar, compose

READ_ONLY = "read_only"
THEME = "theme"
COLUMNS = "columns"
READ_ONLY_REFUSAL = "read-only mode: nothing is changed from here (--read-write allows it)"


def config_path() -> Path:
    """`$XDG_CONFIG_HOME/mailctl/config.yaml`, or below `~/.config`; of an account without a home, nowhere."""
    home = os.environ.get("XDG_CONFIG_HOME")
    try:
        place = Path(home) if home else Path("~/.config").expanduser()
    except RuntimeError:
        place = Path("/nonexistent")
    return place / "mailctl" / "config.yaml"


def read_own(path: Path, problems: list[Problem]) -> Node | None:
    """The file as nodes; None when there is no such file.

    Raises:
        ConfigError: it is there and cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):  # the home of many services is /dev/null
        return None
    except OSError as exc:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {exc.strerror or exc}")]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {exc}")]) from exc
    return compose(text, str(path), problems)


def entries(node: Node | None, name: str, wrong: Callable[[int, str, str], None]) -> Iterable[tuple[str, Node]]:
    """Names and values of a section; `wrong` hears of anything else."""
    if isinstance(node, Mapping):
        return node.entries.items()
    if node is not None and not (isinstance(node, Scalar) and node.is_empty):
        wrong(node.line, name, "wants names and values")
    return ()


def is_read_only(path: Path) -> bool:
    """Whether the file wants nothing changed unless a command says otherwise; not without such a file.

    Raises:
        ConfigError: `read_only` is neither true nor false, or the file is no YAML.
    """
    problems: list[Problem] = []
    value = dict(entries(read_own(path, problems), "", lambda *_: None)).get(READ_ONLY)
    text = value.text if isinstance(value, Scalar) else None
    if value is not None and text not in ("true", "false"):
        problems.append(Problem(str(path), value.line, READ_ONLY, "wants true or false"))
    if problems:
        raise ConfigError(problems)
    return text == "true"
