"""Bounces in an MTA's own words: qmail, Exim, older Postfix and Exchange, Yahoo, Notes, MDaemon and the rest.

One reader for all. A notice says somewhere that it could not deliver (a lead), names the addresses after that or in
the same sentence, and often returns the message below a line that says so (the end). What makes it a bounce is its
author: a mailer, not a person, or the null sender.

Addresses are looked for in the order of what proves most:

    form        | evidence
    ------------|---------------------------------------------------------------------------
    exim        | the field X-Failed-Recipients
    qmail       | a line `<user@example.com>:` with the reason below (QSBMF); Postfix and Yahoo write it too
    lines       | after a lead, lines that hold an address and little else
    sentences   | after a lead, the addresses of the first paragraph that has one
    summary     | the line `To:` in what the mailer says of the message
"""

import re
from collections.abc import Container, Sequence

from mailagent.outcome.feedback.auto_reply import auto_reply
from mailagent.outcome.feedback.delivery_status import MAX_DIAGNOSTIC, MAX_RECIPIENTS, judge, original_fields
from mailagent.outcome.feedback.mime import Part
from mailagent.outcome.feedback.reports import Action, BounceReport, RecipientStatus

MAX_LINES = 2000
MAX_LINE = 1000
DIAGNOSTIC_LINES = 12
LINES_BEFORE = 5
MAX_ADDRESSED = 4000
SENTENCE_LINES = 12

_ADDRESS = r"[A-Za-z0-9!#$%&*+/=?^_`{|}~.-][A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{0,63}@[A-Za-z0-9._-]{1,253}[A-Za-z0-9]"
_FIND = re.compile(_ADDRESS)
_QSBMF = re.compile(rf"\s{{0,8}}<({_ADDRESS})>:\s*(.*)")
_LINE = re.compile(
    r"(?:[A-Za-z][A-Za-z -]{2,39}:|generated from|expanded from:?|c=.{0,80}SMTP=)?"
    rf"[\s<\"'\[(]{{0,40}}(?:SMTP:)?({_ADDRESS})[>\"'\])]*(?=[\s:;,.]|$)",
    re.IGNORECASE,
)
_BEFORE = " \t>*|-\"'[(<"
_MAILER = re.compile(
    r"mailer-?daemon|postmaster|mail[ ._-]?delivery|delivery[ ._-]?subsystem|mdaemon|e500_smtp|system administrator"
    r"|antivirus_for_smtp|jetmail|smtp32|\bimss@|spi-internet@|undeliver",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"undeliver|returned mail|mail delivery|delivery (?:failure|status|notification|problem)|failure notice|mail error"
    r"|could not be delivered|not delivered|non[- ]?delivery|delivery has failed|not deliverable|unzustellbar",
    re.IGNORECASE,
)
_END = re.compile(
    r"^[\s|]*[-=*]{2,}.{0,60}(?:copy of|original message|returned mail|returned message|header of|message header"
    r"|message text|unsent message|header and top|mensaje original|attachment is|original attach)"
    r"|original message (?:follows|details|headers|attached)|message headers? follow|your message reads|^old message:"
    r"|here is your returned mail|a copy of the original message|included is a copy|first \d+ lines of your"
    r"|^attached is|\bend of message\b",
    re.IGNORECASE,
)
_DELAYED = re.compile(
    r"not yet been delivered|has been (?:delayed|postponed)|(?:is|was) delayed|this is just a warning|warning message"
    r"|delivery attempts will continue|will (?:keep|continue) (?:to try|trying)|message will be retried"
    r"|will be retried for|noch nicht zugestellt",
    re.IGNORECASE,
)
_FAILED = re.compile(
    r"(?:could|can|was|were|has|have|is)(?: |n't |not )*(?:not )?(?:be |been )?(?:able to )?(?:deliver|reach)"
    r"|(?:un|in)able to (?:deliver|reach)|undeliverable|del[ie]very (?:to|has|of|problem|fail)|delivery failed"
    r"|did(?: not|n't) (?:reach|receive)|cannot be delivered|(?:not|never) delivered|failed (?:recipients?|addresses)"
    r"|addresses? had|following address|following recipient|recipients? failed|intended recipient"
    r"|permanent (?:fatal |failure|error)|mailbox is full|automatically rejected|message was not delivered"
    r"|error (?:delivering|has occurred while)|failure reasons|transcript of (?:the )?session|host unknown"
    r"|account is disabled|(?:invalid|bad) (?:user|recipient|mailbox)"
    r"|returned (?:because|to you)|delivery problems|user unknown|unknown user|no such user|invalid final delivery"
    r"|rejected by|affected recipient|did not exactly match|non-delivery|nicht zugestellt|kein(?:e)? mailbox"
    r"|n'a pas pu|ne peut pas|impossible de|no (?:pudo|se pudo|ha podido)|non (?:e|è) stato possibile|pode ser enviada"
    r"|не может быть доставлено|не удалось|配信|送信できません|送信に失敗|无法|投递|退信|no se ha podido",
    re.IGNORECASE,
)
_NOT_HERE = re.compile(
    r"please (?:contact|reply)|for further assistance|further information|questions|contact:|message-id|\bfails?, try"
    r"|^\W*(?:from|to|reply-to|cc|subject|date|sent)\s*:|\bmail from\b|\bfrom <|postmaster",
    re.IGNORECASE,
)
_TO = re.compile(r"\s*to\s*:", re.IGNORECASE)
_OUR_FIELDS = ("to", "from", "reply-to", "errors-to")
_OURS = re.compile(r"^(?:mailer-?daemon|postmaster)@", re.IGNORECASE)


