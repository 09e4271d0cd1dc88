"""Rows of a snapshot against what peers may send."""

from mailagent.api import codec
from mailagent.api.methods import MAX_REPLY_BYTES, MAX_TEXT_CHARS
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.smtp import SmtpReply
from mailagent.api.views import Deferring
from mailagent.overview import MAX_DESTINATIONS, _brief, _brief_reason, _brief_reply

HOSTILE = SmtpReply(code=421, enhanced="4.7.0", text="\\x1b€" * (MAX_TEXT_CHARS // 5))


def test_every_destination_with_the_longest_reply_fits_in_one_frame() -> None:
    reason = WaitReason(kind=ReasonKind.REPLY, detail=HOSTILE.line(), reply=HOSTILE)
    row = codec.encode((_brief_reply(HOSTILE), _brief_reason(reason), _brief(Deferring(category="x", reply=HOSTILE))))
    assert len(row) * MAX_DESTINATIONS < MAX_REPLY_BYTES * 3 / 4


def test_short_replies_are_shown_as_they_came() -> None:
    reply = SmtpReply(code=450, text="later")
    reason = WaitReason(kind=ReasonKind.REPLY, detail=reply.line(), reply=reply)
    assert _brief_reply(reply) == reply
    assert _brief_reason(reason) == reason
