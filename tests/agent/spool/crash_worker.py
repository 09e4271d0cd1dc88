"""A process that takes mail in and delivers it, to be killed.

    python -m tests.agent.spool.crash_worker STATE_DIR ROUNDS

What the outside world saw goes to STATE_DIR/witness, one line per event, written at once:

    accepted ID    the client has its 250
    sent ID        the peer has the message (the dot is out)
    removed ID     the engine was told that the outcome is stored; deferred ID likewise
"""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from mailagent.spool import Spool, StorageError, checkpoints, marks, writer
from mailagent.spool.records import NewMessage
from tests.agent.spool.mail import NOW, deferred, mark, message, removed

IN_FLIGHT = 8


class World:
    """Client, engine and peer in one."""

    def __init__(self, spool: Spool, witness: int, rounds: int) -> None:
        self.spool = spool
        self.witness = witness
        self.left = rounds
        self.settled = 0
        self.rounds = rounds
        self.ended = asyncio.Event()

    def saw(self, what: str, new: NewMessage) -> None:
        os.write(self.witness, f"{what} {new.id}\n".encode())

    def next(self) -> None:
        if self.left:
            self.left -= 1
            new = message(self.spool, body=b"x" * 2000)
            self.spool.accept(new, partial(self.accepted, new))

    def accepted(self, new: NewMessage, error: StorageError | None) -> None:
        if error is not None:
            raise SystemExit(f"not accepted: {error}")
        self.saw("accepted", new)
        self.spool.mark([mark(new, at=NOW)])
        self.saw("sent", new)
        line = f"{new.id}\n".encode()
        if new.id % 3:
            self.spool.settle([removed(new, line=line)], partial(self.stored, "removed", new))
        else:
            self.spool.settle([deferred(new, due=NOW + 1000)], partial(self.stored, "deferred", new))

    def stored(self, what: str, new: NewMessage) -> None:
        self.saw(what, new)
        self.settled += 1
        if self.settled == self.rounds:
            self.ended.set()
        self.next()


async def main(state_dir: Path, rounds: int) -> None:
    marks.COMPACT_BYTES = 500
    checkpoints.CHECKPOINT_PAGES = 5
    writer.JOURNAL_BYTES = 20_000  # some groups, so that all points are come to
    accounting = os.open(state_dir / "accounting", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    witness = os.open(state_dir / "witness", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    spool = await Spool.open(state_dir, before_commit=lambda lines: (os.write(accounting, b"".join(lines)), None)[1])
    world = World(spool, witness, rounds)
    for _ in range(IN_FLIGHT):
        world.next()
    async with asyncio.timeout(30):
        await world.ended.wait()
    await spool.close(clean=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
