"""Screens in the order in which they were seen, back and forward as with pages of a browser. Pure."""

MOST = 50


class Visited:
    """Where we are, what was before, and what we came back from."""

    def __init__(self, first: str) -> None:
        self._names = [first]
        self._at = 0

    def visit(self, name: str) -> None:
        """Another screen is open; what we came back from is forgotten."""
        if name != self._names[self._at]:
            self._names = [*self._names[: self._at + 1], name][-MOST:]
            self._at = len(self._names) - 1

    def near(self, by: int) -> str | None:
        """The screen so many steps on (negative: back), None beyond the ends."""
        return self._names[self._at + by] if 0 <= self._at + by < len(self._names) else None

    def step(self, by: int) -> None:
        """We are there now."""
        self._at += by
