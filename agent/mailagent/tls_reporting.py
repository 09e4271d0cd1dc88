"""Once a day, what TLS came to: reports to the domains that ask for them (RFC 8460)."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID

import msgspec

from mailagent.api.smtp import SmtpReply
from mailagent.config.structs import AgentConfig
from mailagent.delivery import TlsPolicies
from mailagent.delivery.https import HttpsFailed, public_address, request
from mailagent.delivery.tally import Counts, Tally
from mailagent.delivery.tls import verifying_context
from mailagent.dns import Failed, Found, Resolver
from mailagent.intake.submission import Submission
from mailagent.outcome.tls_report import Post, compressed, destinations, report, report_mail

log = logging.getLogger(__name__)

FILE_NAME = "tls-reports.json"
PASS_S = 60.0
SAVE_PASSES = 10
SPREAD_S = 14_400.0
"""Reports leave at a random time in the first hours after midnight (UTC), so that not all meet a receiver at once."""
RETRY_S = 3600.0
MAX_TRIES = 24
POST_TIMEOUT_S = 60.0
MAX_ANSWER_BYTES = 65_536
_DAY = timedelta(days=1)


class Due(msgspec.Struct):
    """One report that is not delivered yet."""

    id: str
    domain: str
    begin: datetime
    content: bytes
    next_try: float
    tries: int = 0
    done: list[str] = []  # destinations that have it


class _Stored(msgspec.Struct):
    """What survives a restart."""

    day: str  # 2030-01-31, UTC
    counts: list[Counts]
    due: list[Due]


class TlsReporting:
    """Keeps the day, makes the reports, and hands them in or posts them; idle unless `tls.reports` is filled in."""

    def __init__(
        self,
        config: AgentConfig,
        policies: TlsPolicies,
        resolver: Resolver,
        submit: Callable[[Submission, Callable[[SmtpReply], None]], None],
        *,
        clock: Callable[[], float] = time.time,
        random: Random | None = None,
    ) -> None:
        """`submit` takes a mail into our own queue, as that of a client."""
        self._resolver = resolver
        self._submit = submit
        self._clock = clock
        self._random = random or Random()
        self._file = config.state_dir / FILE_NAME
        self._day = self._today()
        self._due: list[Due] = []
        self.configure(config, policies)
        if policies.contact:
            self._load()

    def configure(self, config: AgentConfig, policies: TlsPolicies) -> None:
        """Report so from now on."""
        self._config = config
        self._policies = policies

    async def run(self) -> None:
        """Look once a minute, for as long as the agent runs."""
        passes = 0
        while True:
            if self._policies.contact:
                passes += 1
                try:
                    await self.look()
                except Exception:
                    log.exception("tls reports not looked after; next try in a minute")
                if passes % SAVE_PASSES == 0:
                    await self.save()
            await asyncio.sleep(PASS_S)

    async def look(self) -> None:
        """Close the day when it is over, and send what is due."""
        if self._today() != self._day:
            self._close_day()
            await self.save()
        now = self._clock()
        for one in [one for one in self._due if one.next_try <= now]:
            try:
                delivered = await self._deliver(one)
            except Exception:  # of this one: the others go on
                log.exception("tls report not delivered domain=%s", one.domain)
                delivered = False
            if delivered:
                self._due.remove(one)
            else:
                one.tries += 1
                one.next_try = now + RETRY_S
                if one.tries >= MAX_TRIES:
                    self._due.remove(one)
                    log.warning("tls report given up domain=%s tries=%d", one.domain, one.tries)

    async def save(self) -> None:
        """Write the counts and what is due."""
        if not self._policies.contact:
            return
        stored = _Stored(self._day, list(self._policies.tally), self._due)
        try:
            await asyncio.to_thread(_write, self._file, msgspec.json.encode(stored))
        except OSError as exc:
            log.warning("tls reports not written file=%s error=%s", self._file, exc)

    # -- inside --------------------------------------------------------------------------------------------------

    def _today(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%d")

    def _load(self) -> None:
        try:
            stored = msgspec.json.decode(self._file.read_bytes(), type=_Stored)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as exc:
            log.warning("tls reports of the last run not read file=%s error=%s", self._file, exc)
            return
        self._day, self._due = stored.day, stored.due
        self._policies.tally = Tally(tuple(stored.counts))

    def _close_day(self) -> None:
        """One report for each domain of the day that is over."""
        begin = datetime.strptime(self._day, "%Y-%m-%d").replace(tzinfo=UTC)
        by_domain: dict[str, list[Counts]] = {}
        for row in self._policies.tally:
            by_domain.setdefault(row.domain, []).append(row)
        reports = self._config.tls.reports
        for domain, rows in by_domain.items():
            unique = UUID(int=self._random.getrandbits(128), version=4)
            id = f"{self._day}.{unique}@{reports.contact.rpartition('@')[2]}"
            content = report(
                rows,
                organization=reports.organization,
                contact=reports.contact,
                domain=domain,
                begin=begin,
                end=begin + _DAY - timedelta(seconds=1),
                id=id,
            )
            at = self._clock() + self._random.random() * SPREAD_S
            self._due.append(Due(id=id, domain=domain, begin=begin, content=content, next_try=at))
        self._policies.tally = Tally()
        self._day = self._today()

    async def _deliver(self, one: Due) -> bool:
        """Whether nothing is left to do about `one`."""
        answer = await self._resolver.txt(f"_smtp._tls.{one.domain}")
        if isinstance(answer, Failed):
            return False
        wanted = destinations(answer.records) if isinstance(answer, Found) else ()
        complete = True
        for destination in wanted:
            name = str(destination)
            if name in one.done:
                continue
            problem = await (self._post(destination, one) if isinstance(destination, Post) else self._mail(name, one))
            if problem:
                complete = False
                log.info("tls report not delivered domain=%s to=%s why=%s", one.domain, name, problem)
            else:
                one.done.append(name)
                log.info("tls report sent domain=%s to=%s id=%s", one.domain, name, one.id)
        return complete

    async def _mail(self, to: str, one: Due) -> str:
        """Why the mail was not taken, if so."""
        reports = self._config.tls.reports
        now = datetime.fromtimestamp(self._clock(), UTC)
        end = one.begin + _DAY - timedelta(seconds=1)
        fields, content = report_mail(
            one.content,
            contact=reports.contact,
            to=to,
            domain=one.domain,
            begin=one.begin,
            end=end,
            id=one.id,
            now=now,
        )
        hostname = self._config.intake.hostname or self._config.host
        submission = Submission(
            sender=reports.contact.encode("ascii"),
            recipients=(to.encode("ascii"),),
            body=content,
            plain=b"\r\n." not in content,
            eightbit=False,
            headers={key.lower().encode(): value.encode() for key, value in fields.items()},
            job="",
            virtual_mta=reports.stream,
            client="127.0.0.1",
            helo=hostname,
            hops=0,
        )
        self._policies.reported.add(submission.recipients[0])
        taken: asyncio.Future[SmtpReply] = asyncio.get_running_loop().create_future()
        self._submit(submission, lambda reply: None if taken.done() else taken.set_result(reply))
        reply = await taken
        return "" if reply.is_success else reply.line()

    async def _post(self, to: Post, one: Due) -> str:
        """Why the server did not take it, if so."""
        address = await public_address(self._resolver, to.host, self._config.delivery.allow_networks)
        if address is None:
            return f"{to.host} has no public address"
        try:
            context = await asyncio.to_thread(verifying_context, self._config.tls.mta_sts.ca_file)
            answer = await request(
                "POST",
                to.host,
                to.path,
                address=str(address),
                port=to.port,
                context=context,
                timeout_s=POST_TIMEOUT_S,
                max_bytes=MAX_ANSWER_BYTES,
                headers={"Content-Type": "application/tlsrpt+gzip"},
                body=compressed(one.content),
            )
        except (HttpsFailed, OSError) as exc:
            return str(exc)
        return "" if 200 <= answer.status < 300 else f"status {answer.status}"


def _write(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(content)
    part.replace(file)
