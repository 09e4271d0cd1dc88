"""What one pass over the header block of a submitted message finds."""

import msgspec


class ScannedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message without our control headers, and what its header block said."""

    body: bytes  # the whole message, header block first
    hops: int = 0  # Received fields
    job: str = ""
    virtual_mta: str = ""
    values: dict[bytes, bytes] = {}  # wanted lower-cased names that are there -> first value, unfolded and stripped
