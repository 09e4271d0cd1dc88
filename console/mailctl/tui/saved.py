"""Saved views: a screen with its filter, order and columns under a name, in `views.yaml` beside `config.yaml`.

views:
  gmail trouble:
    screen: Destinations
    filter: "provider:gmail host:mx1"
    order: "OUT/MIN descending"
    columns: {destinations: [PROVIDER, IP, "WAITS FOR=40"]}

The file is written by the console, whole; comments in it do not stay.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mailagent.config.errors import ConfigError, Problem
from mailagent.config.nodes import Listing, Node, Scalar
from mailctl.ops.errors import FilterSyntaxError
from mailctl.ops.filters import Filter
from mailctl.ops.own import config_path, entries, read_own

MOST_NAME = 40
VIEWS = "views"
DESCENDING = " descending"


class SavedView(msgspec.Struct, frozen=True, kw_only=True):
    """One saved view."""

    screen: str  # `Destinations`
    filter: str = ""  # a filter line
    order: str = ""  # title of a column, and ` descending`
    columns: dict[str, tuple[str, ...]] = {}  # by table, each as `layout.parse` reads it; others as usual


def views_path() -> Path:
    """Beside the operator's own file."""
    return config_path().with_name("views.yaml")


def wrong_name(name: str) -> str:
    """What is wrong with a name for a view; empty when nothing is."""
    if not name.isprintable() or len(name) > MOST_NAME:
        return f"a name has at most {MOST_NAME} characters, all of which can be shown"
    return ""


def load_views(path: Path) -> dict[str, SavedView]:
    """All saved views by name; none without the file.

    Raises:
        ConfigError: all mistakes of the file.
    """
    problems: list[Problem] = []
    found: dict[str, SavedView] = {}

    def wrong(line: int, key: str, what: str) -> None:
        problems.append(Problem(str(path), line, key, what))

    for section, node in entries(read_own(path, problems), "", wrong):
        if section != VIEWS:
            wrong(node.line, section, f"no such key; there is {VIEWS}")
            continue
        for name, value in entries(node, VIEWS, wrong):
            key = f"{VIEWS}.{name}"
            if what := wrong_name(name):
                wrong(value.line, key, what)
            fields = dict(entries(value, key, wrong))
            words = {one: _word(fields.pop(one, None)) for one in ("screen", "filter", "order")}
            columns = {
                table: _words(row) for table, row in entries(fields.pop("columns", None), f"{key}.columns", wrong)
            }
            for unknown, row in fields.items():
                wrong(row.line, f"{key}.{unknown}", "no such key; there are screen, filter, order, columns")
            try:
                Filter.parse(words["filter"])
            except FilterSyntaxError as exc:
                wrong(value.line, f"{key}.filter", str(exc))
            found[name] = SavedView(**words, columns=columns)
    if problems:
        raise ConfigError(problems)
    return found


def _word(node: Node | None) -> str:
    return node.text if isinstance(node, Scalar) else ""


def _words(node: Node) -> tuple[str, ...]:
    return tuple(map(_word, node.items)) if isinstance(node, Listing) else ()


def save_views(path: Path, views: Mapping[str, SavedView]) -> None:
    """Write all views; the file is there whole, or as it was.

    Raises:
        OSError: it cannot be written.
    """
    rows = ["# Saved views of mailctl, written by the console (s saves, z lists).", f"{VIEWS}:"]
    for name, view in views.items():
        rows.append(f"  {_quoted(name)}:")
        rows += [f"    {one}: {_quoted(word)}" for one in ("screen", "filter", "order") if (word := getattr(view, one))]
        if view.columns:
            rows.append("    columns:")
            rows += [f"      {table}: [{', '.join(map(_quoted, titles))}]" for table, titles in view.columns.items()]
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text("\n".join(rows) + "\n", encoding="utf-8")
    draft.replace(path)


def _quoted(text: str) -> str:
    """A word of YAML: a JSON string is one, where what cannot be shown is escaped."""
    word = json.dumps(text, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in word)
