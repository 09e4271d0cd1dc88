"""Which TLS each peer must do: by route, provider and DNS; and which peers are known not to manage it."""

import asyncio
import logging
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from mailagent.api.ids import SiteName
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.config.structs import AgentConfig, RouteAuth
from mailagent.config.tls import TlsMode
from mailagent.delivery.broken import BrokenTls
from mailagent.delivery.connection import Connection
from mailagent.delivery.dane import DaneCheck, presentation, usable
from mailagent.delivery.errors import ConnectFailed
from mailagent.delivery.sts import StsMode, StsPolicy
from mailagent.delivery.sts_book import Spawn, StsBook
from mailagent.delivery.tally import NO_POLICY, Applied, Failure, Tally
from mailagent.delivery.tls import (
    CLEAR,
    Level,
    PolicyType,
    Step,
    TlsFailed,
    TlsResult,
    encrypting_context,
    tls_reply,
    verifying_context,
)
from mailagent.delivery.transaction import Transaction
from mailagent.dns import Failed, Found, Resolver, ascii_domain
from mailagent.routing.providers import DEFAULT_PROVIDER
from mailagent.routing.rollup import Hop, Site

log = logging.getLogger(__name__)

MAX_STS_SITES = 20_000
"""Sites remembered that a domain with an MTA-STS policy uses."""
_STRICTNESS = (TlsMode.OFF, TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED, TlsMode.VERIFY, TlsMode.IMPLICIT)
_FLOORS = {
    TlsMode.OPPORTUNISTIC: Level.CLEAR,
    TlsMode.REQUIRED: Level.ENCRYPTED,
    TlsMode.VERIFY: Level.VERIFIED,
    TlsMode.IMPLICIT: Level.VERIFIED,
}


def domain_of(recipient: bytes) -> str:
    """The domain of an address, lower case, in A-labels where it has any."""
    domain = recipient.rpartition(b"@")[2].decode("utf-8", "replace").lower().rstrip(".")
    if domain.isascii():
        return domain
    try:
        return ascii_domain(domain)
    except ValueError:
        return domain


