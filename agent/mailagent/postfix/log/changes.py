"""From what the log tells to changes of the mirror, accounting lines and counters. Pure.

Of what Postfix does not tell, nothing is made up: an attempt's number, a provider or a virtual MTA that is not known
stays empty. A deferral by our own suspension is no outcome: the last real reply stays what it was.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec

from mailagent.api.accounting import LETTERS, EventType
from mailagent.api.classification import Category, Verdict
from mailagent.api.ids import StreamName, VmtaName
from mailagent.api.outcome import Attempt
from mailagent.api.smtp import SmtpReply
from mailagent.config.structs import AgentConfig
from mailagent.outcome.accounting import AccountingRecord, line
from mailagent.outcome.classification import Classifier
from mailagent.outcome.suppression import SuppressionBook
from mailagent.postfix.acts import is_long
from mailagent.postfix.log.outcomes import (
    DEFERRED,
    SENT,
    SOFT_BOUNCED,
    Event,
    GivenUp,
    Gone,
    Outcome,
    Received,
    Requeued,
)
from mailagent.postfix.queue_ids import made_at_us, message_number
from mailagent.postfix.tables import PREFIX
from mailagent.routing.providers import DEFAULT_PROVIDER, ProviderTable
from mailagent.routing.streams import StreamTable
from mailagent.spool.mirror import Listed
from mailagent.spool.records import UNKNOWN_DUE
from mailagent.spool.told import Arrival, Change, End, Left, Rename, Try
from mailagent.telemetry.counters import Counters
from mailagent.telemetry.deferrals import Deferrals

EXPIRED = SmtpReply(code=0, enhanced="4.4.7", text="expired before it could be delivered", local=True)
FORCED = SmtpReply(code=0, enhanced="5.7.0", text="returned to its sender by an order (postsuper -e, -f)", local=True)
DELETED = SmtpReply(code=0, enhanced="5.7.0", text="deleted by an order (postsuper -d)", local=True)


_SAME_MS = 5000
"""So far the arrival by `delay` and a queue id's own time are those of one message that was not requeued since."""


class Recipient(msgspec.Struct, frozen=True):
    """Whom an outcome is about, as the suppression list wants to know."""

    address: bytes
    message: int


class Place(msgspec.Struct, frozen=True):
    """Where a try went, in our words; empty: not known."""

    vmta: str
    pool: str
    stream: str
    source: str
    site: str
    provider: str
    mx: str
    remote: str


