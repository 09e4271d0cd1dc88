"""From one DKIM key to the next: pure functions from a situation and a request to a `Change`, or a refusal.

A selector in use is the one of the live `dkim-sign` directive, else the configured one. Directives carry the algorithm
in `limit` and the selector in `value`, so that each algorithm goes its own way.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

import msgspec

from mailagent.api import dkim as requests
from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.errors import InvalidRequest, NotFound, Refused
from mailagent.api.targets import Target, TargetKind
from mailagent.config.checks.dkim import is_selector
from mailagent.control.change import Change, Situation, directive_id
from mailagent.control.guards import guard
from mailagent.control.state import sentence
from mailagent.control.targets import near, require
from mailagent.dkim import Algorithm, SigningKey

KEEP_MORE: Final = timedelta(days=1)
"""A record stays this much longer than the longest life of mail that it signed."""
_NOT_IN_LABEL: Final = re.compile(r"[^a-z0-9]+")


def place(target: Target) -> tuple[str, str]:
    """(pool, signing domain) of a target `dkim:example.com/marketing`."""
    domain, _, pool = target.name.rpartition("/")
    return pool, domain.lower()


def prepare(
    at: Situation, request: requests.DkimPrepare, *, taken: Callable[[str], bool], make: Callable[[str], SigningKey]
) -> Change:
    """A new key under a new selector. `taken` tells selectors that have one; `make` writes the key to disk."""
    target = request.target
    require(at.config, target, (TargetKind.DKIM,), "dkim prepare")
    try:
        algorithm = Algorithm(request.algorithm)
    except ValueError as exc:
        raise InvalidRequest(f"{request.algorithm} is none of {', '.join(Algorithm)}") from exc
    live = at.all_live(DirectiveKind.DKIM_PREPARE, target, algorithm)
    if live and request.selector in ("", live[-1].value):
        return Change(target=target, detail=f"{target.name}: {sentence(live[-1])}")
    selector = request.selector or _new_selector(at, target, algorithm, taken)
    if not is_selector(selector):
        raise InvalidRequest(f"`{selector}` is no selector: letters, digits, hyphens, dots")
    if taken(selector):
        raise Refused(f"selector {selector} of {place(target)[1]} has a key already; take another name")
    made = _directive(at, DirectiveKind.DKIM_PREPARE, request, algorithm, selector)
    detail = f"a new {algorithm} key is made; its record is to be published as {selector}._domainkey.{place(target)[1]}"
    if not request.dry_run:
        key = make(selector)
        detail = f'publish {key.record_name}. TXT "{key.key.record}", then switch'
    return Change(target=target, detail=detail, created=(made,), undo_note="the key file stays on the host")


def switch(
    at: Situation,
    request: requests.DkimSwitch,
    *,
    algorithm: Algorithm,
    current: str,
    unproven: str,
    lifetime: timedelta,
) -> Change:
    """Sign with another selector; `current` is in use now (empty: none), `unproven` says why DNS does not prove it."""
    target, selector = request.target, request.selector
    require(at.config, target, (TargetKind.DKIM,), "dkim switch")
    if selector == current:
        return Change(target=target, detail=f"{target.name} is signed with {selector} already")
    if unproven:
        raise Refused(f"{target.name} stays with {current or 'no key'}: {unproven}")
    made = [_directive(at, DirectiveKind.DKIM_SIGN, request, algorithm, selector)]
    detail = f"{target.name} is signed with {selector} from now on"
    if current:
        until = at.now + lifetime + KEEP_MORE
        kept = _directive(at, DirectiveKind.DKIM_KEEP, request, algorithm, current, n=2)
        made.append(msgspec.structs.replace(kept, expires_at=until))
        detail += f"; {current} stays published until {until:%Y-%m-%d %H:%M} UTC"
    ended = [
        one
        for kind in (DirectiveKind.DKIM_PREPARE, DirectiveKind.DKIM_SIGN, DirectiveKind.DKIM_KEEP)
        for one in at.all_live(kind, target, algorithm)
        if kind is DirectiveKind.DKIM_SIGN or one.value == selector
    ]
    return Change(
        target=target,
        detail=detail,
        created=tuple(made),
        ended=tuple(ended),
        undo_note=f"mail that was signed with {selector} by then keeps its signature; leave its record published",
    )


def retire(at: Situation, request: requests.DkimRetire) -> Change:
    """Give up a prepared selector, or one that was kept long enough."""
    target, selector = request.target, request.selector
    require(at.config, target, (TargetKind.DKIM,), "dkim retire")
    of_target = [one for one in at.state.directives if one.target == target]
    live = [one for one in of_target if one.value == selector and one.kind is not DirectiveKind.DKIM_SIGN]
    if not live:
        if any(one.value == selector for one in of_target):
            raise Refused(f"{selector} signs mail of {target.name}; switch to another one first")
        known = (one.value for one in of_target if one.kind is not DirectiveKind.DKIM_SIGN)
        raise NotFound(f"{target.name} has no prepared or kept selector {selector}{near(selector, known)}")
    problems = [
        f"mail that {selector} signed may be on its way until {one.expires_at:%Y-%m-%d %H:%M} UTC"
        for one in live
        if one.expires_at is not None and one.expires_at > at.now
    ]
    change = Change(
        target=target,
        detail=f"the record {selector}._domainkey.{place(target)[1]} may go",
        ended=tuple(live),
        undo_note="the key file stays on the host",
    )
    return replace(change, warnings=guard(problems, override=request.override))


def _directive(
    at: Situation,
    kind: DirectiveKind,
    request: requests.DkimPrepare | requests.DkimSwitch,
    algorithm: Algorithm,
    selector: str,
    *,
    n: int = 1,
) -> Directive:
    made = at.directive(kind, request.target, request)
    return msgspec.structs.replace(made, id=directive_id(request.op_id, n), limit=algorithm, value=selector)


def _new_selector(at: Situation, target: Target, algorithm: Algorithm, taken: Callable[[str], bool]) -> str:
    """`marketing-20260701-mx1`: a key stays on its host, so hosts that share a pool have a selector each."""
    name = f"{_label(place(target)[0])}-{at.now:%Y%m%d}-{_label(at.config.host)}"
    if algorithm is Algorithm.ED25519:
        name += "-ed"
    n = 1
    while taken(name if n == 1 else f"{name}-{n}"):
        n += 1
    return name if n == 1 else f"{name}-{n}"


def _label(text: str) -> str:
    return _NOT_IN_LABEL.sub("-", text.lower())[:20].strip("-")
