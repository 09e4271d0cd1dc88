"""What the sessions of one configuration share: limits and ready-made replies."""

import msgspec

from mailagent.api.smtp import SmtpReply
from mailagent.config import structs
from mailagent.intake.sasl import MECHANISMS

_AUTH = b"AUTH " + b" ".join(MECHANISMS)
BUSY = SmtpReply(code=451, enhanced="4.3.0", text="Local error, try again later", local=True)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What every session of one configuration shares."""

    hostname: str
    max_message_bytes: int
    max_recipients: int
    max_hops: int
    lenient: bool  # takes a text with bare line ends and long lines: it is read here and goes nowhere
    greeting: bytes
    ehlo: dict[tuple[bool, bool], bytes]  # by whether STARTTLS and AUTH are offered
    helo: bytes

    @classmethod
    def of(cls, config: structs.Intake, hostname: str, *, lenient: bool = False) -> "Rules":
        """The rules that `config` states."""
        name = hostname.encode("ascii", "replace")
        lines = (name, b"PIPELINING", b"SIZE %d" % config.max_message_bytes, b"8BITMIME", b"DSN", b"SMTPUTF8")
        return cls(
            hostname=hostname,
            max_message_bytes=config.max_message_bytes,
            max_recipients=config.max_recipients,
            max_hops=config.max_hops,
            lenient=lenient,
            greeting=b"220 %s ESMTP\r\n" % name,
            ehlo={
                (starttls, auth): b"".join(
                    b"250-%s\r\n" % line for line in lines + (b"STARTTLS",) * starttls + (_AUTH,) * auth
                )
                + b"250 ENHANCEDSTATUSCODES\r\n"
                for starttls in (False, True)
                for auth in (False, True)
            },
            helo=b"250 %s\r\n" % name,
        )


def reply_line(reply: SmtpReply) -> bytes:
    """`reply` as one line of at most 512 octets (RFC 5321 section 4.5.3.1.5), safe whatever its text holds."""
    text = reply.text if reply.text.isprintable() else "".join(c if c.isprintable() else " " for c in reply.text)
    start = f"{reply.code} {reply.enhanced} " if reply.enhanced else f"{reply.code} "
    return (start + text).encode("ascii", "replace")[:510] + b"\r\n"
