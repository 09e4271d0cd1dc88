"""Selections applied to rows that we hold already. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from mailagent.api.terms import is_like
from mailctl.ops import Selection, SelectorError, TermKind

Row = TypeVar("Row")
Names = Callable[[Row], Collection[str]]


def check_kinds(selection: Selection, kinds: Collection[TermKind], *, view: str) -> None:
    """That a view knows each kind of the selection beside hosts: what it does not know would narrow nothing.

    Raises:
        SelectorError: a kind that the view does not know.
    """
    for kind in selection.kinds:
        if kind not in kinds:
            known = ", ".join(f"{kind}:" for kind in (TermKind.HOST, *kinds))
            raise SelectorError(f"{view} cannot be narrowed by {kind}:; it knows {known}")


def is_among(wanted: Collection[str], names: Collection[str]) -> bool:
    """Whether one of `names` is, or has the form of, one that is wanted."""
    return any(is_like(one, name) for one in wanted for name in names)


def narrow(
    rows: Iterable[Row], selection: Selection, kinds: Mapping[TermKind, Names[Row]], *, view: str
) -> tuple[Row, ...]:
    """Rows that match `selection`; `kinds` gives a row's names for each kind that the view knows beside hosts.

    Raises:
        SelectorError: a kind that the view does not know.
    """
    check_kinds(selection, kinds, view=view)
    return tuple(
        row for row in rows if all(is_among(selection.names(kind), kinds[kind](row)) for kind in selection.kinds)
    )
