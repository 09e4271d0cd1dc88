"""The files of a run: `fleet.yaml` for the console, `agent.yaml` for each host."""

from mailagent.api.ids import HostName
from mailagent.config import dump_agent, host_part, load_fleet
from mailctl.demo import postfix
from mailctl.demo.blueprint import DNS_HOST, OPERATOR, POOLS, Blueprint, HostPlan
from mailctl.demo.dns import BLOCK_LIST

_HEAD = """\
# The loopback fleet of `mailctl demo`: its agents, simulated providers, nothing leaves this machine.
# Retry waits, and the acts of automation, are short so that a demo shows in a minute what takes hours in the world.
hosts:
"""
_HOST = """\
  {name}:
    ssh: {{address: {ssh_address}, port: {ssh_port}, user: {user}, identity: ./ssh/id_ed25519, \
known_hosts: ./ssh/known_hosts, config: none}}
    region: {region}
    state_dir: ./{name}/state
    rpc: {{socket: ./{name}/rpc.sock}}
{engine}
    virtual_mtas:
{vmtas}
"""
_INTAKE = """\
    intake:
      hostname: {name}.acme.example
      listeners: [{{address: 127.0.0.1, port: {smtp_port}}}]
      relay_from: [127.0.0.0/8]"""
_POSTFIX = """\
    engine: postfix  # its agent stands in front of a Postfix, which carries the mail
    postfix: {{instance: {instance}, poll: 2s}}"""
_TAIL = """\
pools:
{pools}
streams:
  transactional:
    pool: transactional
    priority: high
    senders: ["*@receipts.acme.example"]
  marketing:
    pool: marketing
    senders: ["*@news.acme.example"]
  cold:  # recognised by its X-Virtual-MTA header, which names the pool; where a Postfix carries it, by its sender
    pool: cold
    priority: bulk
    senders: ["*@outreach.acme.example"]
default_stream: transactional
providers:
  gmail: {{tls: opportunistic}}  # the simulated one speaks no TLS
dns: {{servers: ["{network}.{dns}:{port}"]}}
reputation:
  block_lists: {{{block_list}: {{weight: high, every: 1m, answers: {{127.0.0.2: spam traps}}}}}}
  identity: {{every: 1m}}
warm_up: {{weeks: 2, start: 4, target: 120, day: 1m, spread: 30s}}  # a minute is a day here
delivery: {{port: {port}, allow_networks: [{network}.0/24]}}
retry: {{waits: [10s, 20s, 30s, 60s], greylist: [12s], dns: [10s, 30s], expire: 30m}}
automation: {{pause: 2s, quiet: 15s, life: 2m, max_life: 2m}}
accounting: {{rotate_after: 10m, keep: 1h}}
postmaster: postmaster@mail.acme.example
stop_grace_s: 2
"""
_REGIONS = {
    "mx1": "eu-west",
    "mx2": "eu-west",
    "mx3": "us-east",
    "mx4": "eu-west",
}  # the last host of a region is guarded: see mx3


def write_files(blueprint: Blueprint) -> None:
    """Write the fleet file, and from it each host's own."""
    blueprint.directory.mkdir(parents=True, exist_ok=True)
    blueprint.fleet_file.write_text(fleet_text(blueprint), "utf-8")
    fleet = load_fleet(blueprint.fleet_file)
    for host in blueprint.hosts:
        path = blueprint.agent_file(host.name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(dump_agent(host_part(fleet, HostName(host.name))), "utf-8")
        if host.is_postfix:
            postfix.write_files(blueprint, host)


def fleet_text(blueprint: Blueprint) -> str:
    """The fleet file, paths relative to it."""
    hosts = blueprint.hosts
    pools = "\n".join(
        f"  {pool}: {{active: [{_members(stem, [h.active for h in hosts])}], "
        f"standby: [{_members(stem, [h.standby for h in hosts])}], "
        f"warming: [{_members(stem, [h.warming for h in hosts])}]}}"
        for pool, stem in POOLS.items()
    )
    return (
        _HEAD
        + "".join(_host_text(blueprint, host) for host in hosts)
        + _TAIL.format(
            pools=pools, network=blueprint.network, dns=DNS_HOST, port=blueprint.world_port, block_list=BLOCK_LIST
        )
    )


def _host_text(blueprint: Blueprint, host: HostPlan) -> str:
    vmtas = "\n".join(
        f"      {name}: {{address: {address}, public: {address}, ehlo: {name}.acme.example}}"
        for name, address in sorted(host.addresses.items(), key=lambda item: item[1])
    )
    engine = (
        _POSTFIX.format(instance=blueprint.postfix_directory(host.name) / "etc")
        if host.is_postfix
        else _INTAKE.format(name=host.name, smtp_port=host.smtp_port)
    )
    return _HOST.format(
        name=host.name,
        engine=engine,
        ssh_address=host.ssh_address,
        ssh_port=blueprint.world_port,
        user=OPERATOR,
        region=_REGIONS[host.name],
        vmtas=vmtas,
    )


def _members(stem: str, lists: list[dict[str, str]]) -> str:
    return ", ".join(name for members in lists for name in members if name.startswith(f"{stem}-"))
