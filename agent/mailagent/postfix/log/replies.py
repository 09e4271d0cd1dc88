"""The reply inside a delivery status: what the peer said, or Postfix in its place. Pure.

`host mx1.example[192.0.2.9] said: 550 5.1.1 no such user (in reply to RCPT TO command)` is the peer's; everything else,
such as `connect to mx1.example[192.0.2.9]:25: Connection refused`, is Postfix's own and `local`.
"""

import re

import msgspec

from mailagent.api.smtp import SmtpReply, Verb, split_enhanced
from mailagent.postfix.tables import HELD

_HELD_BACK = "delivery temporarily suspended: "
"""qmgr has found the destination dead: nothing was tried, and what follows is why."""
_SAID = re.compile(
    r"host (?P<host>[^\s\[]+)\[(?P<address>[^\]]*)\] (?:said: (?P<said>.*)|refused to talk to me: (?P<refused>.*))",
    re.DOTALL,
)
_IN_REPLY = re.compile(r" \(in reply to (?P<to>[^()]*)\)?$")
_CODE = re.compile(r"(?P<code>[245]\d\d)(?P<more>[- ]|$)")
_STEPS = (
    ("mail from", Verb.MAIL),
    ("rcpt to", Verb.RCPT),
    ("end of data", Verb.DOT),
    ("sending message body", Verb.DOT),  # cut between DATA and the dot
    ("data", Verb.DATA),
    ("rset", Verb.RSET),
    ("quit", Verb.QUIT),
    ("tls", Verb.STARTTLS),
    ("auth", Verb.AUTH),
    ("sasl", Verb.AUTH),
    ("helo", Verb.EHLO),
    ("ehlo", Verb.EHLO),
    ("lhlo", Verb.EHLO),
)
_HOP = r"(?:\[[^\s\]]+\]|[\w-]+(?:\.[\w-]+)+)(?::[\w-]+)?"
_NEXT_HOPS = re.compile(rf"{_HOP}(?:[,\s]+{_HOP})*", re.ASCII)
"""Nobody's reply: a wait of ours whose reason a row of `transport_maps` has taken the place of."""
_WHILE = re.compile(r"(?:lost connection|conversation) with .* while (?P<doing>.*)", re.DOTALL)


class Said(msgspec.Struct, frozen=True):
    """A reply, and how it came."""

    reply: SmtpReply
    host: str = ""  # who said it, where the status names it
    address: str = ""
    held_back: bool = False  # nothing was tried: the reply is an earlier one of the destination
    emulated: bool = False  # by our own suspension: no reply at all


def said(dsn: str, status: str, text: str) -> Said:
    """The reply in the brackets behind `status=`."""
    held_back = text.startswith(_HELD_BACK)
    if held_back:
        text = text[len(_HELD_BACK) :]
    if text.startswith(HELD) or (status == "deferred" and _NEXT_HOPS.fullmatch(text)):
        return Said(SmtpReply(code=0, enhanced=dsn, text=text, local=True), emulated=True)
    if status == "sent" and (match := _CODE.match(text)) is not None:
        return Said(_remote(dsn, text, match, Verb.DOT))
    peer = _SAID.fullmatch(text)
    if peer is not None:
        quoted = peer["said"] if peer["said"] is not None else peer["refused"]
        verb = Verb.CONNECT
        if (asked := _IN_REPLY.search(quoted)) is not None:
            verb, quoted = _step(asked["to"]), quoted[: asked.start()]
        if (match := _CODE.match(quoted)) is not None:
            return Said(_remote(dsn, quoted, match, verb), peer["host"], peer["address"], held_back)
    cut = _WHILE.fullmatch(text)
    verb = _step(cut["doing"]) if cut is not None else Verb.CONNECT
    return Said(SmtpReply(code=0, enhanced=dsn, text=text, verb=verb, local=True), held_back=held_back)


def _remote(dsn: str, text: str, code: re.Match[str], verb: Verb) -> SmtpReply:
    """Reply lines joined by spaces, as `452-4.2.2 over quota 452 4.2.2 see …`, to one without the codes."""
    digits = code["code"]
    enhanced, rest = split_enhanced(text[code.end() :].lstrip())
    if code["more"] == "-":  # only then do further lines follow
        again = re.compile(rf" {digits}[- ](?:{re.escape(enhanced)} ?)?" if enhanced else rf" {digits}[- ]")
        rest = again.sub(" ", rest)
    if not enhanced and not dsn.endswith(".0.0"):  # `5.0.0` is what Postfix makes of a code alone
        enhanced = dsn
    return SmtpReply(code=int(digits), enhanced=enhanced, text=rest.strip(), verb=verb)


def _step(words: str) -> Verb:
    words = words.lower()
    return next((verb for name, verb in _STEPS if name in words), Verb.CONNECT)
