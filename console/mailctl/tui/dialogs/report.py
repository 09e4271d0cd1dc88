"""What became of an operation, host by host, when it did not simply work."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mailctl.ops.plan import LineResult, Report
from mailctl.tui.dialogs.modal import Modal
from mailctl.tui.text import clean, few
from mailctl.tui.theme import Tone

_RESULTS = {
    LineResult.APPLIED: ("●", Tone.GOOD),
    LineResult.NOTHING_TO_DO: ("○", Tone.QUIET),
    LineResult.NOT_REACHED: ("−", Tone.WARN),
    LineResult.REFUSED: ("⊘", Tone.BAD),
    LineResult.FAILED: ("✕", Tone.BAD),
    LineResult.UNREACHABLE: ("✕", Tone.BAD),
    LineResult.UNKNOWN: ("?", Tone.WARN),
}


class ReportDialog(Modal[None]):
    """One line per target; any of the usual keys closes it."""

    DEFAULT_CSS = """
    ReportDialog {
        align: center middle; background: $background 60%;
        & > Vertical {
            width: 92%; max-width: 100; height: auto; max-height: 92%;
            background: $band; border: round $tone-warn; border-title-color: $tone-strong; padding: 1 2;
        }
        & VerticalScroll { height: auto; max-height: 18; scrollbar-size-vertical: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "close", "Close", id="report.close")]

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report

    def compose(self) -> ComposeResult:
        """The lines."""
        box = Vertical()
        box.border_title = f" {clean(few(self.report.title))} "
        with box, VerticalScroll():
            yield Static(told(self.report), markup=False)

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)


_WELL = (LineResult.APPLIED, LineResult.NOTHING_TO_DO)


def told(report: Report) -> Content:
    """Summary, lines, how to undo. What went wrong comes first: of 200 hosts a page shows 18."""
    rows = [Content.styled(report.summary, Tone.STRONG.style), Content("")]
    for line in sorted(report.lines, key=lambda line: line.result in _WELL):
        glyph, tone = _RESULTS[line.result]
        rows.append(
            Content.assemble(
                (f"{glyph} {line.host}  ", tone.style),
                (f"{line.target}  ", Tone.STRONG.style),
                (str(line.result).replace("-", " "), tone.style),
                (f"  {clean(line.detail)}", Tone.TEXT.style),
            )
        )
    rows.append(Content(""))
    if report.count(LineResult.UNKNOWN):
        rows.append(Content.styled(f"ask later what became of it: {clean(report.ask_command)}", Tone.WARN.style))
    undo = f"undo: {report.undo_command}" if report.undo_command else clean(report.undo_note)
    rows.append(
        Content.assemble(
            (undo, Tone.QUIET.style), ("   esc", f"bold {Tone.ACCENT.style}"), (" closes", Tone.QUIET.style)
        )
    )
    return Content("\n").join(rows)
