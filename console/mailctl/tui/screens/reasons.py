"""Reasons for waiting as they stand on the screens: glyph and tone of each kind."""

import re

from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.smtp import SmtpReply
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


_WHOSE = re.compile(r"^(?:provider and virtual MTA|virtual MTA|pool|provider|stream|queue|job) \S+ is ")
_LIMIT = re.compile(r"^(?:provider|vmta)_(?=connections|rate)")


def is_everyday(reply: SmtpReply) -> bool:
    """Whether it is greylisting, or a full mailbox (RFC 3463: X.2.2)."""
    return reply.enhanced.endswith(".2.2") or "greylist" in reply.text.lower()


def brief(reason: WaitReason) -> str:
    """What a row says of a reason: what the row itself tells is left out, so that the rest can be read."""
    return _LIMIT.sub("", _WHOSE.sub("", reason.detail)).removeprefix("--- ")


def full(reason: WaitReason) -> str:
    """What a pane says: where it comes from too, unless that is said."""
    named = reason.origin and reason.origin not in reason.detail
    return f"{reason.detail} ({reason.origin})" if named else reason.detail


def reason_mark(reason: WaitReason) -> tuple[str, Tone]:
    """Glyph and tone of a reason; what is said of recipients every day, or tried again at once, is no trouble."""
    glyph, tone = _REASONS[reason.kind]
    return glyph, Tone.TEXT if reason.reply is not None and is_everyday(reason.reply) else tone
