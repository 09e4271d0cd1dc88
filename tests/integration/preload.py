"""Fills a spool before an agent starts on it, much faster than SMTP would."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from mailagent.spool.ids import now_ms
from mailagent.spool.records import NewMessage, NewRecipient, QueueName
from mailagent.spool.store import Spool

BODY = b"Subject: hello\r\n\r\nworld\r\n"
IN_FLIGHT = 5000


async def preload(
    state_dir: Path, recipients: Iterable[str], *, pool: str, stream: str, priority: str = "normal"
) -> int:
    """Accept one small message for each of `recipients`; how many there were."""
    spool = await Spool.open(state_dir)
    pending = asyncio.Semaphore(IN_FLIGHT)
    count = 0

    def done(error: Exception | None) -> None:
        assert error is None
        pending.release()

    for count, recipient in enumerate(recipients, 1):  # noqa: B007
        await pending.acquire()
        name = QueueName(pool, stream, priority, recipient.partition("@")[2])
        now = now_ms()
        spool.accept(
            NewMessage(
                id=spool.new_message_id(),
                received_at=now,
                expires_at=now + 86_400_000,
                sender=b"a@sender.example",
                stream=stream,
                pool=pool,
                job="",
                client="127.0.0.1",
                size=len(BODY),
                eightbit=False,
                added=b"",
                body=BODY,
                recipients=(NewRecipient(recipient.encode(), spool.queue_id(name), False),),
                queues=(name,),
            ),
            done,
        )
    await spool.close(clean=True)
    return count
