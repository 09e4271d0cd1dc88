"""`mailagent feedback`: mail that is kept for people, keys of return paths, unsubscribe fields."""

import sys
from pathlib import Path

import click

from mailagent.cli.failure import FAILED, Failure, is_of_output, load
from mailagent.cli.options import Listed
from mailagent.cli.place import config_option, place, state_option


@click.group(cls=Listed)
def feedback() -> None:
    """Look at mail that came back and was kept, and at the keys of return paths.

    \b
    Examples:
      mailagent feedback list --config agent.yaml
      mailagent feedback add-key --config agent.yaml
    """


@feedback.command("list")
@config_option
@state_option
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="Mails at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_kept(config_path: Path | None, state_dir: Path | None, limit: int, as_json: bool) -> None:
    """List kept mail, newest first: reports, mail for postmaster, and what could not be read."""
    from itertools import islice

    from mailagent.api.codec import encode
    from mailagent.returns.mailbox import kept_mail

    mail = None
    try:
        for mail in islice(kept_mail(place(config_path, state_dir)), limit):
            text = f"{mail.id}  {mail.at:%Y-%m-%d %H:%M}  {mail.kind.value:9}  {mail.sender or '<>'}  {mail.subject}"
            shown = encode(mail).decode() if as_json else f"{text}  ({mail.why})"
            # Remote text must not steer the terminal that shows it.
            click.echo("".join(char if char.isprintable() else "?" for char in shown))
    except OSError as exc:
        if is_of_output(exc):
            raise
        raise Failure(f"{exc.filename}: {exc.strerror}", FAILED) from exc
    if mail is None:
        click.echo("mailagent: no mail is kept", err=True)


@feedback.command()
@config_option
@state_option
@click.argument("mail", metavar="ID")
def show(config_path: Path | None, state_dir: Path | None, mail: str) -> None:
    """Print one kept mail as it came.

    \b
    Example:
      mailagent feedback show 0H5KQ2M0C3N5T8W1X --config agent.yaml | less
    """
    from mailagent.returns.mailbox import read_kept

    try:
        message = read_kept(place(config_path, state_dir), mail)
    except OSError as exc:
        raise Failure(f"{exc.filename}: {exc.strerror}", FAILED) from exc
    if message is None:
        raise Failure(f"no mail {mail} is kept here; `mailagent feedback list` shows them", FAILED)
    if sys.stdout.isatty():  # bytes of a stranger
        click.echo("".join(c if c.isprintable() or c == "\n" else "?" for c in message.decode("utf-8", "replace")))
    else:
        sys.stdout.buffer.write(message)


def _key_file(config_path: Path | None) -> Path:
    from mailagent.outcome.return_path import FILE_NAME

    if config_path is None:
        raise click.UsageError("name the host's file with --config FILE")
    config = load(config_path)
    return config.feedback.keys or config.state_dir / FILE_NAME


@feedback.command("add-key")
@config_option
def add_key(config_path: Path | None) -> None:
    """Put a new key behind those of the return paths; after a reload it signs, and the old ones still count.

    Hosts that share a bounce domain share the file: copy it to all of them before one reloads.
    """
    from mailagent.outcome.return_path import add_key

    path = _key_file(config_path)
    try:
        count = add_key(path)
    except OSError as exc:
        raise Failure(str(exc), FAILED) from exc
    click.echo(f"{path}: {count} keys; the new one signs after `mailagent reload`")


@feedback.command("unsubscribe-header")
@config_option
@click.option("--domain", metavar="DOMAIN", help="One of our domains.  [default: the first bounce domain]")
@click.option("--stream", default="", help="Unsubscribe from this stream only.  [default: from all mail]")
@click.argument("address")
def unsubscribe_header(config_path: Path | None, domain: str | None, stream: str, address: str) -> None:
    """Print the List-Unsubscribe field that unsubscribes ADDRESS by mail.

    \b
    Example:
      mailagent feedback unsubscribe-header user@example.com --stream news --config agent.yaml
    """
    from urllib.parse import quote

    from mailagent.config.checks.feedback import feedback_domains
    from mailagent.outcome.return_path import ReturnPaths, load_keys

    if config_path is None:
        raise click.UsageError("name the host's file with --config FILE")
    config = load(config_path)
    domains = sorted(feedback_domains(config))
    if stream and stream not in config.streams:
        raise click.UsageError(f"{stream} is no stream; there are: {', '.join(config.streams)}")
    if domain is not None and domain not in domains:
        raise click.UsageError(f"{domain} is no domain that comes back here; there are: {', '.join(domains) or 'none'}")
    if not domains:
        raise Failure("no domain comes back here; set feedback.domains or the bounces of a stream", FAILED)
    try:
        paths = ReturnPaths(load_keys(_key_file(config_path)), "")
    except OSError as exc:
        raise Failure(str(exc), FAILED) from exc
    local = paths.unsubscribe(address, stream)
    click.echo(f"List-Unsubscribe: <mailto:{local}@{domain or domains[0]}?subject={quote(f'unsubscribe {address}')}>")
