"""Published keys: whether the record that DNS has is that of our key. The door to dkimpy, which has the last word."""

import base64
import binascii
import re
import time
from typing import Protocol

from mailagent.dkim.keys import Algorithm
from mailagent.dkim.signature import SigningKey, signatures
from mailagent.dns import Failed, Found, TxtAnswer

_PROBE = b"From: probe@%s\r\nSubject: probe\r\n\r\nprobe\r\n"
_BLANK = re.compile(r"\s+")


class Asks(Protocol):
    """Who asks DNS; `mailagent.dns.Resolver` is one."""

    async def txt(self, name: str, *, fresh: bool = False) -> TxtAnswer:
        """The TXT records of `name`, each as one text; `fresh`: not from what is remembered."""


class Unproven(ValueError):
    """What DNS has is not what our key needs; the text says why, `records` what was found."""

    def __init__(self, message: str, records: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.records = records


class Unanswered(Unproven):
    """Nobody knows: DNS gave no answer."""


async def prove(dns: Asks, key: SigningKey) -> str:
    """The record of `key` as it is published.

    Raises:
        Unproven: it is not, or differs from our key, or verifiers would not use it.
        Unanswered: DNS did not say.
    """
    name = key.record_name
    answer = await dns.txt(name, fresh=True)
    if isinstance(answer, Failed):
        raise Unanswered(f"DNS gave no answer about {name}: {answer.reason}")
    if not isinstance(answer, Found) or answer.stale:
        raise Unproven(f"{name} is not published")
    records = tuple(record.decode("utf-8", "replace") for record in answer.records)
    if len(records) != 1:
        raise Unproven(f"{name} has {len(records)} TXT records; verifiers want exactly one", records)
    problem = mismatch(records[0], key)
    if problem is None and key.key.algorithm is Algorithm.RSA:
        problem = _probe(records[0], key)
    if problem is not None:
        raise Unproven(f"{name}: {problem}", records)
    return records[0]


def mismatch(record: str, key: SigningKey) -> str | None:
    """Why `record` does not let verifiers use `key` for mail (RFC 6376 section 3.6.1); None when it does."""
    tags: dict[str, str] = {}
    for n, part in enumerate(filter(None, map(str.strip, record.split(";")))):
        tag, equals, value = (text.strip() for text in part.partition("="))
        if not equals or tag in tags:
            return f"`{part}` is no tag, or stands twice"
        if tag == "v" and (n or value != "DKIM1"):
            return "v= must be the first tag and say DKIM1"
        tags[tag] = _BLANK.sub("", value)
    if "p" not in tags:
        return "has no p="
    if not tags["p"]:
        return "the key is revoked (p= is empty)"
    if tags.get("k", "rsa") != key.key.algorithm:
        return f"k={tags.get('k', 'rsa')}, our key is {key.key.algorithm}"
    if "sha256" not in tags.get("h", "sha256").split(":"):
        return f"h={tags['h']} does not allow sha256"
    if not {"*", "email"} & set(tags.get("s", "*").split(":")):
        return f"s={tags['s']} does not allow mail"
    if "y" in tags.get("t", "").split(":"):
        return "t=y says that the domain is testing; verifiers ignore its signatures"
    try:
        published = base64.b64decode(tags["p"], validate=True)
    except binascii.Error:
        return "p= is no base64"
    return None if published == key.key.public else "p= is not the public half of our key"


def _probe(record: str, key: SigningKey) -> str | None:
    """Sign a message and have it verified with the published record by code that is not ours."""
    import dkim

    message = _PROBE % key.domain.encode()
    signed = signatures(message, (key,), at=int(time.time())) + message
    try:
        accepted = dkim.DKIM(signed).verify(dnsfunc=lambda *_, **__: record.encode())
    except dkim.DKIMException as exc:
        return f"a signature made for a trial is not accepted: {exc}"
    return None if accepted else "a signature made for a trial is not accepted"
