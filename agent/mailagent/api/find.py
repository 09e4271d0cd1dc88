"""Search of the accounting files: what became of a recipient, a message, a job, a sender."""

from datetime import datetime

import msgspec

from mailagent.api.requests import PAGE_LIMIT
from mailagent.api.targets import MessageFilter


class FindRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A page of records, the newest first.

    The filter names at least one recipient, sender, message, job, domain or text: a search for less would read all
    files for nothing. Its states are types of records (`deferred`, `bounced` …).
    """

    filter: MessageFilter
    since: datetime
    until: datetime  # the same for all pages; ages count from it
    cursor: str = ""
    limit: int = PAGE_LIMIT


class Found(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happened once to one recipient. What is empty is left out."""

    time: datetime  # of mail that is here its next try: in the year 9999 where it has none, or nobody knows it
    state: str  # type of the record; `waiting` or `held` for mail that is here
    message_id: str
    n: int
    recipient: str
    sender: str
    event: str = ""  # the same for lines that are there twice; empty where there is no record
    stream: str = ""
    pool: str = ""
    job: str = ""
    vmta: str = ""
    site: str = ""
    provider: str = ""
    mx: str = ""
    remote: str = ""
    attempt: int = 0
    smtp_verb: str = ""  # what the reply answered
    code: int = 0
    enhanced: str = ""
    text: str = ""
    category: str = ""
    rule: str = ""
    arrived_at: datetime | None = None


class FindPage(msgspec.Struct, frozen=True, kw_only=True):
    """Records, the newest first; `cursor` is empty at the end of the files."""

    rows: tuple[Found, ...]
    cursor: str = ""