class TlsPolicies:
    """What one configuration, and what recipient domains publish, ask for.

    Domains with one set of MX hosts share connections, and only some may have an MTA-STS policy. So connections to a
    site that one of them uses are verified where that works, and each message of theirs is held back from those that
    are not (a `mailagent.delivery.connection.Guard`).
    """

    def __init__(
        self,
        config: AgentConfig,
        resolver: Resolver,
        spawn: Spawn,
        *,
        before: "TlsPolicies | None" = None,
    ) -> None:
        """After a reload, `before` is what was in effect: what it has learned goes on."""
        self._resolver = resolver
        self._mode = config.tls.mode
        self._ca_file = config.tls.ca_file
        self._remember_s = config.tls.remember_broken.total_seconds()
        self._providers = {name: one.tls for name, one in config.providers.items() if one.tls is not None}
        self._routes: dict[str, TlsMode | None] = {}
        self._accounts: dict[str, RouteAuth] = {}
        for route in config.routes:
            name = str(route.to)
            if name not in self._routes and route.auth is not None:
                self._accounts[name] = route.auth
            self._routes.setdefault(name, route.tls)
        self._rollups: dict[str, TlsMode] = {}
        for domain, block in config.domains.items():
            if block.tls is not None:
                rollup = block.rollup_of(domain)
                self._rollups[rollup] = max(block.tls, self._rollups.get(rollup, block.tls), key=_STRICTNESS.index)
        self.contact = config.tls.reports.contact.encode()
        """Sender of TLS reports; empty: there are none, and nothing is counted."""
        self.reported: set[bytes] = set() if before is None else before.reported
        """Who got TLS reports by mail since the agent started."""
        self._verifying: ssl.SSLContext | None = None
        self.encrypting = encrypting_context()
        if before is None:
            self.broken = BrokenTls()
            self.sts = StsBook(config.tls.mta_sts, resolver, spawn, config.state_dir, config.delivery.allow_networks)
            self._sites: OrderedDict[SiteName, StsPolicy] = OrderedDict()
            self.tally = Tally()
        else:
            self.broken, self.sts, self._sites, self.tally = before.broken, before.sts, before._sites, before.tally
            self.sts.configure(config.tls.mta_sts, config.delivery.allow_networks)

    async def close(self) -> None:
        """Write down what was learned."""
        await self.sts.save()

    # -- what routing tells and asks (its Discovery) -------------------------------------------------------------

    def knows(self, domain: str) -> bool:
        """Whether nothing has to be found out about `domain` before its mail goes."""
        return not self.sts.enabled or self.sts.knows(domain)

    async def discover(self, domain: str) -> None:
        """Find out what `domain` asks for."""
        if self.sts.enabled:
            await self.sts.discover(domain)

    def found(self, domain: str, site: Site) -> None:
        """Mail to `domain` goes to `site`."""
        policy = self.sts.policy(domain) if self.sts.enabled else None
        if policy is not None and policy.mode is not StsMode.NONE:
            self.mark(site.name, policy)

    def mark(self, site: SiteName, policy: StsPolicy) -> None:
        """A domain with `policy` uses `site`."""
        self._sites[site] = policy
        self._sites.move_to_end(site)
        if len(self._sites) > MAX_STS_SITES:
            self._sites.popitem(last=False)

    # -- what connections ask ------------------------------------------------------------------------------------

    def objection(self, connection: Connection, domain: str) -> SmtpReply | None:
        """Why mail to `domain` may not go over `connection`: its MTA-STS policy (RFC 8461 section 5)."""
        policy = self.sts.policy(domain)
        if policy is None or policy.mode is not StsMode.ENFORCE or connection.level is Level.DANE:
            return None
        if not policy.names(connection.mx):
            why = f"{connection.mx} is none of the hosts in the MTA-STS policy of {domain}"
        elif connection.level < Level.VERIFIED:
            why = f"the MTA-STS policy of {domain} wants TLS with a valid certificate of {connection.mx}"
        else:
            return None
        return SmtpReply(code=451, enhanced="4.7.10", text=why, verb=Verb.STARTTLS, local=True)

    def towards(self, site: Site, recipient: bytes = b"") -> "Towards":
        """What connections to `site` must be; failures are counted for the domain of `recipient`, who is next."""
        if site.next_hop is None:
            domain = domain_of(recipient) if recipient and self.contact else ""
            return Towards(self, self.mode(site), site=site.name, sts=self._sites.get(site.name), domain=domain)
        return Towards(self, self.mode(site), is_route=True, auth=self._accounts.get(site.name))

    def mode(self, site: Site) -> TlsMode:
        """What the configuration says about `site`: its route, domain block or provider, else `default`, `tls.mode`."""
        if site.next_hop is not None:
            return self._routes.get(site.name) or self._mode
        return (
            (self._rollups.get(site.rollup) if site.rollup else None)
            or self._providers.get(site.provider)
            or self._providers.get(DEFAULT_PROVIDER)
            or self._mode
        )

    async def verifying(self, hop: Hop) -> ssl.SSLContext:
        """The context that checks certificates. Raises ConnectFailed when the authorities cannot be read."""
        if self._verifying is None:
            try:
                self._verifying = await asyncio.to_thread(verifying_context, self._ca_file)
            except OSError as exc:
                raise ConnectFailed(tls_reply(_unreadable(self._ca_file, exc), enhanced="4.3.5"), hop) from exc
        return self._verifying

    async def dane(self, hop: Hop) -> Step | None:
        """What the TLSA records of `hop` ask for; None when it has none (RFC 7672 section 2.2).

        They count when a validating resolver of ours says that they, and the host's addresses, are secure. Where they
        cannot be known the host gets no mail: an attacker could have hidden them.

        Raises:
            TlsFailed: DNS failed.
        """
        if not self._resolver.validating:
            return None
        addresses = await self._resolver.addresses(hop.mx, version=hop.address.version)
        if isinstance(addresses, Failed):
            raise _unknown(hop, addresses)
        if not (isinstance(addresses, Found) and addresses.secure):
            return None
        for base in filter(None, (addresses.canonical, hop.mx)):
            answer = await self._resolver.tlsa(f"_{hop.port}._tcp.{base}")
            if isinstance(answer, Failed):
                raise _unknown(hop, answer)
            if isinstance(answer, Found) and answer.secure:
                records = usable(answer.records)
                if not records:  # they promise TLS, and name nobody (RFC 7672 section 2.2)
                    return Step(Level.ENCRYPTED, floor=Level.ENCRYPTED, context=self.encrypting, policy=PolicyType.TLSA)
                check = DaneCheck(records, tuple(dict.fromkeys((base, hop.mx))))
                return Step(
                    Level.DANE,
                    floor=Level.DANE,
                    context=self.encrypting,
                    check=check,
                    name=base,
                    policy=PolicyType.TLSA,
                )
        return None

    def remember(self, hop: Hop, failure: TlsFailed) -> None:
        """The handshake with `hop` failed, and mail may go in clear."""
        self.broken.add(hop, self._remember_s)
        log.info("tls broken peer=%s result=%s", hop, failure.result)


