"""One message as a client handed it in, and who decides what becomes of it."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from mailagent.api.smtp import SmtpReply
from mailagent.intake.parameters import RcptParameters
from mailagent.intake.sasl import Login
from mailagent.intake.users import User

NO_REQUESTS: Mapping[int, RcptParameters] = {}


class Submission(msgspec.Struct, frozen=True):
    """A complete transaction, checked, waiting for its answer."""

    sender: bytes  # without angle brackets; empty for <>
    recipients: tuple[bytes, ...]  # as given in RCPT, without angle brackets; each once
    body: bytes  # canonical CRLF, dots unstuffed, control headers removed
    plain: bool  # no line of the body begins with a dot: it goes over the wire as it is
    eightbit: bool  # the body really holds octets above 127, whatever BODY= said
    headers: dict[bytes, bytes]  # lower-cased names that the gate wants -> first value, unfolded
    job: str  # X-Job, or empty
    virtual_mta: str  # X-Virtual-MTA, or empty
    client: str  # address of the client
    helo: str
    hops: int  # Received fields that the message came with
    esmtp: bool = True  # the client said EHLO
    user: str = ""  # who authenticated, or empty
    streams: tuple[str, ...] = ()  # that the user may use; empty: any
    warned: str = ""  # checks that it failed, and that did not refuse it: `date,plain_text`
    tls: str = ""  # version of TLS that it came under, `TLSv1.3`, or empty
    utf8: bool = False  # needs SMTPUTF8 on its way: it was given, and the header block or an address is beyond ASCII
    ret: str = ""  # RET of MAIL: `FULL`, `HDRS`, or empty
    envid: str = ""  # ENVID of MAIL, xtext as given
    requests: Mapping[int, RcptParameters] = NO_REQUESTS  # NOTIFY and ORCPT by number of the recipient that has any


def each_once(
    recipients: tuple[bytes, ...], requests: Mapping[int, RcptParameters]
) -> tuple[tuple[bytes, ...], Mapping[int, RcptParameters]]:
    """`recipients` without those that came before, and their requests; those of the first one stand.

    Local parts are compared as they are, domains in any case (RFC 5321 section 2.4).
    """
    first: dict[bytes, int] = {}
    for n, address in enumerate(recipients):
        first.setdefault(_comparable(address), n)
    if len(first) == len(recipients):
        return recipients, requests
    kept = dict(enumerate(first.values()))
    return (
        tuple(recipients[n] for n in kept.values()),
        {place: requests[n] for place, n in kept.items() if n in requests},
    )


def _comparable(address: bytes) -> bytes:
    local, at, domain = address.rpartition(b"@")
    if domain.isascii():
        return local + at + domain.lower()
    return local + at + domain.decode("utf-8", "backslashreplace").lower().encode()


class Gate(Protocol):
    """What intake asks of the engine. Called on the loop; an exception is logged and becomes a 4yz reply."""

    @property
    def wanted_headers(self) -> frozenset[bytes]:
        """Lower-cased names of the header fields whose values a submission carries."""

    @property
    def postmaster(self) -> bytes:
        """Mailbox of who is called `postmaster` without a domain by clients that may relay."""

    def greeting_refusal(self) -> SmtpReply | None:
        """The 421 that a new connection gets instead of a greeting; None: welcome."""

    def mail_refusal(self) -> SmtpReply | None:
        """The 4yz that MAIL gets now (disk, window, drain); None: go on."""

    def stranger_refusal(self, client: str, recipient: bytes) -> SmtpReply | None:
        """The answer to RCPT of a client that may not relay; None: the recipient is ours, whatever its syntax."""

    @property
    def recipient_refusal(self) -> Callable[[bytes], SmtpReply | None] | None:
        """The 550 that RCPT gets for somebody who must not be mailed; None: nobody has to be asked for."""

    def authenticate(self, login: Login, client: str, done: Callable[[User | SmtpReply], None]) -> None:
        """Verify `login`; `done` is called exactly once, maybe at once, on the loop."""

    def submit(self, submission: Submission, done: Callable[[SmtpReply], None]) -> None:
        """Take the submission over; `done` is called exactly once, maybe at once, on the loop."""
