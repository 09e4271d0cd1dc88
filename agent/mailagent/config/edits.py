"""Small edits of a YAML text that leave everything else in it as it stands: comments, order, quoting, white space.

    edits = Edits(text)
    edits.remove(("pools", "marketing", "active"), "mkt-1")
    edits.set(("providers", "gmail", "rate"), "10/s")
    edits.text

Each edit finds its place in the text as it is by then. What cannot be edited in a small way raises `CannotEdit`: lists
and mappings behind an alias, since they stand in two places, and text that is no mapping.
"""

import re
from collections.abc import Iterator
from typing import TypeAlias

import yaml

Path: TypeAlias = tuple[str, ...]
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")
"""Values that need no quotes; `off`, `4:30` and the like are none of ours to write."""


class CannotEdit(ValueError):
    """The text is such that a person has to edit it."""


class Edits:
    """One text under edit."""

    def __init__(self, text: str) -> None:
        self.text = text

    def set(self, path: Path, value: str) -> None:
        """Give the key at `path` a value; it and the mappings around it are made where they lack."""
        node = self._find(path)
        if node is None:
            self._add(path, _quoted(value))
        elif isinstance(node, yaml.ScalarNode):
            self._replace(node.start_mark.index, node.end_mark.index, _spaced(self.text, node, _quoted(value)))
        else:
            raise CannotEdit(f"{'.'.join(path)} is no single value")

    def append(self, path: Path, value: str) -> None:
        """Add `value` to the list at `path`; the list is made where it lacks."""
        node = self._find(path)
        if node is None:
            self._add(path, f"[{_quoted(value)}]")
        elif isinstance(node, yaml.ScalarNode) and not node.value:
            self._replace(node.start_mark.index, node.end_mark.index, _spaced(self.text, node, f"[{_quoted(value)}]"))
        elif not isinstance(node, yaml.SequenceNode):
            raise CannotEdit(f"{'.'.join(path)} is no list")
        elif not node.value:
            self._replace(node.start_mark.index + 1, node.end_mark.index - 1, _quoted(value))
        elif node.flow_style:
            self._insert(node.value[-1].end_mark.index, f", {_quoted(value)}")
        else:
            dash = self._line_start(node.start_mark.index)
            indent = " " * (node.start_mark.index - dash)
            self._insert_line(_end(node), f"{indent}- {_quoted(value)}")

    def remove(self, path: Path, value: str) -> None:
        """Take `value` out of the list at `path`."""
        node = self._find(path)
        if not isinstance(node, yaml.SequenceNode):
            raise CannotEdit(f"{'.'.join(path)} is no list")
        items = node.value
        n = next((n for n, item in enumerate(items) if item.value == value), None)
        if n is None:
            raise CannotEdit(f"{'.'.join(path)} has no {value}")
        item = items[n]
        if node.flow_style:
            if len(items) == 1:
                self._replace(node.start_mark.index, node.end_mark.index, "[]")
            elif n + 1 < len(items):
                self._replace(item.start_mark.index, items[n + 1].start_mark.index, "")
            else:
                self._replace(items[n - 1].end_mark.index, item.end_mark.index, "")
        elif len(items) == 1:
            key_end = self.text.rindex(":", 0, node.start_mark.index) + 1
            self._replace(key_end, item.end_mark.index, " []")
        else:
            self._replace(self._line_start(item.start_mark.index), self._line_end(item.end_mark.index), "")

    def _find(self, path: Path) -> yaml.Node | None:
        """The node at `path`; None when it, or something on the way, lacks.

        Raises:
            CannotEdit: it stands behind an alias, or something on the way is no mapping.
        """
        root = self._root()
        shared = _shared(root)
        node: yaml.Node = root
        for n, name in enumerate(path):
            if isinstance(node, yaml.ScalarNode) and not node.value:
                return None
            if not isinstance(node, yaml.MappingNode):
                raise CannotEdit(f"{'.'.join(path[:n])} is no mapping")
            found = next((value for key, value in node.value if key.value == name), None)
            if found is None:
                return None
            node = found
            if id(node) in shared:
                raise CannotEdit(f"{'.'.join(path[: n + 1])} stands behind an alias; edit it by hand")
        return node

    def _root(self) -> yaml.MappingNode:
        try:
            root = yaml.compose(self.text, Loader=yaml.SafeLoader)  # its marks count characters
        except yaml.YAMLError as exc:
            raise CannotEdit(f"not valid YAML: {exc}") from exc
        if not isinstance(root, yaml.MappingNode):
            raise CannotEdit("the text is no mapping")
        return root

    def _add(self, path: Path, value: str) -> None:
        """Add the key at `path`, which lacks, to the innermost mapping around it that is there."""
        depth = len(path) - 1
        around = self._find(path[:depth])
        while around is None:
            depth -= 1
            around = self._find(path[:depth])
        rest = path[depth:]
        for name in reversed(rest[1:]):
            value = f"{{{name}: {value}}}"
        entry = f"{rest[0]}: {value}"
        if isinstance(around, yaml.ScalarNode):
            written = _spaced(self.text, around, f"{{{entry}}}")
            self._replace(around.start_mark.index, around.end_mark.index, written)
        elif not isinstance(around, yaml.MappingNode):
            raise CannotEdit(f"{'.'.join(path[:depth])} is no mapping")
        elif not around.value:
            self._replace(around.start_mark.index + 1, around.end_mark.index - 1, entry)
        elif around.flow_style:
            self._insert(_end(around.value[-1][1]), f", {entry}")
        else:
            first = around.value[0][0].start_mark.index
            self._insert_line(_end(around), " " * (first - self._line_start(first)) + entry)

    def _insert(self, at: int, text: str) -> None:
        self._replace(at, at, text)

    def _insert_line(self, after: int, line: str) -> None:
        """A line of its own behind the one that has `after`."""
        end = self._line_end(after)
        lead = "" if self.text[:end].endswith("\n") else "\n"
        self._insert(end, f"{lead}{line}\n")

    def _replace(self, start: int, end: int, text: str) -> None:
        self.text = self.text[:start] + text + self.text[end:]

    def _line_start(self, at: int) -> int:
        return self.text.rfind("\n", 0, at) + 1

    def _line_end(self, at: int) -> int:
        found = self.text.find("\n", at)
        return len(self.text) if found < 0 else found + 1


def _end(node: yaml.Node) -> int:
    """Where the last word of `node` ends; the mark of a block would lie behind the comments that follow."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, yaml.MappingNode) else last)


def _spaced(text: str, node: yaml.Node, value: str) -> str:
    """`value` with a blank before it where `node` is the nothing right behind a colon."""
    return f" {value}" if text[: node.start_mark.index].endswith(":") else value


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else f'"{value}"'


def _shared(root: yaml.Node) -> set[int]:
    """Nodes that stand in more than one place."""
    return {id(node) for node in _walk(root, set())}


def _walk(node: yaml.Node, seen: set[int]) -> Iterator[yaml.Node]:
    """Nodes that are met again."""
    if id(node) in seen:
        yield node
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _walk(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _walk(item, seen)
