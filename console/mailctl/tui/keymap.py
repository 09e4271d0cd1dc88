"""Keys of one's own: `keys:` of config.yaml, from the id of a binding to the keys that do it.

keys:
  verb.drain: "ctrl+d"
  table.down: "down,n"
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from textual.binding import Binding, BindingType

from mailagent.config.errors import ConfigError, Problem
from mailagent.config.nodes import Scalar
from mailctl.ops.own import COLUMNS, READ_ONLY, THEME, entries, read_own
from mailctl.ops.selector import near

Keymap = Mapping[str, str]


def load_keymap(path: Path, known: Collection[str]) -> Keymap:
    """Keys by the id of their binding; none without such a file.

    Raises:
        ConfigError: the file is no YAML, or has other keys, ids that there are not, or empty keys: all of them.
    """
    problems: list[Problem] = []
    keys: dict[str, str] = {}

    def wrong(line: int, key: str, what: str) -> None:
        problems.append(Problem(str(path), line, key, what))

    for name, section in entries(read_own(path, problems), "", wrong):
        if name in (READ_ONLY, THEME, COLUMNS):
            continue
        if name != "keys":
            wrong(section.line, name, f"no such key{near(name, ('keys', READ_ONLY, THEME, COLUMNS))}")
            continue
        for binding, value in entries(section, name, wrong):
            if binding not in known:
                wrong(value.line, f"keys.{binding}", f"no binding has this id{near(binding, known)}")
            elif not isinstance(value, Scalar) or not value.text.strip():
                wrong(value.line, f"keys.{binding}", "wants keys, such as `ctrl+d` or `down,n`")
            else:
                keys[binding] = value.text.strip()
    if problems:
        raise ConfigError(problems)
    return keys


def bindings_of(kind: type) -> Iterable[Binding]:
    """Bindings of a class and what it is made from, the nearest first."""
    for one in kind.__mro__:
        declared: Iterable[BindingType] = vars(one).get("BINDINGS", ())
        for binding in declared:
            if isinstance(binding, Binding):
                yield binding