class Changes:
    """Makes changes of events."""

    def __init__(
        self,
        config: AgentConfig,
        classifier: Classifier,
        *,
        site_of: Callable[[str], tuple[str, str]],
        lifetime_s: Callable[[str], int],
    ) -> None:
        """`site_of` has (site, provider) of a domain where they are known, `lifetime_s` how long mail of a sender may
        wait."""
        self.suppression: SuppressionBook | None = None
        """Told of each outcome of a recipient."""
        self.blamed: Callable[[VmtaName], None] = lambda _: None
        """Told of each virtual MTA whose address a reply finds fault with."""
        self.outcomes: Counter[str] = Counter()
        """By provider, whatever they were and however late they are told."""
        self.deferrals = Deferrals()
        self._site_of = site_of
        self._lifetime_s = lifetime_s
        self.configure(config, classifier)

    def configure(self, config: AgentConfig, classifier: Classifier) -> None:
        """Use these from now on."""
        self._config = config
        self._classifier = classifier
        self._providers = ProviderTable(config.providers)
        self._pools: dict[str, str] = {vmta: name for name, pool in config.pools.items() for vmta in pool.members}
        self._only_pool = str(next(iter(config.pools))) if len(config.pools) == 1 else ""
        self._streams = StreamTable(config)
        self._recorded = frozenset(LETTERS[letter] for letter in config.accounting.records)

    def vmta_of(self, syslog_name: str) -> str:
        """The virtual MTA whose service logs under this name; empty: none that is configured."""
        name = syslog_name.rpartition("/")[2].removeprefix(PREFIX)
        return name if name in self._config.virtual_mtas else ""

    def of(self, events: Iterable[Event], counters: Counters) -> list[Change]:
        """What `events` change; outcomes of recipients are counted in `counters`."""
        changes: list[Change] = []
        for event in events:
            match event:
                case Outcome():
                    if not event.said.emulated:
                        changes.append(self._outcome(event, counters))
                case Received():
                    name = self._named(event.message.sender, event.message.user)
                    pool = self._config.streams[name].pool if name is not None else self._only_pool
                    if not event.message.is_back:
                        counters.received(pool, name or "", event.message.recipients)
                    if not is_long(event.id):
                        changes.append(Arrival(event.id, _ms(event.message.arrived_at)))
                case Gone():
                    changes.append(End(queue_id=event.id, line=self._deletion(event) if event.deleted else None))
                case GivenUp():
                    changes.append(End(queue_id=event.id, line=self._end(event)))
                case Requeued():
                    changes.append(Rename(event.before, event.id))
        return changes

    def left(self, left: Iterable[Left], counters: Counters) -> None:
        """Count recipients that were given up with their message."""
        for one in left:
            pool = self._pool(one.vmta)
            counters.bounced(pool, self._stream(pool, one.sender), one.vmta, one.provider)

    # --- tries ----------------------------------------------------------------------------------------------------

    def _outcome(self, event: Outcome, counters: Counters) -> Try:
        tried = event.tried
        domain = tried.recipient[tried.recipient.rfind("@") + 1 :].lower()
        listed = self._message(event)
        if event.filtered and tried.status == SENT:  # what comes back has the outcome
            return _try(event, domain, "", None, listed, lambda _n, _number: b"")
        place = self._place(event, domain)
        reply = event.said.reply
        verdict: Verdict | None = None
        attempt: Attempt | None = None
        count, kind = counters.delivered, EventType.DELIVERED
        if tried.status != SENT:
            verdict = self._classifier.verdict(reply, place.provider)
            count, kind = counters.bounced, EventType.BOUNCED
        if tried.status in (DEFERRED, SOFT_BOUNCED):
            count, kind = counters.deferred, EventType.DEFERRED
            category = verdict.category if verdict is not None else ""
            self.deferrals.add((place.provider, place.vmta), category, reply, event.at)
            attempt = Attempt(
                number=0,
                at=datetime.fromtimestamp(event.at, UTC),
                vmta=place.vmta,
                source=place.source,
                site=place.site,
                mx=place.mx,
                remote=place.remote,
                reply=reply,
                duration_s=event.duration_s,
                verdict=verdict,
                tls=_tls(tried.tls),
            )
        count(place.pool, place.stream, place.vmta, place.provider)
        if verdict is not None and place.vmta and verdict.category in (Category.IP_BLOCKLIST, Category.IP_REPUTATION):
            self.blamed(VmtaName(place.vmta))
        if not event.filtered:
            self._suppress(event, Recipient(tried.recipient.encode(), listed.message), verdict, place.provider)
        return _try(
            event,
            domain,
            place.provider,
            attempt,
            listed,
            lambda n, number: self._line(kind, event, place, verdict, n, number),
        )

    def _suppress(self, event: Outcome, recipient: Recipient, verdict: Verdict | None, provider: str) -> None:
        if self.suppression is not None and verdict is None:
            self.suppression.delivered(recipient)
        elif self.suppression is not None and verdict is not None and event.tried.status != SOFT_BOUNCED:
            self.suppression.failed(recipient, event.said.reply, verdict, provider, event.at)
        self.outcomes[provider] += 1

    def _place(self, event: Outcome, domain: str) -> Place:
        """What the peer's name says of its provider counts before what DNS says of the recipient's domain; a content
        filter is of none.
        """
        tried = event.tried
        site, provider = self._site_of(domain) if not event.filtered else ("", "")
        mx = tried.relay if tried.remote else event.said.host
        if "." in mx and not event.filtered:
            named = self._providers.provider((mx.lower(),))
            if named != DEFAULT_PROVIDER or not provider:
                provider = named
        vmta = self._config.virtual_mtas.get(VmtaName(event.vmta))
        address = None if vmta is None else vmta.address6 if "[" in tried.remote else vmta.address
        source = str(address) if address is not None and tried.remote else ""
        pool = self._pool(event.vmta)
        stream = self._stream(pool, event.message.sender, event.message.user)
        return Place(event.vmta, pool, stream, source, site, provider, mx, tried.remote)

    def _pool(self, vmta: str) -> str:
        return self._pools.get(vmta, self._only_pool)

    def _stream(self, pool: str, sender: str, user: str = "") -> str:
        """Of mail that left from `pool`; empty where mail of the sender's stream does not."""
        name = self._named(sender, user)
        if name is None:
            return ""
        stream = self._config.streams[name]
        return name if pool and (pool == stream.pool or pool in stream.pools.values()) else ""

    def _named(self, sender: str, user: str) -> StreamName | None:
        """The stream of a sender; None where there is none, and where headers decide: nobody tells them."""
        if self._streams.wanted_headers:
            return None
        return self._streams.classify(sender.encode(), {}, "", user)

    def _message(self, event: Outcome) -> Listed:
        """Enough to mirror a message by until a listing has it."""
        received_at = _ms(event.at - event.tried.delay_s)
        made = made_at_us(event.id)
        if made is not None and abs(made // 1000 - received_at) < _SAME_MS:  # requeued mail is older than its id
            received_at = made // 1000
        return Listed(
            message=message_number(event.id, received_at // 1000),
            queue_id=event.id,
            folder="deferred",
            digest=0,
            received_at=received_at,
            expires_at=received_at + self._lifetime_s(event.message.sender) * 1000,
            sender=event.message.sender.encode(),
            size=event.message.size,
            due=UNKNOWN_DUE,
            recipients=(),
        )

    def _line(
        self, kind: EventType, event: Outcome, place: Place, verdict: Verdict | None, n: int, number: int
    ) -> bytes:
        if kind not in self._recorded:
            return b""
        tried, message, reply = event.tried, event.message, event.said.reply
        return line(
            AccountingRecord(
                # of the line in the log alone, so that a line that is read again is the same event
                event=f"{event.id}-{tried.mark:08x}-{_ms(event.at)}-{kind}",
                type=kind,
                time=datetime.fromtimestamp(event.at, UTC),
                host=self._config.host,
                message_id=event.id,
                n=n,
                sender=message.sender,
                recipient=tried.recipient,
                stream=place.stream,
                pool=place.pool,
                size_bytes=message.size,
                vmta=place.vmta,
                source=place.source,
                site=place.site,
                provider=place.provider,
                mx=place.mx,
                remote=place.remote,
                attempt=number,
                smtp_verb=reply.verb,
                code=reply.code,
                enhanced=reply.enhanced,
                text=reply.text,
                category=verdict.category if verdict is not None else "",
                action=verdict.action if verdict is not None else "",
                rule_id=verdict.rule if verdict is not None else "",
                queued_s=tried.delay_s,
                duration_s=event.duration_s,
                client=message.client,
                user=message.user,
                tls=_tls(tried.tls),
            )
        )

    # --- ends without a try ---------------------------------------------------------------------------------------

    def _deletion(self, event: Gone) -> Callable[[Left], bytes]:
        return lambda left: self._left(EventType.DELETED, event.id, event.at, left, DELETED)

    def _end(self, event: GivenUp) -> Callable[[Left], bytes]:
        if event.forced:
            return lambda left: self._left(EventType.BOUNCED, event.id, event.at, left, FORCED)
        return lambda left: self._left(
            EventType.EXPIRED, event.id, event.at, left, left.reply if left.attempts else EXPIRED
        )

    def _left(self, kind: EventType, queue_id: str, at: float, left: Left, reply: SmtpReply) -> bytes:
        if kind not in self._recorded:
            return b""
        pool = self._pool(left.vmta)
        return line(
            AccountingRecord(
                event=f"{queue_id}-{left.n}-{_ms(at)}-{kind}",
                type=kind,
                time=datetime.fromtimestamp(at, UTC),
                host=self._config.host,
                message_id=queue_id,
                n=left.n,
                sender=left.sender,
                recipient=left.address,
                stream=self._stream(pool, left.sender),
                pool=pool,
                size_bytes=left.size,
                vmta=left.vmta,
                site=left.site,
                provider=left.provider,
                attempt=left.attempts,
                smtp_verb=reply.verb,
                code=reply.code,
                enhanced=reply.enhanced,
                text=reply.text,
                queued_s=round(max(0.0, at - left.received_at / 1000), 3),
            )
        )


def _try(
    event: Outcome,
    domain: str,
    provider: str,
    attempt: Attempt | None,
    message: Listed,
    line: Callable[[int, int], bytes],
) -> Try:
    return Try(
        queue_id=event.id,
        address=event.tried.recipient,
        domain=domain,
        attempt=attempt,
        provider=provider,
        fresh=event.message.fresh,
        line=line,
        message=message,
    )


def _ms(at: float) -> int:
    return int(at * 1000)


def _tls(features: str) -> str:
    """The security level that a connection had, as 3.11 says it: no protocol, no cipher; empty: in clear, or none made.

    `may:none` went in clear, `dane:encrypt` without DANE; `may?` and `!encrypt` did not come that far (postconf(5),
    smtp_log_tls_feature_status).
    """
    asked = features.partition("/")[0]
    level = asked.rpartition(":")[2]
    return "" if level == "none" or asked.startswith("!") or asked.endswith("?") else level
