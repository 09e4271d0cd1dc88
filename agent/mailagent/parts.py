"""Parts of waiting messages for operators: bounded, and read off the loop."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from mailagent.api.errors import NotFound
from mailagent.api.ids import HostName
from mailagent.api.parts import MessageParts, PartsRequest, PartView
from mailagent.host import Read
from mailagent.outcome.feedback.mime import MAX_NOTICE, Part, read_parameters, read_parts

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of a message that are looked at."""
MOST_WORDS: Final = 200
"""Characters of a type or a file name."""


class Parts:
    """The method about parts, by name in `reads`."""

    def __init__(self, host: HostName, text: Callable[[str, int], Awaitable[bytes | None]]) -> None:
        """`text` has the first bytes of a waiting message, so many of them; None: there is no such message."""
        self._host = host
        self._text = text

    @property
    def reads(self) -> Mapping[str, Read]:
        """By wire name."""
        return {"parts": self.parts}

    async def parts(self, request: PartsRequest) -> MessageParts:
        """The parts of one message.

        Raises:
            NotFound: no such message, or no such part.
            Unavailable: its text cannot be read.
        """
        body = await self._text(request.message_id, MOST_BYTES + 1)
        if body is None:
            raise NotFound(f"{self._host}: no message {request.message_id} waits here; it has left or was never here")
        found = await asyncio.to_thread(parts_of, body, request.part)
        if found is None:
            raise NotFound(f"{request.message_id} has no part {request.part}")
        return found


def parts_of(body: bytes, wanted: int | None) -> MessageParts | None:
    """What `body` holds; None when it has no part `wanted`."""
    leaves = [part for part in read_parts(body[:MOST_BYTES]) if not part.kind.startswith("multipart/")]
    if wanted is not None and not 0 <= wanted < len(leaves):
        return None
    text = "" if wanted is None else leaves[wanted].text
    return MessageParts(
        parts=tuple(_view(n, part) for n, part in enumerate(leaves)),
        truncated=len(body) > MOST_BYTES,
        part=wanted,
        text=text,
        text_truncated=len(text) >= MAX_NOTICE,
    )


def _view(n: int, part: Part) -> PartView:
    _, given = read_parameters(part.fields.get("content-disposition"))
    name = given.get("filename", "") or part.parameters.get("name", "")
    return PartView(n=n, kind=part.kind[:MOST_WORDS], name=name[:MOST_WORDS], octets=len(part.content))
