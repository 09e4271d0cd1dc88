"""The operator's own file as a whole: keys, theme, columns. It counts whole or not at all."""

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mailagent.config.edits import Edits
from mailagent.config.errors import ConfigError, Problem
from mailagent.config.nodes import Listing, Scalar
from mailctl.ops.own import COLUMNS, entries, read_own
from mailctl.ops.selector import near
from mailctl.tui.keymap import Keymap, load_keymap
from mailctl.tui.layout import Chosen, Layout, Layouts, Tables, parse
from mailctl.tui.theme import DARK, load_theme

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Own:
    """What the file says; the shipped values without one."""

    keys: Keymap = field(default_factory=dict)
    theme: str = DARK.name
    layouts: Layouts = field(default_factory=dict)


def load_own(path: Path, bindings: Collection[str], tables: Tables) -> Own:
    """The file at `path`.

    Raises:
        ConfigError: all its mistakes.
    """
    problems: list[Problem] = []
    keys = _attempt(lambda: load_keymap(path, bindings), problems)
    theme = _attempt(lambda: load_theme(path), problems)
    layouts = _attempt(lambda: load_layouts(path, tables), problems)
    if keys is None or theme is None or layouts is None:
        raise ConfigError(problems)
    return Own(keys, theme, layouts)


def _attempt(load: Callable[[], Part], problems: list[Problem]) -> Part | None:
    """What `load` gives; None with its mistakes, which another part may have told already."""
    try:
        return load()
    except ConfigError as exc:
        problems += [problem for problem in exc.errors if problem not in problems]
        return None


def load_layouts(path: Path, tables: Tables) -> Layouts:
    """`columns:` of the file; none without.

    Raises:
        ConfigError: tables or columns that there are not, or no list.
    """
    problems: list[Problem] = []

    def wrong(line: int, key: str, what: str) -> None:
        problems.append(Problem(str(path), line, key, what))

    layouts: dict[str, Layout] = {}
    section = dict(entries(read_own(path, problems), "", lambda *_: None)).get(COLUMNS)
    for name, node in entries(section, COLUMNS, wrong):
        key = f"{COLUMNS}.{name}"
        if name not in tables:
            wrong(node.line, key, f"no such table{near(name, tables)}")
            continue
        if not isinstance(node, Listing):
            wrong(node.line, key, "wants a list, such as [HOST, STATE, WAITING=9]")
            continue
        chosen: dict[str, Chosen] = {}
        for item in node.items:
            try:
                one = parse(item.text if isinstance(item, Scalar) else "", tables[name])
            except ValueError as exc:
                wrong(item.line, key, str(exc))
                continue
            if one.title in chosen:
                wrong(item.line, key, f"{one.title} stands twice")
            chosen[one.title] = one
        if chosen:
            layouts[name] = tuple(chosen.values())
    if problems:
        raise ConfigError(problems)
    return layouts


def keep_layout(path: Path, name: str, layout: Layout, check: Callable[[Path], object]) -> None:
    """Write the columns of one table into the file at `path`, and leave all else in it as it stands.

    Raises:
        CannotEdit: the file is such that a person has to edit it.
        ConfigError: it would not load, or does not as it is.
        OSError: it cannot be written.
    """
    path = path.resolve()  # a link into somebody's own repository stays one
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if not (nodes := dict(entries(read_own(path, []), "", lambda *_: None))).get(COLUMNS):
        if nodes and not text.endswith("\n"):
            text += "\n"
        text += f"{COLUMNS}:\n  {name}: []\n"
    edits = Edits(text)
    written = dict(entries(nodes.get(COLUMNS), "", lambda *_: None)).get(name)
    for item in written.items if isinstance(written, Listing) else ():
        if isinstance(item, Scalar):
            edits.remove((COLUMNS, name), item.text)
    for one in layout:
        edits.append((COLUMNS, name), str(one))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(edits.text, encoding="utf-8")
    try:
        check(draft)
        if path.exists():
            shutil.copymode(path, draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
