"""Load `fleet.yaml` and `agent.yaml`: whole, or every mistake at once."""

from collections.abc import Mapping as MappingABC
from pathlib import Path
from typing import TypeVar

import msgspec

from mailagent.config.checks.file import check_agent, check_fleet
from mailagent.config.errors import ConfigError, Problem
from mailagent.config.nodes import Key, Mapping, Node, Scalar, compose, show
from mailagent.config.providers import SHIPPED_FILE, merge_providers, shipped_places
from mailagent.config.reading import Reader
from mailagent.config.streams import KINDS, StreamKind
from mailagent.config.structs import AgentConfig, FleetConfig, FleetHost, Shared

T = TypeVar("T", bound=Shared)


class Origins:
    """Where each key of a loaded configuration stands."""

    def __init__(self, file: str, places: MappingABC[Key, int]) -> None:
        self._places = {show(key): f"{SHIPPED_FILE}:{line}" for key, line in shipped_places().items()}
        self._places |= {show(key): f"{file}:{line}" for key, line in places.items()}

    def find(self, key: str) -> str:
        """File and line of `key`, `agent.yaml:41`; `default` when no file says it.

        `find("providers.gmail.connections")`, `find("routes[0].rate")`.
        """
        return self._places.get(key, "default")


def load_fleet(path: Path, text: bytes | None = None) -> FleetConfig:
    """The fleet that the file describes, as the file says it: shipped providers are not merged in.

    An `agent.yaml` describes a fleet of one host, looked at from the host itself.
    With `text`, as if the file at `path` said that.

    Raises:
        ConfigError: with every mistake.
    """
    config, reader = read_file(path, FleetConfig, text)
    if config is not None:
        check_fleet(config, reader)
    return _settle(config, reader)


def load_agent(path: Path) -> AgentConfig:
    """The configuration of one host, shipped providers merged in.

    Raises:
        ConfigError: with every mistake.
    """
    return load_agent_with_origins(path)[0]


def load_agent_with_origins(path: Path, text: bytes | None = None) -> tuple[AgentConfig, Origins]:
    """`load_agent`, and where each key stands; with `text`, as if the file at `path` said that.

    Raises:
        ConfigError: with every mistake.
    """
    config, reader = read_file(path, AgentConfig, text)
    if config is not None:
        check_agent(config, reader)
    config = _settle(config, reader)
    merged = msgspec.structs.replace(config, providers=merge_providers(config.providers))
    return merged, Origins(path.name, reader.places)


def read_file(path: Path, kind: type[T], data: bytes | None = None) -> tuple[T | None, Reader]:
    """The file as the value that it describes, as far as it can be read; the reader has the mistakes and the places.

    `data`: what it says, where it is not read from the disk.
    """
    problems: list[Problem] = []
    reader = Reader(str(path), path.absolute().parent, problems)
    try:
        text = (path.read_bytes() if data is None else data).decode("utf-8")
    except OSError as exc:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {exc.strerror}")]) from exc
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise ConfigError([Problem(str(path), line, "", "is not UTF-8 text")]) from exc
    root = compose(text, str(path), problems)
    if isinstance(root, Mapping) and kind is FleetConfig:
        root = _as_fleet(root)
    elif isinstance(root, Mapping) and "hosts" in root.entries and "host" not in root.entries:
        whose = "this is a fleet file: `mailctl validate` checks it, `mailctl config HOST` prints a host's part"
        raise ConfigError([Problem(str(path), root.lines["hosts"], "hosts", whose)])
    return (reader.read(_inherit_kinds(_inherit_retry(root)), kind) if root else None), reader


def _as_fleet(root: Mapping) -> Mapping:
    """`root`; an `agent.yaml` as the fleet of its one host, whose socket is on this machine."""
    host = root.entries.get("host")
    if not isinstance(host, Scalar) or "hosts" in root.entries:
        return root
    own = {field.name for field in msgspec.structs.fields(FleetHost)} & root.entries.keys()
    lines = {name: line for name, line in root.lines.items() if name in own}
    entry = Mapping({name: root.entries[name] for name in own}, lines, host.line)
    hosts: dict[str, Node] = {host.text: _over(entry, {"transport": "local"}, host.line)}
    shared = {name: node for name, node in root.entries.items() if name not in own and name != "host"}
    return Mapping(
        {**shared, "hosts": Mapping(hosts, {host.text: host.line}, host.line)},
        {**root.lines, "hosts": host.line},
        root.line,
    )


def _settle(config: T | None, reader: Reader) -> T:
    if config is None or reader.problems:
        raise ConfigError(reader.problems)
    return config


def _inherit_retry(root: Node) -> Node:
    """`root` with the `retry` of streams, providers and domains completed from the shared one: one key can differ."""
    shared = root.entries.get("retry") if isinstance(root, Mapping) else None
    if not isinstance(root, Mapping) or not isinstance(shared, Mapping):
        return root
    changed: dict[str, Node] = {}
    for section_name in ("streams", "providers", "domains"):
        section = root.entries.get(section_name)
        if isinstance(section, Mapping):
            entries = {name: _complete(entry, shared) for name, entry in section.entries.items()}
            changed[section_name] = Mapping(entries, section.lines, section.line)
    # The shared one is read first, so that a mistake in it is reported there.
    return Mapping({"retry": shared, **root.entries, **changed}, root.lines, root.line)


def _inherit_kinds(root: Node) -> Node:
    """`root` with what the `kind` of each stream sets and the stream does not say itself."""
    streams = root.entries.get("streams") if isinstance(root, Mapping) else None
    if not isinstance(root, Mapping) or not isinstance(streams, Mapping):
        return root
    entries = {name: _of_kind(entry) for name, entry in streams.entries.items()}
    return Mapping({**root.entries, "streams": Mapping(entries, streams.lines, streams.line)}, root.lines, root.line)


def _of_kind(entry: Node) -> Node:
    kind = entry.entries.get("kind") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(kind, Scalar) or kind.text not in KINDS:
        return entry
    return _over(entry, KINDS[StreamKind(kind.text)], entry.lines["kind"])


def _over(own: Mapping, words: MappingABC[str, str | dict[str, str]], line: int) -> Mapping:
    """`own` with `words` for what it lacks, as if they stood at `line`."""
    entries = dict(own.entries)
    lines = dict(own.lines)
    for key, value in words.items():
        mine = entries.get(key)
        if isinstance(value, dict) and (mine is None or isinstance(mine, Mapping)):
            entries[key] = _over(mine or Mapping({}, {}, line), value, line)
        elif mine is None:
            entries[key] = Scalar(str(value), line, False)
        lines.setdefault(key, line)
    return Mapping(entries, lines, own.line)


def _complete(entry: Node, shared: Mapping) -> Node:
    own = entry.entries.get("retry") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(own, Mapping):
        return entry
    retry = Mapping({**shared.entries, **own.entries}, {**shared.lines, **own.lines}, own.line)
    return Mapping({**entry.entries, "retry": retry}, entry.lines, entry.line)
