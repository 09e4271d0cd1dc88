"""Options and arguments that several commands share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mailctl.cli.completion import complete_selection

if TYPE_CHECKING:
    from datetime import datetime, timedelta


class Listed(click.Group):
    """Lists its commands with their whole first line, over two lines where it does not fit."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them, in order of their names."""
        commands = [(name, found) for name in self.list_commands(ctx) if (found := self.get_command(ctx, name))]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in commands])


class Number(click.IntRange):
    """A whole number between two ends; click's own words for a mistake are `is not a valid integer range`."""

    name = "number"


class Decimal(click.FloatRange):
    """A number between two ends. `nan` is between none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`value`, if it is one."""
        found: float = super().convert(value, param, ctx)
        if found != found:  # nan
            self.fail(f"{value!r} is not a valid number.", param, ctx)
        return found


class Words(click.ParamType[str]):
    """A text that is no option: `--reason --dry-run` would act, for the reason `--dry-run`."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """`value`, if it is one."""
        text = str(value)
        if text.startswith("--"):
            self.fail(f"its value is missing, {text} is an option", param, ctx)
        return text


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


class RateWord(click.ParamType[str]):
    """`50/s`, `5000/h`, or `none`; the value is the text."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """`value`, if an agent would take it."""
        from mailagent.config.scalars import parse_rate

        text = str(value)
        try:
            if text not in ("", "none"):
                parse_rate(text)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)
        return text


class Moment(click.ParamType["datetime"]):
    """`2026-07-01T09:00:00Z`, `now`, or a time from now on such as `+2h`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "datetime":
        """The moment that `value` names."""
        from datetime import UTC, datetime

        from mailagent.config.scalars import parse_duration

        if isinstance(value, datetime):
            return value
        now = datetime.now(UTC).replace(microsecond=0)
        text = str(value)
        try:
            if text == "now":
                return now
            if text.startswith("+"):
                return now + parse_duration(text[1:])
            found = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"`{text}` is no time; write 2026-07-01T09:00:00Z, now or +2h", param, ctx)
        if found.tzinfo is None:
            self.fail(f"{text} has no time zone; write 2026-07-01T09:00:00Z", param, ctx)
        return found


class Day(click.DateTime):
    """`2026-11-21`."""

    def __init__(self) -> None:
        super().__init__(["%Y-%m-%d"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Midnight of that day."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"`{value}` is no day; write 2026-11-21", param, ctx)


class Since(click.ParamType["datetime"]):
    """`14:00` (UTC, the last one), `2h` ago, or a whole moment; the value is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "datetime":
        """The moment that `value` names."""
        from datetime import UTC, datetime

        from mailctl.ops.moments import past

        if isinstance(value, datetime):
            return value
        try:
            return past(str(value), datetime.now(UTC))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


Command = Callable[..., Any]

selectors = click.argument("selection", nargs=-1, metavar="[SELECTOR]...", shell_complete=complete_selection)
filter_line = click.option(
    "--filter",
    "line",
    default="",
    metavar="LINE",
    help="Narrow by a filter: code:4.7.* age:>2h state:deferred to:*@example.com !pool:cold words.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def limit(default: int) -> Callable[[Command], Command]:
    """`--limit N`."""
    return click.option(
        "--limit", type=Number(1, 100_000), default=default, show_default=True, help="Most rows to show."
    )
