"""DKIM keys of this host as operators see and change them: list, prove, prepare, switch, retire."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec

from mailagent.api import dkim as api
from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.errors import ApiError, InvalidRequest, NotFound, Refused
from mailagent.api.operations import OperationResult
from mailagent.api.targets import Target
from mailagent.config.structs import AgentConfig
from mailagent.control import dkim as changes
from mailagent.control.change import Change, Situation
from mailagent.control.state import HostState
from mailagent.control.verbs import Control
from mailagent.dkim import Algorithm, Chosen, KeyUnfit, Signing, SigningKey
from mailagent.dkim.published import Asks, Unproven, prove
from mailagent.dkim.store import made_at
from mailagent.host import Act, Principal, Read

_KINDS = {
    DirectiveKind.DKIM_PREPARE: api.SelectorState.PREPARED,
    DirectiveKind.DKIM_SIGN: api.SelectorState.ACTIVE,
    DirectiveKind.DKIM_KEEP: api.SelectorState.KEPT,
}


def chosen(state: HostState) -> Iterable[Chosen]:
    """The selectors that directives put in place of configured ones."""
    for one in state.directives:
        if one.kind is DirectiveKind.DKIM_SIGN:
            yield _chosen(one)


class Keys:
    """The methods about DKIM, by name in `reads` and `verbs`."""

    def __init__(self, control: Control, signing: Signing, dns: Asks, origin: Callable[[str], str]) -> None:
        """`origin` tells file and line of a configuration key."""
        self._control = control
        self._signing = signing
        self._dns = dns
        self._origin = origin

    @property
    def reads(self) -> Mapping[str, Read]:
        """By wire name."""
        return {"dkim": self.dkim, "dkim_prove": self.dkim_prove}

    @property
    def verbs(self) -> Mapping[str, Act]:
        """By wire name."""
        return {
            "dkim_prepare": self.dkim_prepare,
            "dkim_switch": self.dkim_switch,
            "dkim_retire": self.dkim_retire,
        }

    # -- reads -----------------------------------------------------------------------------------------------------

    async def dkim(self, _: object) -> api.DkimSelectors:
        """All selectors: configured, prepared, in use and kept."""
        return api.DkimSelectors(rows=tuple(sorted(await asyncio.to_thread(self._rows), key=_order)))

    async def dkim_prove(self, request: api.DkimQuery) -> api.DkimProof:
        """Whether DNS has the record of one selector."""
        key = self._find(request.target, request.selector)
        try:
            record = await prove(self._dns, key)
        except Unproven as exc:
            return api.DkimProof(name=key.record_name, proven=False, detail=str(exc), records=exc.records)
        detail = "the published key is ours, and verifiers accept it"
        return api.DkimProof(name=key.record_name, proven=True, detail=detail, records=(record,))

    def _rows(self) -> list[api.DkimSelector]:
        """Touches the disk: one look at each key file."""
        now = datetime.now(UTC)
        signing = self._signing
        found: dict[tuple[Chosen, Path], tuple[api.SelectorState, str, Directive | None]] = {}
        for n, entry in enumerate(signing.config.keys):
            place = (str(entry.pool), entry.domain.lower())
            key = signing.configured.find(place[1], entry.selector)
            if key is not None:
                one = Chosen(place, key.key.algorithm, entry.selector)
                state = api.SelectorState.ACTIVE if self._is_active(one) else api.SelectorState.IDLE
                found[one, entry.file] = (state, self._origin(f"dkim.keys[{n}]"), None)
        files = {(one.place[1], one.selector): file for one, file in found}
        for directive in self._directives():
            one = _chosen(directive)
            file = files.get((one.place[1], one.selector)) or signing.store.path(one.place[1], one.selector)
            found[one, file] = (_KINDS[directive.kind], directive.author, directive)
        return [self._row(one, file, *facts, now) for (one, file), facts in found.items()]

    def _row(
        self,
        one: Chosen,
        file: Path,
        state: api.SelectorState,
        origin: str,
        directive: Directive | None,
        now: datetime,
    ) -> api.DkimSelector:
        key = self._signing.key(one)
        made = made_at(file)
        is_old = made is not None and now - made >= self._signing.config.rotate_after
        kept = directive is not None and directive.kind is DirectiveKind.DKIM_KEEP
        return api.DkimSelector(
            domain=key.domain,
            pool=one.place[0],
            selector=one.selector,
            algorithm=one.algorithm,
            bits=key.key.bits,
            state=state,
            origin=origin,
            made_at=made,
            due=is_old and state is api.SelectorState.ACTIVE,
            name=key.record_name,
            record=key.key.record if key.key.public else "",
            keep_until=directive.expires_at if directive is not None and kept else None,
            directive=directive.id if directive is not None else "",
            problem="" if key.key.public else "the key cannot be read; the log says why",
        )

    # -- verbs -----------------------------------------------------------------------------------------------------

    async def dkim_prepare(self, request: api.DkimPrepare, caller: Principal) -> OperationResult:
        """Make a key and tell the record to publish."""
        pool, domain = changes.place(request.target)
        pem = b"" if request.dry_run or request.algorithm not in set(Algorithm) else await _new(request.algorithm)

        def make(selector: str) -> SigningKey:
            try:
                self._signing.store.keep(domain, selector, pem)
            except KeyUnfit as exc:
                raise Refused(str(exc)) from exc
            return self._signing.key(Chosen((pool, domain), Algorithm(request.algorithm), selector))

        def taken(selector: str) -> bool:
            signing = self._signing
            return signing.configured.find(domain, selector) is not None or signing.store.has(domain, selector)

        plan = partial(changes.prepare, request=request, taken=taken, make=make)
        return await self._control.execute("dkim_prepare", request, caller, plan)

    async def dkim_switch(self, request: api.DkimSwitch, caller: Principal) -> OperationResult:
        """Sign with a prepared selector from now on, when DNS proves it."""
        found: SigningKey | ApiError
        unproven = ""
        try:
            found = self._find(request.target, request.selector)
            await prove(self._dns, found)
        except ApiError as exc:
            found = exc
        except Unproven as exc:
            unproven = str(exc)

        def plan(at: Situation) -> Change:
            if isinstance(found, ApiError):  # raised here, where a repeated request has had its old answer
                raise found
            place, algorithm = changes.place(request.target), found.key.algorithm
            problem = unproven
            if algorithm is Algorithm.ED25519 and not self._current(place, Algorithm.RSA):
                problem = "an Ed25519 key signs beside an RSA key only: large providers verify RSA alone"
            return changes.switch(
                at,
                msgspec.structs.replace(request, selector=found.selector),
                algorithm=algorithm,
                current=self._current(place, algorithm),
                unproven=problem,
                lifetime=_longest(at.config),
            )

        return await self._control.execute("dkim_switch", request, caller, plan)

    async def dkim_retire(self, request: api.DkimRetire, caller: Principal) -> OperationResult:
        """Give up a prepared or kept selector."""

        def plan(at: Situation) -> Change:
            selector = request.selector or self._only(request.target, DirectiveKind.DKIM_KEEP)
            return changes.retire(at, msgspec.structs.replace(request, selector=selector))

        return await self._control.execute("dkim_retire", request, caller, plan)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _only(self, target: Target, kind: DirectiveKind) -> str:
        """The one selector of `target` that is prepared, or kept."""
        names = [one.value for one in self._directives() if one.kind is kind and one.target == target]
        if len(names) == 1:
            return names[0]
        state = _KINDS[kind]
        if names:
            raise InvalidRequest(f"{target.name} has {len(names)} {state} selectors; name one of {', '.join(names)}")
        raise NotFound(f"{target.name} has no {state} selector")

    def _find(self, target: Target, selector: str) -> SigningKey:
        pool, domain = changes.place(target)
        selector = selector or self._only(target, DirectiveKind.DKIM_PREPARE)
        configured = self._signing.configured.find(domain, selector)
        if configured is not None:
            return configured
        for directive in self._directives():
            one = _chosen(directive)
            if (one.place[1], one.selector) == (domain, selector):
                return self._signing.key(one)
        raise NotFound(f"no selector {selector} of {domain} for pool {pool} is configured or prepared here")

    def _current(self, place: tuple[str, str], algorithm: Algorithm) -> str:
        keys = self._signing.ring.at(place)
        return next((key.selector for key in keys if key.key.algorithm is algorithm), "")

    def _is_active(self, one: Chosen) -> bool:
        return self._current(one.place, one.algorithm) == one.selector

    def _directives(self) -> list[Directive]:
        return [one for one in self._control.state.directives if one.kind in _KINDS]


def _chosen(one: Directive) -> Chosen:
    return Chosen(changes.place(one.target), Algorithm(one.limit), one.value)


async def _new(algorithm: str) -> bytes:
    from mailagent.dkim.pem import new_key

    return await asyncio.to_thread(new_key, Algorithm(algorithm))


def _longest(config: AgentConfig) -> timedelta:
    """The longest life of mail in the queue."""
    retries = (config.retry, *(stream.retry for stream in config.streams.values()))
    return max(retry.expire for retry in retries if retry is not None)


def _order(row: api.DkimSelector) -> tuple[str, str, str, str]:
    return row.domain, row.pool, row.algorithm, row.selector
