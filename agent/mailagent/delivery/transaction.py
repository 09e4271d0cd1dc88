"""One mail transaction of SMTP, as a connection is asked for it (RFC 5321 section 3.3)."""

import msgspec


class Transaction(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One message to some recipients, as it goes out. `token` is its owner's."""

    sender: bytes  # empty for a DSN
    recipients: tuple[bytes, ...]
    added: bytes  # our header block, ends in CRLF
    body: bytes  # canonical: CRLF line ends only, not dot-stuffed
    eightbit: bool
    plain: bool = False  # the body is known to be canonical and to have no line that begins with a dot
    token: object = None
    utf8: bool = False  # an address or the header block may be beyond ASCII (RFC 6531)
    mail_options: bytes = b""  # RET and ENVID, ` RET=HDRS`; only for peers with DSN (RFC 3461)
    rcpt_options: tuple[bytes, ...] = ()  # NOTIFY and ORCPT, one for each recipient, or none at all
