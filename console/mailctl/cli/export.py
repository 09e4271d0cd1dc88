"""`mailctl export`: a screen of the console as a file, without a terminal."""

from pathlib import Path

import click

from mailctl.cli.setup import Setup, complain, leave, narrate, pass_setup

STDOUT = Path("-")


@click.command()
@click.argument("screen")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="A picture, into this new file.")
@click.option("--text", type=click.Path(path_type=Path, dir_okay=False), help="What stands on it, into this new file.")
@click.option("--size", default="120x36", show_default=True, metavar="COLUMNSxLINES", help="Of the terminal.")
@click.option("--filter", "line", default="", metavar="FILTER", help="Narrow the screen first.")
@click.option("--view", default="", metavar="NAME", help="Show a saved view of that screen.")
@pass_setup
def export(setup: Setup, screen: str, svg: Path | None, text: Path | None, size: str, line: str, view: str) -> None:
    """Write a SCREEN of the console to a file: fleet, pools, destinations, deferred, operations, jobs …

    Waits for the hosts as every command does, and says which did not answer, or left what unanswered: exit 1. Files are
    never written over; `-` is standard output.

    \b
    Examples:
      mailctl export fleet --svg fleet.svg
      mailctl export deferred --text - | mail -s "what waits" ops@example.com
      mailctl export destinations --filter provider:gmail --text gmail.txt --size 160x60
    """
    import asyncio

    from mailctl.cli.exits import Exit, of_read
    from mailctl.cli.show import why
    from mailctl.tui.export import as_text, self_contained, taken, write_new
    from mailctl.tui.headless import SCREENS, Wanted, draw

    if not svg and not text:
        raise click.UsageError("nothing to write; give --svg FILE or --text FILE")
    if screen.lower() not in SCREENS:
        raise click.UsageError(f"no screen {screen!r}; there are {', '.join(SCREENS)}")
    columns, _, lines = size.partition("x")
    if not (columns.isdecimal() and lines.isdecimal() and 40 <= int(columns) <= 500 and 10 <= int(lines) <= 500):
        raise click.UsageError(f"--size {size}: write 120x36, at least 40x10 and at most 500x500")
    for path in filter(None, (svg, text)):
        if path != STDOUT and (problem := taken(str(path))):
            raise click.UsageError(problem)
    wanted = Wanted(screen.lower(), (int(columns), int(lines)), line, view, setup.timeout_s, setup.answer_s)
    drawn = asyncio.run(draw(setup.load(), setup.path(), wanted, role=setup.role))
    for file, made in ((svg, self_contained), (text, as_text)):
        if file == STDOUT:
            click.echo(made(drawn.picture))
        elif file is not None:
            try:
                write_new(file, made(drawn.picture))
            except OSError as exc:
                complain(f"{file}: {exc.strerror or exc}")
                leave(Exit.INCOMPLETE)
            narrate(f"{screen.lower()} written to {file}")
    lost = [f"{host.name}: {why(host, setup.timeout_s)}" for host in drawn.state.hosts if not host.state.is_fresh]
    for gap in (*lost, *drawn.unanswered):
        narrate(gap)
    code = of_read(drawn.state)
    leave(Exit.INCOMPLETE if drawn.unanswered and code is Exit.DONE else code)
