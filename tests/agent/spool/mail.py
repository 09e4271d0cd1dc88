"""Mail and spools for the tests of the spool."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from mailagent.api.outcome import Attempt
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.spool import Spool, StorageError
from mailagent.spool.ids import recipient_id
from mailagent.spool.records import InDoubtMark, NewMessage, NewRecipient, QueueName, Settlement, Waiting

NOW = 1_750_000_000_000  # June 2025: the spool takes times as they are given
DEADLINE_S = 20.0


@asynccontextmanager
async def spool_in(state_dir: Path, *, clean: bool = True) -> AsyncIterator[Spool]:
    """An open spool."""
    spool = await Spool.open(state_dir)
    try:
        yield spool
    finally:
        await spool.close(clean=clean)


def queue_name(domain: str = "example.com", *, pool: str = "marketing", stream: str = "news") -> QueueName:
    return QueueName(pool, stream, "normal", domain)


def message(
    spool: Spool,
    *addresses: str,
    admitted: bool = False,
    at: int = NOW,
    body: bytes = b"Subject: hello\r\n\r\nworld\r\n",
    sender: str = "news@sender.example",
    pool: str = "marketing",
    stream: str = "news",
    queue: QueueName | None = None,
) -> NewMessage:
    """A message to `addresses`, each in the scheduled queue of its domain, or all in `queue`."""
    addresses = addresses or ("anna@example.com",)
    names = {address: queue or queue_name(address.partition("@")[2], pool=pool, stream=stream) for address in addresses}
    added = b"Received: from client by mx1\r\n"
    return NewMessage(
        id=spool.new_message_id(),
        received_at=at,
        expires_at=at + 86_400_000,
        sender=sender.encode(),
        stream=stream,
        pool=pool,
        job="job-1",
        client="192.0.2.7",
        size=len(added) + len(body),
        eightbit=False,
        added=added,
        body=body,
        recipients=tuple(
            NewRecipient(address.encode(), spool.queue_id(names[address]), admitted) for address in addresses
        ),
        queues=tuple(dict.fromkeys(names.values())),
    )


async def accept(spool: Spool, *messages: NewMessage) -> None:
    """Accept messages and wait until all are durable; raises the first error."""
    answers: list[asyncio.Future[StorageError | None]] = []
    for new in messages:
        answer: asyncio.Future[StorageError | None] = asyncio.get_running_loop().create_future()
        spool.accept(new, answer.set_result)
        answers.append(answer)
    async with asyncio.timeout(DEADLINE_S):
        for error in await asyncio.gather(*answers):
            if error is not None:
                raise error


async def settle(spool: Spool, *settlements: Settlement) -> None:
    """Settle and wait until it is durable."""
    done = asyncio.Event()
    spool.settle(settlements, done.set)
    async with asyncio.timeout(DEADLINE_S):
        await done.wait()


async def durable(spool: Spool) -> None:
    """Wait until all that was asked for is durable, though perhaps in the journal alone."""
    await until(lambda: spool._writer._outstanding == 0)


async def load(spool: Spool, queue: int, now: int = NOW, limit: int = 1000) -> list[Waiting]:
    """All rows of one queue that are due."""
    (loaded,) = await spool.load([(queue, None, limit)], now)
    return list(loaded.rows)


def removed(new: NewMessage, n: int = 0, resolution: str = "delivered", line: bytes = b"") -> Settlement:
    return Settlement(
        recipient=recipient_id(new.id, n), queue=new.recipients[n].queue, resolution=resolution, line=line
    )


def deferred(
    new: NewMessage,
    n: int = 0,
    *,
    due: int,
    number: int = 1,
    provider: str = "gmail",
    vmta: str = "mkt-1",
    text: str = "4.7.28 rate limited",
    in_doubt: bool = False,
) -> Settlement:
    return Settlement(
        recipient=recipient_id(new.id, n),
        queue=new.recipients[n].queue,
        due=due,
        provider=provider,
        in_doubt=in_doubt,
        attempt=Attempt(
            number=number,
            at=datetime.fromtimestamp(NOW / 1000, UTC),
            vmta=vmta,
            source="192.0.2.1",
            site=f"{provider}-site",
            mx="mx.provider.example",
            remote="198.51.100.1:25",
            reply=SmtpReply(code=421, enhanced="4.7.28", text=text, verb=Verb.DOT),
            duration_s=0.25,
        ),
    )


def mark(new: NewMessage, n: int = 0, *, at: int, vmta: str = "mkt-1") -> InDoubtMark:
    return InDoubtMark(recipient=recipient_id(new.id, n), at=at, vmta=vmta, site="gmail", remote="198.51.100.1:25")


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition` holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - conditions come from anywhere
            await asyncio.sleep(0.001)


def ids(rows: Sequence[Waiting]) -> list[int]:
    return [row.id for row in rows]
