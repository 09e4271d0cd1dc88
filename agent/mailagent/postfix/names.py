"""The boundary between Postfix's queue ids, which people and the wire see, and the spool's own message names."""

from collections.abc import Iterable
from functools import partial

import msgspec

from mailagent.api.ids import MessageId
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, Term, split_message
from mailagent.api.views import MessageSummary
from mailagent.spool import mirror
from mailagent.spool.ids import message_name, parse_message_name
from mailagent.spool.store import Spool


class Names:
    """Translates in both directions, by the mirror."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    async def inward(self, queue_id: str) -> str:
        """The spool's name of a message; a queue id that is not mirrored stays, and means no message there."""
        found = await self._spool.on_mirror(partial(mirror.known, queue_ids=[queue_id]))
        return message_name(found[queue_id].message, self._spool.tag) if queue_id in found else queue_id

    async def filter(self, filter: MessageFilter) -> MessageFilter:
        """`filter` as the spool reads it."""
        message_id = MessageId(await self.inward(filter.message_id)) if filter.message_id else filter.message_id
        terms = tuple([await self._term(term) for term in filter.terms])
        return msgspec.structs.replace(filter, message_id=message_id, terms=terms)

    async def _term(self, term: Term) -> Term:
        if term.field is not Field.MESSAGE:
            return term
        queue_id, n = split_message(term.value)
        name = await self.inward(queue_id)
        return msgspec.structs.replace(term, value=name if n is None else f"{name}.{n}")

    async def outward(self, rows: Iterable[MessageSummary]) -> tuple[MessageSummary, ...]:
        """Rows of the spool with the queue ids of their messages; one that has left meanwhile is left out."""
        numbered = [(parse_message_name(row.message_id)[0], row) for row in rows]
        found = await self._spool.on_mirror(partial(mirror.names, messages=[number for number, _ in numbered]))
        return tuple(
            msgspec.structs.replace(row, message_id=MessageId(found[number]))
            for number, row in numbered
            if number in found
        )
