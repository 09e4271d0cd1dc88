"""Postfix's queue as rows of the spool, kept in step by listing it again and again.

A listing is not atomic: while files move between folders, entries may come twice or be missed. So a message that is
missing leaves only when the next whole listing misses it too; an entry that comes twice is written twice. A listing is
read line by line and written in batches; an entry that has not changed costs one look-up.
"""

import asyncio
import logging
import re
import time
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Final

from mailagent.api.classification import Verdict
from mailagent.api.domains import folded_domain
from mailagent.api.smtp import SmtpReply
from mailagent.postfix.commands import Programs
from mailagent.postfix.errors import PostfixError, ProgramFailed
from mailagent.postfix.instance import Instance, read_instance
from mailagent.postfix.listing import Entry, ListingError, Recipient, parse
from mailagent.postfix.log.replies import said
from mailagent.postfix.next_tries import NextTries, read_names
from mailagent.postfix.queue_ids import digest, message_number
from mailagent.postfix.room import Room, read_room
from mailagent.routing import Router, Site
from mailagent.spool import mirror
from mailagent.spool.errors import StorageError
from mailagent.spool.ids import now_ms
from mailagent.spool.mirror import Known, Listed, ListedRecipient
from mailagent.spool.records import HELD_DUE, UNKNOWN_DUE
from mailagent.spool.store import Spool
from mailagent.spool.transaction import Transaction

log = logging.getLogger(__name__)

BATCH: Final = 1000
"""Entries that are written together: some tens of milliseconds."""
COST_FACTOR: Final = 4
"""A pass that took t seconds is followed by a pause of at least 4 t: Postfix reads every queue file for a listing."""
LOOKUPS: Final = 32
"""Domains that are looked up at a time."""
MOST_WANTED: Final = 100_000
MOST_GONE: Final = 50_000
REASONS_KEPT: Final = 8192
"""Texts of deferrals whose meaning is remembered: most mail waits for few reasons."""
DOWN: Final = "mail system is down"
"""What postqueue says when nobody answers: as root it reads the queue all the same, others it refuses."""
_QUEUE_ID: Final = re.compile(rb'"queue_id": ?"([^"\\]+)"')
_UNKNOWN_SITE: Final = ("", "")


@dataclass(slots=True)
class _Look:
    """One pass over the queue."""

    began: int
    names: NextTries
    seen: "array[int]" = field(default_factory=lambda: array("q"))
    folders: Counter[str] = field(default_factory=Counter)
    unreadable: bytes = b""  # a line that names no message
    pending: "asyncio.Future[list[int]] | None" = None


