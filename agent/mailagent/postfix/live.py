"""The queue as it is at this moment, for those who are about to act on single messages."""

import re
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

from mailagent.api.targets import MessageFilter
from mailagent.postfix.commands import Programs
from mailagent.postfix.listing import Entry, ListingError, parse
from mailagent.spool import frozen
from mailagent.spool.frozen import Known
from mailagent.spool.store import Spool

_QUEUE_ID: Final = re.compile(rb'"queue_id": ?"([0-9A-Za-z]+)"')


class LiveQueue:
    """Lists the queue of one instance. `inward` is of its names, `look` asks the mirror to look again."""

    def __init__(
        self,
        programs: Programs,
        config_dir: str,
        spool: Spool,
        *,
        inward: Callable[[MessageFilter], Coroutine[Any, Any, MessageFilter]],
        look: Callable[[], None],
    ) -> None:
        self._programs = programs
        self._spool = spool
        self.config_dir = config_dir
        self.inward = inward
        self.look = look

    async def has_long_ids(self) -> bool:
        """Whether new messages get queue ids that never come back.

        Raises:
            PostfixError: postconf does not say.
        """
        return (await self._programs.run("postconf", "-hx", "enable_long_queue_ids")).strip() == b"yes"

    async def known(self, messages: Sequence[int]) -> Mapping[int, Known]:
        """Those of `messages` that the mirror has."""
        return await self._spool.on_held(partial(frozen.known, messages=messages))

    async def live(self, names: Collection[str]) -> Mapping[str, Entry]:
        """Those of `names` that are in the queue now; one that is moved meanwhile may be missing, or be listed twice.

        Raises:
            PostfixError: it cannot be listed to its end.
        """
        wanted = {name.encode("ascii") for name in names}
        found: dict[str, Entry] = {}
        async with self._programs.stream(self._programs.argv("postqueue", "-j")) as stream:
            async for lines in stream:
                for line in lines:
                    match = _QUEUE_ID.search(line)
                    if match is None or match[1] not in wanted:
                        continue
                    try:
                        entry = parse(line)
                    except ListingError:
                        continue  # it counts as not seen
                    found[entry.queue_id] = entry
        return found
