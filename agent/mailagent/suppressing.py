"""The suppression list as operators see and change it, and the freeze when a provider calls everybody unknown."""

import logging
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from mailagent.api.classification import Action
from mailagent.api.errors import InvalidRequest
from mailagent.api.feedback import FeedbackKind
from mailagent.api.ids import OpId, ProviderName
from mailagent.api.operations import OperationResult
from mailagent.api.requests import Role
from mailagent.api.suppression import (
    MAX_ENTRIES,
    SuppressionAdd,
    SuppressionFreeze,
    SuppressionPage,
    SuppressionPending,
    SuppressionQuery,
    SuppressionReason,
    SuppressionRemove,
    SuppressionThaw,
)
from mailagent.api.targets import Target, TargetKind
from mailagent.config.scalars import format_duration, is_mail_address
from mailagent.config.structs import AgentConfig
from mailagent.control import flow
from mailagent.control.targets import near
from mailagent.control.verbs import AGENT, Control
from mailagent.host import Act, Principal, Read
from mailagent.outcome.suppression import SuppressionBook, normal_address
from mailagent.returns.examination import Finding
from mailagent.spool.errors import StorageError
from mailagent.spool.suppression import Entry

log = logging.getLogger(__name__)

_REPORTED = {
    FeedbackKind.COMPLAINT: SuppressionReason.COMPLAINT,
    FeedbackKind.UNSUBSCRIBE: SuppressionReason.UNSUBSCRIBE,
}
_ITSELF = Principal(user=AGENT, role=Role.OPERATOR)


