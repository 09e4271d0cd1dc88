"""What is wrong with a file.

ConfigError    the file cannot be used: every mistake in it, each with its place
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `line` is 0 when it concerns the file as a whole, `key` is empty when it concerns no key."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(ValueError):
    """A file that cannot be used. `errors` holds every mistake in order of their lines; as text one line each."""

    def __init__(self, errors: Sequence[Problem]) -> None:
        self.errors = sorted(errors, key=lambda problem: problem.line)
        super().__init__("\n".join(map(str, self.errors)))
