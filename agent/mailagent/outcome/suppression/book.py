"""The suppression list of a host: asked for each recipient in memory, fed by outcomes, operators and reports.

Everything is on disk; in memory are 8 bytes for each entry. What outcomes say within one turn of the event loop is one
change of the spool, in the same commit as those outcomes.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from mailagent.api import codec
from mailagent.api.classification import Action, Category, Scope, Verdict
from mailagent.api.smtp import SmtpReply
from mailagent.api.suppression import (
    MAX_EVIDENCE,
    Suppression,
    SuppressionPage,
    SuppressionQuery,
    SuppressionReason,
)
from mailagent.config.suppression import AtIntake, Keep, SuppressionList
from mailagent.outcome.suppression.keys import REASON_BITS, domain_key, entry_key, mailbox_key, normal_address
from mailagent.outcome.suppression.table import Table
from mailagent.outcome.suppression.watch import Watch
from mailagent.spool import suppression as disk
from mailagent.spool.errors import StorageError
from mailagent.spool.records import Waiting
from mailagent.spool.store import Spool
from mailagent.spool.suppression import Entry, Repeat

log = logging.getLogger(__name__)

REASONS = tuple(SuppressionReason)
ON_THE_LIST = Verdict(category=Category.RECIPIENT_POLICY, action=Action.FAIL, scope=Scope.ADDRESS, rule="suppressed")
"""What is said of recipients on the list."""
PAGE_ROWS = 500
FREEZING_S = 120.0
"""A freeze holds so long by itself, until its directive is on disk."""
_BY_BOUNCES = (SuppressionReason.HARD_BOUNCE, SuppressionReason.SOFT_BOUNCES)


class Frozen(Protocol):
    """Whether what bounces suppress is held back."""

    def __call__(self, provider: str) -> bool:
        """For one provider, now."""


class Recipient(Protocol):
    """Whom an outcome is about: `mailagent.spool.records.Waiting` is one."""

    @property
    def address(self) -> bytes:
        """As it stands in the envelope."""

    @property
    def message(self) -> int:
        """What tells messages apart, so that a message counts once."""


class SuppressionBook:
    """Owner of the list. Runs on the loop; `load` before the first question."""

    def __init__(
        self,
        config: SuppressionList,
        spool: Spool,
        *,
        outcomes: Callable[[str], int],
        frozen: Frozen,
        incident: Callable[[str, int], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`outcomes` of a provider so far; `incident` is told of a provider and the outcomes that look wrong."""
        self.config = config
        self._spool = spool
        self._frozen = frozen
        self._incident = incident
        self._clock = clock
        self._watch = Watch(outcomes)
        self._table = Table()
        self._soft = Table()
        self._streams = False  # entries for single streams exist
        self._fresh: list[Entry] = []  # from outcomes, to be stored when this turn ends
        self._repeats: list[Repeat] = []
        self._forgiven: list[int] = []
        self._freezing: dict[str, float] = {}  # provider -> until its directive must be there
        self.changed: Callable[[], None] = lambda: None
        """Told when the list gets its first entry or loses its last."""

    async def load(self) -> None:
        """Read the keys of all entries in effect."""
        now = self._now()
        after = -1
        while packed := await self._spool.on_suppressions(partial(disk.active_keys, after=after, now=now)):
            self._table.extend(packed)
            after = packed[-1] >> REASON_BITS
        after = -1
        while keys := await self._spool.on_suppressions(partial(disk.soft_keys, after=after)):
            self._soft.extend([key << REASON_BITS for key in keys])
            after = keys[-1]
        self._streams = await self._spool.on_suppressions(disk.has_streams)

    # -- questions -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Entries in effect."""
        return len(self._table)

    def find(self, address: bytes, stream: str = "") -> SuppressionReason | None:
        """Why `address` is not mailed; with `stream`, what is only so for that stream counts as well."""
        number = self._table.get(mailbox_key(address))
        if number is None and stream and self._streams:
            number = self._table.get(mailbox_key(address, stream))
        return None if number is None else REASONS[number]

    def of(self, row: Waiting) -> SmtpReply | None:
        """Why a waiting recipient must not be mailed, as its sender is told."""
        reason = self.find(row.address, row.stream)
        return None if reason is None else _refusal(reason)

    def refusal(self, address: bytes) -> SmtpReply | None:
        """The answer to RCPT, when all mail to `address` is suppressed."""
        reason = self.find(address)
        return None if reason is None else _refusal(reason)

    @property
    def refuses(self) -> bool:
        """Whether intake has to ask."""
        return len(self._table) > 0 and self.config.intake is AtIntake.REFUSE

    # -- outcomes --------------------------------------------------------------------------------------------------

    def delivered(self, row: Recipient) -> None:
        """A message went through: soft bounces before it do not count any more."""
        if len(self._soft) and self._soft.get(key := mailbox_key(row.address)) is not None:
            self._soft.discard(key)
            self._note()
            self._forgiven.append(key)

    def failed(
        self, row: Recipient, reply: SmtpReply, verdict: Verdict, provider: str, at: float | None = None
    ) -> None:
        """A recipient was refused: now, or `at`, in seconds since 1970, where a log tells of it later."""
        if verdict.action is Action.SUPPRESS or verdict.action is Action.RETRY_THEN_SUPPRESS:
            self._judge(row.address, row.message, verdict, reply.line(), provider, at)

    async def bounced(self, address: str, message_id: str, verdict: Verdict, evidence: str, provider: str) -> None:
        """The same by a report that came later; on disk when this returns."""
        self._judge(address.encode(), entry_key(message_id, ""), verdict, evidence, provider, None)
        self.store()
        await self.add(())

    def _judge(
        self, address: bytes, message: int, verdict: Verdict, evidence: str, provider: str, at: float | None
    ) -> None:
        if not self.config.bounces or self._table.get(mailbox_key(address)) is not None:
            return
        hard = verdict.action is Action.SUPPRESS
        if hard and not self._is_frozen(provider):
            now = self._clock() if at is None else at
            if self._watch.saw(provider, now, self.config.incident):
                self._freeze(provider)
        reason = SuppressionReason.HARD_BOUNCE if hard else SuppressionReason.SOFT_BOUNCES
        entry = self.entry(
            normal_address(address),
            reason,
            source=verdict.rule,
            evidence=evidence,
            provider=provider,
            pending=self._is_frozen(provider),
        )
        self._note()
        if hard and verdict.category is not Category.BAD_DOMAIN:
            self._fresh.append(entry)
            self._enter(entry)
            return
        soft, domain = self.config.soft, hard
        self._repeats.append(
            Repeat(
                counter=domain_key(address) if domain else entry.key,
                message=message,
                messages=2 if domain else soft.messages,
                over=_ms(self.config.confirm_domain if domain else soft.over),
                forget=_ms(soft.forget),
                entry=entry,
            )
        )

    def _note(self) -> None:
        if not (self._fresh or self._repeats or self._forgiven):
            asyncio.get_running_loop().call_soon(self.store)

    def _is_frozen(self, provider: str) -> bool:
        return self._frozen(provider) or self._clock() < self._freezing.get(provider, 0.0)

    def store(self) -> None:
        """Write what outcomes have said so far, before the changes that are asked for next."""
        fresh, repeats, forgiven = self._fresh, self._repeats, self._forgiven
        if not (fresh or repeats or forgiven):
            return
        self._fresh, self._repeats, self._forgiven = [], [], []

        def done(found: tuple[list[Entry], list[int]] | None, error: StorageError | None) -> None:
            if error is not None or found is None:
                log.error("suppressions not stored entries=%d: %s", len(fresh) + len(repeats), error)
                return
            effective, going = found
            for entry in effective:
                self._soft.discard(entry.key)
                self._enter(entry)
            for counter in going:
                self._soft.put(counter, 0)

        work = partial(disk.note, fresh=fresh, forgiven=forgiven, repeats=repeats, known=len(self._soft))
        self._spool.note_suppressions(work, done)

    def _freeze(self, provider: str) -> None:
        """Hold back what the incident has suppressed already, and have the rest frozen."""
        since = self._now() - _ms(self.config.incident.window)
        reasons = [REASONS.index(reason) for reason in _BY_BOUNCES]
        log.warning("suppression frozen provider=%s: too many addresses became unknown at once", provider)
        self._watch.forget(provider)
        self._freezing[provider] = self._clock() + FREEZING_S
        self.store()

        def done(keys: list[int] | None, error: StorageError | None) -> None:
            if error is None and keys is not None:
                self._leave(keys)
                self._incident(provider, len(keys))
            else:
                log.error("suppressions of an incident not held back provider=%s: %s", provider, error)

        self._spool.note_suppressions(partial(disk.hold_back, provider=provider, since=since, reasons=reasons), done)

    # -- changes ---------------------------------------------------------------------------------------------------

    def entry(
        self,
        address: str,
        reason: SuppressionReason,
        *,
        stream: str = "",
        expires_at: datetime | None = None,
        source: str,
        evidence: str = "",
        provider: str = "",
        pending: bool = False,
    ) -> Entry:
        """A new entry as of now; without `expires_at` it lives as long as its reason says. `address` is normal."""
        now = self._now()
        life = _life(self.config.keep, reason)
        end = int(expires_at.timestamp() * 1000) if expires_at is not None else None
        return Entry(
            key=entry_key(address, stream),
            address=address,
            stream=stream,
            reason=REASONS.index(reason),
            added_at=now,
            expires_at=end if end is not None or life is None else now + _ms(life),
            source=source,
            evidence=evidence[:MAX_EVIDENCE],
            provider=provider,
            pending=pending,
        )

    async def add(self, entries: Sequence[Entry], *, replace: bool = True) -> int:
        """Store entries of operators (`replace`) or reports; how many are in effect through this."""
        effective = await self._spool.change_suppressions(partial(disk.put, entries=entries, replace=replace))
        for entry in effective:
            self._enter(entry)
        return len(effective)

    async def remove(self, addresses: Sequence[str], stream: str = "") -> int:
        """Take normal addresses off the list; how many entries went."""
        keys = await self._spool.change_suppressions(partial(disk.remove, addresses=addresses, stream=stream))
        self._leave(keys)
        return len(keys)

    async def settle_pending(self, *, apply: bool, provider: str = "") -> int:
        """Put pending entries into effect, or forget them; how many."""
        total = 0
        while found := await self._spool.change_suppressions(
            partial(disk.settle_pending, apply=apply, provider=provider)
        ):
            total += len(found)
            if apply:
                before = len(self._table)
                for key, reason in found:
                    self._table.put(key, reason)
                self._tell(before)
        return total

    async def upkeep(self) -> None:
        """Drop what has expired; call about once a minute."""
        now = self._now()
        forget_before = now - _ms(self.config.soft.forget)
        while keys := await self._spool.change_suppressions(partial(disk.expire, now=now, forget_before=forget_before)):
            self._leave(keys)

    # -- lists -----------------------------------------------------------------------------------------------------

    async def page(self, query: SuppressionQuery) -> SuppressionPage:
        """Entries that match, a window."""
        limit = max(1, min(query.limit, PAGE_ROWS))
        reason = None if query.reason is None else REASONS.index(query.reason)
        found = await self._spool.on_suppressions(
            partial(
                disk.page,
                address=normal_address(query.address) if query.address else "",
                stream=query.stream,
                reason=reason,
                pending=query.pending,
                after=query.cursor,
                limit=limit + 1,
            )
        )
        rows = found[:limit]
        return SuppressionPage(
            rows=tuple(map(_view, rows)),
            cursor=f"{rows[-1].address} {rows[-1].stream}" if len(found) > limit else "",
            active=len(self._table),
            pending=await self.pending(),
        )

    async def pending(self, provider: str = "") -> int:
        """Entries that wait for a decision, of one provider or all."""
        return await self._spool.on_suppressions(partial(disk.pending_count, provider=provider))

    async def count(self, addresses: Sequence[str], stream: str = "") -> int:
        """Entries that `remove` would take off."""
        return await self._spool.on_suppressions(partial(disk.count_of, addresses=addresses, stream=stream))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _enter(self, entry: Entry) -> None:
        if not entry.pending:
            before = len(self._table)
            self._table.put(entry.key, entry.reason)
            self._streams = self._streams or bool(entry.stream)
            self._tell(before)

    def _leave(self, keys: Sequence[int]) -> None:
        before = len(self._table)
        for key in keys:
            self._table.discard(key)
        self._tell(before)

    def _tell(self, before: int) -> None:
        if bool(before) != bool(len(self._table)):
            self.changed()

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _refusal(reason: SuppressionReason) -> SmtpReply:
    text = f"this recipient is on the suppression list ({reason})"
    return SmtpReply(code=550, enhanced="5.7.1", text=text, local=True)


def _life(keep: Keep, reason: SuppressionReason) -> timedelta | None:
    life: timedelta | None = getattr(keep, reason.replace("-", "_"))
    return life


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


def _view(entry: Entry) -> Suppression:
    return Suppression(
        address=codec.cut(entry.address),
        stream=entry.stream,
        reason=REASONS[entry.reason],
        added_at=datetime.fromtimestamp(entry.added_at / 1000, UTC),
        expires_at=None if entry.expires_at is None else datetime.fromtimestamp(entry.expires_at / 1000, UTC),
        source=entry.source,
        evidence=entry.evidence,
        provider=entry.provider,
        pending=bool(entry.pending),
    )
