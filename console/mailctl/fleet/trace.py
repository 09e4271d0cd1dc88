"""A live SMTP trace of one host, as an asynchronous generator over its link."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator

import msgspec

from mailagent.api import codec
from mailagent.api.errors import ApiError
from mailagent.api.requests import Empty
from mailagent.api.trace import TraceLines, TraceRequest
from mailctl.fleet.client import Client
from mailctl.fleet.errors import LinkError

MOST_BATCHES = 64
"""Batches that wait for a slow reader; then the oldest goes, and its lines are counted as dropped."""
END_S = 2.0


async def follow(client: Client, request: TraceRequest, deadline_s: float) -> AsyncGenerator[TraceLines]:
    """Lines as they come; the last batch says why it ended. Closing the generator ends the trace on the host.

    A connection has one trace: another one takes its place.

    Raises:
        LinkError: the link is lost.
        ApiError: the host refuses.
    """
    batches: deque[TraceLines] = deque()
    news = asyncio.Event()
    lost = 0

    def take(params: msgspec.Raw) -> None:
        nonlocal lost
        if len(batches) >= MOST_BATCHES:
            oldest = batches.popleft()
            lost += len(oldest.lines) + oldest.dropped
        batches.append(codec.decode(params, TraceLines))
        news.set()

    def wake(_: object) -> None:
        news.set()

    client.on_trace = take
    client.lost.add_done_callback(wake)
    try:
        await client.call("trace", request, deadline_s=deadline_s)
        while True:
            await news.wait()
            news.clear()
            while batches:
                batch, missed, lost = batches.popleft(), lost, 0
                yield msgspec.structs.replace(batch, dropped=batch.dropped + missed)
                if batch.ended:
                    return
            if client.lost.done():
                raise client.lost.result()
    finally:
        client.lost.remove_done_callback(wake)
        if client.on_trace is take:
            client.on_trace = lambda _: None
            with contextlib.suppress(LinkError, ApiError):
                await client.call("untrace", Empty(), deadline_s=END_S)