def _unknown(hop: Hop, answer: Failed) -> TlsFailed:
    text = f"{hop}: no mail while its TLSA records cannot be looked up: {answer.reason}"
    return TlsFailed(tls_reply(text, enhanced="4.7.5"), hop, TlsResult.DNSSEC_INVALID)


def _applied(step: Step) -> Applied:
    """What `step` obeys, as reports show it; the lines of an MTA-STS policy are the domain's, and unknown here."""
    records = step.check.records if isinstance(step.check, DaneCheck) else ()
    return Applied(step.policy, tuple(map(presentation, records)))


def _unreadable(ca_file: Path | None, exc: OSError) -> str:
    return f"tls.ca_file {ca_file} cannot be used: {exc.strerror or exc}"


class Towards:
    """The way to one site's hosts; a `mailagent.delivery.connect.Security`."""

    def __init__(
        self,
        policies: TlsPolicies,
        mode: TlsMode,
        *,
        site: SiteName | None = None,
        sts: StsPolicy | None = None,
        is_route: bool = False,
        auth: RouteAuth | None = None,
        domain: str = "",
    ) -> None:
        self._policies = policies
        self._mode = mode
        self._site = site
        self._sts = sts
        self._is_route = is_route
        self._auth = auth
        self._domain = domain
        self._step = CLEAR
        self._failure: TlsFailed | None = None

    def ordered(self, path: Sequence[Hop]) -> Sequence[Hop]:
        """`path`, hosts that an MTA-STS policy names first."""
        policy = self._sts
        return path if policy is None else sorted(path, key=lambda hop: not policy.names(hop.mx))

    async def first(self, hop: Hop) -> Step:
        """How to try `hop`. Raises ConnectFailed."""
        self._step, self._failure = CLEAR, None
        try:
            self._step = await self._first(hop)
        except TlsFailed as exc:
            self._count(hop, Applied(PolicyType.TLSA), exc)
            raise
        return self._step

    async def _first(self, hop: Hop) -> Step:
        policies, mode = self._policies, self._mode
        if self._auth is not None:  # no credential goes to a host that has not proven its name
            context = await policies.verifying(hop)
            implicit = mode is TlsMode.IMPLICIT
            return Step(Level.VERIFIED, floor=Level.VERIFIED, context=context, implicit=implicit, auth=self._auth)
        if mode is TlsMode.OFF:
            return CLEAR
        if not self._is_route:
            step = await policies.dane(hop)
            if step is not None and (step.level is Level.DANE or mode is not TlsMode.VERIFY):
                return step
        floor = _FLOORS[mode]
        if floor is Level.VERIFIED:
            context = await policies.verifying(hop)
            return Step(Level.VERIFIED, floor=floor, context=context, implicit=mode is TlsMode.IMPLICIT)
        if self._sts is not None:  # some domain of the site wants it; which hosts it names is asked per message
            return Step(Level.VERIFIED, floor=floor, context=await policies.verifying(hop), policy=PolicyType.STS)
        if floor is Level.CLEAR and hop in policies.broken:
            return CLEAR
        return Step(Level.ENCRYPTED, floor=floor, context=policies.encrypting)

    def failed(self, hop: Hop, step: Step, failure: TlsFailed) -> Step | None:
        """What to try next with `hop`; a peer that cannot do TLS is remembered."""
        following = step.after(failure, self._policies.encrypting)
        if following is None:
            self._count(hop, _applied(step), failure)
            return None
        if following is CLEAR:
            self._policies.remember(hop, failure)
        self._step, self._failure = following, failure
        return following

    def stands(self, connection: Connection) -> None:
        """`connection` is about to get mail."""
        policies = self._policies
        if (policies.sts.enabled or policies.contact) and not self._is_route and self._mode is not TlsMode.OFF:
            connection.guard = _Watch(policies, self._site, self._step, self._failure)

    def _count(self, hop: Hop, applied: Applied, failure: TlsFailed) -> None:
        if self._policies.contact:
            kind = Failure(failure.result, "", hop.mx, str(hop.address), failure.reply.text)
            self._policies.tally.failure(self._domain, applied, kind)


