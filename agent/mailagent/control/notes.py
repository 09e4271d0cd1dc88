"""Handover notes as directives that change nothing. Pure."""

from typing import Final

import msgspec

from mailagent.api.directives import DirectiveKind
from mailagent.api.errors import InvalidRequest
from mailagent.api.notes import MAX_NOTE_CHARS, NoteAdd
from mailagent.api.targets import Target, TargetKind
from mailagent.control.change import Change, Situation, directive_id

NOTE_S: Final = 12 * 3600
"""Life of a note when the request does not say: one shift and the handover to the next."""
MOST_NOTES: Final = 20
"""Notes of one host that live at a time."""


def note_add(at: Situation, request: NoteAdd) -> Change:
    """Leave a note on this host.

    Raises:
        InvalidRequest: no words, too many, or too many notes.
    """
    text = request.text.strip()
    if not text or len(text) > MAX_NOTE_CHARS:
        raise InvalidRequest(f"a note has 1 to {MAX_NOTE_CHARS} characters, not {len(text)}")
    if sum(one.kind is DirectiveKind.NOTE for one in at.state.directives) >= MOST_NOTES:
        raise InvalidRequest(f"{at.config.host} has {MOST_NOTES} notes; end some first")
    target = Target(kind=TargetKind.HOST, name=at.config.host)
    made = at.directive(DirectiveKind.NOTE, target, request, default_s=NOTE_S)
    until = f"{made.expires_at:%Y-%m-%d %H:%M} UTC" if made.expires_at else "it is ended"
    return Change(
        target=target,
        detail=f"note until {until}: {text}",
        created=(msgspec.structs.replace(made, id=directive_id(request.op_id, 1), reason=text),),
    )
