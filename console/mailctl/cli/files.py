"""Commands about the fleet file alone; no host is asked."""

from pathlib import Path

import click

from mailctl.cli.completion import complete_host
from mailctl.cli.setup import Setup, narrate, pass_setup


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@pass_setup
def validate(setup: Setup, file: Path | None) -> None:
    """Check the fleet file.

    Says every mistake at once, with file, line and key. Warnings name what has no effect: entries that are dead,
    shadowed, or never match.

    \b
    Examples:
      mailctl validate
      mailctl validate fleet.yaml.example
    """
    from mailagent.config import lint_fleet, load_fleet
    from mailagent.config.checks.streams import stream_lines
    from mailctl.output.human import plural

    path = file or setup.path()
    fleet = load_fleet(path)
    for warning in lint_fleet(path):
        narrate(f"warning: {warning}")
    for line in stream_lines(fleet):
        click.echo(f"{path}: {line}")
    vmtas = sum(len(host.virtual_mtas) for host in fleet.hosts.values())
    counts = ((len(fleet.hosts), "host"), (vmtas, "virtual MTA"), (len(fleet.pools), "pool"))
    click.echo(f"{path}: {', '.join(plural(*one) for one in counts)}; no mistakes")


@click.command()
@click.argument("host", shell_complete=complete_host)
@pass_setup
def config(setup: Setup, host: str) -> None:
    """Print HOST's part of the fleet file as an agent.yaml.

    \b
    Example:
      mailctl config mx1 > agent.yaml
    """
    from mailagent.api.ids import HostName
    from mailagent.config import dump_agent, host_part

    fleet = setup.load()
    if host not in fleet.hosts:
        raise click.UsageError(f"no host {host} in {setup.path()}; it has {', '.join(fleet.hosts)}")
    click.echo(dump_agent(host_part(fleet, HostName(host))), nl=False)


COMMANDS = (validate, config)