class Suppressing:
    """The methods about the list, by name in `reads` and `verbs`."""

    def __init__(self, book: SuppressionBook, control: Control, config: Callable[[], AgentConfig]) -> None:
        self._book = book
        self._control = control
        self._config = config

    @property
    def reads(self) -> Mapping[str, Read]:
        """By wire name."""
        return {"suppressions": self.suppressions}

    @property
    def verbs(self) -> Mapping[str, Act]:
        """By wire name."""
        return {
            "suppression_add": self.add,
            "suppression_remove": self.remove,
            "suppression_pending": self.pending,
            "suppression_freeze": self.freeze,
            "suppression_thaw": self.thaw,
        }

    async def suppressions(self, query: SuppressionQuery) -> SuppressionPage:
        """Entries that match, a window."""
        return await self._book.page(query)

    async def add(self, request: SuppressionAdd, caller: Principal) -> OperationResult:
        """Put addresses on the list."""
        entries = self._entries(request, caller.user)
        what = _addresses(len(entries))

        async def plan() -> tuple[bool, str]:
            return bool(entries), f"{what} would not be mailed any more"

        async def act() -> tuple[bool, str]:
            await self._book.add(entries)
            return bool(entries), f"{what} put on the suppression list"

        note = "`mailctl suppression remove` takes them off again"
        return await self._control.carry_out("suppression_add", request, caller, plan=plan, act=act, undo_note=note)

    async def remove(self, request: SuppressionRemove, caller: Principal) -> OperationResult:
        """Take addresses off the list."""
        addresses = [self._address(address) for address in request.addresses]
        _check_count(addresses)

        async def plan() -> tuple[bool, str]:
            count = await self._book.count(addresses, request.stream)
            return count > 0, f"{_entries(count)} would be taken off the suppression list"

        async def act() -> tuple[bool, str]:
            gone = await self._book.remove(addresses, request.stream)
            return gone > 0, f"{_entries(gone)} taken off the suppression list"

        note = "`mailctl suppression add` puts them on again"
        return await self._control.carry_out("suppression_remove", request, caller, plan=plan, act=act, undo_note=note)

    async def pending(self, request: SuppressionPending, caller: Principal) -> OperationResult:
        """Decide about what a freeze has held back."""
        whose = f" of {request.provider}" if request.provider else ""

        def says(count: int) -> str:
            if request.apply:
                does = "it takes effect" if count == 1 else "they take effect"
            else:
                does = "it is forgotten" if count == 1 else "they are forgotten"
            return f"{_entries(count, 'pending ')}{whose}: {does}"

        async def plan() -> tuple[bool, str]:
            count = await self._book.pending(request.provider)
            return count > 0, says(count)

        async def act() -> tuple[bool, str]:
            count = await self._book.settle_pending(apply=request.apply, provider=request.provider)
            return count > 0, says(count)

        return await self._control.carry_out("suppression_pending", request, caller, plan=plan, act=act)

    async def freeze(self, request: SuppressionFreeze, caller: Principal) -> OperationResult:
        """What bounces suppress is only pending for a time."""
        plan = partial(flow.freeze, request=request)
        return await self._control.execute("suppression_freeze", request, caller, plan)

    async def thaw(self, request: SuppressionThaw, caller: Principal) -> OperationResult:
        """End a freeze."""
        plan = partial(flow.thaw, request=request)
        return await self._control.execute("suppression_thaw", request, caller, plan)

    async def freeze_by_itself(self, provider: ProviderName, held: int) -> None:
        """An incident at `provider`: a directive that operators see, shorten or end.

        Without a provider it is DNS that says so; then all of the host is frozen.
        """
        config = self._config()
        incident = config.suppression.incident
        target = Target(kind=TargetKind.PROVIDER, name=provider)
        request = SuppressionFreeze(
            op_id=OpId(f"freeze-{secrets.token_hex(8)}"),
            reason=f"{held} addresses became unknown within {format_duration(incident.window)}: that many are wrong",
            target=target if provider else Target(kind=TargetKind.HOST, name=config.host),
            ttl_s=max(1, int(incident.freeze.total_seconds())),
        )
        await self.freeze(request, _ITSELF)

    async def reported(self, finding: Finding) -> bool:
        """A report is proven to be about mail of ours; whether its recipient is suppressed now, on disk."""
        sent, verdict = finding.sent, finding.verdict
        if verdict is None:
            return False
        reason = _REPORTED.get(finding.kind)
        address = normal_address(sent.recipient)
        if reason is not None:
            stream = sent.stream if reason is SuppressionReason.UNSUBSCRIBE else ""
            words = f"{finding.form} {sent.message_id}".strip()
            entry = self._book.entry(
                address, reason, stream=stream, source=verdict.rule, evidence=words, provider=sent.provider
            )
            await self._book.add([entry], replace=False)
        elif verdict.action in (Action.SUPPRESS, Action.RETRY_THEN_SUPPRESS):
            words = finding.status.diagnostic if finding.status is not None else ""
            await self._book.bounced(address, sent.message_id, verdict, words, sent.provider)
        return self._book.find(address.encode(), sent.stream) is not None

    async def upkeep(self) -> None:
        """Drop what has expired; call about once a minute."""
        try:
            await self._book.upkeep()
        except (StorageError, TimeoutError) as exc:
            log.error("suppressions not looked after: %s; next try in a minute", exc)

    def _entries(self, request: SuppressionAdd, author: str) -> list[Entry]:
        _check_count(request.entries)
        end = None if request.ttl_s is None else datetime.now(UTC) + timedelta(seconds=request.ttl_s)
        streams = self._config().streams
        entries = []
        for one in request.entries:
            if one.stream and one.stream not in streams:
                raise InvalidRequest(f"{one.stream} is no stream of this host{near(one.stream, streams)}")
            entries.append(
                self._book.entry(
                    self._address(one.address),
                    one.reason,
                    stream=one.stream,
                    expires_at=one.expires_at or end,
                    source=author,
                    evidence=request.reason,
                )
            )
        return entries

    @staticmethod
    def _address(text: str) -> str:
        address = normal_address(text)
        if not is_mail_address(address):
            raise InvalidRequest(f"`{text[:100]}` is no address; write anna@example.com")
        return address


def _check_count(entries: object) -> None:
    count = len(entries)  # type: ignore[arg-type]
    if count > MAX_ENTRIES:
        raise InvalidRequest(f"{count} addresses in one request; at most {MAX_ENTRIES}")
    if count == 0:
        raise InvalidRequest("no address is given")


def _entries(count: int, kind: str = "") -> str:
    return f"1 {kind}entry" if count == 1 else f"{count} {kind}entries"


def _addresses(count: int) -> str:
    return "1 address" if count == 1 else f"{count} addresses"
