"""Why mail that is due is not sent yet, where no ready queue holds it: `holds` says why that one does not send.

Computed when somebody asks, from the same state that the scheduler decides by.
"""

from collections.abc import Callable

from mailagent.api.ids import PoolName, ProviderName, StreamName
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.config.structs import AgentConfig, Priority, Rate
from mailagent.routing import Router, Site
from mailagent.scheduling.books import Books
from mailagent.scheduling.holds import binding
from mailagent.scheduling.jobs import JobGates
from mailagent.scheduling.lanes import Lanes
from mailagent.scheduling.lookups import Lookups
from mailagent.scheduling.placing import Placing, Policy
from mailagent.scheduling.window import Window
from mailagent.spool.records import QueueName
from mailagent.words import many


class Reasons:
    """What holds mail before it is in a ready queue."""

    def __init__(
        self,
        window: Window,
        books: Books,
        lanes: Lanes,
        lookups: Lookups,
        placing: Placing,
        jobs: JobGates,
        *,
        config: Callable[[], AgentConfig],
        policy: Callable[[], Policy],
        router: Callable[[], Router],
    ) -> None:
        self._window = window
        self._books = books
        self._lanes = lanes
        self._lookups = lookups
        self._placing = placing
        self._jobs = jobs
        self._config = config
        self._policy = policy
        self._router = router

    def of_recipient(
        self, recipient: int, pool: PoolName, stream: StreamName, domain: str, job: str = ""
    ) -> list[WaitReason]:
        """Why one recipient that is due or in the window is not sent yet."""
        policy = self._policy()
        site = self._router().cached(domain) or self._last_site(domain)
        pool = self._placing.pool_of(QueueName(pool, stream, "", domain), site)
        provider = site.provider if site is not None else ProviderName("")
        block = policy.queue_block(pool, stream, provider, job)
        if block is not None:
            return [block]
        if site is None:
            return [_lookup(domain) if domain in self._lookups else self._no_place_in_window()]
        reasons = []
        for vmta in policy.eligible(pool):
            queue = self._placing.ready.get((site.name, vmta))
            reason = binding(queue) if queue is not None else policy.vmta_block(vmta, site.name, provider)
            if reason is None or reason.kind is ReasonKind.SENDING:
                reason = self._placing.warm_up(vmta, site) or reason
            if reason is not None:
                reasons.append(reason)
        if recipient not in self._books.inside:
            if job and (rate := self._jobs.limit(job)) is not None:
                reasons.append(_rate(job, rate))
            if not reasons or not self._window_has_room:
                reasons.append(self._no_place_in_window())
        return reasons or [WaitReason(kind=ReasonKind.SENDING, detail="on its way, or its outcome is being written")]

    def on_disk(self, site: Site) -> list[WaitReason]:
        """Why mail for `site` that is due is not in a ready queue."""
        lanes = self._lanes.waiting_for(site.name)
        if not lanes:
            return []
        members = dict.fromkeys(
            vmta for lane in lanes for vmta in self._policy().eligible(self._placing.pool_of(lane, site))
        )
        warming = [self._placing.warm_up(vmta, site) for vmta in members]
        if warming and all(warming):
            return [reason for reason in warming if reason is not None]
        return [
            WaitReason(
                kind=ReasonKind.WINDOW,
                detail=f"no place yet in the ready queues of {site.name}: {many(len(lanes), 'lane')} of mail on disk",
                key="queue.ready",
                value=str(self._config().queue.ready),
                release="mail before it leaves, or a larger queue.ready or queue.window",
            )
        ]

    def _last_site(self, domain: str) -> Site | None:
        """The site that holds mail for `domain` now, though DNS has to be asked again before more goes there."""
        name = next((hot.site for hot in self._books.hots.values() if hot.domain == domain and hot.site), "")
        return next((queue.site for (site, _), queue in self._placing.ready.items() if site == name), None)

    @property
    def _window_has_room(self) -> bool:
        return all(map(self._window.is_worth_reading, Priority))

    def _no_place_in_window(self) -> WaitReason:
        taken = f"{self._window.used} of {self._window.limit} taken"
        return WaitReason(
            kind=ReasonKind.WINDOW,
            detail=f"due, and about to be read from disk (active window: {taken})"
            if self._window_has_room
            else f"due, and waits for the active window ({taken})",
            key="queue.window",
            value=str(self._window.limit),
            release="mail before it leaves, or a larger queue.window",
        )


def _lookup(domain: str) -> WaitReason:
    return WaitReason(
        kind=ReasonKind.DNS,
        detail=f"looking up the MX of {domain}",
        key="dns",
        value=domain,
        release="an answer of DNS",
    )


def _rate(job: str, rate: Rate) -> WaitReason:
    return WaitReason(
        kind=ReasonKind.LIMIT,
        detail=f"job {job} may send {rate} on this host",
        key="rate",
        value=str(rate),
        origin=f"job:{job}",
        release=f"mailctl job limit job:{job} none",
    )
