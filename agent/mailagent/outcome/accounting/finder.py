"""The search of operators: accounting files in bounded pages, read beside the flow of mail.

A page reads whole files, the newest first, until it is full or has taken PAGE_S. Its cursor is `NUMBER:COUNT`: go on
with the first COUNT matches of file NUMBER, then with older files. Files only grow at their end, so counting from the
beginning holds while the newest is being written and after it is finished. `NUMBER:` means that file from its end.
"""

import asyncio
import gzip
import logging
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import IO

from mailagent.api import codec
from mailagent.api.errors import InvalidRequest
from mailagent.api.find import FindPage, FindRequest, Found
from mailagent.api.methods import MAX_PAGE_BYTES
from mailagent.api.requests import PAGE_LIMIT
from mailagent.outcome.accounting.files import finished_files, open_file
from mailagent.outcome.accounting.log import AccountingLog
from mailagent.outcome.accounting.record import AccountingRecord
from mailagent.outcome.accounting.search import Readable, is_same, matching, opened_live, overlaps
from mailagent.outcome.accounting.sought import Sought

PAGE_S = 1.0
"""No further file is begun after so long; the first is read whole (64 MiB unless `rotate_bytes` says otherwise)."""
_REST_S = 0.05
"""Longest rest between two blocks."""

log = logging.getLogger(__name__)


class _Stopped(Exception):
    """Nobody waits for the answer any more."""


class Finder:
    """Answers `find` from the files of one host, one search at a time."""

    def __init__(self, accounting: AccountingLog) -> None:
        self._log = accounting
        self._turn = asyncio.Lock()

    async def find(self, request: FindRequest) -> FindPage:
        """One page; ends early when the caller is cancelled.

        Raises:
            InvalidRequest: a filter or a cursor that means nothing here.
            OSError: the files cannot be read.
        """
        sought = Sought(request.filter, request.since, request.until)
        at = _cursor(request.cursor)
        limit = max(1, min(request.limit, PAGE_LIMIT))
        stop = threading.Event()
        async with self._turn:
            try:
                return await asyncio.to_thread(self._page, sought, at, limit, stop)
            finally:
                stop.set()

    def _page(self, sought: Sought, at: tuple[int, int | None] | None, limit: int, stop: threading.Event) -> FindPage:
        """In a thread."""
        ends: float | None = None
        rows: list[Found] = []
        size = 0
        with ExitStack() as stack:
            for number, stream in _files(self._log, sought, stack):
                if at is not None and number > at[0]:
                    continue
                if ends is None:
                    ends = time.monotonic() + PAGE_S
                elif time.monotonic() >= ends:
                    return FindPage(rows=tuple(rows), cursor=f"{number}:")
                before = at[1] if at is not None and number == at[0] else None
                found = _last(_Paced(stream, stop), sought, before, limit - len(rows) + 1)
                for index, record in reversed(found):
                    row = _row(record)
                    size += len(codec.encode(row)) + 1
                    if len(rows) == limit or (rows and size > MAX_PAGE_BYTES):
                        return FindPage(rows=tuple(rows), cursor=f"{number}:{index + 1}")
                    rows.append(row)
        return FindPage(rows=tuple(rows))


class _Paced:
    """A file of which a block is read after a rest as long as the work on the last one: mail goes first."""

    def __init__(self, stream: IO[bytes], stop: threading.Event) -> None:
        self._stream = stream
        self._stop = stop
        self._began = 0.0

    def read(self, size: int, /) -> bytes:
        """The next block."""
        now = time.monotonic()
        if self._stop.wait(min(_REST_S, now - self._began) if self._began else 0):
            raise _Stopped
        self._began = time.monotonic()
        return self._stream.read(size)


def _files(accounting: AccountingLog, sought: Sought, stack: ExitStack) -> Iterator[tuple[int, IO[bytes]]]:
    """Files whose time overlaps, with their numbers, the newest first; each is open until the next is asked for."""
    directory = accounting.directory
    number, _ = accounting.position()
    # the live file is opened before the others are listed: it may be finished meanwhile, and is still read once
    live = stack.enter_context(opened_live(directory))
    files = [file for file in finished_files(directory) if live is None or not is_same(file.path, live)]
    if live is not None:
        yield max(number, files[-1].number + 1 if files else 0), live
    for place in range(len(files) - 1, -1, -1):
        if overlaps(files[place - 1] if place else None, files[place], sought):
            opened = open_file(files[place])
            if opened is not None:
                with opened as stream:
                    yield files[place].number, stream


def _last(stream: Readable, sought: Sought, before: int | None, most: int) -> deque[tuple[int, AccountingRecord]]:
    """The last `most` matches of a file, among its first `before`, with their indices."""
    found: deque[tuple[int, AccountingRecord]] = deque(maxlen=most)
    try:
        for index, (record, _) in enumerate(matching(stream, sought)):
            if index == before:
                break
            found.append((index, record))
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        log.warning("accounting file is damaged, the rest of it is left out: %s", exc)
    return found


def _cursor(text: str) -> tuple[int, int | None] | None:
    number, colon, count = text.partition(":")
    if not text:
        return None
    if not colon or not number.isdecimal() or not (count.isdecimal() or not count) or len(text) > 40:
        raise InvalidRequest(f"{text[:40]!r} is no cursor of ours")
    return int(number), int(count) if count else None


def _row(record: AccountingRecord) -> Found:
    return Found(
        time=record.time,
        state=record.type,
        message_id=record.message_id,
        n=record.n,
        recipient=codec.cut(record.recipient),
        sender=codec.cut(record.sender),
        event=record.event,
        stream=record.stream,
        pool=record.pool,
        job=record.job,
        vmta=record.vmta,
        site=record.site,
        provider=record.provider,
        mx=record.mx,
        remote=record.remote,
        attempt=record.attempt,
        smtp_verb=record.smtp_verb or "",
        code=record.code,
        enhanced=record.enhanced,
        text=codec.cut(record.text),
        category=record.category,
        rule=record.rule_id,
        arrived_at=record.time - timedelta(seconds=record.queued_s) if record.queued_s else None,
    )
