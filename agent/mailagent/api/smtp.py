"""SMTP replies as values, and the form in which equal replies group together."""

import re
from enum import StrEnum

import msgspec


class Verb(StrEnum):
    """The step of a session that a reply answers; the verb guards what a reply may mean."""

    CONNECT = "connect"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "."
    RSET = "RSET"
    QUIT = "QUIT"


class SmtpReply(msgspec.Struct, frozen=True, kw_only=True):
    """One reply, remote or made locally (RFC 5321 section 4.2, RFC 3463).

    `text` is without codes, its lines joined by a space, decoded as UTF-8 with backslashreplace. It is hostile text:
    whoever shows it strips control characters.
    """

    code: int  # 0 where no reply came (connection refused, time-out)
    enhanced: str = ""  # `5.1.1`, or empty
    text: str = ""
    verb: Verb = Verb.CONNECT
    local: bool = False  # made by us, not by the peer

    @property
    def is_success(self) -> bool:
        """Whether the peer took responsibility (2yz)."""
        return 200 <= self.code < 300

    @property
    def is_transient(self) -> bool:
        """Whether the same command may work later (4yz, or no reply at all)."""
        return self.code == 0 or 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """Whether the peer refuses for good (5yz)."""
        return self.code >= 500

    def line(self) -> str:
        """`550 5.1.1 User unknown`, the form people search for."""
        code = f"{self.code:03d}" if self.code else "---"
        return " ".join(part for part in (code, self.enhanced, self.text) if part)


# Peers choose the text: each pattern has one place to begin a run at, and gives none of it back.
_VARYING = (
    (re.compile(r"(?<= about )(A|AAAA|CNAME|MX|TLSA|TXT) \S+"), r"\1 <domain>"),  # our own words about DNS
    (re.compile(r"(?<=\bname=)\S+(?= type=)"), "<domain>"),  # Postfix's
    (re.compile(r"<[^<>\s]*@[^<>\s]*>|(?<![\w.+%=-])[\w.+%=-]++@[\w.-]+\.\w+"), "<address>"),
    (re.compile(r"\[?\b(?:\d{1,3}\.){3}\d{1,3}(?:/\d+)?\b(?: \d+)?\]?"), "<ip>"),
    (re.compile(r"\[?\b(?:[0-9A-Fa-f]{1,4}:){3,7}[0-9A-Fa-f]{0,4}\b\]?"), "<ip>"),
    (re.compile(r"(?<=/)[\w-]+(?:\.[\w-]+)+(?=\.html\b)"), "<domain>"),
    # session tokens: runs of 8 and more with both letters and digits, with inner dashes, dots and underscores
    (re.compile(r"(?<!\S)(?=[^\s\d]*+\d)\S++(?= - gsmtp)"), "<id>"),
    (re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])\w{8,}(?:[-.]\w+)*\b"), "<id>"),
    (re.compile(r"\b\d{5,}\b"), "<n>"),
    (re.compile(r"\b\d{1,2}:\d{2}(?::\d{2})?\b"), "<time>"),
)


def normalised(text: str) -> str:
    """`text` with addresses, IP addresses, session tokens and long numbers replaced, at most 200 characters.

    Two replies that differ only in those are the same reason for an operator.
    """
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())[:200]


_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")


def split_enhanced(text: str) -> tuple[str, str]:
    """(`5.1.1`, rest) of a reply text; the first is empty when there is no enhanced code (RFC 2034)."""
    match = _ENHANCED.match(text)
    return (match.group(1), text[match.end() :]) if match else ("", text)
