"""Handover notes: words of one operator for the next, with an owner and an end."""

from mailagent.api.requests import Mutation

MAX_NOTE_CHARS = 500


class NoteAdd(Mutation, frozen=True, kw_only=True):
    """Leave a note on a host. `ttl_s`: its life, 12 hours if not given. It ends by `cancel` or `undo` too."""

    text: str
