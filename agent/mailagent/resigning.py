"""Header blocks of mail that leaves from another pool than it was taken in for: its keys sign instead."""

import asyncio

from mailagent.dkim import Signing
from mailagent.intake.headers import scan
from mailagent.spool.records import Waiting

SIGN_S = 30.0
_SIGNATURE = b"dkim-signature:"


class Resigning:
    """Puts the signatures of one pool in the place of those of another."""

    def __init__(self, signing: Signing) -> None:
        self._signing = signing

    async def added(self, row: Waiting, body: bytes, pool: str) -> bytes | None:
        """The header block that we add to a message when `pool` sends it; None: it has to be signed and cannot be."""
        rest = unsigned(row.added)
        headers = scan(body, self._signing.wanted_headers).values if self._signing.wanted_headers else {}
        keys = self._signing.keys(pool, headers)
        if not keys:
            return rest
        done: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def signed(signature: bytes | None) -> None:
            if not done.done():
                done.set_result(signature)

        self._signing.sign(body, keys, "normal", signed)
        async with asyncio.timeout(SIGN_S):
            signature = await done
        if signature is None and self._signing.required:
            return None
        return (signature or b"") + rest


def unsigned(added: bytes) -> bytes:
    """A header block without the signatures in front of it."""
    while added[: len(_SIGNATURE)].lower() == _SIGNATURE:
        end = added.find(b"\r\n")
        while end >= 0 and added[end + 2 : end + 3] in (b" ", b"\t"):
            end = added.find(b"\r\n", end + 2)
        if end < 0:
            return b""
        added = added[end + 2 :]
    return added
