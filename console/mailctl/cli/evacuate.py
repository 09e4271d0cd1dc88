"""`mailctl evacuate`: the queue of a host moves to other hosts."""

from typing import Any

import click

from mailctl.cli.completion import complete_host
from mailctl.cli.options import Duration, RateWord
from mailctl.cli.setup import Setup, pass_setup
from mailctl.cli.verbs import resumed

WAIT_S = "1h"
"""What `--wait` alone waits."""


def _hosts(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """`mx2,mx3` and repeated options, each host once."""
    names = [name.strip().removeprefix("host:") for one in value for name in one.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


@click.command()
@click.argument("host", required=False, metavar="[HOST]", shell_complete=complete_host)
@click.option(
    "--to",
    multiple=True,
    callback=_hosts,
    shell_complete=complete_host,
    metavar="HOST[,HOST]",
    help="Where the mail may go.",
)
@click.option("--stream", "streams", multiple=True, help="Only this stream; may be repeated. [default: all]")
@click.option("--rate", type=RateWord(), default="", help="Most recipients, such as 200/s. [default: no limit]")
@click.option(
    "--wait",
    "wait_s",
    type=Duration(),
    is_flag=False,
    flag_value=WAIT_S,
    help=f"Go on until nothing of it waits, at most so long; alone {WAIT_S}. Exit 1 on time-out.",
)
@click.option("--list", "listed", is_flag=True, help="Show evacuations, and what is on its way.")
@click.option("--cancel", is_flag=True, help="Bring back what has not left, and end it.")
@resumed
@pass_setup
def evacuate(setup: Setup, /, **given: Any) -> None:
    """Move the queue of a host to other hosts, each recipient exactly once.

    Age, attempts, reasons, job and the wishes of senders are kept. This command carries the mail; when it ends
    early, run it again to go on, or with --cancel. Deliveries under way stay until they are settled; --wait goes on
    until they are. Drain the host first, or new mail comes in meanwhile.

    \b
    Examples:
      mailctl evacuate mx1 --to mx2,mx3 --dry-run
      mailctl evacuate mx1 --to mx2 --stream news --rate 200/s --wait --yes
      mailctl evacuate mx1
      mailctl evacuate mx1 --cancel --yes
      mailctl evacuate --list
    """
    from mailctl.cli import evacuation

    if given["listed"]:
        evacuation.listed(setup, given["host"] or "", as_json=given["as_json"])
    if not given["host"]:
        raise click.UsageError("name the host that is to be evacuated, or --list")
    evacuation.evacuate(setup, evacuation.Wish(**{name: given[name] for name in evacuation.Wish.__slots__}))


COMMANDS = (evacuate,)
