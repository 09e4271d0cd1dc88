"""Options and arguments that several commands share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from datetime import timedelta


class Duration(click.ParamType[int]):
    """`90s`, `30m`, `4h`, as in the fleet file; the value is whole seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds of `value`."""
        from mailagent.config.scalars import parse_duration

        if isinstance(value, int):
            return value
        try:
            found: timedelta = parse_duration(str(value))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)
        return max(1, round(found.total_seconds()))


Command = Callable[..., Any]

selectors = click.argument("selection", nargs=-1, metavar="[SELECTOR]...")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def limit(default: int) -> Callable[[Command], Command]:
    """`--limit N`."""
    return click.option(
        "--limit", type=click.IntRange(1, 100_000), default=default, show_default=True, help="Most rows to show."
    )
