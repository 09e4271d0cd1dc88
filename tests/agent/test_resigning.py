"""The signatures of a header block."""

from pathlib import Path

import msgspec
import pytest

from mailagent.config.dkim import Dkim
from mailagent.dkim import KeyRing, Signing
from mailagent.resigning import Resigning, unsigned
from tests.agent.dkim.material import SIMPLE, signing_key, verified
from tests.agent.scheduling.mail import waiting

RECEIVED = b"Received: from a\r\n by b; now\r\n"


@pytest.mark.parametrize(
    "signatures",
    [
        b"",
        b"DKIM-Signature: v=1; a=rsa-sha256\r\n",
        b"DKIM-Signature: v=1;\r\n b=abc\r\n\tdef\r\nDKIM-Signature: v=1; a=ed25519-sha256;\r\n b=x\r\n",
    ],
)
def test_signatures_in_front_are_taken_off_and_the_rest_stays(signatures: bytes) -> None:
    assert unsigned(signatures + RECEIVED) == RECEIVED


def test_a_block_of_signatures_alone_is_empty_afterwards() -> None:
    assert unsigned(b"DKIM-Signature: v=1\r\n") == b""


async def test_mail_is_signed_by_the_keys_of_its_new_pool_and_by_none_where_that_has_none(tmp_path: Path) -> None:
    key = signing_key()
    signing = Signing(Dkim(), KeyRing({("b", "example.com"): [key]}), tmp_path)
    try:
        row = msgspec.structs.replace(waiting(1), added=b"DKIM-Signature: v=1; s=old\r\n" + RECEIVED)
        resigning = Resigning(signing)
        added = await resigning.added(row, SIMPLE, "b")
        assert added is not None
        assert added.count(b"DKIM-Signature:") == 1
        assert added.endswith(RECEIVED)
        assert verified(added + SIMPLE, key)
        assert await resigning.added(row, SIMPLE, "a") == RECEIVED
    finally:
        signing.close()
