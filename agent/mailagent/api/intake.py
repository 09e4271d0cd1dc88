"""What the checks of intake found."""

import msgspec


class CheckCount(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of one stream that failed one check, since the agent started."""

    stream: str
    check: str
    warned: int = 0
    refused: int = 0
    moved: int = 0


class CheckCounts(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, by stream and check."""

    rows: tuple[CheckCount, ...]
