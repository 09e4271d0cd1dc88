"""From nodes to structs: each struct says what its section may hold, and every mistake is kept with its place."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from enum import Enum, StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, TypeVar, Union, cast, get_args, get_origin

import msgspec

from mailagent.config import scalars
from mailagent.config.errors import Problem
from mailagent.config.nodes import Key, Listing, Mapping, Node, Scalar, show
from mailagent.config.structs import Address, ByteRate, Endpoint, Network, Rate, Ssh

T = TypeVar("T", bound=msgspec.Struct)


class _Failed(Enum):
    FAILED = "failed"


FAILED: Final = _Failed.FAILED
"""In place of a value that cannot be read."""
_NO_CONFIG = "none"


class _Size(int):
    """Marks a field that counts bytes."""


class _Seconds(int):
    """Marks a field that counts seconds."""


class _Port(int):
    """Marks a field that holds a port."""


_PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    bool: scalars.parse_bool,
    int: scalars.parse_count,
    _Size: scalars.parse_size,
    _Seconds: scalars.parse_seconds,
    _Port: scalars.parse_port,
    float: scalars.parse_float,
    timedelta: scalars.parse_duration,
    Rate: scalars.parse_rate,
    ByteRate: scalars.parse_byte_rate,
    Endpoint: scalars.parse_endpoint,
    IPv4Address: scalars.parse_ipv4,
    IPv6Address: scalars.parse_ipv6,
    Address: scalars.parse_address,
    Network: scalars.parse_network,
}

_Field: TypeAlias = msgspec.structs.FieldInfo


@lru_cache(maxsize=128)
def _fields(kind: type[msgspec.Struct]) -> dict[str, _Field]:
    return {field.name: field for field in msgspec.structs.fields(kind)}


@dataclass(frozen=True, slots=True)
class _Kind:
    """A field's type without its wrapping, and whether it may be absent."""

    type: Any
    optional: bool


@lru_cache(maxsize=256)
def _unwrap(annotation: Any) -> _Kind:
    if annotation in _PARSERS:
        return _Kind(annotation, False)
    if get_origin(annotation) in (UnionType, Union) and NoneType in get_args(annotation):
        (inner,) = (member for member in get_args(annotation) if member is not NoneType)
        return _Kind(_unwrap(inner).type, True)
    return _Kind(getattr(annotation, "__supertype__", annotation), False)