class Mirror:
    """Keeps the rows, and what is known of the queue as a whole."""

    def __init__(
        self,
        programs: Programs,
        instance: Instance,
        spool: Spool,
        *,
        router: Callable[[], Router],
        classify: Callable[[SmtpReply, str], Verdict],
        poll_s: float,
        log_file: Callable[[], str] = lambda: "",
    ) -> None:
        """`log_file` is on a disk that Postfix needs too."""
        self._programs = programs
        self.instance = instance
        self._spool = spool
        self._router = router
        self._classify = classify
        self._poll_s = poll_s
        self.folders: Counter[str] = Counter()
        """Messages by folder: by the names of the files until the first listing was read, then by listings."""
        self.complete = False
        """Whether a listing was read to its end since the agent started."""
        self.read = 0
        """Messages that the listing under way has given so far."""
        self.oldest_us: int | None = None
        self.trouble = ""
        """Why the last pass came to no end; empty while all is well."""
        self.names_trouble = ""
        """Why next tries are not known."""
        self.running = True
        """Whether Postfix runs, as far as its programs say."""
        self.room = Room()
        """On the disks of Postfix."""
        self._room_trouble = ""
        self._log_file = log_file
        self._turn = asyncio.Lock()
        self._missing: set[int] = set()
        self.on_site: Callable[[str, str, str], None] = lambda *_: None
        """Told of every domain that mail is seen for, once its site and provider are known."""
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._wanted: set[str] = set()
        self._asked = asyncio.Event()
        self._domains = asyncio.Event()
        self._meaning = lru_cache(maxsize=REASONS_KEPT)(self._read_reason)

    # -- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            started = time.monotonic()
            self._asked.clear()
            try:
                await self.look()
                self.trouble = ""
            except (PostfixError, StorageError) as exc:
                if not self.trouble:
                    log.error("queue not read: %s", exc)
                self.trouble = str(exc)
            pause_s = max(self._poll_s, (time.monotonic() - started) * COST_FACTOR)
            try:
                async with asyncio.timeout(pause_s):
                    await self._asked.wait()
            except TimeoutError:
                pass

    def look_soon(self) -> None:
        """Something was done to the queue: look again without waiting."""
        self._asked.set()

    async def place(self) -> None:
        """Look up the sites of domains as they are found, until cancelled."""
        while True:
            await self._domains.wait()
            self._domains.clear()
            while self._wanted:
                await self._place([self._wanted.pop() for _ in range(min(LOOKUPS, len(self._wanted)))])
            self._spool.found_sites()

    async def _place(self, domains: Sequence[str]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._router().site(one), name=f"site:{one}") for one in domains]
        for domain, task in zip(domains, tasks, strict=True):
            site = task.result()
            if isinstance(site, Site):
                self.on_site(domain, site.name, site.provider)
                work = partial(mirror.place, domain=domain, site=site.name, provider=site.provider)
                try:
                    await self._spool.change_mirror(work)
                except StorageError as exc:  # it is wanted again with the next listing
                    log.error("site not stored domain=%s: %s", domain, exc)

    # -- one pass ------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Read the names, then the whole listing.

        Raises:
            PostfixError: it came to no end; what was read so far is written, and nothing has left.
            StorageError: it could not be written.
        """
        async with self._turn:
            self.instance = await read_instance(self._programs)  # a limit may have changed, or the version
            self.room = await self._room()
            look = _Look(now_ms(), await self._names())
            self.read = 0
            try:
                await self._list(look)
            except ProgramFailed as exc:
                self.running = self.running and DOWN not in exc.words.lower()
                raise
            if look.unreadable:
                raise ListingError(f"no entry of a listing: {look.unreadable[:80]!r}")
            self.folders = look.folders
            self.complete = True
            await self._leave(look.seen)
            log.debug("queue read messages=%d", len(look.seen))

    async def _list(self, look: "_Look") -> None:
        async with self._programs.stream(self._programs.argv("postqueue", "-j")) as stream:
            lines: list[bytes] = []
            async for some in stream:
                lines += some
                while len(lines) >= BATCH:
                    await self._take(lines[:BATCH], look)
                    del lines[:BATCH]
            await self._take(lines, look)
            self.running = DOWN not in stream.words.lower()
            if stream.too_long:
                look.unreadable = b"longer than 16 MiB"
        await self._written(look)

    async def _room(self) -> Room:
        try:
            room = await read_room(self._programs, self.instance, self._log_file())
        except PostfixError as exc:
            if not self._room_trouble:
                log.warning("room on the disks of Postfix is unknown: %s", exc)
            self._room_trouble = str(exc)
            return Room()
        self._room_trouble = ""
        return room

    async def _names(self) -> NextTries:
        try:
            names = await read_names(self._programs, self.instance)
        except PostfixError as exc:
            if not self.names_trouble:
                log.warning("next tries are unknown: %s", exc)
            self.names_trouble = str(exc)
            return NextTries()
        self.names_trouble = ""
        self.oldest_us = names.oldest_us
        if not self.complete:
            self.folders = names.folders
        return names

    async def _take(self, lines: Sequence[bytes], look: "_Look") -> None:
        """Write what is new in some lines; at most one batch is being written while the next one is made."""
        by_id: dict[str, bytes] = {}
        for line in lines:
            found = _QUEUE_ID.search(line)
            if found is None:
                look.unreadable = line
            elif (queue_id := found[1].decode("ascii", "replace")) not in self._gone:
                by_id[queue_id] = line
        known = await self._spool.on_mirror(partial(mirror.known, queue_ids=list(by_id)))
        listed: list[Listed] = []
        dues: dict[int, int] = {}
        for queue_id, line in by_id.items():
            before = known.get(queue_id)
            key = digest(line)
            if before is not None:
                look.seen.append(before.message)
            if before is not None and before.digest == key:
                look.folders[before.folder] += 1
                due = look.names.due_ms(queue_id) if before.folder == "deferred" else None
                if due is not None and due != before.due:
                    dues[before.message] = due
                continue
            try:
                entry = parse(line)
            except ListingError as exc:
                log.warning("%s", exc)
                continue
            look.folders[entry.queue_name] += 1
            listed.append(self._listed(entry, key, look.names, before))
        self.read += len(by_id)
        await self._written(look)
        if listed or dues:
            look.pending = self._spool.change_mirror(
                partial(_change, listed=listed, dues=dues, now=now_ms(), began=look.began)
            )
            look.seen.extend(one.message for one in listed if one.queue_id not in known)

    async def _written(self, look: "_Look") -> None:
        if look.pending is not None:
            self._spool.touch(await look.pending)
            look.pending = None
        if self._wanted:
            self._domains.set()

    def _listed(self, entry: Entry, key: int, names: NextTries, before: Known | None) -> Listed:
        received_at = entry.arrival_time * 1000
        return Listed(
            message=before.message if before is not None else message_number(entry.queue_id, entry.arrival_time),
            queue_id=entry.queue_id,
            folder=entry.queue_name,
            digest=key,
            received_at=received_at,
            expires_at=received_at + self.instance.lifetime_of(entry.mail_from) * 1000,
            sender=entry.mail_from.encode("utf-8", "surrogateescape"),
            size=entry.message_size,
            due=self._due(entry, names),
            recipients=tuple({one.address: self._recipient(one) for one in entry.waiting}.values()),
        )

    def _due(self, entry: Entry, names: NextTries) -> int:
        match entry.queue_name:
            case "hold":
                return HELD_DUE
            case "deferred":
                due = names.due_ms(entry.queue_id)
                return UNKNOWN_DUE if due is None else due
        return entry.arrival_time * 1000  # on its way

    def _recipient(self, recipient: Recipient) -> ListedRecipient:
        domain = folded_domain(recipient.address.rpartition("@")[2].lower())
        site, provider = self.site_of(domain)
        reply = verdict = None
        if recipient.delay_reason:
            reply, verdict = self._meaning(recipient.delay_reason, provider)
        return ListedRecipient(recipient.address.encode(), domain, reply, verdict, site, provider, _orcpt(recipient))

    def _read_reason(self, text: str, provider: str) -> tuple[SmtpReply | None, Verdict | None]:
        """The reply in a listing; none where a suspension of ours stands in its place: the last real one stays."""
        found = said("", "deferred", text)
        return (None, None) if found.emulated else (found.reply, self._classify(found.reply, provider))

    def site_of(self, domain: str) -> tuple[str, str]:
        """(site, provider): what DNS said a while ago; what it has not said yet is looked up, and the rows follow."""
        if not domain:
            return _UNKNOWN_SITE
        site = self._router().cached(domain)
        if site is not None:
            self.on_site(domain, site.name, site.provider)
            return site.name, site.provider
        if len(self._wanted) < MOST_WANTED:
            self._wanted.add(domain)
            self._domains.set()
        return _UNKNOWN_SITE

    # -- what has left -------------------------------------------------------------------------------------------

    async def _leave(self, seen: "array[int]") -> None:
        """Drop what this listing and the one before have missed."""
        there = set(seen)
        missing: set[int] = set()
        after = -1
        while numbers := await self._spool.on_mirror(partial(mirror.numbers_after, after=after, limit=10_000)):
            after = numbers[-1]
            missing.update(number for number in numbers if number not in there)
        twice = sorted(missing & self._missing)
        self._missing = missing.difference(twice)
        for first in range(0, len(twice), BATCH):
            part = twice[first : first + BATCH]
            self._spool.touch(await self._spool.change_mirror(partial(mirror.drop, messages=part)))
        if twice:
            log.info("left the queue unseen by the log messages=%d", len(twice))
        await self._spool.change_mirror(mirror.sweep)

    def gone(self, queue_id: str) -> None:
        """The log has told that this message left: a listing from before that does not bring it back."""
        self._gone[queue_id] = None
        if len(self._gone) > MOST_GONE:
            self._gone.popitem(last=False)


def _orcpt(recipient: Recipient) -> str:
    """As ORCPT of RCPT would have it (RFC 3461 section 4.2); empty where the address is the one that it came with."""
    if recipient.orig_address in ("", recipient.address):
        return ""
    return f"rfc822;{recipient.orig_address.replace('+', '+2B').replace('=', '+3D')}"


def _change(
    transaction: Transaction, listed: Sequence[Listed], dues: dict[int, int], now: int, began: int
) -> list[int]:
    if dues:
        mirror.set_due(transaction, dues)
    return mirror.put(transaction, listed, now, began=began) if listed else []
