"""Errors of operations.

OpsError
├── SelectorError     the words of the selection are wrong: fix them
├── NothingSelected   the words are right and match nothing, or nothing was given: name a target
└── OptionError       an option does not fit the verb: leave it out or complete it
"""


class OpsError(Exception):
    """An operation that cannot be planned."""


class SelectorError(OpsError, ValueError):
    """The selection cannot be read, or does not fit the verb."""


class NothingSelected(OpsError, LookupError):
    """Nothing is selected: an empty selection, or names that no host knows."""


class OptionError(OpsError, ValueError):
    """An option that the verb does not take, or that lacks another one."""
