"""The frame of every read: connect, look, print a table or a document, and leave with the right code."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from mailagent.api.ids import HostName
from mailctl.cli.exits import Exit, of_read
from mailctl.cli.narrow import check_kinds
from mailctl.cli.setup import Setup, leave, narrate, run
from mailctl.fleet import Fleet, FleetState, LinkState
from mailctl.fleet.state import HostState
from mailctl.ops import Filter, Selection, TermKind, parse
from mailctl.ops.targets import check_names, filtered_hosts
from mailctl.output.document import document
from mailctl.output.human import duration, of_host


@dataclass(frozen=True, slots=True)
class Shown:
    """What a read found: rows for the document, text for people."""

    rows: Sequence[Any]
    text: str
    truncated: bool = False
    failed: Mapping[HostName, str] = field(default_factory=dict)  # connected hosts that gave no answer, and why
    missing: str = ""  # what was asked for and is nowhere
    partial: Mapping[HostName, str] = field(default_factory=dict)  # hosts that gave not all, and why; the text says it
    crossed: bool = False  # a threshold was
    sought: Selection | None = None  # what narrowed it, where that is more than the selection
    of_hosts: bool = False  # the text is about the hosts themselves, also those that gave no answer


Look = Callable[[Fleet, Selection], Awaitable[Shown]]


def show(
    setup: Setup,
    name: str,
    words: Collection[str],
    look: Look,
    *,
    as_json: bool,
    kinds: Collection[TermKind] | None = None,
) -> None:
    """Run the read `name` over the hosts of the selection `words`; does not return.

    `kinds`: what narrows it beside hosts; None: `look` says itself what does not.
    """
    selection = parse(words)
    if kinds is not None:
        check_kinds(selection, kinds, view=name)

    async def work() -> tuple[FleetState, Shown]:
        async with setup.fleet(selection.hosts) as fleet:
            await fleet.settled(setup.timeout_s)
            shown = await look(fleet, selection)
            if not shown.rows and not shown.failed:
                check_names(fleet.state, fleet.config, shown.sought or selection)
            return fleet.state, shown

    state, shown = run(work())
    errors = [f"{host.name}: {why(host, setup.timeout_s)}" for host in state.hosts if not host.state.is_fresh]
    errors += [of_host(host, reason) for host, reason in shown.failed.items()]
    failed = [name for name, reason in shown.failed.items() if not is_beyond(state, name, reason)]
    if shown.missing and state.coverage.fresh > len(failed):  # else nobody could say
        errors.append(shown.missing)
    if as_json:
        every = [*errors, *(of_host(host, reason) for host, reason in shown.partial.items())]
        click.echo(document(name, state, rows=shown.rows, truncated=shown.truncated, errors=every))
    elif text := _told(shown, state, len(failed)):
        click.echo(text)
    for error in errors:
        narrate(error)
    if shown.truncated:
        narrate(f"there are more than these {len(shown.rows)}; narrow the selection or raise --limit")
    code = of_read(state, failed=len(failed))
    if shown.crossed and code is not Exit.UNREACHABLE:
        leave(Exit.CROSSED)
    leave(Exit.INCOMPLETE if (shown.missing or shown.partial) and code is Exit.DONE else code)


def _told(shown: Shown, state: FleetState, failed: int) -> str:
    """The text for people. That there is nothing is said of hosts that answered, and of no others."""
    return shown.text if shown.rows or shown.of_hosts else said_by(state, shown.text, failed)


def said_by(state: FleetState, nothing: str, failed: int = 0) -> str:
    """That there is `nothing`, and how many hosts say so when not all do; no text when none does."""
    answered, every = state.coverage.fresh - failed, state.coverage.of
    if answered <= 0:
        return ""
    if answered == every or not nothing or "\n" in nothing:
        return nothing
    return f"{nothing} (said by {answered} of {every} hosts)"


def is_beyond(state: FleetState, name: HostName, reason: str) -> bool:
    """Whether a host gave no answer because its engine has nothing of the kind: that is no gap in the answer."""
    return (host := state.host(name)) is not None and host.is_beyond(reason)


def why(host: HostState, timeout_s: float) -> str:
    """Why a host's rows are missing."""
    if host.state is LinkState.CONNECTING:
        return f"no answer within {duration(timeout_s) if timeout_s >= 1 else f'{timeout_s:g}s'}"
    return f"{host.state}: {host.error}"


def admitted(state: FleetState, wanted: Filter) -> list[HostName]:
    """Connected hosts that a filter lets through.

    Raises:
        NothingSelected: a name that no host has, or none is left.
    """
    return [host.name for host in filtered_hosts(state, wanted) if host.state.is_fresh]


def chosen(state: FleetState, selection: Selection) -> tuple[HostState, ...]:
    """Hosts of a selection, connected or not."""
    names = selection.names(TermKind.HOST)
    return tuple(host for host in state.hosts if not names or host.name in names)


def selected(state: FleetState, selection: Selection) -> tuple[HostState, ...]:
    """Hosts of a selection that are connected."""
    return tuple(host for host in chosen(state, selection) if host.state.is_fresh)
