"""`mailctl dkim`: keys by domain and pool, and the steps from one to the next."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import Listed, as_json, selectors
from mailctl.cli.setup import Setup, pass_setup, width
from mailctl.cli.verbs import common, hand_over, override, targets

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.group(cls=Listed)
def dkim() -> None:
    """Show DKIM keys, and replace them step by step.

    A key is prepared (its record is printed), proven by DNS, switched to; the old one is kept until no mail that it
    signed is on its way, then retired. Keys never leave their host, so each host has a selector of its own.

    \b
    Example:
      mailctl dkim prepare dkim:example.com/marketing
      mailctl dkim prove dkim:example.com/marketing
      mailctl dkim switch dkim:example.com/marketing
    """


@dkim.command("list")
@selectors
@as_json
@pass_setup
def listing(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """List selectors: state, age, record, and until when one must stay published.

    \b
    Examples:
      mailctl dkim list pool:marketing
      mailctl dkim list --json
    """
    from mailctl.cli.keys import key_table, selectors_of
    from mailctl.cli.show import Shown, show
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found, failed = await selectors_of(fleet, selection, deadline_s=setup.timeout_s)
        return Shown([at_host(host, row) for host, row in found], key_table(found, width()), failed=failed)

    show(setup, "dkim list", selection, look, as_json=as_json)


@dkim.command()
@selectors
@click.option("--selector", default="", help="The selector to ask about. [default: each that is prepared]")
@as_json
@pass_setup
def prove(setup: Setup, selection: Sequence[str], selector: str, as_json: bool) -> None:
    """Ask DNS, from the sending hosts, whether the record is there and right. Exit 1 when not.

    \b
    Example:
      mailctl dkim prove dkim:example.com/marketing
    """
    from mailctl.cli.keys import proof_table, proofs_of
    from mailctl.cli.show import Shown, show

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found, failed = await proofs_of(fleet, selection, selector, deadline_s=setup.timeout_s)
        unproven = ", ".join(f"{one.host}: {one.proof.name}" for one in found if not one.proof.proven)
        missing = (
            f"not proven: {unproven}"
            if unproven
            else (
                ""
                if found or failed
                else "no DKIM key there waits for proof; name one with --selector, see mailctl dkim list"
            )
        )
        return Shown([one.row for one in found], proof_table(found, width()), failed=failed, missing=missing)

    show(setup, "dkim prove", selection, look, as_json=as_json)


_selector = click.option("--selector", default="", help="The selector. [default: the only one that fits]")


@dkim.command()
@targets
@click.option("--selector", default="", help="Its name. [default: made of pool, date and host]")
@click.option("--algorithm", type=click.Choice(["rsa", "ed25519"]), default="rsa", show_default=True)
@common
@pass_setup
def prepare(setup: Setup, /, **given: Any) -> None:
    """Make a key on each host, and print the records to publish. Signs nothing yet.

    \b
    Example:
      mailctl dkim prepare dkim:example.com/marketing host:mx1
    """
    hand_over(setup, "dkim_prepare", **given)


@dkim.command()
@targets
@_selector
@common
@pass_setup
def switch(setup: Setup, /, **given: Any) -> None:
    """Sign with the prepared key from now on. Refused unless DNS proves it.

    \b
    Example:
      mailctl dkim switch dkim:example.com/marketing --reason "yearly rotation"
    """
    hand_over(setup, "dkim_switch", **given)


@dkim.command()
@targets
@_selector
@override
@common
@pass_setup
def retire(setup: Setup, /, **given: Any) -> None:
    """Give up a kept or prepared selector: its record may go.

    \b
    Example:
      mailctl dkim retire dkim:example.com/marketing --selector mkt1
    """
    hand_over(setup, "dkim_retire", **given)


@dkim.command()
@selectors
@click.option("--due", is_flag=True, required=True, help="Act on keys that are old enough to be replaced.")
@common
@pass_setup
def rotate(setup: Setup, /, selection: Sequence[str], due: bool, **given: Any) -> None:  # noqa: ARG001
    """Take each key that is due one step further.

    Prepare its successor, or switch to it when DNS proves it. Run it from cron, and publish what it prints: the next
    run switches. Exit 1 while records are missing.

    \b
    Example:
      mailctl dkim rotate --due --yes --reason "yearly rotation"
    """
    from mailctl.cli.keys import rotate_due

    if given.pop("key"):
        raise click.UsageError("rotate takes no --key: each key that is due is an act of its own")
    rotate_due(setup, selection, **given)
