"""`mailctl adopt`: the difference, and the fleet file with it."""

from collections.abc import Sequence

import click

from mailctl.cli.exits import Exit, of_read
from mailctl.cli.setup import Setup, complain, leave, narrate, run, width
from mailctl.cli.show import said_by, why
from mailctl.fleet import FleetState
from mailctl.ops.adopt import Adopted, adopt, put
from mailctl.ops.errors import NothingSelected
from mailctl.output.document import document
from mailctl.output.tables import Column, table


def run_adopt(setup: Setup, ids: Sequence[str], *, everything: bool, write: bool, as_json: bool) -> None:
    """Look, show, and with `write` put the file in place; does not return."""
    path = setup.path()

    async def work() -> tuple[FleetState, Adopted, str]:
        async with setup.fleet() as fleet:
            state = await fleet.settled(setup.timeout_s)
            try:
                return state, adopt(state.directives, path, ids, everything=everything), ""
            except NothingSelected as exc:
                if not (ids or everything):
                    raise
                if everything and not ids:  # all of none is done
                    return state, Adopted(rows=(), before="", text=""), str(exc)
                for host in state.hosts:  # one of them may have what the others have not
                    if not host.state.is_fresh:
                        complain(f"{host.name}: {why(host, setup.timeout_s)}")
                if state.coverage.fresh:
                    raise
                leave(Exit.UNREACHABLE)

    state, made, nothing = run(work())
    if write and made.text != made.before:
        put(path, made)
    errors = [f"{host.name}: {why(host, setup.timeout_s)}" for host in state.hosts if not host.state.is_fresh]
    if as_json:
        click.echo(document("adopt", state, rows=made.rows, truncated=False, errors=errors))
    elif nothing:
        click.echo(said_by(state, nothing), nl=state.coverage.fresh > 0)
    else:
        rows = [
            (one.directive.id, f"{one.directive.kind} {one.directive.target}", one.result, one.detail)
            for one in made.rows
        ]
        columns = [Column("ORDER"), Column("WHAT"), Column("RESULT"), Column("DETAIL")]
        click.echo(table(columns, rows, width=width()))
        if made.difference:
            click.echo(made.difference)
    for error in errors:
        narrate(error)
    if made.hosts:
        hosts = " ".join(f"host:{host}" for host in made.hosts)
        narrate(f"{path} {'is written' if write else 'is not written; --write does it'}; then: mailctl apply {hosts}")
    code = of_read(state)
    refused = any(one.result == "refused" for one in made.rows)
    leave(Exit.REFUSED if refused and code is Exit.DONE else code)
