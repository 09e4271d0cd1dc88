"""The reference of the fleet file, made from the structs: every key with its kind, its default and its comment.

python -m mailagent.config.reference > docs/reference-fleet-file.md
"""

import inspect
import re
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from mailagent.config.parts import plain
from mailagent.config.structs import Address, ByteRate, Endpoint, FleetConfig, Network, Rate, Ssh

HEAD = """\
# Reference of the fleet file

Made by `make reference` from the structs that read the file; [The fleet file](fleet-file.md) explains it. NAME stands
for a name of your own, `[]` for each part of a list. A key without a default is required; `none` means that nothing is
said. How values are written: [Values](fleet-file.md#values).
"""
_WORDS: dict[Any, str] = {
    str: "text",
    bool: "yes or no",
    int: "number",
    float: "number",
    timedelta: "duration",
    Path: "path",
    Rate: "rate",
    ByteRate: "rate of bytes",
    Endpoint: "endpoint",
    Address: "address",
    Network: "network",
    IPv4Address: "IPv4 address",
    IPv6Address: "IPv6 address",
    IPv4Network: "network",
    IPv6Network: "network",
}
_SUFFIXES = {"bytes": "size", "s": "seconds", "port": "port"}
_COMMENT = re.compile(r"^ {4}(\w+): [^#]*?(?:#\s*(.*))?$", re.MULTILINE)


def reference() -> str:
    """The whole page."""
    sections: dict[type[msgspec.Struct], list[str]] = {}
    _collect(FleetConfig, "", sections)
    return "\n".join((HEAD, *(_section(kind, places) for kind, places in sections.items())))


def _collect(kind: type[msgspec.Struct], place: str, sections: dict[type[msgspec.Struct], list[str]]) -> None:
    """Every struct with the places where it stands, in the order of the file."""
    known = kind in sections
    sections.setdefault(kind, []).append(place)
    if known:
        return
    for field in msgspec.structs.fields(kind):
        inner, suffix = _inner(field.type)
        if inner is not None:
            _collect(inner, f"{place}.{field.name}{suffix}".lstrip("."), sections)


def _inner(annotation: Any) -> tuple[type[msgspec.Struct] | None, str]:
    """The struct in an annotation that has keys of its own, and how it is reached from its key."""
    kind = _bare(annotation)
    if get_origin(kind) is tuple:
        found, suffix = _inner(get_args(kind)[0])
        return found, f"[]{suffix}"
    if get_origin(kind) is dict:
        found, suffix = _inner(get_args(kind)[1])
        return found, f".NAME{suffix}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in _WORDS:
        return kind, ""
    return None, ""


def _bare(annotation: Any) -> Any:
    """Without `| None`, and new types as what they are made of."""
    if annotation in _WORDS:
        return annotation
    if get_origin(annotation) in (UnionType, Union) and NoneType in get_args(annotation):
        (annotation,) = (one for one in get_args(annotation) if one is not NoneType)
    return getattr(annotation, "__supertype__", annotation)


def _section(kind: type[msgspec.Struct], places: list[str]) -> str:
    places = sorted(places, key=len)  # the plain one first: `retry`, then that of streams
    title = f"`{places[0]}`" if places[0] else "Top level"
    words = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
    also = f" Also at {', '.join(f'`{place}`' for place in places[1:])}." if places[1:] else ""
    rows = "\n".join(_rows(kind))
    return f"## {title}\n\n{words}{also}\n\n| key | kind | default | meaning |\n|---|---|---|---|\n{rows}\n"


def _rows(kind: type[msgspec.Struct]) -> Iterator[str]:
    comments = _comments(kind)
    for field in msgspec.structs.fields(kind):
        if kind is Ssh and field.name == "no_config":  # `config: none` says it
            continue
        default = "" if field.required else f"`{_default(field)}`"
        inner, _ = _inner(field.type)
        meaning = comments.get(field.name) or (_first_sentence(inner) if inner is not None else "")
        yield f"| `{field.name}` | {_kind(field.type, field.name)} | {default} | {_cell(meaning)} |"


def _first_sentence(kind: type[msgspec.Struct]) -> str:
    return (inspect.getdoc(kind) or "").split("\n")[0].split(". ")[0].removesuffix(".")


def _comments(kind: type[msgspec.Struct]) -> dict[str, str]:
    """What stands behind each field in the source, those of the bases too."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            found |= {name: text for name, text in _COMMENT.findall(inspect.getsource(base)) if text}
    return found


def _kind(annotation: Any, name: str) -> str:
    kind = _bare(annotation)
    if kind is int:
        return _SUFFIXES.get(name.rpartition("_")[2], "number")
    if kind in _WORDS:
        return _WORDS[kind]
    if get_origin(kind) is tuple:
        return f"list of {_kind(get_args(kind)[0], '')}"
    if get_origin(kind) is dict:
        return f"{_kind(get_args(kind)[1], '')} by {'word' if _kind(get_args(kind)[0], '') != 'text' else 'name'}"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(f"`{one.value}`" for one in kind)
    return "section"


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, msgspec.Struct) and isinstance(plain(value), dict):
        return "as below"
    return _flow(plain(value))


def _flow(value: Any) -> str:
    """As it would stand in the file."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return re.sub(r"\bNone\b", "none", text).replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201