class _Watch:
    """Looks at the messages that go over one connection: a `mailagent.delivery.connection.Guard`."""

    __slots__ = ("_failure", "_policies", "_seen", "_site", "_step", "is_outgrown")

    def __init__(self, policies: TlsPolicies, site: SiteName | None, step: Step, failure: TlsFailed | None) -> None:
        self._policies = policies
        self._site = site
        self.is_outgrown = False
        """It was opened before a domain with a policy used the site, and its certificate was never asked for."""
        self._step = step
        self._failure = failure  # what was tried before
        self._seen: set[str] = set()  # domains counted

    def refusal(self, connection: Connection, transaction: Transaction) -> SmtpReply | None:
        """Why `transaction` may not go over `connection`, if so."""
        policies = self._policies
        if transaction.sender == policies.contact and transaction.recipients[0] in policies.reported:
            return None  # a report about broken TLS must arrive in spite of it, and is not counted (RFC 8460 section 3)
        domain = domain_of(transaction.recipients[0])
        objection = policies.objection(connection, domain) if policies.sts.enabled else None
        if objection is not None and self._step.policy is PolicyType.NONE and self._failure is None:
            policy = policies.sts.policy(domain)
            if policy is not None and self._site is not None and policy.names(connection.mx):
                policies.mark(self._site, policy)
                self.is_outgrown = True
                return objection
        if policies.contact and domain not in self._seen:
            self._seen.add(domain)
            self._count(connection, domain)
        return objection

    def _count(self, connection: Connection, domain: str) -> None:
        """One session of `domain` (RFC 8460 section 4.3)."""
        policies, step = self._policies, self._step
        tally, mx, remote = policies.tally, connection.mx, str(connection.hop.address)

        def fail(applied: Applied, result: TlsResult, reason: str) -> None:
            tally.failure(domain, applied, Failure(result, connection.source, mx, remote, reason))

        problem = policies.sts.problem(domain) if policies.sts.enabled else None
        if problem is not None:
            fail(Applied(PolicyType.STS), *problem)
        policy = policies.sts.policy(domain) if policies.sts.enabled else None
        if step.policy is PolicyType.TLSA:
            tally.success(domain, _applied(step))
        elif policy is not None and policy.mode is not StsMode.NONE:
            applied = Applied(PolicyType.STS, tuple(policy.lines()), policy.mx)
            if not policy.names(mx):
                fail(applied, TlsResult.VALIDATION_FAILURE, f"{mx} is not in the policy")
            elif connection.level >= Level.VERIFIED:
                tally.success(domain, applied)
            else:
                fail(applied, *self._lack())
        elif connection.level is not Level.CLEAR:
            tally.success(domain, NO_POLICY)
        else:
            fail(NO_POLICY, *self._lack())

    def _lack(self) -> tuple[TlsResult, str]:
        """What the connection lacks, when it is not verified or not encrypted."""
        if self._failure is not None:
            return self._failure.result, self._failure.reply.text
        if self._step.level is Level.CLEAR:
            return TlsResult.VALIDATION_FAILURE, "the last handshake with this address failed"
        return TlsResult.STARTTLS_NOT_SUPPORTED, ""
