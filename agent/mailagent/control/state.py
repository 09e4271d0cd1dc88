"""What may be sent now: configuration plus live directives, derived. Pure, immutable, made anew with each change.

State of a member (first line that fits):

    retired or quarantined by configuration           that
    swapped out by a rotation                         draining, and quarantined once empty
    drained                                           draining
    suspended                                         suspended
    in service (active, warming, rotated in), and its
      pool is drained | suspended                     draining | suspended
    otherwise                                         as configured; a standby rotated in is active

Directives about objects that the configuration no longer has do nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import PoolName, ProviderName, StreamName, VmtaName
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.smtp import SmtpReply
from mailagent.api.targets import Target, TargetKind
from mailagent.api.views import MemberState, PoolState
from mailagent.config.postfix import EngineKind
from mailagent.config.scalars import parse_limit
from mailagent.config.structs import AgentConfig, Pool, Rate
from mailagent.config.warm_up import WarmUpPlan
from mailagent.routing.limits import Limit

IN_SERVICE: Final = frozenset((MemberState.ACTIVE, MemberState.WARMING))
"""States in which a member sends."""


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """State of a virtual MTA, and the directive behind it as a sentence."""

    state: MemberState
    reason: str = ""
    directive: Directive | None = None


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """The same for a pool or a provider."""

    state: PoolState
    reason: str = ""
    directive: Directive | None = None


class Override(NamedTuple):
    """A lowered limit and who lowered it."""

    value: int | Rate
    directive: Directive

    @property
    def limit(self) -> Limit[int | Rate]:
        """The same as it binds a path."""
        one = self.directive
        if not one.rule:
            return Limit(self.value, f"lowered by {one.author}")
        climbs = "quiet time" if one.base and not one.pinned else "its end"
        release = f"{climbs}, or mailctl cancel {one.id}; {one.reason}"
        return Limit(self.value, one.author, release, one.rule, _reply(one.reply) if one.reply else None)


_WORD = {
    DirectiveKind.DRAIN: "drained",
    DirectiveKind.SUSPEND: "suspended",
    DirectiveKind.ROTATE: "rotated",
    DirectiveKind.LIMIT: "limited",
    DirectiveKind.LOCK: "locked",
    DirectiveKind.JOB_START: "scheduled",
    DirectiveKind.JOB_END: "to be held",
    DirectiveKind.JOB_CANCEL: "cancelled",
    DirectiveKind.FREEZE_SUPPRESSION: "frozen for suppression",
    DirectiveKind.HOLD: "held",
    DirectiveKind.RELEASE: "being released",
    DirectiveKind.REBIND: "being moved to another pool",
    DirectiveKind.BOUNCE: "to be bounced",
    DirectiveKind.DELETE: "to be deleted",
    DirectiveKind.RETRY: "being tried again",
    DirectiveKind.REQUEUE: "being requeued",
    DirectiveKind.DKIM_PREPARE: "prepared",
    DirectiveKind.DKIM_SIGN: "switched",
    DirectiveKind.DKIM_KEEP: "kept",
    DirectiveKind.NOTE: "noted",
}
_KIND = {
    TargetKind.HOST: "host",
    TargetKind.POOL: "pool",
    TargetKind.VMTA: "virtual MTA",
    TargetKind.PROVIDER: "provider",
    TargetKind.QUEUE: "queue",
    TargetKind.STREAM: "stream",
    TargetKind.JOB: "job",
    TargetKind.DKIM: "DKIM keys of",
    TargetKind.CELL: "provider and virtual MTA",
    TargetKind.TRAFFIC: "provider and stream",
    TargetKind.MAIL: "mail",
}
_POOL_STATE = {DirectiveKind.DRAIN: PoolState.DRAINING, DirectiveKind.SUSPEND: PoolState.SUSPENDED}
_POOL_OF_MEMBER = {MemberState.DRAINING: PoolState.DRAINING, MemberState.SUSPENDED: PoolState.SUSPENDED}
_MEMBER_STATE = {DirectiveKind.DRAIN: MemberState.DRAINING, DirectiveKind.SUSPEND: MemberState.SUSPENDED}


def sentence(directive: Directive) -> str:
    """`drained by alice until 2026-07-01 03:42 UTC: Gmail throttles`."""
    is_pause = directive.kind is DirectiveKind.SUSPEND and directive.target.kind is TargetKind.JOB
    text = f"{'paused' if is_pause else _WORD[directive.kind]} by {directive.author}"
    if directive.kind is DirectiveKind.ROTATE:
        text = f"rotated to {directive.standby} by {directive.author}"
    elif directive.target.kind is TargetKind.DKIM:
        text = f"selector {directive.value} {_WORD[directive.kind]} by {directive.author}"
    if directive.kind is DirectiveKind.JOB_START and directive.expires_at is not None:
        text += f" to start at {directive.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    elif directive.kind is DirectiveKind.JOB_END and directive.expires_at is not None:
        text += f" at {directive.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    elif directive.expires_at is not None:
        text += f" until {directive.expires_at:%Y-%m-%d %H:%M} UTC"
    return f"{text}: {directive.reason}" if directive.reason else text


def called(target: Target) -> str:
    """`pool marketing`; `site gmail` for the queues of all virtual MTAs there."""
    if target.kind is TargetKind.QUEUE and target.name.endswith("/"):
        return f"site {target.name[:-1]}"
    return f"{_KIND[target.kind]} {target.name}"


def release_of(directive: Directive) -> str:
    """The command that ends `directive`."""
    if directive.rule:
        return f"mailctl cancel {directive.id}"
    if directive.kind is DirectiveKind.DRAIN:
        return f"mailctl undrain {directive.target}"
    if directive.kind is DirectiveKind.SUSPEND:
        job = "job " if directive.target.kind is TargetKind.JOB else ""
        return f"mailctl {job}resume {directive.target}"
    if directive.kind is DirectiveKind.LOCK:
        return "mailctl lock release"
    if directive.kind is DirectiveKind.FREEZE_SUPPRESSION:
        return f"mailctl suppression thaw {directive.target}"
    return f"mailctl cancel {directive.id}"


def wait_reason(directive: Directive) -> WaitReason:
    """Why mail waits that `directive` holds."""
    return WaitReason(
        kind=_reason_kind(directive),
        detail=f"{called(directive.target)} is {sentence(directive)}",
        key=directive.id,
        value=f"{directive.kind} {directive.rule}".rstrip(),
        origin=directive.author,
        until=directive.expires_at,
        release=release_of(directive),
        reply=_reply(directive.reply) if directive.reply else None,
    )


def _reason_kind(directive: Directive) -> ReasonKind:
    if directive.rule:
        return ReasonKind.RULE
    return ReasonKind.HELD if directive.target.kind is TargetKind.MAIL else ReasonKind.DIRECTIVE


def _reply(line: str) -> SmtpReply:
    """The reply that a rule acted on, as it was."""
    code, _, text = line.partition(" ")
    return SmtpReply(code=int(code), text=text) if code.isdecimal() else SmtpReply(code=0, text=line)


class HostState:
    """What one host may do. Look-ups are made per message, so everything is derived beforehand."""

    def __init__(self, config: AgentConfig, directives: Iterable[Directive]) -> None:
        self.directives: tuple[Directive, ...] = tuple(sorted(directives, key=lambda one: (one.created_at, one.id)))
        """The live ones, oldest first."""
        self._drains = self._latest(DirectiveKind.DRAIN)
        self._suspensions = self._latest(DirectiveKind.SUSPEND)
        self._limits: dict[tuple[TargetKind, str], list[Override]] = {}
        for one in self.directives:
            if one.kind is DirectiveKind.LIMIT:
                override = Override(parse_limit(one.limit, one.value), one)
                self._limits.setdefault((one.target.kind, one.target.name), []).append(override)
        self._frozen = frozenset(self._latest(DirectiveKind.FREEZE_SUPPRESSION))
        self._host = (TargetKind.HOST, str(config.host))
        self.host_drain: Directive | None = self._drains.get(self._host)
        """The drain of the whole host: new mail is refused, everything else goes on."""
        self._rotated: dict[VmtaName, Directive] = {}  # both sides of each rotation in effect
        self._service = self._in_service(config)
        self._has_ceilings = config.engine is EngineKind.MAILAGENT
        self._small = {
            vmta
            for pool in config.pools.values()
            if self._has_ceilings and WarmUpPlan(config.warm_up, pool.warm_up).enabled
            for vmta in pool.warming
        }
        self._members: dict[VmtaName, MemberStatus] = {}
        self._fit: dict[PoolName, tuple[VmtaName, ...]] = {}
        self._trickling: dict[PoolName, tuple[VmtaName, ...]] = {}
        self._pools: dict[PoolName, PoolStatus] = {}
        self._pool_blocks: dict[PoolName, WaitReason | None] = {}
        self._vmta_blocks: dict[VmtaName, WaitReason | None] = {}
        for name, pool in config.pools.items():
            self._derive(name, pool)
        self._eligible = {
            name: fit + self._trickling[name]
            for name, fit in self._fit.items()
            if self._pools[name].state is PoolState.ACTIVE
        }
        self._streams = self._blocks(TargetKind.STREAM)
        self._providers = self._blocks(TargetKind.PROVIDER)
        self._queues = self._blocks(TargetKind.QUEUE)
        self._cells = self._blocks(TargetKind.CELL)
        self._traffic = self._blocks(TargetKind.TRAFFIC)
        starts = self._latest(DirectiveKind.JOB_START)
        self._jobs = {name: wait_reason(one) for (_, name), one in starts.items()} | self._blocks(TargetKind.JOB)
        self._cancelled = {name: one for (_, name), one in self._latest(DirectiveKind.JOB_CANCEL).items()}
        self.job_rates: dict[str, Rate] = {
            name: one.value
            for (kind, name), overrides in self._limits.items()
            for one in overrides
            if kind is TargetKind.JOB and isinstance(one.value, Rate)
        }
        """Jobs that have a rate of their own."""

    # -- what may be sent ------------------------------------------------------------------------------------------

    def eligible(self, pool: PoolName) -> tuple[VmtaName, ...]:
        """Members of `pool` that may send now, in configuration order; standbys with a trickle last."""
        return self._eligible.get(pool, ())

    def fit(self, pool: PoolName) -> tuple[VmtaName, ...]:
        """Members that would send if no directive held the pool as a whole."""
        return self._fit.get(pool, ())

    def carriers(self, pool: PoolName) -> tuple[VmtaName, ...]:
        """Those of them that no warm-up keeps small."""
        return tuple(one for one in self.fit(pool) if one not in self._small)

    def queue_block(
        self, pool: PoolName, stream: StreamName, provider: ProviderName, job: str = ""
    ) -> WaitReason | None:
        """Why mail of this pool, stream, provider and job may not be sent; an empty provider or job is not asked for.

        A pool without an eligible member is a reason too.
        """
        try:
            block = self._pool_blocks[pool]
        except KeyError:
            return _absent(f"pool {pool}")
        if block is None and self._streams:
            block = self._streams.get(stream)
        if block is None and self._providers:
            block = self._providers.get(provider)
        if block is None and self._traffic:
            block = self._traffic.get(f"{provider}/{stream}")
        return block or self._jobs.get(job) if job else block

    def cancelled_job(self, job: str) -> Directive | None:
        """The directive that has mail of the job given up."""
        return self._cancelled.get(job)

    def vmta_block(self, vmta: VmtaName, site: str, provider: ProviderName) -> WaitReason | None:
        """Why `vmta` may not send to `site`: its own state, that of its pool, of the provider or of the queue."""
        try:
            block = self._vmta_blocks[vmta]
        except KeyError:
            return _absent(f"virtual MTA {vmta}")
        if block is None and self._queues:
            block = self._queues.get(f"{site}/{vmta}") or self._queues.get(f"{site}/")
        if block is None and self._cells:
            block = self._cells.get(f"{provider}/{vmta}")
        return block or self._providers.get(provider)

    def site_block(self, site: str, provider: ProviderName) -> WaitReason | None:
        """Why nothing may be sent to `site`, whichever virtual MTA would."""
        return self._providers.get(provider) or self._queues.get(f"{site}/")

    def limits(self, vmta: VmtaName, provider: ProviderName, site: str) -> Mapping[str, Override]:
        """Overrides that concern the path, by name of the limit, the strictest of each."""
        found: dict[str, Override] = {}
        if not self._limits:
            return found
        for target in (
            (TargetKind.VMTA, str(vmta)),
            (TargetKind.PROVIDER, str(provider)),
            (TargetKind.QUEUE, f"{site}/{vmta}"),
            (TargetKind.CELL, f"{provider}/{vmta}"),
        ):
            for one in self._limits.get(target, ()):
                other = found.get(one.directive.limit)
                if other is None or is_stricter(one.value, other.value):
                    found[one.directive.limit] = one
        return found

    # -- what intake answers ---------------------------------------------------------------------------------------

    def refuses(self, pool: PoolName) -> Directive | None:
        """The drain that has new mail of `pool` refused (451 4.3.2) instead of kept."""
        drain = self._drains.get((TargetKind.POOL, pool))
        return drain if drain is not None and drain.refuse else None

    def holds_suppression(self, provider: str) -> bool:
        """Whether what bounces of `provider` suppress is only pending."""
        return bool(self._frozen) and ((TargetKind.PROVIDER, provider) in self._frozen or self._host in self._frozen)

    # -- what screens show -----------------------------------------------------------------------------------------

    def member(self, vmta: VmtaName, *, empty: bool = False) -> MemberStatus:
        """State of a virtual MTA; `empty`: its drain (or rotation) has nothing left to finish."""
        status = self._members.get(vmta)
        if status is None:
            return MemberStatus(MemberState.RETIRED, "not in the configuration")
        rotated_out = vmta in self._rotated and status.state is MemberState.DRAINING
        if empty and rotated_out and status.directive is self._rotated[vmta]:
            return MemberStatus(MemberState.QUARANTINED, status.reason, status.directive)
        return status

    def pool(self, name: PoolName) -> PoolStatus:
        """State of a pool."""
        return self._pools.get(name) or PoolStatus(PoolState.EMPTY, "not in the configuration")

    def provider(self, name: ProviderName) -> PoolStatus:
        """State of a provider: active or suspended."""
        directive = self._suspensions.get((TargetKind.PROVIDER, name))
        if directive is None:
            return PoolStatus(PoolState.ACTIVE)
        return PoolStatus(PoolState.SUSPENDED, sentence(directive), directive)

    def service(self, vmta: VmtaName) -> MemberState:
        """State by configuration and rotations alone, without drains and suspensions."""
        return self._service.get(vmta, MemberState.RETIRED)

    # -- derivation ------------------------------------------------------------------------------------------------

    def _latest(self, kind: DirectiveKind) -> dict[tuple[TargetKind, str], Directive]:
        return {(one.target.kind, one.target.name): one for one in self.directives if one.kind is kind}

    def _blocks(self, kind: TargetKind) -> dict[str, WaitReason]:
        return {name: wait_reason(one) for (at, name), one in self._suspensions.items() if at is kind}

    def _in_service(self, config: AgentConfig) -> dict[VmtaName, MemberState]:
        service: dict[VmtaName, MemberState] = {}
        for pool in config.pools.values():
            for state, names in (
                (MemberState.ACTIVE, pool.active),
                (MemberState.STANDBY, pool.standby),
                (MemberState.WARMING, pool.warming),
                (MemberState.QUARANTINED, pool.quarantined),
                (MemberState.RETIRED, pool.retired),
            ):
                service.update(dict.fromkeys(names, state))
        for rotation in self.directives:  # in order: a standby rotated in may be rotated out again
            if rotation.kind is not DirectiveKind.ROTATE:
                continue
            old, new = VmtaName(rotation.target.name), VmtaName(rotation.standby)
            if service.get(old) in IN_SERVICE:
                service[old] = MemberState.QUARANTINED
                self._rotated[old] = rotation
            if service.get(new) is MemberState.STANDBY:
                service[new] = MemberState.ACTIVE
                self._rotated[new] = rotation
        return service

    def _held(self, kind: TargetKind, name: str) -> Directive | None:
        return self._drains.get((kind, name)) or self._suspensions.get((kind, name))

    def _may_trickle(self, vmta: VmtaName) -> bool:
        """Whether a standby may send a little; a Postfix would not know how much."""
        at_rest = self._service[vmta] is MemberState.STANDBY and self._held(TargetKind.VMTA, vmta) is None
        return self._has_ceilings and at_rest

    def _derive(self, name: PoolName, pool: Pool) -> None:
        held = self._held(TargetKind.POOL, name)
        fit = [
            one for one in pool.members if self._service[one] in IN_SERVICE and self._held(TargetKind.VMTA, one) is None
        ]
        trickling = [one for one in pool.standby if pool.trickle and self._may_trickle(one)]
        others = f": mail that it tried leaves from {' or '.join(fit[:3])} when it is due" if fit else ""
        for vmta in pool.members:
            status = self._members[vmta] = self._member(vmta, held)
            if status.directive is not None and status.state not in IN_SERVICE:
                self._vmta_blocks[vmta] = wait_reason(status.directive)
            elif vmta in trickling:
                self._vmta_blocks[vmta] = wait_reason(held) if held is not None else None
            elif status.state not in IN_SERVICE:
                self._vmta_blocks[vmta] = WaitReason(
                    kind=ReasonKind.NO_SOURCE,
                    detail=f"virtual MTA {vmta} is {status.state} in pool {name}{others}",
                    key=f"pools.{name}",
                )
            else:
                self._vmta_blocks[vmta] = None
        self._fit[name], self._trickling[name] = tuple(fit), tuple(trickling)
        status_of_pool = self._pools[name] = self._pool(pool, held, fit)
        if status_of_pool.state is PoolState.ACTIVE:
            self._pool_blocks[name] = None
        elif status_of_pool.directive is not None:
            self._pool_blocks[name] = wait_reason(status_of_pool.directive)
        else:
            self._pool_blocks[name] = WaitReason(
                kind=ReasonKind.NO_SOURCE,
                detail=f"pool {name} has no member that may send: {status_of_pool.reason}",
                key=f"pools.{name}.active",
                release="make a member active in the configuration",
            )

    def _member(self, vmta: VmtaName, pool_held: Directive | None) -> MemberStatus:
        state = self._service[vmta]
        rotation = self._rotated.get(vmta)
        own = self._held(TargetKind.VMTA, vmta)
        if rotation is not None and state is MemberState.QUARANTINED:
            return MemberStatus(MemberState.DRAINING, sentence(rotation), rotation)
        if state in (MemberState.QUARANTINED, MemberState.RETIRED):
            return MemberStatus(state)
        if own is not None:
            return MemberStatus(_MEMBER_STATE[own.kind], sentence(own), own)
        if pool_held is not None and state in IN_SERVICE:
            return MemberStatus(_MEMBER_STATE[pool_held.kind], f"pool {sentence(pool_held)}", pool_held)
        if rotation is not None:
            return MemberStatus(state, f"stands in for {rotation.target.name}, {sentence(rotation)}", rotation)
        return MemberStatus(state)

    def _pool(self, pool: Pool, held: Directive | None, fit: Sequence[VmtaName]) -> PoolStatus:
        if held is not None:
            return PoolStatus(_POOL_STATE[held.kind], sentence(held), held)
        if fit:
            return PoolStatus(PoolState.ACTIVE)
        for vmta in pool.members:  # the pool is what directives made of the members that served it
            status = self._members[vmta]
            served = self._service[vmta] in IN_SERVICE or vmta in self._rotated
            if served and status.directive is not None:
                return PoolStatus(_POOL_OF_MEMBER[status.state], f"{vmta} is {status.reason}", status.directive)
        spare = ", ".join(f"{vmta} is {self._members[vmta].state}" for vmta in pool.members)
        return PoolStatus(PoolState.EMPTY, spare or "it has no members on this host")


def host_state(config: AgentConfig, directives: Iterable[Directive]) -> HostState:
    """What `config` and the live `directives` allow."""
    return HostState(config, directives)


def is_stricter(one: int | Rate, other: int | Rate) -> bool:
    """Whether `one` lets less through."""
    current: Limit[int | Rate] = Limit(other)
    return current.lowered(Limit(one)) is not current


def _absent(what: str) -> WaitReason:
    return WaitReason(
        kind=ReasonKind.NO_SOURCE,
        detail=f"{what} is not in the configuration",
        release="put it back, or let the mail expire",
    )
