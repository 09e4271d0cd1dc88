"""`mailagent postfix`: what concerns hosts whose mail a Postfix carries."""

import sys
from pathlib import Path

import click


@click.group()
def postfix() -> None:
    """Look after an agent in front of a Postfix."""


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
    flushes messages by their queue ids, and nothing else.

    \b
    Example:
      mailagent postfix helper --config /etc/postfix --user mailagent
    """
    from mailagent.postfix.helper import serve

    sys.exit(serve(directory, user))
