"""A TLS report goes out as mail of our own, through the queue like any other (RFC 8460)."""

import gzip
import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.integration.rig import POOLS, SOON, TX1, _every_example, rig

REPORTS = "tls: {reports: {organization: Example Inc., contact: tls@us.example, stream: tx}}\n"


def with_a_record(name: str, kind: str) -> list[str] | None:
    """A domain that wants reports, beside the usual ones."""
    if (name, kind) == ("_smtp._tls.x.example", "TXT"):
        return ['"v=TLSRPTv1; rua=mailto:r@z.example"']
    return _every_example(name, kind)


async def test_a_report_that_was_due_before_a_restart_is_sent_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = datetime.now(UTC) - timedelta(days=1)
    begin = day.replace(hour=0, minute=0, second=0, microsecond=0)
    content = json.dumps({"organization-name": "Example Inc.", "policies": []}).encode()
    due = {
        "id": "1@us.example",
        "domain": "x.example",
        "begin": begin.isoformat(),
        "content": b64encode(content).decode(),
        "next_try": 0.0,
    }
    file = tmp_path / "state" / "tls-reports.json"
    _write(file, {"day": f"{datetime.now(UTC):%Y-%m-%d}", "counts": [], "due": [due]})
    monkeypatch.setattr("tests.integration.rig._every_example", with_a_record)
    async with rig(tmp_path, POOLS + SOON + REPORTS) as one:
        await one.delivered("r@z.example")
        (mail,) = one.sink.mails
        assert (mail.sender, mail.source) == ("tls@us.example", TX1)
        parsed = message_from_bytes(mail.data)
        assert parsed["TLS-Report-Domain"] == "x.example"
        attachment = parsed.get_payload()[1].get_payload(decode=True)  # type: ignore[index,union-attr]
        assert gzip.decompress(attachment) == content  # type: ignore[arg-type]
        await one.restart()
        assert one.sink.received == {"r@z.example": 1}
        await one.stop()
        assert json.loads(file.read_bytes())["due"] == []


def _write(file: Path, stored: object) -> None:
    file.parent.mkdir()
    file.write_text(json.dumps(stored), encoding="utf-8")
