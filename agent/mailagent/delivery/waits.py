"""How long a peer may take, by the step that is awaited (RFC 5321 section 4.5.3.2)."""

from dataclasses import dataclass
from functools import lru_cache

from mailagent.api.smtp import Verb
from mailagent.config.structs import Timeouts


@dataclass(frozen=True, slots=True)
class Waits:
    """Time-outs in seconds."""

    connect: float
    block: float
    by_verb: dict[Verb, float]
    shortest: float
    """Of all but QUIT."""


@lru_cache(maxsize=8)
def waits_of(timeouts: Timeouts) -> Waits:
    """`timeouts` in the form that connections use."""
    block = timeouts.block.total_seconds()
    by_verb = {
        Verb.CONNECT: timeouts.greeting.total_seconds(),
        Verb.EHLO: timeouts.ehlo.total_seconds(),
        Verb.STARTTLS: timeouts.tls.total_seconds(),
        Verb.MAIL: timeouts.mail.total_seconds(),
        Verb.RSET: timeouts.mail.total_seconds(),
        Verb.RCPT: timeouts.rcpt.total_seconds(),
        Verb.DATA: timeouts.data.total_seconds(),
        Verb.DOT: timeouts.dot.total_seconds(),
    }
    return Waits(
        connect=timeouts.connect.total_seconds(),
        block=block,
        by_verb=by_verb | {Verb.QUIT: timeouts.quit.total_seconds()},
        shortest=min(block, *by_verb.values()),
    )
