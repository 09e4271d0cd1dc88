"""Mail that is tried again and again, at the spool alone: python -m bench.retries [rounds].

Fifty queues with one message each are read into the window, deferred and released, over and over; between them new mail
comes and leaves. How often the database commits: strace -f -y -e trace=fdatasync,fsync shows each sync and its file.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.agent.spool.mail import NOW, accept, deferred, durable, message, removed, settle, spool_in

QUEUES = 50
EACH = 5
"""After so many deferrals four messages come and leave."""


async def measure(rounds: int) -> float:
    """Deferrals per second, all of them durable."""
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as directory:
        async with spool_in(Path(directory)) as spool:
            waiting = [message(spool, f"a@waiting{n}.example") for n in range(QUEUES)]
            await accept(spool, *waiting)
            started = time.perf_counter()
            for number in range(1, rounds + 1):
                for n, kept in enumerate(waiting):
                    queue = kept.recipients[0].queue
                    spool.hold(queue)
                    spool.settle([deferred(kept, due=NOW + number, number=number)])
                    spool.release([queue])
                    if n % EACH == 0:
                        passing = [message(spool, f"b@new{n}.example", admitted=True) for _ in range(4)]
                        await accept(spool, *passing)
                        await settle(spool, *[removed(new) for new in passing])
            await durable(spool)
            return rounds * QUEUES / (time.perf_counter() - started)


def main() -> None:
    rate = asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
    print(f"{rate:.0f} deferrals/s beside {rate * 4 / EACH:.0f} messages/s that come and leave")


if __name__ == "__main__":
    main()
