"""How a command ends when it cannot do what was asked: a sentence on stderr and an exit code."""

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mailagent.config import AgentConfig, ConfigError

FAILED, USAGE, UNREACHABLE, REFUSED, UNKNOWN, INTERRUPTED = 1, 2, 3, 4, 6, 130
"""Exit codes beside 0; the console uses the same ones."""


class Failure(Exception):
    """An end with a message and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


_UNWRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE})


def is_of_output(error: OSError) -> bool:
    """Whether stdout takes no more: what is about a file has the name of it."""
    return error.filename is None and error.errno in _UNWRITTEN


def unusable(error: "ConfigError") -> Failure:
    """Print every mistake of a file; the failure to raise."""
    if len(error.errors) == 1 and not error.errors[0].line:
        return Failure(str(error), USAGE)
    click.echo(str(error), err=True)
    return Failure(f"{count(len(error.errors), 'mistake')} in {error.errors[0].file}", USAGE)


def load(path: Path, *, files: bool = False) -> "AgentConfig":
    """The configuration at `path`; with `files`, what it names (keys, secrets, rules …) is looked at too.

    Raises:
        Failure: it cannot be used; every mistake is printed.
    """
    from mailagent.config import ConfigError, load_agent_with_origins

    try:
        config, origins = load_agent_with_origins(path)
        if files:
            from mailagent.cli.named_files import unusable_files
            from mailagent.dkim import load_ring
            from mailagent.outcome.classification import load_rules

            if problems := unusable_files(config, origins):
                raise ConfigError(problems)
            load_ring(config, origins)
            load_rules(config.classification.rules)
        return config
    except ConfigError as exc:
        raise unusable(exc) from exc


def count(number: int, thing: str) -> str:
    """`1 pool`, `2 pools`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
