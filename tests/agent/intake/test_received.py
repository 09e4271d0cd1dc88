"""The trace header."""

from email import message_from_bytes
from email.utils import parsedate_to_datetime

import msgspec

from mailagent.intake import Submission, received_header

SUBMISSION = Submission(
    sender=b"a@one.test",
    recipients=(b"b@two.test",),
    body=b"",
    plain=True,
    eightbit=False,
    headers={},
    job="",
    virtual_mta="",
    client="192.0.2.1",
    helo="client.test",
    hops=0,
)


def test_names_client_host_protocol_id_recipient_and_time() -> None:
    header = received_header(SUBMISSION, hostname="mx1.test", message_id="0ABC", received_at=1_893_456_000_789)
    assert header == (
        b"Received: from client.test ([192.0.2.1])\r\n"
        b"\tby mx1.test with ESMTP id 0ABC\r\n"
        b"\tfor <b@two.test>;\r\n"
        b"\tTue, 01 Jan 2030 00:00:00 +0000\r\n"
    )
    date = message_from_bytes(header)["Received"].rpartition(";")[2]
    assert parsedate_to_datetime(date).timestamp() == 1_893_456_000


def test_never_tells_one_recipient_about_another() -> None:
    several = msgspec.structs.replace(SUBMISSION, recipients=(b"b@two.test", b"c@two.test"), esmtp=False)
    header = received_header(several, hostname="mx1.test", message_id="0ABC", received_at=0)
    assert b"two.test" not in header
    assert b"with SMTP id" in header


def test_writes_ipv6_clients_as_literals() -> None:
    client = msgspec.structs.replace(SUBMISSION, client="2001:db8::1")
    assert b"([IPv6:2001:db8::1])" in received_header(client, hostname="h", message_id="i", received_at=0)