class Reader:
    """Reads the nodes of one file.

    `problems` is every mistake found, `places` the line of every key that stands in the file. What cannot be read is
    replaced by its default or left out, so that reading and checking go on and all mistakes come at once.
    """

    def __init__(self, file: str, folder: Path, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems
        self.places: dict[Key, int] = {}
        self._folder = folder
        self._children: dict[Key, set[str]] = {}
        self._indexed = -1  # how many places `_children` was made of
        self._failed: set[Key] = set()
        self._kept: dict[Key, list[int]] = {}  # list -> positions in the file of the items that could be read
        self._reported: set[tuple[int, str]] = set()  # inherited sections are read more than once

    def read(self, root: Node, kind: type[T]) -> T | None:
        """The whole file as one struct, or None when nothing can be made of it."""
        value = self._struct(root, kind, ())
        return None if value is FAILED else cast(T, value)

    def add(self, key: Key, message: str, line: int = 0) -> None:
        """A mistake at `key`; without `line`, at the line of the key or of the nearest one around it."""
        around = key
        while not line and around:
            line = self.places.get(around, 0)
            around = around[:-1]
        if (line, message) not in self._reported:
            self._reported.add((line, message))
            self.problems.append(Problem(self.file, line, show(key), message))

    def follow_up(self, key: Key, message: str) -> None:
        """A mistake of meaning at `key`, unless something at, above or below it could not even be read."""
        key = self._in_file(key)
        if not any(key[: len(failed)] == failed or failed[: len(key)] == key for failed in self._failed):
            self.add(key, message)

    def _in_file(self, key: Key) -> Key:
        """`key` with positions as in the file, where items stand that the value lacks."""
        for end, part in enumerate(key):
            if isinstance(part, int) and key[:end] in self._kept:
                key = (*key[:end], self._kept[key[:end]][part], *key[end + 1 :])
        return key

    def lacks(self, section: str) -> bool:
        """Whether something in `section` could not be read, so that what it names is not all known."""
        return any(failed[:1] == (section,) for failed in self._failed)

    def names(self, *key: str) -> set[str]:
        """Names that stand in the section at `key`, those with mistakes in them too."""
        if len(self.places) != self._indexed:  # while a file is read; its checks then ask once for each host
            self._indexed = len(self.places)
            self._children = {}
            for place in self.places:
                self._children.setdefault(place[:-1], set()).add(str(place[-1]))
        return set(self._children.get(key, ()))

    def _fail(self, node: Node, key: Key, message: str, line: int = 0) -> _Failed:
        self._failed.add(key)
        self.add(key, message, line or node.line)
        return FAILED

    def _value(self, node: Node, kind: _Kind, key: Key) -> Any:
        if kind.optional and isinstance(node, Scalar) and node.is_empty:
            return None
        if kind.type in _PARSERS or (isinstance(kind.type, type) and issubclass(kind.type, (Path, StrEnum))):
            return self._scalar(node, kind.type, key)
        if isinstance(kind.type, type) and issubclass(kind.type, msgspec.Struct):
            return self._struct(node, kind.type, key)
        if get_origin(kind.type) is tuple:
            return self._tuple(node, kind.type, key)
        return self._dict(node, kind.type, key)

    def _struct(self, node: Node, kind: type[msgspec.Struct], key: Key) -> Any:
        section = self._section(node, key)
        if section is FAILED:
            return FAILED
        fields = _fields(kind)
        values: dict[str, Any] = {}
        for name, child in section.entries.items():
            child_key = (*key, name)
            line = self.places[child_key] = section.lines[name]
            if name not in fields or (kind is Ssh and name == "no_config"):
                self._fail(child, child_key, f"unknown key{_hint(name, fields)}", line)
            elif kind is Ssh and name == "config" and isinstance(child, Scalar) and child.text == _NO_CONFIG:
                values["no_config"] = True
            elif (value := self._value(child, self._kind(fields[name]), child_key)) is not FAILED:
                values[name] = value
        for name, field in fields.items():
            if field.required and name not in values:
                if name not in section.entries:
                    self._fail(node, (*key, name), "is missing")
                blank = self._kind(field).type
                if blank is not str and get_origin(blank) is not dict:
                    return FAILED
                values[name] = "" if blank is str else {}
        return kind(**values)

    @staticmethod
    def _kind(field: _Field) -> _Kind:
        """The type of a field; a whole number's name says what it counts."""
        kind = _unwrap(field.type)
        if kind.type is not int:
            return kind
        suffix = field.name.rpartition("_")[2]
        return _Kind({"bytes": _Size, "s": _Seconds, "port": _Port}.get(suffix, int), kind.optional)

    def _tuple(self, node: Node, kind: Any, key: Key) -> Any:
        if isinstance(node, Scalar) and node.is_empty:
            return ()
        if not isinstance(node, Listing):
            return self._fail(node, key, "wants a list: [one, two]")
        item_kind = _unwrap(get_args(kind)[0])
        values = []
        kept = []
        for n, item in enumerate(node.items):
            item_key = (*key, n)
            self.places[item_key] = item.line
            value = self._value(item, item_kind, item_key)
            if value is not FAILED:
                values.append(value)
                kept.append(n)
        if len(kept) < len(node.items):
            self._kept[key] = kept
        return tuple(values)

    def _dict(self, node: Node, kind: Any, key: Key) -> Any:
        section = self._section(node, key)
        if section is FAILED:
            return FAILED
        name_kind, value_kind = map(_unwrap, get_args(kind))
        values = {}
        for text, child in section.entries.items():
            child_key = (*key, text)
            self.places[child_key] = section.lines[text]
            name = self._scalar(Scalar(text, section.lines[text], False), name_kind.type, child_key)
            value = self._value(child, value_kind, child_key)
            if name is not FAILED and value is not FAILED:
                values[name] = value
        return values

    def _section(self, node: Node, key: Key) -> Mapping | _Failed:
        if isinstance(node, Mapping):
            return node
        if isinstance(node, Scalar) and node.is_empty:
            return Mapping({}, {}, node.line)
        return self._fail(node, key, "wants a mapping: `key: value` lines, or {key: value}")

    def _scalar(self, node: Node, kind: Any, key: Key) -> Any:
        if not isinstance(node, Scalar):
            return self._fail(node, key, "wants one value, not a list or a mapping")
        if node.is_empty:
            return self._fail(node, key, "has no value")
        try:
            return self._parse(node.text, kind)
        except ValueError as exc:
            return self._fail(node, key, str(exc))

    def _parse(self, text: str, kind: Any) -> Any:
        if kind in _PARSERS:
            return _PARSERS[kind](text)
        if issubclass(kind, StrEnum):
            names = [member.value for member in kind]
            if text not in names:
                raise ValueError(f"`{text}` is none of {', '.join(names)}")
            return kind(text)
        return self._path(text)

    def _path(self, text: str) -> Path:
        """Absolute; what is relative is relative to the file, `~` is the home directory."""
        if not text or "\0" in text:
            raise ValueError("is no path")
        try:
            return self._folder.joinpath(Path(text).expanduser())
        except RuntimeError:
            raise ValueError(f"`{text}`: no such home directory") from None


def _hint(name: str, fields: dict[str, _Field]) -> str:
    known = [field for field in fields if field != "no_config"]
    near = get_close_matches(name, known, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; known here: {', '.join(known)}"
