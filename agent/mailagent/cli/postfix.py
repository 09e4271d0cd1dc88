"""`mailagent postfix`: what is changed in the Postfix that an agent stands in front of, and its helper."""

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailagent.cli.failure import FAILED, REFUSED, USAGE, Failure, load
from mailagent.cli.options import Listed, config_option

if TYPE_CHECKING:
    from mailagent.postfix.installing import Installing, Plan

Value = TypeVar("Value")

_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(cls=Listed)
def postfix() -> None:
    """Set up the Postfix that the agent stands in front of: virtual MTAs, pools, suspensions.

    \b
    Examples:
      mailagent postfix plan --config agent.yaml
      mailagent postfix apply --config agent.yaml --yes
      mailagent postfix remove --config agent.yaml
    """


@postfix.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One document.")
def plan(config_path: Path, as_json: bool) -> None:
    """Show every change to main.cf, master.cf and maps with its reason. Changes nothing.

    Exit code 4: a setting of somebody else stands in the way, or this Postfix is too old.
    """
    from mailagent.api import codec

    found = _run(config_path, lambda installing: installing.plan())
    if as_json:
        document = {
            "schema": 1,
            "changes": [{"name": one.name, "value": one.value, "reason": one.reason} for one in found.changes],
            "diff": found.diff,
            "notes": list(found.notes),
        }
        click.echo(codec.encode(document).decode())
        return
    _show(found)


@postfix.command()
@config_option
@_yes_option
def apply(config_path: Path, yes: bool) -> None:
    """Write what `plan` shows, check and reload; when anything fails, all is put back."""
    _change(config_path, "apply this", yes, lambda installing: installing.plan())


@postfix.command()
@config_option
@_yes_option
def remove(config_path: Path, yes: bool) -> None:
    """Take everything away that `apply` has put into Postfix.

    Mail that waits goes on as it would without the agent; standing orders of a running agent lose their effect.
    """
    _change(config_path, "take this away", yes, lambda installing: installing.plan_removal())


@postfix.command()
@click.option(
    "--config",
    "directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/etc/postfix"),
    show_default=True,
    metavar="DIR",
    help="Configuration directory of the one instance that it acts on.",
)
@click.option("--user", required=True, help="Who may ask, beside root: the user that the agent runs as.")
def helper(directory: Path, user: str) -> None:
    """Answer one request of an agent that is not root.

    Started by systemd for each connection of its socket, or by sudo. It holds, releases, requeues, expires, deletes and
    flushes messages by their queue ids, writes the maps that `apply` has named, reloads Postfix, and nothing else.

    \b
    Example:
      mailagent postfix helper --config /etc/postfix --user mailagent
    """
    from mailagent.postfix.helper import serve

    sys.exit(serve(directory, user))


def _change(config_path: Path, what: str, yes: bool, plan: "Callable[[Installing], Coroutine[Any, Any, Plan]]") -> None:
    def confirmed(found: "Plan") -> bool:
        _show(found)
        if found.is_nothing:
            return False
        if not yes and not sys.stdin.isatty():
            raise Failure("nobody is here to ask; say --yes", USAGE)
        return yes or click.confirm(f"{what[0].upper()}{what[1:]}?")

    async def act(installing: "Installing") -> None:
        import asyncio

        if said := await installing.recover():
            click.echo(f"mailagent: note: {said}", err=True)
        found = await plan(installing)
        if await asyncio.to_thread(confirmed, found):
            click.echo(f"done: {await installing.apply(found)}")

    _run(config_path, act)


def _run(config_path: Path, act: "Callable[[Installing], Coroutine[Any, Any, Value]]") -> Value:
    import asyncio

    from mailagent.config.postfix import EngineKind
    from mailagent.control.state import host_state
    from mailagent.postfix.errors import PostfixError
    from mailagent.postfix.installing import Installing
    from mailagent.postfix.instance import find_programs
    from mailagent.postfix.setup import SetupRefused
    from mailagent.spool import StorageError, live_directives

    config = load(config_path)
    if config.engine is not EngineKind.POSTFIX:
        raise Failure(f"{config_path}: host {config.host} has no `engine: postfix`", USAGE)

    async def run() -> Value:
        state = host_state(config, live_directives(config.state_dir))
        return await act(Installing(config, await find_programs(config.postfix), state))

    try:
        return asyncio.run(run())
    except SetupRefused as exc:
        for problem in exc.problems:
            click.echo(f"refused: {problem}", err=True)
        raise Failure("this Postfix stays as it is", REFUSED) from exc
    except (PostfixError, StorageError, OSError) as exc:
        raise Failure(str(exc), FAILED) from exc


def _show(found: "Plan") -> None:
    if found.is_nothing:
        click.echo("nothing to do")
    else:
        click.echo(found.diff.rstrip("\n"))
        for change in found.changes:
            click.echo(f"{change.name}{'' if change.value else ' (taken away)'}: {change.reason}")
    for note in found.notes:
        click.echo(f"mailagent: note: {note}", err=True)
