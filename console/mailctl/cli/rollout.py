"""`mailctl plan` and `mailctl apply`: the fleet file and what the hosts run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import Duration, Words, as_json, selectors
from mailctl.cli.setup import Setup, pass_setup
from mailctl.cli.verbs import common, targets

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


class Pause(Duration):
    """A duration, or 0 for none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds of `value`."""
        return 0 if value == "0" else super().convert(value, param, ctx)


class Percent(click.ParamType[float]):
    """`10%`; the value is the share."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share of `value`."""
        if isinstance(value, float):
            return value
        number = str(value).removesuffix("%")
        if not number.isdecimal() or int(number) > 100:
            self.fail(f"{value} is no share; write 10%", param, ctx)
        return int(number) / 100


@click.command()
@selectors
@as_json
@pass_setup
def plan(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """Compare the fleet file with what each host runs. Changes nothing.

    Says what would change in effect: parts added, removed and changed, ceilings from and to, queues and waiting mail
    that are concerned, standing orders that fit no more, and what needs a restart. Exit 0: nothing differs; 5: there
    are changes; 1: none were seen, but a host gave no answer.

    \b
    Examples:
      mailctl plan
      mailctl plan host:mx1 --json
    """
    from mailctl.cli.rollout_text import plans_text
    from mailctl.cli.setup import width
    from mailctl.cli.show import Shown, show
    from mailctl.ops import compare

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = await compare(fleet, selection)
        fresh = {host.name for host in fleet.state.hosts if host.state.is_fresh}
        refused = [one.host for one in found if one.plan is not None and one.plan.problems]
        failed = {one.host: one.error for one in found if one.plan is None and one.host in fresh}
        # what its engine cannot compare may differ all the same
        beyond = [name for name, error in failed.items() if (host := fleet.state.host(name)) and host.is_beyond(error)]
        missing = [f"not compared: {', '.join(beyond)}"] if beyond else []
        missing += [f"would refuse its part: {', '.join(refused)}"] if refused else []
        return Shown(
            [one.plan for one in found if one.plan is not None],
            plans_text(found, width()),
            failed=failed,
            missing="; ".join(missing),
            crossed=any(one.differs for one in found),
        )

    show(setup, "plan", selection, look, as_json=as_json)


@click.command()
@targets
@click.option("--canary", "canaries", multiple=True, metavar="HOST", help="Told first. [default: the first host]")
@click.option("--batch", default="20%", show_default=True, metavar="N|N%", help="Hosts told at a time after that.")
@click.option(
    "--pause", "pause_s", type=Pause(), default="30s", show_default=True, help="Watch each batch for so long."
)
@click.option(
    "--max-deferral",
    type=Percent(),
    default="10%",
    show_default=True,
    help="Stop when so much more of the attempts is deferred than before.",
)
@click.option("--rollback", "roll_back", is_flag=True, help="When it stops, put the old files back.")
@click.option("--restart-later", "restart", is_flag=True, help="Also write parts that need a restart of the agent.")
@click.option("--force", is_flag=True, help="Replace a file that was edited by hand on the host; wants --reason.")
@click.option(
    "--undo", "undoes", type=Words(), default="", metavar="OPERATION", help="Put back the files before this apply."
)
@common
@pass_setup
def apply(setup: Setup, /, **given: Any) -> None:
    """Tell hosts their part of the fleet file, in batches.

    Each host checks its part before it counts, keeps the file before it, and takes the new one over without a restart.
    After each batch the hosts are watched: one that is lost, fails, refuses mail or defers more than before stops the
    roll-out. Run it again to go on: hosts that have their part already are left alone.

    \b
    Examples:
      mailctl apply --all --dry-run
      mailctl apply --all --canary mx1 --batch 10% --pause 2m --rollback --reason "new pool"
      mailctl apply host:mx1 --yes --json
      mailctl apply --undo 1q7p3k2m9x4a8bc
    """
    from mailctl.cli.rolling import roll

    roll(setup, **given)


@click.command()
@click.argument("directives", nargs=-1, metavar="[DIRECTIVE]...")
@click.option("--all", "everything", is_flag=True, help="Every order that the file has words for.")
@click.option("--write", is_flag=True, help="Write the fleet file; without it the difference is shown.")
@as_json
@pass_setup
def adopt(setup: Setup, directives: tuple[str, ...], everything: bool, write: bool, as_json: bool) -> None:
    """Write standing orders back to the fleet file.

    A rotation or a drain of a virtual MTA moves it to `quarantined`, its standby to `active`; a lowered limit of a
    provider or a virtual MTA becomes its key. Comments and order of the file stay. The next apply ends the orders,
    since the file says the same. `mailctl directives` has the ids.

    \b
    Examples:
      mailctl adopt --all
      mailctl adopt 1q7p3k2m9x4a8bc-1 --write
    """
    from mailctl.cli.adopting import run_adopt

    run_adopt(setup, directives, everything=everything, write=write, as_json=as_json)


COMMANDS = (plan, apply, adopt)
