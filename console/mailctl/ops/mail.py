"""Verbs on waiting mail: their requests, and what a plan says of the mail that they touch."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from mailagent.api import mail, requests
from mailagent.api.ids import HostName, OpId
from mailagent.api.operations import Impact, OperationResult
from mailagent.api.targets import MessageFilter
from mailctl.ops.plan import Options, Verb

ORDERS: Final[dict[Verb, type[mail.MailVerb]]] = {
    Verb.HOLD: mail.Hold,
    Verb.RELEASE: mail.Release,
    Verb.REBIND: mail.Rebind,
    Verb.BOUNCE: mail.Bounce,
    Verb.DELETE: mail.Delete,
    Verb.REQUEUE: mail.Requeue,
}
"""Standing orders on mail; each is frozen when it is planned."""
ON_MAIL: Final = frozenset({Verb.RETRY, *ORDERS})
"""Verbs that act on messages instead of objects."""
_SHOWN: Final = 4


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Recipients that a plan touches, of one host, pool, stream and provider."""

    host: HostName
    pool: str
    stream: str
    provider: str
    count: int


def request(verb: Verb, matching: MessageFilter, options: Options, unnamed: OpId) -> requests.Mutation:
    """The request of a verb on mail."""
    if verb is Verb.RETRY:
        return requests.Retry(
            op_id=unnamed, filter=matching, spread_s=options.spread_s, max_affected=options.max_affected
        )
    if verb is Verb.REBIND:
        return mail.Rebind(op_id=unnamed, filter=matching, max_affected=options.max_affected, pool=options.pool)
    return ORDERS[verb](op_id=unnamed, filter=matching, max_affected=options.max_affected)


def frozen(planned: requests.Mutation, answer: OperationResult) -> requests.Mutation:
    """The request as it was planned: mail that arrives, or is tried, after the plan is not meant."""
    if not isinstance(planned, mail.MailVerb) or not answer.directives or answer.directives[0].filter is None:
        return planned
    which = msgspec.structs.replace(planned.filter, before=answer.directives[0].filter.before)
    return msgspec.structs.replace(planned, filter=which)


def parts(impacts: Iterable[tuple[HostName, Impact]]) -> tuple[Part, ...]:
    """What a plan touches, the largest part first."""
    found = [
        Part(host=host, pool=part.pool, stream=part.stream, provider=part.provider, count=part.count)
        for host, impact in impacts
        for part in impact.parts
    ]
    return tuple(sorted(found, key=lambda part: -part.count))


def oldest(impacts: Iterable[tuple[HostName, Impact]]) -> datetime | None:
    """Arrival of the oldest mail that a plan touches."""
    return min((impact.oldest_at for _, impact in impacts if impact.oldest_at is not None), default=None)


def of_them(impacts: Iterable[tuple[HostName, Impact]]) -> tuple[str, ...]:
    """What `breakdown` has of a plan; nothing where a host tells of no parts, as those of others would be all."""
    impacts = tuple(impacts)
    if any(impact.messages and not impact.parts for _, impact in impacts):
        return ()
    return breakdown(parts(impacts))


def breakdown(found: Iterable[Part]) -> tuple[str, ...]:
    """`pools marketing 1,204, cold 3`, and the same for streams, providers and hosts."""
    found = tuple(found)
    lines = []
    for name in ("pool", "stream", "provider", "host"):
        sums: Counter[str] = Counter()
        for part in found:
            unknown = "not looked up yet" if name == "provider" else "not told"  # a Postfix queue has neither
            sums[getattr(part, name) or unknown] += part.count
        if sums:
            shown = [f"{one} {count:,}" for one, count in sums.most_common(_SHOWN)]
            more = [f"{len(sums) - _SHOWN} more"] if len(sums) > _SHOWN else []
            lines.append(f"{name}{'' if len(sums) == 1 else 's'} {', '.join(shown + more)}")
    return tuple(lines)
