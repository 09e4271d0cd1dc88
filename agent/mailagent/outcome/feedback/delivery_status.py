"""Delivery status notifications that come back: RFC 3464 in RFC 6522, UTF-8 (RFC 6533), and their real-world dirt."""

import re
from collections.abc import Sequence

from mailagent.outcome.feedback.mime import Fields, Part, read_fields
from mailagent.outcome.feedback.reports import Action, BounceReport, RecipientStatus

MAX_RECIPIENTS = 1000
MAX_DIAGNOSTIC = 2000  # characters
MAX_STATUS_BYTES = 1_048_576

STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
HEADER_TYPES = frozenset(
    {"message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers", "text/rfc822-header"}
)

_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_REPLY = re.compile(r"(?:^|[\s;:'\"<(\[])([45][0-5]\d)[ -]+(?:#?([45]\.\d{1,3}\.\d{1,3})\b)?")
_UNITEXT = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_ACTIONS = (
    ("fail", Action.FAILED),
    ("error", Action.FAILED),  # OpenSMTPD
    ("delay", Action.DELAYED),
    ("deliver", Action.DELIVERED),
    ("relay", Action.RELAYED),
    ("expand", Action.EXPANDED),
)
_OF_RECIPIENT = frozenset({"final-recipient", "original-recipient", "action", "status"})


def read_delivery_status(parts: Sequence[Part]) -> BounceReport | None:
    """The notification among `parts`; None when there is none, or none that names a recipient."""
    recipients: list[RecipientStatus] = []
    message = Fields()
    for part in parts:
        if part.kind not in STATUS_TYPES:
            continue
        of_message, groups = _groups(part.content[:MAX_STATUS_BYTES])
        message = message or of_message
        recipients += filter(None, map(_recipient, groups[:MAX_RECIPIENTS]))
    if not recipients:
        return None
    return BounceReport(
        form="dsn",
        recipients=tuple(recipients[:MAX_RECIPIENTS]),
        reporting_mta=_after_type(message.get("reporting-mta")),
        envelope_id=message.get("original-envelope-id"),
        original=original_fields(parts),
    )


def original_fields(parts: Sequence[Part]) -> Fields:
    """Header of the message that a report returns; none when it does not."""
    for part in parts:
        if part.kind in HEADER_TYPES and not part.root:
            fields = read_fields(part.content.lstrip(b"\r\n").partition(b"\r\n\r\n")[0].partition(b"\n\n")[0])
            if fields:
                return fields
    return Fields()


def judge(status: str, diagnostic: str, *, failed: bool) -> tuple[str, int]:
    """(status, reply code) of a recipient. The diagnostic wins over a Status that says something else.

    Postfix writes `4.0.0` over a 554, Exim `5.0.0` over anything; comments such as `5.2.1 (disabled)` are dropped.
    """
    told = _STATUS.search(status)
    stated = told[0] if told else ""
    reply = _REPLY.search(diagnostic)
    if reply is not None:
        code = int(reply[1])
        kind = reply[1][0]
        if reply[2] and reply[2][0] == kind:
            return reply[2], code
        detail = _STATUS.search(diagnostic)
        if detail and detail[1] == kind:
            return detail[0], code
        return (stated if stated[:1] == kind else f"{kind}.0.0"), code
    detail = _STATUS.search(diagnostic)
    if detail and detail[1] != "2" and (not stated or stated.endswith(".0.0")):
        return detail[0], 0
    return stated or ("5.0.0" if failed else "4.0.0"), 0


def _groups(content: bytes) -> tuple[Fields, list[Fields]]:
    """(fields of the message, fields of each recipient), also where empty lines are missing or too many.

    A field of a recipient in the message's group, or one that the group already has, begins another group. A group
    that names no recipient belongs to the one before it.
    """
    if b"=\r\n" in content or b"=\n" in content:  # quoted-printable folding that no field announces
        content = re.sub(rb"=\r?\n", b"", content)
    groups: list[_Group] = []
    for block in re.split(rb"\r?\n[ \t]*\r?\n", content):
        group = _Group()
        for name, value in read_fields(block).items:
            if name in _OF_RECIPIENT and group.names and (name in group.names or not group.names & _OF_RECIPIENT):
                groups.append(group)
                group = _Group()
            group.add(name, value)
        if group.names:
            groups.append(group)
    message = _Group()
    recipients: list[_Group] = []
    for group in groups:
        if not group.names & _OF_RECIPIENT and not recipients:
            message.join(group)
        elif recipients and (group.is_part or recipients[-1].is_part) and not recipients[-1].overlaps(group):
            recipients[-1].join(group)
        else:
            recipients.append(group)
    return Fields(tuple(message.items)), [Fields(tuple(group.items)) for group in recipients]


class _Group:
    """Fields between two empty lines. Joining is linear, however many there are."""

    __slots__ = ("items", "names")

    def __init__(self) -> None:
        self.items: list[tuple[str, str]] = []
        self.names: set[str] = set()

    def add(self, name: str, value: str) -> None:
        self.items.append((name, value))
        self.names.add(name)

    def join(self, other: "_Group") -> None:
        self.items += other.items
        self.names |= other.names

    @property
    def is_part(self) -> bool:
        return "action" not in self.names or not self.names & {"final-recipient", "original-recipient"}

    def overlaps(self, other: "_Group") -> bool:
        return bool(self.names & other.names & _OF_RECIPIENT)


def _recipient(group: Fields) -> RecipientStatus | None:
    final = address_of(group.get("final-recipient"))
    original = address_of(group.get("original-recipient"))
    word = group.get("action").lower()
    action = next((action for start, action in _ACTIONS if word.startswith(start)), None)
    diagnostic = _after_type(group.get("diagnostic-code"))[:MAX_DIAGNOSTIC]
    status, code = judge(group.get("status"), diagnostic, failed=action is not Action.DELAYED)
    if action is None and group.get("status"):  # a group without Action still has its class
        action = {"5": Action.FAILED, "4": Action.DELAYED, "2": Action.DELIVERED}[status[0]]
    if action is None or not (final or original):
        return None
    return RecipientStatus(
        address=final or original,
        original=original,
        action=action,
        status=status,
        code=code,
        diagnostic=diagnostic,
        remote_mta=_after_type(group.get("remote-mta")),
    )


def address_of(value: str) -> str:
    """The address in `rfc822; <user@example.com>`, with or without type, brackets and comment; empty when it has none.

    `utf-8; \\x{FC}ser@example.com` is decoded (RFC 6533 section 3).
    """
    kind, separator, text = value.partition(";")
    if not separator or "@" in kind:
        text = value
    elif kind.strip().lower() == "utf-8":
        text = _UNITEXT.sub(_character, text)
    text = text.strip().strip("\"'")
    start = text.rfind("<")
    if start >= 0 and (end := text.find(">", start)) > 0:
        text = text[start + 1 : end]
    text = text.partition(" ")[0].partition("\t")[0].strip("<>;,")
    return text if "@" in text[1:-1] and text.isprintable() else ""


def _character(match: re.Match[str]) -> str:
    point = int(match[1], 16)
    return match[0] if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF else chr(point)


def _after_type(value: str) -> str:
    """`mx.example.com` of `dns; mx.example.com`, unfolded to single spaces."""
    kind, separator, rest = value.partition(";")
    text = rest if separator and re.fullmatch(r"[A-Za-z0-9-]{1,40}\s*", kind) else value
    return re.sub(r"\s+", " ", text).strip()
