"""Texts of waiting messages, as `postcat` reads them from the queue files: by the agent itself, or by the helper."""

import re
from functools import partial
from typing import Final

from mailagent.api.errors import Unavailable
from mailagent.postfix.acts import is_id
from mailagent.postfix.asking import Helper
from mailagent.postfix.commands import Programs, head
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.helper import show_question, understood
from mailagent.spool import mirror
from mailagent.spool.store import Spool

_NOT_THERE: Final = re.compile("open queue file .*: No such file or directory")
"""Of postcat, about a message that is in no folder of the queue."""


class Unread(PostfixError):
    """The helper did not show a message."""


class Texts:
    """Those of one instance. Without a `helper` the agent's account has to be one that may read Postfix's queue."""

    def __init__(self, programs: Programs, helper: Helper | None, spool: Spool) -> None:
        self._programs = programs
        self._helper = helper
        self._spool = spool

    async def of(self, queue_id: str, most: int) -> bytes | None:
        """The first `most` bytes of a message, header and body; None when it does not wait here (any more).

        Raises:
            Unavailable: it cannot be read.
        """
        if not is_id(queue_id):
            return None
        if not await self._spool.on_mirror(partial(mirror.known, queue_ids=[queue_id])):
            return None
        try:
            return await self._read(queue_id, most)
        except PostfixError as exc:
            if _NOT_THERE.search(str(exc)):
                return None
            way = "" if self._helper else "; that takes an agent that is root, or the helper (postfix.helper)"
            raise Unavailable(f"{queue_id}: its text cannot be read: {exc}{way}") from exc

    async def header(self, queue_id: str, most: int) -> bytes:
        """The first `most` bytes of its header, as far as that can be read."""
        try:
            text = await self.of(queue_id, most)
        except Unavailable:
            return b""
        return (text or b"").partition(b"\n\n")[0]

    async def _read(self, queue_id: str, most: int) -> bytes:
        if self._helper is None:
            argv = self._programs.argv("postcat", "-hb", "-q", queue_id)
            return await head(argv, most=most, timeout_s=self._programs.timeout_s)
        shown = understood(await self._helper.ask(show_question(queue_id, most)))
        if shown.trouble:
            raise Unread(shown.trouble)
        return shown.text
