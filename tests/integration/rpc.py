"""Calls to an agent's socket, without the console."""

import asyncio
from pathlib import Path
from typing import Any

from mailagent.api import codec
from mailagent.api.methods import METHODS, PROTOCOL_VERSION
from mailagent.api.requests import Empty, HelloRequest

OF_POSTFIX = ("requeue",)
"""Methods that only a Postfix host has."""


class Caller:
    """One connection with `hello` done."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._last = 0

    @classmethod
    async def connect(cls, path: Path, *, all_methods: bool = True) -> "Caller":
        """`all_methods`: the host serves the whole method table."""
        reader, writer = await asyncio.open_unix_connection(str(path), limit=2 * 1024 * 1024)
        caller = cls(reader, writer)
        hello = await caller.call("hello", HelloRequest(protocol=PROTOCOL_VERSION, client="test"))
        assert hello.features == tuple(name for name in METHODS if name not in OF_POSTFIX) or not all_methods
        return caller

    async def call(self, method: str, params: Any = None) -> Any:
        self._last += 1
        self._writer.write(codec.call(method, params if params is not None else Empty(), self._last))
        async with asyncio.timeout(30):
            frame = codec.parse_frame(await self._reader.readline())
        assert frame.id == self._last
        if frame.error is not None:
            raise codec.to_exception(frame.error)
        return codec.decode(frame.result, METHODS[method].result)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()
