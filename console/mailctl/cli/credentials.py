"""`mailctl credentials`: who may log in at intake, on all hosts at once.

A secret is made here and printed once; hosts get its digest, so that one secret is good on every host.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.options import Command, Duration, Listed, RateWord, as_json, selectors
from mailctl.cli.setup import Setup, narrate, pass_setup, width
from mailctl.cli.verbs import common

if TYPE_CHECKING:
    from mailagent.api.credentials import Scope, UserRequest
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.group(cls=Listed)
def credentials() -> None:
    """List users of intake, and change them.

    Who may log in, and what for.

    Without host: terms, on every host of the fleet.

    \b
    Examples:
      mailctl credentials create shop --stream receipts --sender shop.example.com --rate 600/m
      mailctl credentials rotate shop --overlap 24h
      mailctl credentials list
    """


def _hosts(command: Command) -> Command:
    return click.argument("selection", nargs=-1, metavar="[host:NAME]...")(command)


def _scope(command: Command) -> Command:
    for option in (
        click.option("--for", "ttl_s", type=Duration(), help="Until when, such as 90d. [default: no end]"),
        click.option(
            "--rate", type=RateWord(), default="", help="Messages, such as 600/m, on each host. [default: no limit]"
        ),
        click.option("--network", "networks", multiple=True, metavar="NET", help="Clients. [default: any]"),
        click.option("--sender", "senders", multiple=True, metavar="DOMAIN", help="Envelope senders. [default: any]"),
        click.option("--stream", "streams", multiple=True, metavar="NAME", help="Streams. [default: any]"),
    ):
        command = option(command)
    return command


_digest = click.option("--digest", help="Of a secret that is known already, as `create` prints it.")


@credentials.command("list")
@selectors
@as_json
@pass_setup
def listing(setup: Setup, selection: Sequence[str], as_json: bool) -> None:
    """List users, their scope and their last use.

    \b
    Examples:
      mailctl credentials list
      mailctl credentials list host:mx1 --json
    """
    from mailctl.cli.show import Shown, show
    from mailctl.cli.users import user_table, users_of
    from mailctl.output.document import at_host

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        found, failed = await users_of(fleet, selection, deadline_s=setup.timeout_s)
        return Shown([at_host(host, row) for host, row in found], user_table(found, width()), failed=failed)

    show(setup, "credentials list", selection, look, as_json=as_json, kinds=())


@credentials.command()
@click.argument("user")
@_hosts
@_scope
@_digest
@common
@pass_setup
def create(setup: Setup, /, user: str, digest: str | None, **given: Any) -> None:
    """Let USER log in. Prints the secret, once.

    \b
    Example:
      mailctl credentials create shop --stream receipts --for 365d
    """
    from mailagent.api.credentials import CreateCredential

    secret, digest = _made(digest)
    scope = _scope_of(given)
    request = CreateCredential(op_id=_unnamed(), user=user, digest=digest, scope=scope)
    _hand_over(setup, "credential_create", request, [*_words(scope), "--digest", digest], _shown(user, secret), **given)


@credentials.command()
@click.argument("user")
@_hosts
@_scope
@common
@pass_setup
def scope(setup: Setup, /, user: str, **given: Any) -> None:
    """Replace what USER may do: what is not given is not bounded.

    \b
    Example:
      mailctl credentials scope shop --stream receipts --rate 1200/m
    """
    from mailagent.api.credentials import ScopeCredential

    rights = _scope_of(given)
    request = ScopeCredential(op_id=_unnamed(), user=user, scope=rights)
    _hand_over(setup, "credential_scope", request, _words(rights), None, **given)


@credentials.command()
@click.argument("user")
@_hosts
@click.option("--overlap", "overlap_s", type=Duration(), help="The secret before is good so long. [default: 0]")
@_digest
@common
@pass_setup
def rotate(setup: Setup, /, user: str, digest: str | None, overlap_s: int | None, **given: Any) -> None:
    """Give USER a new secret. Prints it, once.

    \b
    Example:
      mailctl credentials rotate shop --overlap 24h
    """
    from mailagent.api.credentials import RotateCredential

    secret, digest = _made(digest)
    request = RotateCredential(op_id=_unnamed(), user=user, digest=digest, overlap_s=overlap_s or 0)
    words = ["--digest", digest, *(["--overlap", f"{overlap_s}s"] if overlap_s else [])]
    _hand_over(setup, "credential_rotate", request, words, _shown(user, secret), **given)


@credentials.command()
@click.argument("user")
@_hosts
@common
@pass_setup
def revoke(setup: Setup, /, user: str, **given: Any) -> None:
    """Make every secret of USER worthless, in open sessions too.

    \b
    Example:
      mailctl credentials revoke shop --reason "left the company"
    """
    from mailagent.api.credentials import RevokeCredential

    request = RevokeCredential(op_id=_unnamed(), user=user)
    _hand_over(setup, "credential_revoke", request, [], None, **given)


def _hand_over(
    setup: Setup,
    verb: str,
    request: "UserRequest",
    words: Sequence[str],
    done: Callable[[], None] | None,
    *,
    selection: Sequence[str],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    from mailctl.cli.act import Asked, Manner, act
    from mailctl.ops import Options, Verb

    manner = Manner(dry_run=dry_run, yes=yes, as_json=as_json, wait_s=None)
    act(
        setup,
        Verb(verb),
        selection,
        "",
        Options(**options),
        manner,
        Asked(request, f"user {request.user}", (request.user, *words), done),
    )


def _unnamed() -> Any:
    from mailagent.api.ids import OpId

    return OpId("")


def _scope_of(given: dict[str, Any]) -> "Scope":
    from mailagent.api.credentials import Scope
    from mailagent.api.domains import folded_domain

    given["senders"] = tuple(map(folded_domain, given["senders"]))
    return Scope(**{name: given.pop(name) for name in Scope.__struct_fields__})


def _words(scope: "Scope") -> list[str]:
    """The options that say `scope`."""
    listed = (("--stream", scope.streams), ("--sender", scope.senders), ("--network", scope.networks))
    words = [word for option, values in listed for value in values for word in (option, value)]
    return [*words, "--rate", scope.rate] if scope.rate else words


def _made(digest: str | None) -> tuple[str, str]:
    """(a new secret, its digest); no secret when the digest is given."""
    from mailagent.api import credentials

    if digest is not None:
        return "", digest
    secret = credentials.new_secret()
    return secret, credentials.digest(secret)


def _shown(user: str, secret: str) -> Callable[[], None] | None:
    """Prints the secret, on stderr: stdout is the report."""
    from mailagent.api.credentials import token

    def show() -> None:
        narrate(f"user   {user}")
        narrate(f"secret {secret}")
        narrate(f"token  {token(user, secret)}")
        narrate("the secret is not kept anywhere; store it now")

    return show if secret else None
