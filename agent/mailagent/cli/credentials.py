"""`mailagent credentials`: who may log in at intake.

A secret is made here and printed once; the agent gets its digest. With `--digest` several hosts share one secret.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailagent.cli.failure import load
from mailagent.cli.options import Listed, config_option, socket_option, timeout_option

if TYPE_CHECKING:
    from mailagent.api.credentials import CredentialView, Scope
    from mailagent.api.requests import Mutation

C = TypeVar("C", bound=Callable[..., Any])


@click.group(cls=Listed)
def credentials() -> None:
    """Users of intake: who may log in, and what for.

    \b
    Examples:
      mailagent credentials create shop --stream receipts --sender shop.example.com --rate 600/m
      mailagent credentials rotate shop --overlap 24h
      mailagent credentials list
    """


class Duration(click.ParamType[int]):
    """`24h`, as in the file; gives seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds, or a usage error."""
        from mailagent.config.scalars import parse_duration

        try:
            return int(parse_duration(value) / timedelta(seconds=1))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


def _common(command: C) -> C:
    for option in (
        click.option("--reason", default="", metavar="TEXT", help="Why; goes into the audit log."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, change nothing."),
        timeout_option,
        socket_option,
        config_option,
    ):
        command = option(command)
    return command


def _scope(command: C) -> C:
    for option in (
        click.option("--for", "ttl_s", type=Duration(), metavar="TIME", help="Until when: 90d. [default: no end]"),
        click.option("--rate", default="", metavar="RATE", help="Messages: 600/m. [default: no limit]"),
        click.option("--network", "networks", multiple=True, metavar="NET", help="Clients. [default: any]"),
        click.option("--sender", "senders", multiple=True, metavar="DOMAIN", help="Envelope senders. [default: any]"),
        click.option("--stream", "streams", multiple=True, metavar="NAME", help="Streams. [default: any]"),
    ):
        command = option(command)
    return command


_digest = click.option("--digest", metavar="TEXT", help="Of a secret that exists already, as `create` prints it.")
_overlap = click.option(
    "--overlap", "overlap_s", type=Duration(), metavar="TIME", help="The secret before is good so long. [default: 0]"
)


@credentials.command()
@click.argument("user")
@_scope
@_digest
@_common
def create(user: str, digest: str | None, ttl_s: int | None, **given: Any) -> None:
    """Let USER log in. Prints the secret, once."""
    from mailagent.api.credentials import CreateCredential

    secret, digest = _made(digest)
    scope = _scope_of(given)
    done = _act("credential_create", lambda **most: CreateCredential(
        user=user, digest=digest, scope=scope, ttl_s=ttl_s, **most), **given)  # fmt: skip
    if done and secret:
        _show(user, secret, digest)


@credentials.command()
@click.argument("user")
@_scope
@_common
def scope(user: str, ttl_s: int | None, **given: Any) -> None:
    """Replace what USER may do: what is not given is not bounded."""
    from mailagent.api.credentials import ScopeCredential

    rights = _scope_of(given)
    _act("credential_scope", lambda **most: ScopeCredential(user=user, scope=rights, ttl_s=ttl_s, **most), **given)


@credentials.command()
@click.argument("user")
@_overlap
@_digest
@_common
def rotate(user: str, digest: str | None, overlap_s: int | None, **given: Any) -> None:
    """Give USER a new secret. Prints it, once."""
    from mailagent.api.credentials import RotateCredential

    secret, digest = _made(digest)
    done = _act("credential_rotate", lambda **most: RotateCredential(
        user=user, digest=digest, overlap_s=overlap_s or 0, **most), **given)  # fmt: skip
    if done and secret:
        _show(user, secret, digest)


@credentials.command()
@click.argument("user")
@_common
def revoke(user: str, **given: Any) -> None:
    """Make every secret of USER worthless, in open sessions too."""
    from mailagent.api.credentials import RevokeCredential

    _act("credential_revoke", lambda **most: RevokeCredential(user=user, **most), **given)


@credentials.command("list")
@config_option
@socket_option
@timeout_option
@click.option("--json", "as_json", is_flag=True, help="One document.")
def list_(config_path: Path, socket: Path | None, timeout: float, as_json: bool) -> None:
    """List users, their scope and their last use."""
    from mailagent.api import codec
    from mailagent.api.credentials import CredentialList
    from mailagent.api.requests import Empty
    from mailagent.cli.calling import calling

    with calling(socket or load(config_path).rpc.socket, timeout) as agent:
        found = agent.call("credentials", Empty())
    assert isinstance(found, CredentialList)  # noqa: S101 - the method table says so
    if as_json:
        click.echo(codec.encode(found).decode())
        return
    for row in found.rows:
        click.echo(_line(row))


def _line(row: "CredentialView") -> str:
    scope = row.scope
    words = [row.user.ljust(24)]
    if row.revoked_at is not None:
        words.append(f"revoked {row.revoked_at:%Y-%m-%d %H:%M}")
    elif row.expires_at is not None:
        words.append(f"until {row.expires_at:%Y-%m-%d %H:%M}")
    if row.old_secret_until is not None:
        words.append(f"old secret until {row.old_secret_until:%Y-%m-%d %H:%M}")
    listed = (("streams", scope.streams), ("senders", scope.senders), ("networks", scope.networks))
    words += [f"{name} {', '.join(values)}" for name, values in listed if values]
    words += [f"rate {scope.rate}"] if scope.rate else []
    used = f"{row.last_used_at:%Y-%m-%d %H:%M} from {row.last_used_from}" if row.last_used_at else "never"
    return "; ".join((*words, f"last used {used}"))


def _scope_of(given: dict[str, Any]) -> "Scope":
    from mailagent.api.credentials import Scope

    return Scope(**{name: given.pop(name) for name in Scope.__struct_fields__})


def _made(digest: str | None) -> tuple[str, str]:
    """(a new secret, its digest); no secret when the digest is given."""
    from mailagent.api import credentials

    if digest is not None:
        return "", digest
    secret = credentials.new_secret()
    return secret, credentials.digest(secret)


def _show(user: str, secret: str, digest: str) -> None:
    from mailagent.api.credentials import token

    click.echo(f"user    {user}")
    click.echo(f"secret  {secret}")
    click.echo(f"token   {token(user, secret)}")
    click.echo(f"digest  {digest}")
    click.echo("mailagent: the secret is not kept anywhere; store it now", err=True)


def _act(
    method: str,
    request: Callable[..., "Mutation"],
    *,
    config_path: Path,
    socket: Path | None,
    timeout: float,
    reason: str,
    dry_run: bool,
) -> bool:
    """Whether the agent did it."""
    import secrets

    from mailagent.api.operations import OperationResult, Result
    from mailagent.cli.calling import calling

    op_id = f"credential-{secrets.token_hex(8)}"
    with calling(socket or load(config_path).rpc.socket, timeout) as agent:
        result = agent.call(method, request(op_id=op_id, reason=reason, dry_run=dry_run))
    assert isinstance(result, OperationResult)  # noqa: S101 - the method table says so
    click.echo(f"{result.result}: {result.detail}", err=True)
    return result.result is Result.APPLIED
