"""Who logs in: users in memory, secrets verified off the loop, and what each user may do.

Secrets are hashed with scrypt, which is slow by intent. What was found good is remembered for a while (as a keyed hash
under a key of this process), so that a busy client pays once; each use still looks at what the user may do now.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network

from mailagent.api import credentials
from mailagent.api.domains import folded_domain
from mailagent.api.smtp import SmtpReply
from mailagent.config.scalars import parse_rate
from mailagent.intake.clients import client_group
from mailagent.intake.sasl import Login
from mailagent.spool.records import Credential, CredentialUse

REMEMBERED_S = 300.0
"""How long a verified secret is good without another look at its digest."""
REMEMBERED = 4096
FAILURES = 10
"""Failed logins that one client has free ..."""
FORGIVE_S = 60.0
"""... and the time after which one of them is forgotten."""
CLIENTS = 10_000
AT_ONCE = 2
QUEUED = 64
"""Logins that wait for a thread; the ones after are sent away for a moment."""
BURST_S = 10.0
"""A user's rate lets through what comes in so long at once."""

log = logging.getLogger(__name__)

BAD = SmtpReply(code=535, enhanced="5.7.8", text="Authentication credentials invalid", local=True)
_TOO_MANY = SmtpReply(code=454, enhanced="4.7.0", text="Too many failed logins from your address, wait", local=True)
_BUSY = SmtpReply(code=454, enhanced="4.7.0", text="Too many logins at once, try again", local=True)
_GONE = SmtpReply(code=530, enhanced="5.7.0", text="Your credentials are no longer valid, log in again", local=True)

_NOBODY = credentials.digest("")
"""Hashed when there is no such user, so that the time of an answer tells nothing."""


class User:
    """One user as sessions see it; it changes under them when a verb changes it."""

    def __init__(self, credential: Credential, use: CredentialUse, clock: Callable[[], float]) -> None:
        self.use = use
        self._clock = clock
        self._next_at = 0.0  # of the rate
        self.change(credential)

    def change(self, credential: Credential) -> None:
        """Be what `credential` says from now on."""
        self.credential = credential
        self.name = credential.user
        self.streams = credential.scope.streams
        self._senders = frozenset(domain.lower().encode() for domain in credential.scope.senders)
        self._networks = tuple(ip_network(text) for text in credential.scope.networks)
        rate = parse_rate(credential.scope.rate) if credential.scope.rate else None
        self._interval_s = rate.interval_s if rate is not None else 0.0

    def is_good(self) -> bool:
        """Whether the user may do anything at all now."""
        one, now = self.credential, self._clock() * 1000
        return one.revoked_at is None and (one.expires_at is None or now < one.expires_at)

    def digests(self) -> list[str]:
        """Of the secrets that are good now, the newest first."""
        now = self._clock() * 1000
        return [secret.digest for secret in self.credential.secrets if secret.until is None or now < secret.until]

    def may_come_from(self, client: str) -> bool:
        """Whether `client` lies in the user's networks."""
        address = ip_address(client)
        return not self._networks or any(address in network for network in self._networks)

    def refusal(self, sender: bytes) -> SmtpReply | None:
        """Why the user may not send a message from `sender` now; None: go on, and the message counts."""
        if not self.is_good():
            return _GONE
        if self._senders and _domain(sender) not in self._senders:
            domain = sender.rpartition(b"@")[2].decode("ascii", "replace") or "<>"
            return _mail(550, "5.7.1", f"{self.name} may not send from {domain}")
        if self._interval_s:
            now = self._clock()
            if self._next_at - now > max(BURST_S, self._interval_s):
                return _mail(450, "4.7.1", f"{self.name} has used up its rate of {self.credential.scope.rate}")
            self._next_at = max(self._next_at, now) + self._interval_s
        return None


