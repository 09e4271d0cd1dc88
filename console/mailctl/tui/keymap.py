"""Keys of one's own: `keys:` of config.yaml, from the id of a binding to the keys that do it.

keys:
  verb.drain: "ctrl+d"
  table.down: "down,n"
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from textual.binding import Binding, BindingType

from mailagent.config.errors import ConfigError, Problem
from mailagent.config.nodes import Mapping as Entries
from mailagent.config.nodes import Node, Scalar, compose
from mailctl.ops.selector import near

Keymap = Mapping[str, str]


def config_path() -> Path:
    """`$XDG_CONFIG_HOME/mailctl/config.yaml`, or below `~/.config`."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path("~/.config").expanduser()) / "mailctl" / "config.yaml"


def load_keymap(path: Path, known: Collection[str]) -> Keymap:
    """Keys by the id of their binding; none without such a file.

    Raises:
        ConfigError: the file is no YAML, or has other keys, ids that there are not, or empty keys: all of them.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {exc}")]) from exc
    problems: list[Problem] = []
    keys: dict[str, str] = {}

    def wrong(line: int, key: str, what: str) -> None:
        problems.append(Problem(str(path), line, key, what))

    root = compose(text, str(path), problems)
    for name, section in _entries(root, "", wrong):
        if name != "keys":
            wrong(section.line, name, f"no such key{near(name, ('keys',))}")
            continue
        for binding, value in _entries(section, name, wrong):
            if binding not in known:
                wrong(value.line, f"keys.{binding}", f"no binding has this id{near(binding, known)}")
            elif not isinstance(value, Scalar) or not value.text.strip():
                wrong(value.line, f"keys.{binding}", "wants keys, such as `ctrl+d` or `down,n`")
            else:
                keys[binding] = value.text.strip()
    if problems:
        raise ConfigError(problems)
    return keys


def _entries(node: Node | None, name: str, wrong: Callable[[int, str, str], None]) -> Iterable[tuple[str, Node]]:
    if isinstance(node, Entries):
        return node.entries.items()
    if node is not None and not (isinstance(node, Scalar) and node.is_empty):
        wrong(node.line, name, "wants names and values")
    return ()


def bindings_of(kind: type) -> Iterable[Binding]:
    """Bindings of a class and what it is made from, the nearest first."""
    for one in kind.__mro__:
        declared: Iterable[BindingType] = vars(one).get("BINDINGS", ())
        for binding in declared:
            if isinstance(binding, Binding):
                yield binding
