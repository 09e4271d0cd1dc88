"""Verbs on the users of intake, and their list. Secrets never come here, only digests of them."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from mailagent.api import credentials, requests
from mailagent.api.credentials import CredentialList, CredentialView
from mailagent.api.errors import ApiError, InvalidRequest, NotFound, Refused, Unavailable
from mailagent.api.operations import OperationResult, Result
from mailagent.config.scalars import format_duration, is_host, parse_network, parse_rate
from mailagent.control.change import Change, Situation
from mailagent.control.effects import Caller
from mailagent.control.targets import near
from mailagent.intake.users import User, Users
from mailagent.spool.records import Credential, CredentialUse, Secret

MAX_USERS: Final = 10_000
MAX_OVERLAP_S: Final = 90 * 24 * 3600
MAX_LISTED: Final = 100
"""Streams, senders or networks of one scope."""
_USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")

Plan = Callable[[Situation], Change]
Verb = Callable[[Any, Caller], Awaitable[OperationResult]]


class Operations(Protocol):
    """Who executes a plan: control."""

    async def execute(self, verb: str, request: requests.Mutation, caller: Caller, plan: Plan) -> OperationResult:
        """Check, plan, and unless it is a dry run, do."""


class UserVerbs:
    """create, scope, rotate, revoke, list. Runs on the loop."""

    def __init__(
        self,
        users: Users,
        operations: Operations,
        stored: Callable[[], Awaitable[Iterable[tuple[Credential, CredentialUse]]]],
    ) -> None:
        """`stored` reads the users that are on disk."""
        self._users = users
        self._operations = operations
        self._stored = stored
        self._unsure = False  # the disk may hold something that is not in effect
        self._lock = asyncio.Lock()

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """The mutating methods, by wire name."""
        plans: dict[str, Callable[..., Change]] = {
            "credential_create": create,
            "credential_scope": scope,
            "credential_rotate": rotate,
            "credential_revoke": revoke,
        }
        return {name: partial(self._execute, name, plan) for name, plan in plans.items()}

    async def credentials(self, _: requests.Empty) -> CredentialList:
        """All users."""
        return CredentialList(rows=tuple(_view(user) for user in self._users.all()))

    async def _execute(self, verb: str, plan: Callable[..., Change], request: Any, caller: Caller) -> OperationResult:
        async with self._lock:
            if self._unsure:
                await self._load()
            self._unsure = True
            try:
                result = await self._do(verb, plan, request, caller)
            except ApiError as exc:
                self._unsure = isinstance(exc, Unavailable)
                raise
            self._unsure = False
            return result

    async def _do(self, verb: str, plan: Callable[..., Change], request: Any, caller: Caller) -> OperationResult:
        changed: list[Credential] = []

        def planned(at: Situation) -> Change:
            change = plan(at, request=request, users=self._users)
            changed.extend([change.credential] if change.credential is not None else [])
            return change

        result = await self._operations.execute(verb, request, caller, planned)
        if result.result is Result.APPLIED:
            if not changed:  # by an earlier call, of which we may not have heard the end
                await self._load()
            for credential in changed:
                self._users.put(credential)
        return result

    async def _load(self) -> None:
        for credential, _ in await self._stored():
            self._users.put(credential)


def create(at: Situation, *, request: credentials.CreateCredential, users: Users) -> Change:
    """A new user; one that was revoked may come back with another secret."""
    if not _USER.fullmatch(request.user):
        raise InvalidRequest("a user is 1 to 128 letters, digits and . _ @ + -, a letter or digit first")
    _check_digest(request.digest)
    _check_scope(at, request.scope)
    known = users.get(request.user)
    if known is not None and known.credential.revoked_at is None:
        raise Refused(f"{request.user} exists; rotate gives another secret, scope other rights")
    if known is None and len(users.all()) >= MAX_USERS:
        raise Refused(f"there are {MAX_USERS} users already")
    made = Credential(
        user=request.user,
        scope=request.scope,
        created_at=_ms(at.now),
        created_by=at.author,
        secrets=(Secret(digest=request.digest),),
        expires_at=_ms(at.now + timedelta(seconds=request.ttl_s)) if request.ttl_s is not None else None,
    )
    return _change(made, f"{request.user} may log in{_until(made)}")


def scope(at: Situation, *, request: credentials.ScopeCredential, users: Users) -> Change:
    """Other rights, and with ttl_s another end."""
    _check_scope(at, request.scope)
    old = _live(request.user, users)
    expires_at = _ms(at.now + timedelta(seconds=request.ttl_s)) if request.ttl_s is not None else old.expires_at
    new = msgspec.structs.replace(old, scope=request.scope, expires_at=expires_at)
    if new == old:
        return Change(detail=f"{request.user} has that scope already")
    return _change(new, f"{request.user} has another scope{_until(new)}; open sessions have it too")


def rotate(at: Situation, *, request: credentials.RotateCredential, users: Users) -> Change:
    """Another secret; the newest old one is good until the overlap ends, older ones are not."""
    _check_digest(request.digest)
    if not 0 <= request.overlap_s <= MAX_OVERLAP_S:
        most, asked = (format_duration(timedelta(seconds=one)) for one in (MAX_OVERLAP_S, request.overlap_s))
        raise InvalidRequest(f"the secret before is good for {most} more at most (--overlap), not for {asked}")
    old = _live(request.user, users)
    if any(secret.digest == request.digest for secret in old.secrets):
        raise InvalidRequest("that is the digest of a secret that the user has; make a new one")
    end = at.now + timedelta(seconds=request.overlap_s)
    kept = (msgspec.structs.replace(old.secrets[0], until=_ms(end)),) if request.overlap_s else ()
    until = (
        f", the one before is good until {end:%Y-%m-%d %H:%M} UTC" if kept else ", the one before is not good any more"
    )
    return _change(
        msgspec.structs.replace(old, secrets=(Secret(digest=request.digest), *kept)),
        f"{request.user} has a new secret{until}",
    )


def revoke(at: Situation, *, request: credentials.RevokeCredential, users: Users) -> Change:
    """Nobody is that user any more, in open sessions neither."""
    user = users.get(request.user)
    if user is not None and user.credential.revoked_at is not None:
        return Change(detail=f"{request.user} is revoked already")
    old = _live(request.user, users)
    return _change(
        msgspec.structs.replace(old, secrets=(), revoked_at=_ms(at.now)), f"{request.user} may not log in any more"
    )


def _change(credential: Credential, detail: str) -> Change:
    return Change(
        detail=detail, credential=credential, undoable=False, undo_note="secrets do not come back; make new ones"
    )


def _live(name: str, users: Users) -> Credential:
    user = users.get(name)
    if user is None or user.credential.revoked_at is not None:
        known = [one.name for one in users.all() if one.credential.revoked_at is None]
        raise NotFound(f"there is no user {name}{near(name, known)}")
    return user.credential


def _check_digest(digest: str) -> None:
    try:
        credentials.check_digest(digest)
    except ValueError as exc:
        raise InvalidRequest(str(exc)) from exc


def _check_scope(at: Situation, scope: credentials.Scope) -> None:
    for words in (scope.streams, scope.senders, scope.networks):
        if len(words) > MAX_LISTED:
            raise InvalidRequest(f"a scope lists at most {MAX_LISTED} of a kind")
    for stream in scope.streams:
        if stream not in at.config.streams:
            raise InvalidRequest(f"{stream} is no stream of this host{near(stream, at.config.streams)}")
    for domain in scope.senders:
        if domain != "<>" and not is_host(domain):
            raise InvalidRequest(f"`{domain}` is no sender domain; write news.example.com, or <> for bounces")
    try:
        for network in scope.networks:
            parse_network(network)
        if scope.rate:
            parse_rate(scope.rate)
    except ValueError as exc:
        raise InvalidRequest(str(exc)) from exc


def _until(credential: Credential) -> str:
    at = _time(credential.expires_at)
    return f" until {at:%Y-%m-%d %H:%M} UTC" if at is not None else ""


def _view(user: User) -> CredentialView:
    one = user.credential
    old = [secret.until for secret in one.secrets if secret.until is not None]
    return CredentialView(
        user=one.user,
        scope=one.scope,
        created_at=datetime.fromtimestamp(one.created_at / 1000, UTC),
        created_by=one.created_by,
        expires_at=_time(one.expires_at),
        revoked_at=_time(one.revoked_at),
        old_secret_until=_time(max(old, default=None)),
        last_used_at=_time(user.use.at or None),
        last_used_from=user.use.client,
    )


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _time(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
