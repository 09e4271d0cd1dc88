"""The `reputation` section: who is asked what is thought of our addresses, and what they see of us."""

from datetime import timedelta

import msgspec

from mailagent.api.reputation import Weight


class BlockList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A block list that is asked about every address; what it leaves out is as shipped for that name."""

    like: str = ""  # a shipped list whose answers, weight and interval it has: for a copy under another name
    every: timedelta | None = None  # between two questions about an address; None: as shipped, else 4 h
    weight: Weight | None = None  # what a listing means; None: as shipped, else low
    answers: dict[str, str] = {}  # what an answer says, by address: `127.0.0.2: spam trap`


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What receivers look up about us: PTR, EHLO, SPF, DKIM, DMARC, MX."""

    enabled: bool = True
    every: timedelta = timedelta(hours=6)  # between two rounds; after missing answers 10 min


class Reputation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is watched of our addresses."""

    block_lists: dict[str, BlockList] = {}  # by zone: `zen.spamhaus.org`
    identity: Identity = Identity()
