"""Which virtual MTA of a pool sends next: smooth weighted round robin."""

from collections.abc import Sequence
from typing import TypeVar

Name = TypeVar("Name", bound=str)


class Rotation:
    """Takes turns by weight among the candidates of the moment.

    Each candidate gains its weight per turn, the richest sends and pays the sum: with weights 2 and 1 the order is
    a b a, never a a b. Candidates may differ from turn to turn; one that comes back starts without debt.
    """

    __slots__ = ("_credit",)

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}

    def pick(self, candidates: Sequence[tuple[Name, int]]) -> Name:
        """The name whose turn it is among (name, weight) pairs, of which there is at least one."""
        if len(candidates) == 1:
            return candidates[0][0]
        credit: dict[str, int] = {name: self._credit.get(name, 0) + weight for name, weight in candidates}
        chosen = max((name for name, _ in candidates), key=credit.__getitem__)
        credit[chosen] -= sum(weight for _, weight in candidates)
        self._credit = credit
        return chosen
