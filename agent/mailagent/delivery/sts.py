"""MTA-STS policies as text: the record that announces one, and the policy itself (RFC 8461 section 3). Pure."""

import re
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from mailagent.delivery.dane import host_matches

MAX_POLICY_BYTES = 65_536
MAX_AGE_S = 31_557_600
MAX_PATTERNS = 100
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_PATTERN = re.compile(r"(?:\*\.)?(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*:[ \t]*(.*?)[ \t]*")


class StsMode(StrEnum):
    """What a failure means."""

    ENFORCE = "enforce"  # no mail
    TESTING = "testing"  # a report
    NONE = "none"  # nothing: the domain takes its policy back


class StsPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One policy, as fetched, with the id that announced it."""

    id: str
    mode: StsMode
    mx: tuple[str, ...]  # patterns, lower case
    max_age_s: int

    def names(self, mx: str) -> bool:
        """Whether the host is one of the domain's (section 4.1)."""
        return any(host_matches(pattern, mx) for pattern in self.mx)

    def lines(self) -> list[str]:
        """As in the file, for reports (RFC 8460 section 4.4)."""
        return [
            "version: STSv1",
            f"mode: {self.mode}",
            *(f"mx: {pattern}" for pattern in self.mx),
            f"max_age: {self.max_age_s}",
        ]


def announced_id(texts: Iterable[bytes]) -> str | None:
    """The id in the TXT records of `_mta-sts.`; None unless exactly one of them is such a record (section 3.1)."""
    found = [text for text in texts if re.match(rb"v=STSv1[ \t]*(?:;|\Z)", text)]
    if len(found) != 1:
        return None
    for field in found[0].decode("ascii", "replace").split(";"):
        key, _, value = field.partition("=")
        if key.strip() == "id":
            return value.strip() if _ID.fullmatch(value.strip()) else None
    return None


def parse_policy(body: bytes, policy_id: str) -> StsPolicy:
    """The policy in a file (section 3.2). Unknown fields are ignored; of a repeated one, but `mx`, the first counts.

    Raises:
        ValueError: it is none; the message says why.
    """
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"):
        if not line.strip():
            continue
        match = _FIELD.fullmatch(line)
        if match is None:
            raise ValueError(f"{line[:60]!r} is no field")
        key, value = match[1], match[2]
        if key == "mx":
            patterns.append(value.lower())
        else:
            fields.setdefault(key, value)
    if fields.get("version") != "STSv1":
        raise ValueError("it has no version STSv1")
    mode = fields.get("mode", "")
    if mode not in list(StsMode):
        raise ValueError(f"{mode[:20]!r} is no mode")
    age = fields.get("max_age", "")
    if not re.fullmatch(r"[0-9]{1,10}", age) or int(age) > MAX_AGE_S:
        raise ValueError(f"{age[:20]!r} is no max_age")
    if len(patterns) > MAX_PATTERNS or not all(map(_PATTERN.fullmatch, patterns)):
        raise ValueError("an mx field is no host name and no *.domain")
    if not patterns and mode != StsMode.NONE:
        raise ValueError("it names no mx")
    return StsPolicy(
        id=policy_id, mode=StsMode(mode), mx=tuple(one.rstrip(".") for one in patterns), max_age_s=int(age)
    )
