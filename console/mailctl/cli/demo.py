"""`mailctl demo`, behind a door that opens only when it is called: its help is part of `mailctl --help`."""

from pathlib import Path

import click


@click.command(
    "demo",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
    short_help="Start a loopback fleet on this machine and open the console on it.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def demo(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Start a loopback fleet on this machine and open the console on it."""
    from mailctl.demo.command import demo_command

    command = demo_command(_open_console)
    code = command.main(args=list(arguments), prog_name=context.command_path, standalone_mode=False)
    context.exit(code if isinstance(code, int) else 0)


def _open_console(fleet_file: Path) -> int:
    from mailagent.config import load_fleet
    from mailctl.tui.start import run

    return run(load_fleet(fleet_file), fleet_file)
