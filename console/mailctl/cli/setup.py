"""What all commands share: the fleet file, the global options, and talk on stderr."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from mailctl.cli.exits import Exit

if TYPE_CHECKING:
    from mailagent.config.structs import FleetConfig
    from mailctl.fleet import Fleet
    from mailctl.fleet.watch import Tap

SEARCHED = ("./fleet.yaml", "~/.config/mailctl/fleet.yaml", "/etc/mailctl/fleet.yaml", "/etc/mailagent/agent.yaml")
"""Where the fleet file is looked for, after --fleet and $MAILCTL_FLEET; at last, on a host, its own file."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setup:
    """The global options."""

    fleet_file: Path | None  # as given with --fleet
    role: str | None
    timeout_s: float  # to wait for hosts
    answer_s: float | None = None  # for each answer, as given with --timeout; None: as long as the command allows
    wants_read_only: bool | None = None  # None: as the operator's own file says

    @property
    def read_only(self) -> bool:
        """Whether nothing may be changed.

        Raises:
            ConfigError: the operator's own file has a mistake there.
        """
        if self.wants_read_only is not None:
            return self.wants_read_only
        from mailctl.ops.own import config_path, is_read_only

        return is_read_only(config_path())

    def path(self) -> Path:
        """The fleet file to use.

        Raises:
            click.UsageError: there is none.
        """
        if named := self.fleet_file or os.environ.get("MAILCTL_FLEET"):
            return _expanded(named)  # of `--fleet=~/x` the shell makes nothing else, nor does cron of its variables
        for place in SEARCHED:
            if (path := _expanded(place)).is_file():
                return path
        raise click.UsageError(f"no fleet file; looked for $MAILCTL_FLEET, {', '.join(SEARCHED)}. Name it with --fleet")

    def load(self) -> "FleetConfig":
        """The fleet file as a value.

        Raises:
            ConfigError: every mistake in it.
        """
        from mailagent.config import load_fleet

        return load_fleet(self.path())

    def check_hosts(self, hosts: tuple[str, ...]) -> None:
        """That the fleet file has `hosts`.

        Raises:
            click.UsageError: it has not.
        """
        from mailctl.fleet.inventory import Inventory

        try:
            Inventory.of(self.load(), hosts)
        except LookupError as exc:
            raise click.UsageError(str(exc.args[0])) from exc

    def fleet(self, hosts: tuple[str, ...] = (), *, tap: "Tap | None" = None) -> "Fleet":
        """The fleet, not yet connected, cut to `hosts` (none: all). Call it inside the event loop."""
        from mailagent.api.requests import Role
        from mailctl.fleet import Fleet

        config = self.load()
        try:
            role = Role(self.role) if self.role else None
            return Fleet(config, path=self.fleet_file, only=hosts, as_role=role, answer_s=self.answer_s, tap=tap)
        except LookupError as exc:
            raise click.UsageError(str(exc.args[0])) from exc


pass_setup = click.make_pass_decorator(Setup)


def _expanded(place: str | Path) -> Path:
    """With the home for `~`, where the account has one."""
    return Path(os.path.expanduser(place))  # noqa: PTH111 - pathlib's own raises where there is none


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the work of one command. Tasks that find no reader, or no room, for what they write end it as any line does.

    Raises:
        OSError: what stdout said, alone.
    """
    try:
        return asyncio.run(work)
    except ExceptionGroup as group:
        matching, others = group.split(OSError)
        if matching is None or others is not None:
            raise
        found: Exception = matching
        while isinstance(found, ExceptionGroup):
            found = found.exceptions[0]
        raise found from None


def narrate(text: str) -> None:
    """A note for people: stderr, so that stdout stays the result."""
    click.echo(f"mailctl: {text}", err=True)


def complain(text: str) -> None:
    """What went wrong, line by line."""
    for line in text.splitlines() or [""]:
        click.echo(f"mailctl: error: {line}", err=True)


def leave(code: Exit) -> NoReturn:
    """End the command."""
    sys.exit(int(code))


def width() -> int | None:
    """Columns of the terminal that the result goes to; None when it goes elsewhere and nothing may be cut."""
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None  # $COLUMNS may be that of another terminal
    except OSError:
        return None
