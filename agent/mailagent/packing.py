"""Which of the mail that waits goes into a parcel: first what is only on disk, then what stands before connections."""

from collections.abc import Callable
from functools import partial
from typing import Final

from mailagent.api import evacuation as api
from mailagent.api.directives import DirectiveKind
from mailagent.api.ids import HostName, OpId, StreamName
from mailagent.api.targets import TargetKind
from mailagent.config.structs import AgentConfig
from mailagent.control.state import HostState
from mailagent.scheduling.item import Item
from mailagent.scheduling.scheduler import Scheduler
from mailagent.spool import evacuations, parcels
from mailagent.spool.errors import StorageError
from mailagent.spool.evacuations import Evacuation
from mailagent.spool.ids import RECIPIENT_BITS
from mailagent.spool.store import Spool

STANDING: Final = 50
"""Recipients that one parcel takes out of ready queues; the size of their messages is not asked for."""
HOLD_JOBS: Final = (DirectiveKind.SUSPEND, DirectiveKind.JOB_START, DirectiveKind.JOB_CANCEL)


def held_jobs(state: HostState) -> frozenset[str]:
    """Jobs that an order holds or ends here; on another host they might be sent."""
    jobs = (one for one in state.directives if one.target.kind is TargetKind.JOB)
    return frozenset(one.target.name for one in jobs if one.kind in HOLD_JOBS)


class Packer:
    """Packs parcels, one at a time."""

    def __init__(
        self,
        spool: Spool,
        scheduler: Scheduler,
        *,
        config: Callable[[], AgentConfig],
        state: Callable[[], HostState],
    ) -> None:
        self._spool = spool
        self._scheduler = scheduler
        self._config = config
        self._state = state
        self._after: dict[tuple[OpId, HostName], int] = {}  # where the search for mail to pack goes on

    async def pack(self, one: Evacuation, target: api.EvacuationTarget, most: int) -> api.ParcelHeader | None:
        """The next parcel of an evacuation for one target, of `most` recipients; None when nothing is left to pack.

        Raises:
            StorageError: nothing was packed.
        """
        addressed = parcels.Addressed(
            evacuation=one.id,
            source=self._config().host,
            source_tag=self._spool.tag,
            target=target.host,
            target_spool=target.spool_id,
        )
        streams = frozenset(one.streams) & frozenset(target.streams)
        claimed = await self._claim((one.id, target.host), streams, most) or self._claim_standing(streams, most)

        def packed(_: api.ParcelHeader | None, error: StorageError | None) -> None:
            self._let_go(claimed, gone=error is None)
            self._spool.touch(claimed)

        if not claimed:
            return None
        work = partial(parcels.pack, addressed=addressed, recipients=claimed)
        return await self._spool.change_parcels(work, packed)

    async def _claim(self, search: tuple[OpId, HostName], streams: frozenset[StreamName], most: int) -> list[int]:
        """The next recipients that are only on disk, as many as fit into a parcel; nothing reads them from now on."""
        claimed: list[int] = []
        held = tuple(held_jobs(self._state()))
        begin = self._after.get(search, -1)
        after, size, last = begin, 0, -1
        while True:
            look = partial(evacuations.candidates, streams=tuple(streams), held_jobs=held, after=after)
            try:
                rows, end = await self._spool.on_evacuations(look)
            except BaseException:
                self._let_go(claimed, gone=False)
                raise
            for recipient, message_bytes in rows:
                own = message_bytes if recipient >> RECIPIENT_BITS != last else 0
                if len(claimed) >= most or (claimed and size + own > api.PARCEL_BYTES):
                    return claimed
                if self._scheduler.withdrawal.claim([recipient]):
                    claimed.append(recipient)
                    size, last = size + own, recipient >> RECIPIENT_BITS
                self._after[search] = recipient
            if end is not None:
                after = end
            elif begin >= 0 and not claimed:
                after = begin = self._after[search] = -1  # what was under way in the first round may wait again
            else:
                return claimed

    def _claim_standing(self, streams: frozenset[StreamName], most: int) -> list[int]:
        """The same for mail that stands in line before connections."""
        withdrawal = self._scheduler.withdrawal
        held = held_jobs(self._state())

        def is_wanted(item: Item) -> bool:
            return item.first.stream in streams and item.first.job not in held

        standing = withdrawal.standing(is_wanted, min(most, STANDING))
        moving = withdrawal.take(standing)
        return withdrawal.claim(recipient for recipient in standing if recipient not in moving)

    def _let_go(self, claimed: list[int], *, gone: bool) -> None:
        self._scheduler.withdrawal.let_go(claimed)
        if not gone:
            self._scheduler.recheck()
