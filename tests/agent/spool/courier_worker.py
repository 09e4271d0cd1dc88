"""Two spools and a courier between them in one process, to be killed.

    python -m tests.agent.spool.courier_worker DIRECTORY cancel|go

Takes up what the last run left, packs what still waits at the source, and brings everything to its end. `cancel` takes
back what the source has not given up, and moves nothing.
"""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from mailagent.api.evacuation import Direction, ParcelState
from mailagent.api.ids import HostName, OpId
from mailagent.spool import Spool, evacuations, parcels
from mailagent.spool.parcels import Addressed
from tests.agent.spool.parcels import ask, carried, evacuation

RECIPIENTS = 3
"""Of each parcel."""


async def main(directory: Path, *, cancel: bool) -> None:
    spools = []
    for name in ("source", "target"):
        file = os.open(directory / f"{name}.lines", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        spools.append(await Spool.open(directory / name, before_commit=partial(_write, file)))
    source, target = spools
    to = Addressed(
        evacuation=OpId("evac"),
        source=HostName("mx1"),
        source_tag=source.tag,
        target=HostName("mx2"),
        target_spool=target.spool_id,
    )
    await evacuation(source, to, Direction.OUT)
    for parcel in await source.on_evacuations(
        partial(parcels.open_parcels, evacuation=to.evacuation, direction=Direction.OUT)
    ):
        if cancel and parcel.state is ParcelState.PACKED:
            await ask(source, parcels.give_back, parcel=parcel.header.id)
        await carried(source, target, to, parcel.header)
    while not cancel:
        rows, _ = await source.on_evacuations(
            partial(evacuations.candidates, streams=("news",), held_jobs=(), after=-1)
        )
        recipients = [recipient for recipient, _ in rows[:RECIPIENTS]]
        header = await ask(source, parcels.pack, addressed=to, recipients=recipients)
        if header is None:
            break
        await carried(source, target, to, header)
    for spool in spools:
        await spool.close(clean=True)


def _write(file: int, lines: list[bytes]) -> None:
    os.write(file, b"".join(lines))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), cancel=sys.argv[2] == "cancel"))
