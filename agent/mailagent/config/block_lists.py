"""The shipped block lists, and how those of a file lie over them."""

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from importlib import resources
from typing import Final

from mailagent.api.reputation import Weight
from mailagent.config.errors import ConfigError, Problem
from mailagent.config.nodes import compose
from mailagent.config.reading import Reader
from mailagent.config.reputation import BlockList
from mailagent.config.structs import Struct

SHIPPED_FILE: Final = "block_lists.yaml"
EVERY: Final = timedelta(hours=4)


class Zone(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One list, complete."""

    name: str
    every: timedelta
    weight: Weight
    answers: Mapping[str, str]


class _Shipped(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`block_lists.yaml`."""

    block_lists: dict[str, BlockList]
    not_to_ask: dict[str, str]


@lru_cache(maxsize=1)
def _shipped() -> _Shipped:
    resource = resources.files("mailagent.config").joinpath(SHIPPED_FILE)
    problems: list[Problem] = []
    root = compose(resource.read_text(encoding="utf-8"), SHIPPED_FILE, problems)
    with resources.as_file(resource) as path:
        shipped = Reader(SHIPPED_FILE, path.parent, problems).read(root, _Shipped) if root else None
    if shipped is None or problems:
        raise ConfigError(problems)
    return shipped


def shipped_lists() -> Mapping[str, BlockList]:
    """What the package knows of block lists, by zone."""
    return _shipped().block_lists


def not_to_ask() -> Mapping[str, str]:
    """Zones whose answers are no listings, and why."""
    return _shipped().not_to_ask


def zone_name(text: str) -> str:
    """A zone as it is compared and asked: lower case, without a final dot."""
    return text.lower().rstrip(".")


def zones(own: Mapping[str, BlockList]) -> list[Zone]:
    """The lists that a file names, each over the shipped one of its name or the one it is like."""
    found = []
    for name, said in own.items():
        base = shipped_lists().get(zone_name(said.like or name), BlockList())
        found.append(
            Zone(
                name=zone_name(name),
                every=said.every or base.every or EVERY,
                weight=said.weight or base.weight or Weight.LOW,
                answers={**base.answers, **said.answers},
            )
        )
    return found
