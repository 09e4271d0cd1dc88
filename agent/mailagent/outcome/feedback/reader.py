"""From the text of a mail that came back to what it says."""

from collections.abc import Sequence

from mailagent.outcome.feedback.arf import read_complaint
from mailagent.outcome.feedback.auto_reply import auto_reply
from mailagent.outcome.feedback.delivery_status import read_delivery_status
from mailagent.outcome.feedback.mime import Part, read_parts
from mailagent.outcome.feedback.notices import read_notice
from mailagent.outcome.feedback.reports import AutoReply, Reading, Unread


def read_report(message: bytes, *, null_sender: bool = True) -> Reading:
    """What `message` (header and body, any line ends) reports. Never raises; time is linear in its size.

    A bounce is looked for before an automatic answer: mailers mark their bounces as one (RFC 3834 section 5).
    """
    parts = read_parts(message)
    found = read_complaint(parts) or read_delivery_status(parts) or read_notice(parts, null_sender=null_sender)
    if found is not None:
        return found
    why = auto_reply(parts[0].fields)
    if why:
        return AutoReply(why=why)
    return _wrapped(parts) or Unread(why="neither a bounce nor a complaint that is known")


def _wrapped(parts: Sequence[Part]) -> Reading | None:
    """A report that a gateway passed on as an attachment."""
    for part in parts:
        if part.kind == "message/rfc822" and not part.root:
            inner = read_parts(part.content)
            return read_complaint(inner) or read_delivery_status(inner)
    return None
