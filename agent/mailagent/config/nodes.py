"""A YAML file as nodes that know their line. Every scalar is text.

Types come from the structs, not from YAML: version 1.1 reads `off` as false, `4:30` as 270 and `1e3` as text.
Aliases work; merge keys (`<<`) and second documents do not.
"""

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

import yaml

from mailagent.config.errors import Problem

Key: TypeAlias = tuple[str | int, ...]
"""Way from the root of a file to a node: names of mappings and positions in lists."""

MOST_LEVELS = 100
MOST_REPEATED = 1_000_000
"""Nodes that aliases may repeat: lists of aliases to lists of aliases grow without end."""
_BRACKETS = re.compile(r"[][{}]")
_INDENTS = re.compile(r"^[ ?-]+", re.MULTILINE)
_PLAIN_TAGS = "tag:yaml.org,2002:"
"""What YAML gives words, lists and mappings by itself; `!include` and `!vault` belong to other programs."""
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it was built in: ten times faster


@dataclass(frozen=True, slots=True)
class Scalar:
    """A word; `plain` when it stands without quotes."""

    text: str
    line: int
    plain: bool

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written: `key:`, `key: ~` or `key: null`."""
        return self.plain and self.text in ("", "~", "null")


@dataclass(frozen=True, slots=True)
class Listing:
    """A list."""

    items: tuple["Node", ...]
    line: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """Names and their values; `lines` has the line of each name."""

    entries: dict[str, "Node"]
    lines: dict[str, int]
    line: int


Node: TypeAlias = Scalar | Listing | Mapping


def show(key: Key) -> str:
    """`key` as people write it: `hosts.mx1.intake.listeners[0].port`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def compose(text: str, file: str, problems: list[Problem]) -> Node | None:
    """The nodes of `text`, or None when it is no YAML; what is wrong is added to `problems`."""
    if (line := _too_deep(text)) is not None:
        problems.append(Problem(file, line, "", f"is nested deeper than {MOST_LEVELS} levels"))
        return None
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 0
        what = "a tab stands there; indent with spaces" if _is_tabbed(text, line) else exc.problem or exc.context
        problems.append(Problem(file, line, "", f"not valid YAML: {what}"))
        return None
    except yaml.reader.ReaderError as exc:  # a character that YAML does not allow
        line = text.count("\n", 0, max(0, text.find(chr(exc.character)))) + 1
        problems.append(Problem(file, line, "", f"not valid YAML: control character #x{exc.character:02x}"))
        return None
    except yaml.YAMLError as exc:
        problems.append(Problem(file, 0, "", f"not valid YAML: {' '.join(str(exc).split())}"))
        return None
    if root is None:
        return Mapping({}, {}, 1)
    return _Composer(file, problems, len(text)).node(root, ())


def _too_deep(text: str) -> int | None:
    """The line at which a file nests deeper than any of ours: libyaml would run out of stack, and end the process."""
    steps = (1 if one in "[{" else -1 for one in _BRACKETS.findall(text))
    flow = max(accumulate(steps, lambda depth, step: max(0, depth + step), initial=0))
    block = max(map(len, _INDENTS.findall(text)), default=0)
    if flow + block <= MOST_LEVELS:  # the usual file is read once, whatever stands in its quotes
        return None
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MOST_LEVELS:
                    return int(event.start_mark.line) + 1 if event.start_mark else 0
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError:  # who composes it says so
        pass
    return None


def _is_tabbed(text: str, line: int) -> bool:
    """Whether a line, from 1, is indented with a tab."""
    lines = text.split("\n")
    if not 0 < line <= len(lines):
        return False
    words = lines[line - 1]
    return "\t" in words[: len(words) - len(words.lstrip())]


class _Composer:
    """From PyYAML's nodes to ours."""

    def __init__(self, file: str, problems: list[Problem], size: int) -> None:
        self._file = file
        self._problems = problems
        self._left = size + MOST_REPEATED  # nodes to come: none that is written takes less than a character
        self._open: set[int] = set()  # the nodes around the one being read: an alias to one of them has no end

    def node(self, source: yaml.Node, key: Key) -> Node:
        line = source.start_mark.line + 1
        self._left -= 1
        if self._left <= 0:
            if self._left == 0:
                self._add(line, key, f"aliases repeat more than {MOST_REPEATED:,} nodes up to here")
            return Scalar("", line, True)
        if not source.tag.startswith(_PLAIN_TAGS) or ":python/" in source.tag:
            self._add(
                line, key, f"the tag {source.tag.rpartition('2002:')[2]} does nothing here; write the value itself"
            )
        if isinstance(source, yaml.ScalarNode):
            return Scalar(source.value, line, not source.style)  # libyaml says "", PyYAML None
        if id(source) in self._open:
            self._add(line, key, "an alias to something that contains it has no end; write it out")
            return Scalar("", line, True)
        self._open.add(id(source))
        try:
            if isinstance(source, yaml.SequenceNode):
                return Listing(tuple(self.node(item, (*key, n)) for n, item in enumerate(source.value)), line)
            return self._mapping(source, key, line)
        finally:
            self._open.discard(id(source))

    def _mapping(self, source: yaml.Node, key: Key, line: int) -> Mapping:
        entries: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for name_node, value in source.value:
            name_line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                self._add(name_line, key, "a key must be a word, not a list or a mapping")
                continue
            name: str = name_node.value
            if name in entries:
                self._add(name_line, (*key, name), f"stands twice; the first is on line {lines[name]}")
                continue
            lines[name] = name_line
            entries[name] = self.node(value, (*key, name))
        return Mapping(entries, lines, line)

    def _add(self, line: int, key: Key, message: str) -> None:
        self._problems.append(Problem(self._file, line, show(key), message))
