"""One run: the far side, SSH servers, agents, traffic and incidents, from start to the last process's end."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import msgspec

from mailctl.demo import agents, ssh
from mailctl.demo.blueprint import DNS_HOST, HOSTS, Blueprint
from mailctl.demo.control import Control
from mailctl.demo.dns import BLOCK_LIST, DnsServer
from mailctl.demo.farside import FarSide
from mailctl.demo.incidents import Incident, Incidents
from mailctl.demo.letters import Author
from mailctl.demo.names import ORGANIZATION, publish_names, publish_spf
from mailctl.demo.postfix import DNS_PORT, Postfix
from mailctl.demo.providers import EVERY_SOURCE
from mailctl.demo.receivers import PROVIDERS
from mailctl.demo.replies import Situation
from mailctl.demo.traffic import Traffic

log = logging.getLogger(__name__)

SUSPECT_SHARE = 0.003
"""Share of cold mail that providers defer for its address's reputation: now and then automation suspends one for it."""
THROTTLED_PER_MINUTE = 6.0
FULL_SHARE = 0.6
"""Of Gmail's recipients, while mailboxes fill up."""
SLOW_S = 10.0


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The line that says that all agents answer and take mail."""

    ready: bool = True
    fleet: str
    smtp: tuple[str, ...]
    provider_log: str


class Demo:
    """One run of the demo."""

    def __init__(self, blueprint: Blueprint, *, rng: random.Random | None = None) -> None:
        self._blueprint = blueprint
        self._rng = rng or random.Random()
        self.far = FarSide(blueprint.network, blueprint.world_port, blueprint.provider_log)
        self.agents = agents.agents(blueprint)
        self.ssh = ssh.servers(blueprint)
        self.incidents = Incidents(
            (
                self._throttle(),
                self._slow(),
                self._host_down(),
                self._dns_fails(),
                self._blocked(),
                self._complaints(),
                self._full(),
                self._cut_off(),
                self._spf(),
            )
        )
        self.traffic = Traffic(
            [("127.0.0.1", host.smtp_port) for host in blueprint.hosts],
            rate=blueprint.rate,
            author=Author(PROVIDERS, self._rng),
            rng=self._rng,
        )
        publish_names(self.far.dns.zone, blueprint)
        for host in blueprint.hosts:
            for vmta, address in host.addresses.items():
                if vmta.startswith("cold-"):
                    for provider in self.far.providers.values():
                        provider.suspects[address] = SUSPECT_SHARE

    async def run(self, stopped: asyncio.Event, on_ready: Callable[[Ready], None]) -> None:
        """Live until `stopped`, then end everything; `on_ready` is called once.

        Raises:
            AgentFailed: an agent never came up.
            NoPostfix: that of the fourth host cannot be started.
            OSError: an address or port is taken.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.far)
            if self._blueprint.postfix:
                network, zone = self._blueprint.network, self.far.dns.zone
                await stack.enter_async_context(DnsServer(zone, f"{network}.{DNS_HOST}", DNS_PORT))
            await stack.enter_async_context(Control(self._blueprint.control_socket, self.incidents))
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(self._host(name), name=f"agent:{name}") for name in self.agents]
                others = [group.create_task(server.run(), name=f"ssh:{host}") for host, server in self.ssh.items()]
                others.append(group.create_task(self._live(on_ready), name="demo:life"))
                try:
                    await stopped.wait()
                finally:
                    await asyncio.gather(*(agent.stop() for agent in self.agents.values()))
                    await asyncio.wait(running)
                    for task in others:
                        task.cancel()

    async def _host(self, name: str) -> None:
        """A host's agent, and the Postfix behind it if it has one."""
        plan = self._blueprint
        if all(host.name != name or not host.is_postfix for host in plan.hosts):
            await self.agents[name].run()
            return
        mta = Postfix(plan.postfix, plan.postfix_directory(name), plan.agent_file(name))
        try:
            await mta.start()
            await self.agents[name].run()
        finally:
            await mta.stop()

    async def _live(self, on_ready: Callable[[Ready], None]) -> None:
        await asyncio.gather(*(agent.ready() for agent in self.agents.values()))
        on_ready(self._ready())
        async with asyncio.TaskGroup() as group:
            group.create_task(self.traffic.run(), name="demo:traffic")
            if self._blueprint.incident:
                self.incidents.start(self._blueprint.incident)
            else:
                group.create_task(self.incidents.play(), name="demo:timeline")

    def _ready(self) -> Ready:
        return Ready(
            fleet=str(self._blueprint.fleet_file),
            smtp=tuple(f"127.0.0.1:{host.smtp_port}" for host in self._blueprint.hosts),
            provider_log=str(self._blueprint.provider_log),
        )

    # incidents

    def _throttle(self) -> Incident:
        gmail = self.far.providers["gmail"]
        vmta, address = "mkt-1", self._blueprint.hosts[0].active["mkt-1"]
        return Incident(
            name="throttle",
            description=f"gmail lets {THROTTLED_PER_MINUTE:g} messages a minute pass from {vmta} ({address})",
            begin=lambda: gmail.throttle(address, per_minute=THROTTLED_PER_MINUTE),
            end=lambda: gmail.release(address),
        )

    def _slow(self) -> Incident:
        outlook = self.far.providers["outlook"]

        def set_delay(delay_s: float) -> None:
            outlook.slow_s = delay_s

        return Incident(
            name="slow",
            description=f"outlook takes {SLOW_S:g} s for each greeting and each message",
            begin=lambda: set_delay(SLOW_S),
            end=lambda: set_delay(0.0),
        )

    def _host_down(self) -> Incident:
        name = HOSTS[-1]
        agent, server = self.agents[name], self.ssh[name]

        def die() -> None:
            server.kill()
            agent.kill()

        def come_back() -> None:
            agent.revive()
            server.revive()

        return Incident(name="host-down", description=f"{name} dies: agent killed, SSH gone", begin=die, end=come_back)

    def _dns_fails(self) -> Incident:
        zone = self.far.dns.zone

        def set_fails(fails: bool) -> None:
            zone.fails = fails

        return Incident(
            name="dns",
            description="every DNS query gets SERVFAIL; domains that were looked up before go on",
            begin=lambda: set_fails(True),
            end=lambda: set_fails(False),
        )

    def _blocked(self) -> Incident:
        vmta, address = "mkt-3", self._blueprint.hosts[1].active["mkt-3"]
        zone = self.far.dns.zone
        refusal = self._refusal(
            "blocked",
            f"outlook has {vmta} ({address}) on its block list: 550 S3150 for each recipient; so has {BLOCK_LIST}",
            ("outlook", address, Situation.LISTED, 1.0),
        )

        def begin() -> None:
            zone.put_on_list(address)
            refusal.begin()

        def end() -> None:
            zone.take_off_list(address)
            refusal.end()

        return replace(refusal, begin=begin, end=end)

    def _complaints(self) -> Incident:
        return self._refusal(
            "complaints",
            "yahoo defers each message of every address: 421 TSS04",
            ("yahoo", EVERY_SOURCE, Situation.THROTTLED, 1.0),
        )

    def _full(self) -> Incident:
        return self._refusal(
            "full",
            f"{FULL_SHARE:.0%} of gmail's mailboxes are full: 452 4.2.2",
            ("gmail", EVERY_SOURCE, Situation.FULL, FULL_SHARE),
        )

    def _refusal(self, name: str, description: str, what: tuple[str, str, Situation, float]) -> Incident:
        """A provider that gives one answer to a share of the recipients of an address, or of all."""
        provider, source, situation, share = what
        refusals = self.far.providers[provider].refusals

        def begin() -> None:
            refusals[source] = (situation, share)

        def end() -> None:
            refusals.pop(source, None)

        return Incident(name=name, description=description, begin=begin, end=end)

    def _cut_off(self) -> Incident:
        name = HOSTS[-1]
        server = self.ssh[name]
        return Incident(
            name="cut-off",
            description=f"SSH to {name} is cut; its agent goes on taking and sending mail",
            begin=server.kill,
            end=server.revive,
        )

    def _spf(self) -> Incident:
        zone, network = self.far.dns.zone, self._blueprint.network
        return Incident(
            name="spf",
            description=f"news.{ORGANIZATION} has two SPF records, which is none: receivers find no address in it",
            begin=lambda: publish_spf(zone, network, "news", "v=spf1 include:_spf.crm.example ~all"),
            end=lambda: publish_spf(zone, network, "news"),
        )
