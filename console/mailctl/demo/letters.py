"""The mail of the demo's imaginary sender: three streams to a population of recipients."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from mailctl.demo.providers import FULL_MAILBOXES, UNKNOWN_USERS, ProviderSpec
from mailctl.demo.receivers import NULL_MX_DOMAIN

UNKNOWN_SHARE = 0.015
FULL_SHARE = 0.003
NULL_MX_SHARE = 0.001
_FIRST = ("ada", "bruno", "carla", "david", "elif", "femi", "greta", "hugo", "ines", "jonas", "kaori", "liam", "maya")
_LAST = ("abbott", "berg", "costa", "dubois", "evans", "fischer", "garcia", "haas", "ito", "jensen", "kaya", "lopez")
_PARAGRAPH = (
    "Good morning, here is what changed since we last wrote. Nothing in this message is real, and nobody\r\n"
    "but a simulated mail server will ever read it; it is long enough to look like mail to a queue.\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One kind of mail that the sender makes."""

    share: float
    domain: str  # of the envelope sender
    subjects: tuple[str, ...]
    paragraphs: tuple[int, int]  # least and most
    headers: tuple[str, ...] = ()


STREAMS = (
    StreamSpec(
        share=0.35,
        domain="receipts.acme.example",
        subjects=("Your receipt", "Your sign-in code", "Your parcel is on its way", "Password changed"),
        paragraphs=(5, 20),
    ),
    StreamSpec(
        share=0.50,
        domain="news.acme.example",
        subjects=("This week at Acme", "Three things you may have missed", "The autumn catalogue is here"),
        paragraphs=(20, 80),
        headers=("X-Job: autumn-catalogue", "List-Unsubscribe: <https://acme.example/unsubscribe>"),
    ),
    StreamSpec(
        share=0.15,
        domain="outreach.acme.example",
        subjects=("A quick question", "Following up", "Would this help your team?"),
        paragraphs=(3, 8),
        headers=("X-Virtual-MTA: cold", "X-Job: outreach-q4"),
    ),
)


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to one recipient, ready to send: `data` is canonical and ends with CRLF."""

    sender: str
    recipient: str
    data: bytes


class Author:
    """Writes letters to recipients of `specs`, by their shares of the traffic."""

    def __init__(self, specs: Sequence[ProviderSpec], rng: random.Random) -> None:
        self._rng = rng
        self._number = rng.randrange(10**9)
        sending = [spec for spec in specs if spec.share]
        self._domains: list[str] = []
        self._weights: list[float] = []
        for spec in sending:
            ranks = [1 / rank for rank in range(1, len(spec.domains) + 1)]  # a few large domains, many small ones
            self._domains += spec.domains
            self._weights += [spec.share * rank / sum(ranks) for rank in ranks]

    def write(self) -> Letter:
        """The next letter."""
        rng = self._rng
        self._number += 1
        (stream,) = rng.choices(STREAMS, [stream.share for stream in STREAMS])
        recipient = self._recipient()
        lines = (
            f"From: Acme <hello@{stream.domain}>",
            f"To: <{recipient}>",
            f"Subject: {rng.choice(stream.subjects)}",
            f"Date: {format_datetime(datetime.now(UTC))}",
            f"Message-ID: <{self._number}.{rng.randrange(16**8):08x}@{stream.domain}>",
            *stream.headers,
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
        )
        body = _PARAGRAPH * rng.randint(*stream.paragraphs)
        return Letter(
            sender=f"bounce+{self._number}@{stream.domain}",
            recipient=recipient,
            data=("\r\n".join(lines) + "\r\n\r\n" + body).encode("ascii"),
        )

    def _recipient(self) -> str:
        rng = self._rng
        person = f"{rng.choice(_FIRST)}.{rng.choice(_LAST)}{rng.randrange(1000)}"
        dice = rng.random()
        if dice < NULL_MX_SHARE:
            return f"{person}@{NULL_MX_DOMAIN}"
        (domain,) = rng.choices(self._domains, self._weights)
        if dice < NULL_MX_SHARE + UNKNOWN_SHARE:
            return f"{UNKNOWN_USERS}.{person}@{domain}"
        if dice < NULL_MX_SHARE + UNKNOWN_SHARE + FULL_SHARE:
            return f"{FULL_MAILBOXES}.{person}@{domain}"
        return f"{person}@{domain}"
