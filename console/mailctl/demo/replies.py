"""Texts of real receivers (`smtp-responses.csv`), filled in for one refusal."""

import csv
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

_SAMPLE_IP = "192.0.2.25"
_SAMPLE_NETWORK = "192.0.2.0/24"
_SAMPLE_ADDRESS = re.compile(r"nobody@[\w.-]+\w")
_SAMPLE_DOMAIN = "example.org"
_SESSION_TOKEN = re.compile(r"\S+(?= - gsmtp)")
_HEX_DIGITS = "0123456789abcdef"


class Situation(StrEnum):
    """Why a simulated provider refuses."""

    UNKNOWN = "unknown"  # no such user
    FULL = "full"  # mailbox full
    THROTTLED = "throttled"  # over the message rate, or an incident
    SUSPECT = "suspect"  # poor reputation of the source
    HICCUP = "hiccup"  # a passing fault
    CROWDED = "crowded"  # too many connections
    WORN = "worn"  # too many messages in one connection
    GREYLISTED = "greylisted"
    LISTED = "listed"  # the source is on a block list


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of the data file."""

    provider: str
    code: str
    enhanced: str
    text: str


COMMON: dict[Situation, str] = {
    Situation.UNKNOWN: "User unknown in virtual mailbox table",
    Situation.FULL: "Quota exceeded (mailbox for user is full)",
    Situation.THROTTLED: "Connection rate limit exceeded.",
    Situation.SUSPECT: "4.7.1 Service unavailable - try again later",
    Situation.HICCUP: "Insufficient system storage",
    Situation.CROWDED: "Too many concurrent SMTP connections",
    Situation.WORN: "Max message per connection reached",
    Situation.GREYLISTED: "Greylisted, see",
    Situation.LISTED: "blocked using zen.spamhaus.org",
}
"""What marks the row for each situation, where a provider has no text of its own."""


@cache
def samples() -> tuple[Sample, ...]:
    """All rows that carry a reply code."""
    data = resources.files("mailctl.demo").joinpath("smtp-responses.csv").read_text("utf-8")
    return tuple(
        Sample(row["provider"], row["smtp_code"], row["enhanced_code"], row["text_sample"])
        for row in csv.DictReader(data.splitlines())
        if row["smtp_code"]
    )


def sample(mark: str) -> Sample:
    """The one row whose `enhanced text` contains `mark`.

    Raises:
        LookupError: no row does, or several do.
    """
    found = [row for row in samples() if mark in f"{row.enhanced} {row.text}"]
    if len(found) != 1:
        raise LookupError(f"{mark!r} marks {len(found)} rows of smtp-responses.csv, wanted one")
    return found[0]


class Texts:
    """The refusals of one provider: own marks over the common ones."""

    def __init__(self, marks: Mapping[Situation, str], rng: random.Random) -> None:
        self._samples = {situation: sample(mark) for situation, mark in {**COMMON, **marks}.items()}
        self._rng = rng

    def line(self, situation: Situation, *, source: str, recipient: str = "") -> str:
        """The reply line for a refusal of `source`, without CRLF: `421 4.7.28 Gmail has detected …`."""
        row = self._samples[situation]
        text = row.text.replace(_SAMPLE_IP, source).replace(_SAMPLE_NETWORK, f"{source.rpartition('.')[0]}.0/24")
        if recipient:
            text = _SAMPLE_ADDRESS.sub(lambda _: recipient, text)
            text = text.replace(_SAMPLE_DOMAIN, recipient.rpartition("@")[2])
        text = _SESSION_TOKEN.sub(lambda _: self.token(), text)
        return " ".join(part for part in (row.code, row.enhanced, text) if part)

    def token(self) -> str:
        """A session token in Gmail's shape: `d9443c01a7336-1si1234567plk.55`."""
        letters = "".join(self._rng.choices(_HEX_DIGITS, k=13))
        return (
            f"{letters}-{self._rng.randrange(1, 30)}si{self._rng.randrange(10**6, 10**7)}plk.{self._rng.randrange(100)}"
        )
