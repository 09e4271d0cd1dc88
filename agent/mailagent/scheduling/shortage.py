"""What this host is short of, told from what its own kernel answered: descriptors, memory, local ports."""

import errno
import os
from typing import Final

from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.smtp import SmtpReply

_WORDS: Final = tuple(os.strerror(code) for code in (errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ENOBUFS))
_NO_PORT: Final = "no free local port"  # `mailagent.delivery.errors.AddressesExhausted`


def shortage(reply: SmtpReply) -> WaitReason | None:
    """The reason behind a reply of our own that says so; None for every other reply."""
    if not reply.local:
        return None
    if _NO_PORT in reply.text:
        return WaitReason(
            kind=ReasonKind.RESOURCE,
            detail=reply.text,
            value="local ports",
            origin="this host",
            release="more local ports, fewer connections, or another address",
            reply=reply,
        )
    word = next((word for word in _WORDS if word in reply.text), None)
    if word is None:
        return None
    return WaitReason(
        kind=ReasonKind.RESOURCE,
        detail=reply.text,
        value=word,
        origin="this host",
        release="a lower delivery.max_connections, or a higher LimitNOFILE or memory limit of the service",
        reply=reply,
    )
