"""What the host is short of is told from its own kernel's words."""

import errno
import os
from ipaddress import ip_address

import pytest

from mailagent.api.reasons import ReasonKind
from mailagent.api.smtp import SmtpReply
from mailagent.delivery.errors import AddressesExhausted
from mailagent.dns import Address
from mailagent.scheduling.shortage import shortage


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_descriptors_and_memory(code: int) -> None:
    reply = SmtpReply(code=0, enhanced="4.4.1", text=f"mx.a.example: no socket: {os.strerror(code)}", local=True)
    reason = shortage(reply)
    assert reason is not None
    assert (reason.kind, reason.value) == (ReasonKind.RESOURCE, os.strerror(code))
    assert "LimitNOFILE" in reason.release
    assert reason.reply == reply


def test_local_ports() -> None:
    address: Address = ip_address("192.0.2.1")
    reason = shortage(AddressesExhausted(address).reply)
    assert reason is not None
    assert (reason.kind, reason.value) == (ReasonKind.RESOURCE, "local ports")


def test_the_words_of_a_peer_are_no_shortage_of_ours() -> None:
    assert shortage(SmtpReply(code=452, enhanced="4.3.1", text="Cannot allocate memory")) is None
    assert shortage(SmtpReply(code=0, enhanced="4.4.1", text="Connection refused", local=True)) is None
