"""The shipped providers, and how a file's own `providers` lie over them."""

from functools import lru_cache
from importlib import resources

import msgspec

from mailagent.api.ids import ProviderName
from mailagent.config.errors import ConfigError, Problem
from mailagent.config.nodes import Key, compose
from mailagent.config.reading import Reader
from mailagent.config.structs import Provider, Struct

SHIPPED_FILE = "providers.yaml"


class _Shipped(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`providers.yaml`."""

    providers: dict[ProviderName, Provider]


@lru_cache(maxsize=1)
def _read() -> tuple[dict[ProviderName, Provider], dict[Key, int]]:
    resource = resources.files("mailagent.config").joinpath(SHIPPED_FILE)
    problems: list[Problem] = []
    root = compose(resource.read_text(encoding="utf-8"), SHIPPED_FILE, problems)
    with resources.as_file(resource) as path:
        reader = Reader(SHIPPED_FILE, path.parent, problems)
    shipped = reader.read(root, _Shipped) if root else None
    if shipped is None or problems:
        raise ConfigError(problems)
    return shipped.providers, reader.places


def shipped_providers() -> dict[ProviderName, Provider]:
    """What the package knows of the big providers."""
    return dict(_read()[0])


def shipped_places() -> dict[Key, int]:
    """Lines of `providers.yaml` by key."""
    return _read()[1]


def merge_providers(own: dict[ProviderName, Provider]) -> dict[ProviderName, Provider]:
    """The shipped providers with `own` over them key by key, then the ones that only `own` has.

    Rules are laid over rule by rule; those that only `own` has are asked first.
    """
    merged = shipped_providers()
    for name, provider in own.items():
        merged[name] = _lay_over(merged[name], provider) if name in merged else provider
    return merged


def _lay_over(base: Provider, own: Provider) -> Provider:
    said = {
        name: value for name in Provider.__struct_fields__ if (value := getattr(own, name)) not in (None, "", (), {})
    }
    if own.rules:
        first = {name: rule for name, rule in own.rules.items() if name not in base.rules}
        said["rules"] = first | base.rules | own.rules
    return msgspec.structs.replace(base, **said)
