"""Texts of waiting messages, as `postcat` reads them from the queue files. Only who may read those files has them."""

from functools import partial
from typing import Final

from mailagent.api.errors import Unavailable
from mailagent.postfix.acts import is_id
from mailagent.postfix.commands import Programs, head
from mailagent.postfix.errors import PostfixError
from mailagent.spool import mirror
from mailagent.spool.store import Spool

_NOT_THERE: Final = "No such file or directory"
"""Of postcat, about a message that is in no folder of the queue."""


class Texts:
    """Those of one instance."""

    def __init__(self, programs: Programs, spool: Spool) -> None:
        self._programs = programs
        self._spool = spool

    async def of(self, queue_id: str, most: int) -> bytes | None:
        """The first `most` bytes of a message, header and body; None when it does not wait here (any more).

        Raises:
            Unavailable: postcat does not say: mostly since this account may not read Postfix's queue.
        """
        if not is_id(queue_id):
            return None
        if not await self._spool.on_mirror(partial(mirror.known, queue_ids=[queue_id])):
            return None
        argv = self._programs.argv("postcat", "-hb", "-q", queue_id)
        try:
            return await head(argv, most=most, timeout_s=self._programs.timeout_s)
        except PostfixError as exc:
            if _NOT_THERE in str(exc):
                return None
            raise Unavailable(f"{queue_id}: its text cannot be read: {exc}; it is for an agent that is root") from exc