class Users:
    """All users of this host. Runs on the loop; hashing runs in threads of its own."""

    def __init__(
        self, found: Iterable[tuple[Credential, CredentialUse]], clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._users = {credential.user: User(credential, use, clock) for credential, use in found}
        self._threads = ThreadPoolExecutor(AT_ONCE, "login")
        self._verifying = 0
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, tuple[str, float]] = OrderedDict()  # of (user, secret) -> digest, until
        self._failures: OrderedDict[str, float] = OrderedDict()  # client -> when all its failures are forgiven
        self._used: dict[str, CredentialUse] = {}

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- for verbs

    def all(self) -> list[User]:
        """By name."""
        return [self._users[name] for name in sorted(self._users)]

    def get(self, name: str) -> User | None:
        """The user of that name."""
        return self._users.get(name)

    def put(self, credential: Credential) -> None:
        """A new or changed one, as it is on disk now."""
        user = self._users.get(credential.user)
        if user is None:
            self._users[credential.user] = User(credential, CredentialUse(credential.user, 0, ""), self._clock)
        else:
            user.change(credential)

    def take_uses(self) -> list[CredentialUse]:
        """Last uses that were not taken yet, for the disk."""
        taken, self._used = list(self._used.values()), {}
        return taken

    # -- for sessions

    def authenticate(self, login: Login, client: str, done: Callable[[User | SmtpReply], None]) -> None:
        """Verify `login`; `done` is called once, maybe at once, on the loop."""
        user = self._users.get(login.user)
        key = hashlib.blake2b(f"{login.user}\0{login.secret}".encode(), key=self._key, digest_size=16).digest()
        now = self._clock()
        digest, until = self._good.get(key, ("", 0.0))
        if user is not None and now < until and any(hmac.compare_digest(digest, one) for one in user.digests()):
            done(self._judge(login, user, client))
        elif self._failures.get(client_group(client), 0.0) - now > FORGIVE_S * (FAILURES - 1):
            done(_TOO_MANY)
        elif self._verifying >= QUEUED:
            done(_BUSY)
        else:
            self._verifying += 1
            digests = user.digests() if user is not None else []
            task = asyncio.get_running_loop().run_in_executor(self._threads, _first_match, login.secret, digests)
            task.add_done_callback(lambda found: self._verified(found, key, login, client, done))

    def _verified(
        self,
        found: "asyncio.Future[str | None]",
        key: bytes,
        login: Login,
        client: str,
        done: Callable[[User | SmtpReply], None],
    ) -> None:
        self._verifying -= 1
        if found.cancelled():
            done(_BUSY)
            return
        error = found.exception()
        if error is not None:
            log.error("login not verified client=%s user=%r", client, login.user[:80], exc_info=error)
            done(_BUSY)
            return
        user = self._users.get(login.user)
        digest = found.result()
        if digest is None or user is None or digest not in user.digests():
            self._failed(login, client, "no such user or a wrong secret")
            done(BAD)
            return
        self._good[key] = (digest, self._clock() + REMEMBERED_S)
        if len(self._good) > REMEMBERED:
            self._good.popitem(last=False)
        done(self._judge(login, user, client))

    def _judge(self, login: Login, user: User, client: str) -> User | SmtpReply:
        """The secret is right: whether the user may come."""
        why = "revoked or expired" if not user.is_good() else "" if user.may_come_from(client) else "not from there"
        if why:
            self._failed(login, client, why)
            return BAD
        user.use = self._used[user.name] = CredentialUse(user.name, int(self._clock() * 1000), client)
        return user

    def _failed(self, login: Login, client: str, why: str) -> None:
        log.info("login refused client=%s user=%r: %s", client, login.user[:80], why)
        group = client_group(client)
        until = max(self._failures.pop(group, 0.0), self._clock()) + FORGIVE_S
        self._failures[group] = until
        if len(self._failures) > CLIENTS:
            self._failures.popitem(last=False)


def _domain(sender: bytes) -> bytes:
    """The domain of a sender, in A-labels; of the null sender `<>`."""
    domain = sender.rpartition(b"@")[2].lower()
    if not domain.isascii():
        domain = folded_domain(domain.decode("utf-8", "backslashreplace")).encode("ascii", "backslashreplace")
    return domain or b"<>"


def _first_match(secret: str, digests: list[str]) -> str | None:
    for digest in digests or [_NOBODY]:
        if credentials.matches(secret, digest) and digests:
            return digest
    return None


def _mail(code: int, enhanced: str, text: str) -> SmtpReply:
    return SmtpReply(code=code, enhanced=enhanced, text=text, local=True)
