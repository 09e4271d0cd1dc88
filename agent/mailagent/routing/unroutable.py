"""No way to a destination, as a value with the reply that says why."""

import msgspec

from mailagent.api.smtp import SmtpReply, Verb


class Unroutable(msgspec.Struct, frozen=True, kw_only=True):
    """No way to send there: for good (bounce), or for now (look again later)."""

    reply: SmtpReply
    permanent: bool


def permanent(enhanced: str, text: str, *, code: int = 550) -> Unroutable:
    """Never: a definite answer says so."""
    return Unroutable(
        reply=SmtpReply(code=code, enhanced=enhanced, text=text, verb=Verb.CONNECT, local=True), permanent=True
    )


def transient(enhanced: str, text: str) -> Unroutable:
    """Not now."""
    return Unroutable(
        reply=SmtpReply(code=451, enhanced=enhanced, text=text, verb=Verb.CONNECT, local=True), permanent=False
    )
