"""Reasons for waiting as they stand on the screens: glyph and tone of each kind."""

from mailagent.api.reasons import ReasonKind, WaitReason
from mailctl.tui.theme import Tone

_REASONS = {
    ReasonKind.SCHEDULE: ("◷", Tone.QUIET),
    ReasonKind.LIMIT: ("▪", Tone.TEXT),
    ReasonKind.THROTTLE: ("▪", Tone.TEXT),
    ReasonKind.RULE: ("‖", Tone.WARN),
    ReasonKind.RESOURCE: ("✕", Tone.BAD),
    ReasonKind.DIRECTIVE: ("‖", Tone.WARN),
    ReasonKind.HELD: ("‖", Tone.WARN),
    ReasonKind.REPLY: ("✉", Tone.WARN),
    ReasonKind.DNS: ("?", Tone.WARN),
    ReasonKind.WINDOW: ("▫", Tone.TEXT),
    ReasonKind.CONNECTING: ("…", Tone.QUIET),
    ReasonKind.REST: ("◷", Tone.WARN),
    ReasonKind.NO_SOURCE: ("✕", Tone.BAD),
    ReasonKind.BIND: ("✕", Tone.BAD),
    ReasonKind.STORAGE: ("✕", Tone.BAD),
    ReasonKind.SENDING: ("→", Tone.GOOD),
}


def reason_mark(reason: WaitReason) -> tuple[str, Tone]:
    """Glyph and tone of a reason."""
    return _REASONS[reason.kind]
