"""TLS reports: who wants them, what they say, and the mail that carries them (RFC 8460). Pure."""

import base64
import gzip
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from mailagent.delivery.tally import Counts, Failure

MAX_DESTINATIONS = 5
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_URL = re.compile(r"https://([A-Za-z0-9.-]{1,253})(?::([0-9]{1,5}))?(/[!-~]*)?")


class Post(msgspec.Struct, frozen=True):
    """Where a report is posted."""

    host: str
    port: int
    path: str


def destinations(texts: Iterable[bytes]) -> tuple[str | Post, ...]:
    """Mail addresses and URLs in the TXT records of `_smtp._tls.` (section 3).

    There are none unless exactly one of the records is of that kind. Destinations of other kinds, and malformed ones,
    are left out.
    """
    found = [text for text in texts if re.match(rb"v=TLSRPTv1[ \t]*(?:;|\Z)", text)]
    if len(found) != 1:
        return ()
    wanted: list[str | Post] = []
    for field in found[0].decode("ascii", "replace").split(";"):
        key, _, value = field.partition("=")
        if key.strip() == "rua":
            wanted += [one for uri in value.split(",") if (one := _destination(uri.strip())) is not None]
            break
    return tuple(wanted[:MAX_DESTINATIONS])


def _destination(uri: str) -> str | Post | None:
    if uri.lower().startswith("mailto:"):
        address = unquote(uri[7:].partition("?")[0])
        return address if _ADDRESS.fullmatch(address) else None
    match = _URL.fullmatch(uri)
    if match is None or int(match[2] or 443) > 65535:
        return None
    return Post(match[1].lower(), int(match[2] or 443), match[3] or "/")


def report(
    counts: Sequence[Counts], *, organization: str, contact: str, domain: str, begin: datetime, end: datetime, id: str
) -> bytes:
    """The report about `domain` for [begin, end), as JSON (section 4.4)."""
    return msgspec.json.encode(
        {
            "organization-name": organization,
            "date-range": {"start-datetime": _time(begin), "end-datetime": _time(end)},
            "contact-info": contact,
            "report-id": id,
            "policies": [_policy(domain, row) for row in counts],
        }
    )


def _policy(domain: str, row: Counts) -> dict[str, Any]:
    policy: dict[str, Any] = {"policy-type": row.policy.type.value}
    if row.policy.strings:
        policy["policy-string"] = row.policy.strings
    policy["policy-domain"] = domain
    if row.policy.mx:
        policy["mx-host"] = row.policy.mx
    summary = {"total-successful-session-count": row.successes, "total-failure-session-count": row.failures}
    found: dict[str, Any] = {"policy": policy, "summary": summary}
    if row.kinds:
        found["failure-details"] = [_details(failure, count) for failure, count in row.kinds]
    return found


def _details(failure: Failure, count: int) -> dict[str, Any]:
    details: dict[str, Any] = {
        "result-type": failure.result.value,
        "sending-mta-ip": failure.source,
        "receiving-mx-hostname": failure.mx,
        "receiving-ip": failure.remote,
        "failed-session-count": count,
        "failure-reason-code": failure.reason,
    }
    return {key: value for key, value in details.items() if value != ""}


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def file_name(submitter: str, domain: str, begin: datetime, end: datetime) -> str:
    """`submitter!domain!begin!end.json.gz` (section 5.1)."""
    return f"{submitter}!{domain}!{int(begin.timestamp())}!{int(end.timestamp())}.json.gz"


def report_mail(
    content: bytes, *, contact: str, to: str, domain: str, begin: datetime, end: datetime, id: str, now: datetime
) -> tuple[dict[str, str], bytes]:
    """(header fields, the whole message) that carries the JSON `content` to `to` (section 5.3); CRLF, 7-bit."""
    submitter = contact.rpartition("@")[2]
    boundary = f"=_{id.partition('@')[0]}"
    name = file_name(submitter, domain, begin, end)
    fields = {
        "From": contact,
        "To": to,
        "Date": format_datetime(now.astimezone(UTC)),
        "Subject": f"Report Domain: {domain} Submitter: {submitter} Report-ID: <{id}>",
        "Message-ID": f"<{id}>",
        "TLS-Report-Domain": domain,
        "TLS-Report-Submitter": submitter,
        "Auto-Submitted": "auto-generated",
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/report; report-type="tlsrpt";\r\n\tboundary="{boundary}"',
    }
    encoded = base64.encodebytes(compressed(content)).replace(b"\n", b"\r\n")
    lines = [
        *(f"{key}: {value}" for key, value in fields.items()),
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        f"This is a report about TLS of mail from {submitter} to {domain}, {_time(begin)} to {_time(end)}.",
        "",
        f"--{boundary}",
        "Content-Type: application/tlsrpt+gzip",
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment;\r\n\tfilename="{name}"',
        "",
        "",
    ]
    return fields, "\r\n".join(lines).encode("ascii") + encoded + f"--{boundary}--\r\n".encode("ascii")


def compressed(content: bytes) -> bytes:
    """`content` as `application/tlsrpt+gzip`."""
    return gzip.compress(content, mtime=0)