def addresses_in(text: str) -> list[str]:
    """The mail addresses in a field or a line."""
    return _FIND.findall(text[:MAX_ADDRESSED])


def read_notice(parts: Sequence[Part], *, null_sender: bool) -> BounceReport | None:
    """The bounce that a mailer wrote for people; None when it is none, or names nobody."""
    root = parts[0].fields
    failed = _FIND.findall(", ".join(root.all("x-failed-recipients")))[:MAX_RECIPIENTS]
    mailer = _MAILER.search(f"{root.get('from')} {root.get('x-mailer')} {root.get('sender')}") is not None
    if not (failed or mailer) and (auto_reply(root) or not (null_sender or _SUBJECT.search(root.get("subject")))):
        return None
    lines = _notice_lines(parts)
    if failed:
        form, found = "exim", [(address, _line_of(lines, address)) for address in failed]
    else:
        ours = {found.lower() for name in _OUR_FIELDS for found in _FIND.findall(root.get(name))}
        form, found = _addresses(lines, ours, mailer=mailer or null_sender)
    if not found:
        return None
    delayed = any(map(_DELAYED.search, lines)) and not any("permanent error" in line.lower() for line in lines)
    seen: dict[str, RecipientStatus] = {}
    for address, n in found[:MAX_RECIPIENTS]:
        if address.lower() not in seen:
            seen[address.lower()] = _status(address, _diagnostic(lines, n, alone=len(found) == 1), delayed=delayed)
    return BounceReport(form=form, recipients=tuple(seen.values()), original=original_fields(parts))


def _notice_lines(parts: Sequence[Part]) -> list[str]:
    """The text that is the mailer's own, up to where the message comes back."""
    lines: list[str] = []
    for part in parts:
        if part.kind.startswith("message/") and not part.root:
            break
        if part.kind.startswith("text/") or len(parts) == 1:  # also a multipart without its delimiters
            for line in part.text.split("\n", MAX_LINES)[:MAX_LINES]:
                if _END.search(line[:MAX_LINE]):
                    return lines
                lines.append(line[:MAX_LINE].rstrip())
        if len(lines) > MAX_LINES:
            break
    return lines


def _line_of(lines: Sequence[str], address: str) -> int:
    return next((n for n, line in enumerate(lines) if address in line), len(lines))


def _addresses(lines: Sequence[str], ours: Container[str], *, mailer: bool) -> tuple[str, list[tuple[str, int]]]:
    """(form, addresses with their lines) by the strongest evidence that gives any."""
    lead = next((n for n, line in enumerate(lines) if _FAILED.search(line) or _DELAYED.search(line)), None)
    quoted = [(match[1], n) for n, line in enumerate(lines) if (match := _QSBMF.match(line))]
    if quoted and (mailer or lead is not None):
        return "qmail", quoted
    if lead is None:
        return "", []
    # `Your message to: user@example.com` may stand above what became of it
    for start in (lead, max(0, lead - LINES_BEFORE)):
        usable = [n for n in range(start, len(lines)) if not _NOT_HERE.search(lines[n])]
        alone = [
            (match[1], n) for n in usable if (match := _LINE.match(lines[n].lstrip(_BEFORE))) and _fits(match[1], ours)
        ]
        if alone:
            return "lines", alone
        said = [(found, n) for n in usable[:SENTENCE_LINES] for found in _FIND.findall(lines[n]) if _fits(found, ours)]
        if said:
            return "sentences", [(found, n) for found, n in said if "" not in lines[said[0][1] : n]]
    told = [(found, n) for n, line in enumerate(lines) if _TO.match(line) for found in _FIND.findall(line)]
    return "summary", [(found, n) for found, n in told if _fits(found, ours)]


def _fits(address: str, ours: Container[str]) -> bool:
    return address.lower() not in ours and not _OURS.match(address)


def _diagnostic(lines: Sequence[str], n: int, *, alone: bool) -> str:
    """The address's line and those below, up to an empty line after some text or to the next address.

    All that follows belongs to an address that is the only one.
    """
    kept: list[str] = []
    for line in lines[n : n + DIAGNOSTIC_LINES]:
        if kept and not alone and (not line.strip() or _QSBMF.match(line)):
            break
        kept.append(line.strip())
    return " ".join(filter(None, kept))[:MAX_DIAGNOSTIC]


def _status(address: str, diagnostic: str, *, delayed: bool) -> RecipientStatus:
    status, code = judge("", diagnostic, failed=not delayed)
    return RecipientStatus(
        address=address,
        action=Action.DELAYED if delayed else Action.FAILED,
        status=status,
        code=code,
        diagnostic=diagnostic,
    )
