"""Errors of operations.

OpsError
├── SelectorError     the words of the selection are wrong: fix them
│   └── FilterSyntaxError   at one position something else was expected
├── NothingSelected   the words are right and match nothing, or nothing was given: name a target
└── OptionError       an option does not fit the verb: leave it out or complete it
"""


class OpsError(Exception):
    """An operation that cannot be planned."""


class SelectorError(OpsError, ValueError):
    """The selection cannot be read, or does not fit the verb."""


class FilterSyntaxError(SelectorError):
    """A filter line that cannot be read from `position` (from 0) on."""

    def __init__(self, text: str, position: int, expected: str, detail: str = "") -> None:
        where = f"{expected} is expected at character {position + 1} of {text!r}"
        super().__init__(f"{detail}; {where}" if detail else where)
        self.text = text
        self.position = position
        self.expected = expected


class NothingSelected(OpsError, LookupError):
    """Nothing is selected: an empty selection, or names that no host knows."""


class OptionError(OpsError, ValueError):
    """An option that the verb does not take, or that lacks another one."""
