"""MTA-STS policies of recipient domains: found by DNS, fetched by HTTPS, kept for as long as they say (RFC 8461)."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import msgspec

from mailagent.config.structs import Network
from mailagent.config.tls import MtaSts
from mailagent.delivery.https import HttpsFailed, public_address, request
from mailagent.delivery.sts import MAX_POLICY_BYTES, StsPolicy, announced_id, parse_policy
from mailagent.delivery.tls import TlsResult, verifying_context
from mailagent.dns import Failed, Found, Resolver

log = logging.getLogger(__name__)

FILE_NAME = "mta-sts.json"
MAX_DOMAINS = 50_000
"""Domains remembered with or without a policy."""
RECHECK_S = 3600.0
"""How long a domain's record is not looked at again; DNS keeps its own time beside."""
FAILURE_S = 300.0
"""The same after a policy could not be fetched (section 3.3 wants five minutes)."""
DNS_FAILURE_S = 60.0
REFRESH_S = 86_400.0
"""A policy older than this is fetched again while it still holds (section 10.2)."""
PATIENCE_S = 5.0
"""How long mail waits for the first fetch; then it goes as if there were no policy, and the fetch goes on."""
MAX_FETCHES = 256
"""Fetches under way or waiting; more are not begun."""
AT_A_TIME = 16
SAVE_DELAY_S = 5.0

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class _Known(msgspec.Struct):
    """What is known of a domain."""

    policy: StsPolicy | None = None
    fetched_at: float = 0.0  # wall clock: it must hold over a restart
    check_at: float = 0.0  # monotonic
    problem: TlsResult | None = None  # of the last fetch
    why: str = ""


class _Stored(msgspec.Struct, frozen=True):
    """One policy in the file."""

    domain: str
    fetched_at: float
    policy: StsPolicy


class StsFailed(Exception):
    """The policy could not be had; `result` is its name in reports (RFC 8460 section 4.3.2.2)."""

    def __init__(self, result: TlsResult, why: str) -> None:
        super().__init__(why)
        self.result = result


