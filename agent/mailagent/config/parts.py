"""A host's part of the fleet, as a value and as the text of its own file."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import msgspec
import yaml

from mailagent.api.ids import HostName, PoolName, ProviderName, StreamName, VmtaName
from mailagent.config.events import EventSink
from mailagent.config.providers import merge_providers, shipped_providers
from mailagent.config.scalars import format_duration
from mailagent.config.streams import KINDS, Checks, Protect, Protection
from mailagent.config.structs import (
    POOL_LISTS,
    AgentConfig,
    ByteRate,
    Endpoint,
    FleetConfig,
    Pool,
    Provider,
    Rate,
    Retry,
    Shared,
    Stream,
)
from mailagent.config.tls import Tls

_HOST_KEYS = ("region", "state_dir", "rpc", "engine", "postfix", "intake", "virtual_mtas", "metrics", "log")
_TEXT: dict[type, Callable[[Any], str]] = {
    timedelta: format_duration,
    Path: str,
    Rate: str,
    ByteRate: str,
    Endpoint: str,
    IPv4Address: str,
    IPv6Address: str,
    IPv4Network: str,
    IPv6Network: str,
}


def host_part(fleet: FleetConfig, host: HostName) -> AgentConfig:
    """What `host` itself must know: its entry and the shared sections, pools cut to its own virtual MTAs.

    A pool without a member here goes, and with it the streams that use it; a stream that had it for one destination
    only uses its own pool there, and one that moved bulk to such a stream refuses it.

    Raises:
        LookupError: the fleet has no such host.
    """
    if host not in fleet.hosts:
        raise LookupError(f"the fleet has no host {host}; it has {', '.join(fleet.hosts)}")
    entry = fleet.hosts[host]
    pools = {name: _cut(pool, entry.virtual_mtas.keys()) for name, pool in fleet.pools.items()}
    pools = {name: pool for name, pool in pools.items() if pool.members}
    streams = {name: _local(stream, pools) for name, stream in fleet.streams.items() if stream.pool in pools}
    streams = {name: _with_protection(stream, streams) for name, stream in streams.items()}
    shared = {name: getattr(fleet, name) for name in Shared.__struct_fields__}
    shared |= {
        "pools": pools,
        "streams": streams,
        "default_stream": fleet.default_stream if fleet.default_stream in streams else None,
        "dkim": msgspec.structs.replace(fleet.dkim, keys=tuple(key for key in fleet.dkim.keys if key.pool in pools)),
        "providers": merge_providers(fleet.providers),
        "tls": _cut_tls(fleet.tls, streams),
        "events": tuple(cut for sink in fleet.events if (cut := _cut_sink(sink, streams)) is not None),
    }
    return AgentConfig(host=host, **shared, **{name: getattr(entry, name) for name in _HOST_KEYS})


def dump_agent(config: AgentConfig) -> str:
    """`config` as YAML that `load_agent` reads back to an equal value; defaults and shipped providers are left out."""
    words = plain(_without_shipped(config))
    words = {key: words.pop(key) for key in ("host", *_HOST_KEYS) if key in words} | words
    return yaml.dump(
        words,
        Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=True,
        width=120,
    )


def config_hash(config: AgentConfig) -> str:
    """12 hex digits that are equal when two configurations say the same."""
    return hashlib.blake2b(dump_agent(config).encode(), digest_size=6).hexdigest()


def _cut(pool: Pool, local: Any) -> Pool:
    """The pool with its local members; how many the fleet needs, only the fleet can tell."""
    lists: dict[str, tuple[VmtaName, ...]] = {
        state: tuple(member for member in getattr(pool, state) if member in local) for state in POOL_LISTS
    }
    return Pool(
        **lists,
        min_active=None,
        warm_up=pool.warm_up if lists["warming"] else None,
        trickle=pool.trickle if lists["standby"] else None,
    )


def _local(stream: Stream, pools: Mapping[PoolName, Pool]) -> Stream:
    kept = {destination: pool for destination, pool in stream.pools.items() if pool in pools}
    return stream if kept == stream.pools else msgspec.structs.replace(stream, pools=kept)


def _with_protection(stream: Stream, streams: Mapping[StreamName, Stream]) -> Stream:
    protect = stream.protect
    if protect.move_to is None or protect.move_to in streams:
        return stream
    action = Protect.REFUSE if protect.action is Protect.MOVE else protect.action
    return msgspec.structs.replace(stream, protect=msgspec.structs.replace(protect, action=action, move_to=None))


def _cut_sink(sink: EventSink, streams: Any) -> EventSink | None:
    """The sink with the host's own streams; None when it wants only those of others."""
    if not sink.streams:
        return sink
    own = tuple(name for name in sink.streams if name in streams)
    return msgspec.structs.replace(sink, streams=own) if own else None


def _cut_tls(tls: Tls, streams: Any) -> Tls:
    """TLS reports leave by the usual rules where their stream is not."""
    if tls.reports.stream in ("", *streams):
        return tls
    return msgspec.structs.replace(tls, reports=msgspec.structs.replace(tls.reports, stream=""))


def _without_shipped(config: AgentConfig) -> AgentConfig:
    shipped = shipped_providers()
    kept: dict[ProviderName, Provider] = {}
    for name, provider in config.providers.items():
        base = shipped.get(name, Provider())
        own = {key: getattr(provider, key) for key in Provider.__struct_fields__}
        own = {key: value for key, value in own.items() if value != getattr(base, key)}
        if own:
            kept[name] = Provider(**own)
    return msgspec.structs.replace(config, providers=kept)


def plain(value: Any) -> Any:
    """`value` as mappings, lists and words, as a file would have it; what has its default is left out."""
    if type(value) in _TEXT or isinstance(value, Path):
        return str(value) if isinstance(value, Path) else _TEXT[type(value)](value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, msgspec.Struct):
        return {
            field.name: plain(item)
            for field in msgspec.structs.fields(value)
            if (item := getattr(value, field.name)) is not None
            and (_is_whole(value, field.name) or not _is_default(field, item))
        }
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def _is_whole(value: msgspec.Struct, name: str) -> bool:
    """Whether a key is written though it has its default: what lacks it would inherit another value."""
    if isinstance(value, Stream):
        return value.kind is not None and name in KINDS[value.kind]
    return isinstance(value, Retry | Checks | Protection)


def _is_default(field: msgspec.structs.FieldInfo, value: Any) -> bool:
    if field.default_factory is not msgspec.NODEFAULT:
        return bool(value == field.default_factory())
    return not field.required and bool(value == field.default)
