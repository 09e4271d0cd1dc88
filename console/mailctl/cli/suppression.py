"""`mailctl suppression`: addresses that are not mailed, on the hosts of the selection or on all."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from mailctl.cli.completion import complete_host
from mailctl.cli.options import Command, Duration, Listed, Words, as_json, limit
from mailctl.cli.setup import Setup, pass_setup, width
from mailctl.cli.verbs import common, hand_over, targets

if TYPE_CHECKING:
    from mailagent.api.requests import Mutation
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection

ROWS = 100
_REASONS = ("hard-bounce", "soft-bounces", "complaint", "unsubscribe", "manual")

_reason_code = click.option(
    "--because",
    type=click.Choice(_REASONS),
    help="What put them there, kept with the entries; --reason is in your own words. [default: manual]",
)
_stream = click.option("--stream", default="", help="Only mail of this stream.")
_life = click.option("--for", "ttl_s", type=Duration(), help="How long. [default: as the configuration says]")
_host = click.option(
    "--host",
    "hosts",
    multiple=True,
    shell_complete=complete_host,
    metavar="NAME",
    help="Only on this host; may be given again.",
)


@click.group(cls=Listed)
def suppression() -> None:
    """List addresses that must not be mailed, and change the list.

    Each host has its own list; commands act on all hosts, or on those that --host names (freeze and thaw: host:).

    \b
    Examples:
      mailctl suppression list anna@example.com
      mailctl suppression add anna@example.com --because complaint --reason "letter of 3 May"
      mailctl suppression import list.csv --yes
    """


def _narrowing(command: Command) -> Command:
    for option in (
        click.option("--pending", is_flag=True, help="Only what a freeze has held back."),
        click.option("--because", "because", type=click.Choice(_REASONS), help="Only with this reason."),
        _stream,
        _host,
    ):
        command = option(command)
    return command


@suppression.command("list")
@click.argument("address", required=False, default="")
@_narrowing
@limit(ROWS)
@as_json
@pass_setup
def listing(setup: Setup, /, address: str, hosts: Sequence[str], as_json: bool, **narrow: Any) -> None:
    """List entries: reason, source, evidence, end.

    \b
    Examples:
      mailctl suppression list
      mailctl suppression list anna@example.com --json
      mailctl suppression list --pending --host mx1
    """
    from mailctl.cli.show import Shown, show
    from mailctl.cli.suppressions import query, suppression_table, suppressions_of
    from mailctl.output.document import at_host

    most, (address,) = narrow.pop("limit"), _folded([address])

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found = await suppressions_of(
            fleet, selection, query(address, **narrow), limit=most, deadline_s=setup.timeout_s
        )
        rows = [at_host(host, row) for host, row in found.rows]
        return Shown(rows, suppression_table(found, width()), found.truncated, found.errors)

    show(setup, "suppression list", _at(hosts), look, as_json=as_json)


@suppression.command()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@_reason_code
@_stream
@_host
@_life
@common
@pass_setup
def add(setup: Setup, /, addresses: Sequence[str], because: str | None, stream: str, **given: Any) -> None:
    """Put addresses on the list.

    \b
    Example:
      mailctl suppression add anna@example.com bob@example.com --because complaint --yes
    """
    from mailagent.api.suppression import SuppressionAdd, SuppressionEntry, SuppressionReason

    if because is None and given["reason"] in _REASONS:
        raise click.UsageError(f"--reason is for words of your own; say --because {given['reason']}")
    reason, addresses = SuppressionReason(because or "manual"), _checked(addresses)
    entries = tuple(SuppressionEntry(address=one, stream=stream, reason=reason) for one in addresses)
    words = [*addresses, *(("--because", because) if because not in (None, "manual") else ()), *_said(stream)]
    _ask(setup, "suppression_add", SuppressionAdd(op_id=_UNNAMED, entries=entries), addresses, words, **given)


@suppression.command()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@_stream
@_host
@common
@pass_setup
def remove(setup: Setup, /, addresses: Sequence[str], stream: str, **given: Any) -> None:
    """Take addresses off the list: they are mailed again.

    \b
    Example:
      mailctl suppression remove anna@example.com --reason "she asked for it"
    """
    from mailagent.api.suppression import SuppressionRemove

    addresses = _checked(addresses)
    request = SuppressionRemove(op_id=_UNNAMED, addresses=addresses, stream=stream)
    _ask(setup, "suppression_remove", request, addresses, [*addresses, *_said(stream)], **given)


@suppression.command()
@click.argument("decision", type=click.Choice(["apply", "discard"]))
@click.option("--provider", default="", help="Only entries by replies of this provider.")
@_host
@common
@pass_setup
def pending(setup: Setup, /, decision: str, provider: str, **given: Any) -> None:
    """Decide about entries that a freeze has held back: they take effect, or are forgotten.

    \b
    Examples:
      mailctl suppression pending discard --provider gmail
      mailctl suppression pending apply --host mx1
    """
    from mailagent.api.suppression import SuppressionPending

    words = [decision, *(("--provider", provider) if provider else ())]
    request = SuppressionPending(op_id=_UNNAMED, apply=decision == "apply", provider=provider)
    _ask(setup, "suppression_pending", request, ["pending entries"], words, **given)


@suppression.command("import")
@click.argument("file", type=click.File("rb"))
@_host
@click.option("--reason", type=Words(), default="", help="Why; kept with the entries.")
@click.option("--dry-run", is_flag=True, help="Read the file, change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; needed when nobody is at the terminal.")
@as_json
@pass_setup
def import_list(setup: Setup, /, file: BinaryIO, hosts: Sequence[str], **given: Any) -> None:
    """Add the addresses of a CSV file; `-` reads standard input.

    The first line names the columns: address, and any of reason, expires (RFC 3339), stream. A file with a mistake is
    not used at all. What is on the list already is replaced, so the command can be run again.

    \b
    Example:
      mailctl suppression import list.csv --yes --reason "from the old system"
    """
    from mailctl.cli.suppressions import import_file

    import_file(setup, file, _at(hosts), **given)


@suppression.command()
@_narrowing
@pass_setup
def export(setup: Setup, /, hosts: Sequence[str], **narrow: Any) -> None:
    """Write the list as CSV that `import` reads; an address on several hosts stands there once.

    \b
    Example:
      mailctl suppression export --because complaint > complaints.csv
    """
    from mailctl.cli.suppressions import export_list

    export_list(setup, _at(hosts), **narrow)


@suppression.command()
@targets
@_life
@common
@pass_setup
def freeze(setup: Setup, /, **given: Any) -> None:
    """Hold back what bounces suppress, for 4h or as long as --for says.

    Acts on provider: and host:. Bounces go on; the addresses are recorded as pending.

    \b
    Example:
      mailctl suppression freeze provider:gmail --for 2h --reason "they call everybody unknown"
    """
    hand_over(setup, "suppression_freeze", **given)


@suppression.command()
@targets
@common
@pass_setup
def thaw(setup: Setup, /, **given: Any) -> None:
    """End a freeze. What is pending stays so until `suppression pending`.

    \b
    Example:
      mailctl suppression thaw provider:gmail
    """
    hand_over(setup, "suppression_thaw", **given)


_UNNAMED: Any = ""
"""Placeholder until the operation has its id."""


def _at(hosts: Sequence[str]) -> tuple[str, ...]:
    return tuple(name if name.startswith("host:") else f"host:{name}" for name in hosts)


def _folded(addresses: Sequence[str]) -> tuple[str, ...]:
    """Addresses as the list will have their domains."""
    from mailagent.api.domains import folded_address

    for one in addresses:
        if one.startswith("host:"):
            raise click.UsageError(f"{one} is no address; for hosts there is --host {one[5:] or 'NAME'}")
    return tuple(map(folded_address, addresses))


def _checked(addresses: Sequence[str]) -> tuple[str, ...]:
    """The same of addresses that every host would take."""
    from mailagent.config.scalars import is_mail_address

    found = _folded([one.strip() for one in addresses])
    for one in found:
        if not is_mail_address(one.rstrip(".")):
            raise click.UsageError(f"`{one[:100]}` is no address; write anna@example.com")
    return found


def _said(stream: str) -> tuple[str, ...]:
    return ("--stream", stream) if stream else ()


def _ask(
    setup: Setup,
    verb: str,
    request: "Mutation",
    about: Sequence[str],
    words: Sequence[str],
    *,
    hosts: Sequence[str],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    from mailctl.cli.act import Asked, Manner, act
    from mailctl.ops import Options, Verb

    subject = about[0] if len(about) == 1 else f"{len(about)} addresses"
    manner = Manner(dry_run=dry_run, yes=yes, as_json=as_json, wait_s=None)
    act(setup, Verb(verb), _at(hosts), "", Options(**options), manner, Asked(request, subject, tuple(words)))