class StsBook:
    """All policies that this host knows. Methods run on the loop."""

    def __init__(
        self,
        config: MtaSts,
        resolver: Resolver,
        spawn: Spawn,
        directory: Path,
        allowed: Iterable[Network] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Policies of an earlier run are taken over from `directory`."""
        self._resolver = resolver
        self._spawn = spawn
        self._file = directory / FILE_NAME
        self._clock = clock
        self._wall = wall
        self._known: dict[str, _Known] = {}
        self._fetches: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_A_TIME)
        self._dirty = self._saving = False
        self.configure(config, allowed)
        self._load()

    def configure(self, config: MtaSts, allowed: Iterable[Network]) -> None:
        """Fetch in this way from now on; `allowed` are local networks where policy hosts may be."""
        self.enabled = config.enabled
        self._config = config
        self._allowed = tuple(allowed)
        self._context: ssl.SSLContext | None = None

    # -- what routing asks ---------------------------------------------------------------------------------------

    def knows(self, domain: str) -> bool:
        """Whether there is nothing to ask about `domain` now."""
        known = self._known.get(domain)
        return known is not None and known.check_at > self._clock()

    def policy(self, domain: str) -> StsPolicy | None:
        """The policy of `domain` that holds now, if one is known."""
        known = self._known.get(domain)
        if known is None or known.policy is None:
            return None
        return known.policy if self._wall() < known.fetched_at + known.policy.max_age_s else None

    def problem(self, domain: str) -> tuple[TlsResult, str] | None:
        """Why the policy that `domain` announces could not be had, if so."""
        known = self._known.get(domain)
        return (known.problem, known.why) if known is not None and known.problem is not None else None

    async def discover(self, domain: str) -> None:
        """Ask DNS about `domain`, and fetch its policy when there is a new one.

        Returns within PATIENCE_S of the answer of DNS. A policy that holds goes on holding when the record is gone, or
        when a new one cannot be fetched (sections 3.3 and 5.1).
        """
        if self.knows(domain):
            return
        answer = await self._resolver.txt(f"_mta-sts.{domain}")
        now = self._clock()
        known = self._entry(domain)
        if isinstance(answer, Failed):
            known.check_at = now + DNS_FAILURE_S
            return
        policy_id = announced_id(answer.records) if isinstance(answer, Found) else None
        known.check_at = now + RECHECK_S
        if policy_id is None:
            known.problem = None
            return
        current = self.policy(domain)
        if current is not None and current.id == policy_id:
            if self._wall() - known.fetched_at > REFRESH_S:
                self._fetch(domain, policy_id)
            return
        task = self._fetch(domain, policy_id)
        if task is None:
            known.check_at = now + DNS_FAILURE_S
            return
        await asyncio.wait((task,), timeout=PATIENCE_S)

    # -- fetching ------------------------------------------------------------------------------------------------

    def _entry(self, domain: str) -> _Known:
        known = self._known.get(domain)
        if known is None:
            if len(self._known) >= MAX_DOMAINS:
                self._forget()
            known = self._known[domain] = _Known()
        return known

    def _forget(self) -> None:
        """Make room: first for domains without a policy, the oldest of them."""
        idle = [domain for domain, known in self._known.items() if known.policy is None]
        for domain in (idle or list(self._known))[: MAX_DOMAINS // 10]:
            del self._known[domain]

    def _fetch(self, domain: str, policy_id: str) -> asyncio.Task[None] | None:
        task = self._fetches.get(domain)
        if task is None and len(self._fetches) < MAX_FETCHES:
            task = self._fetches[domain] = self._spawn(self._fetched(domain, policy_id), f"mta-sts:{domain}")
            task.add_done_callback(lambda _: self._fetches.pop(domain, None))
        return task

    async def _fetched(self, domain: str, policy_id: str) -> None:
        try:
            async with self._slots:
                policy = await self._get(domain, policy_id)
        except StsFailed as exc:
            known = self._entry(domain)
            known.problem, known.why = exc.result, str(exc)
            known.check_at = self._clock() + FAILURE_S
            log.info("mta-sts policy not fetched domain=%s result=%s why=%s", domain, exc.result, exc)
            return
        known = self._entry(domain)
        known.policy, known.fetched_at, known.problem = policy, self._wall(), None
        self._dirty = True
        if not self._saving:
            self._saving = True
            self._spawn(self._save_soon(), "mta-sts:save")

    async def _get(self, domain: str, policy_id: str) -> StsPolicy:
        host = f"mta-sts.{domain}"
        address = await public_address(self._resolver, host, self._allowed)
        if address is None:
            raise StsFailed(TlsResult.STS_POLICY_FETCH_ERROR, f"{host} has no public address")
        try:
            if self._context is None:
                self._context = await asyncio.to_thread(verifying_context, self._config.ca_file)
            answer = await request(
                "GET",
                host,
                "/.well-known/mta-sts.txt",
                address=str(address),
                port=self._config.port,
                context=self._context,
                timeout_s=self._config.timeout.total_seconds(),
                max_bytes=MAX_POLICY_BYTES,
            )
        except HttpsFailed as exc:
            refused = isinstance(exc.__cause__, ssl.SSLCertVerificationError)
            result = TlsResult.STS_WEBPKI_INVALID if refused else TlsResult.STS_POLICY_FETCH_ERROR
            raise StsFailed(result, str(exc)) from exc
        except OSError as exc:
            raise StsFailed(TlsResult.STS_POLICY_FETCH_ERROR, f"tls.mta_sts.ca_file: {exc}") from exc
        if answer.status != 200:  # redirects must not be followed (section 3.3)
            raise StsFailed(TlsResult.STS_POLICY_FETCH_ERROR, f"{host}: status {answer.status}")
        if answer.content_type != "text/plain":
            raise StsFailed(TlsResult.STS_POLICY_FETCH_ERROR, f"{host}: {answer.content_type!r} is not text/plain")
        try:
            return parse_policy(answer.body, policy_id)
        except ValueError as exc:
            raise StsFailed(TlsResult.STS_POLICY_INVALID, f"{host}: {exc}") from exc

    # -- the file ------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        try:
            stored = msgspec.json.decode(self._file.read_bytes(), type=list[_Stored])
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as exc:
            log.warning("mta-sts policies of the last run not read file=%s error=%s", self._file, exc)
            return
        for one in stored[:MAX_DOMAINS]:
            self._known[one.domain] = _Known(policy=one.policy, fetched_at=one.fetched_at)

    async def _save_soon(self) -> None:
        try:
            await asyncio.sleep(SAVE_DELAY_S)
            await self.save()
        finally:
            self._saving = False

    async def save(self) -> None:
        """Write what changed since the last time."""
        if not self._dirty:
            return
        self._dirty = False
        stored = [
            _Stored(domain, known.fetched_at, known.policy)
            for domain, known in self._known.items()
            if known.policy is not None and self.policy(domain) is not None
        ]
        try:
            await asyncio.to_thread(_write, self._file, stored)
        except OSError as exc:
            self._dirty = True
            log.warning("mta-sts policies not written file=%s error=%s", self._file, exc)


def _write(file: Path, stored: list[_Stored]) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(stored))
    part.replace(file)
