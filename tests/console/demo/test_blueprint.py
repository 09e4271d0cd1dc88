import contextlib
import random
import socket
from pathlib import Path

import pytest

from mailagent.api.ids import HostName, PoolName
from mailagent.config import host_part, load_agent, load_fleet
from mailagent.config.postfix import EngineKind
from mailctl.demo.blueprint import DNS_HOST, HOSTS, POSTFIX_HOST, Blueprint, claim
from mailctl.demo.errors import PathTooLong
from mailctl.demo.fleet import fleet_text, write_files


def blueprint(directory: Path) -> Blueprint:
    return Blueprint(directory=directory, network="127.64.7", port=21000)


def test_two_runs_never_share_a_network() -> None:
    first, second = claim(random.Random(5)), claim(random.Random(5))
    with contextlib.closing(first.holder), contextlib.closing(second.holder):
        assert first.network != second.network
        assert abs(first.port - second.port) >= 5
    third = claim(random.Random(5))
    third.holder.close()
    assert third.network == first.network


def test_a_network_whose_port_is_taken_is_left_alone() -> None:
    first = claim(random.Random(5))
    first.holder.close()
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", first.port + 1))
        squatter.listen()
        second = claim(random.Random(5))
        second.holder.close()
    assert second.network != first.network


def test_every_address_of_a_run_is_its_own(tmp_path: Path) -> None:
    hosts = blueprint(tmp_path).hosts
    addresses = [a for host in hosts for a in (host.ssh_address, *host.addresses.values())]
    assert len(addresses) == len(set(addresses)) == 22
    assert all(address.startswith("127.64.7.") for address in addresses)


def test_a_blueprint_survives_its_file(tmp_path: Path) -> None:
    plan = blueprint(tmp_path)
    plan.save()
    assert Blueprint.load(tmp_path) == plan


def test_a_directory_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    blueprint(tmp_path).check()
    with pytest.raises(PathTooLong, match="choose a shorter --dir"):
        blueprint(tmp_path / ("x" * 100)).check()


def test_the_files_load_and_name_three_hosts_with_six_virtual_mtas_each_and_one_that_is_new(tmp_path: Path) -> None:
    plan = blueprint(tmp_path)
    write_files(plan)
    fleet = load_fleet(plan.fleet_file)
    assert tuple(fleet.hosts) == HOSTS
    assert fleet.pools[PoolName("marketing")].active == ("mkt-1", "mkt-3", "mkt-5")
    assert fleet.pools[PoolName("marketing")].standby == ("mkt-2", "mkt-4", "mkt-6")
    assert fleet.pools[PoolName("marketing")].warming == ("mkt-9",)
    for host in HOSTS:
        agent = load_agent(plan.agent_file(host))
        new = agent.pools[PoolName("marketing")].warming
        assert new == (("mkt-9",) if host == "mx2" else ())
        assert len(agent.virtual_mtas) == 6 + len(new)
        assert {pool: len(members.active + members.standby) for pool, members in agent.pools.items()} == {
            "transactional": 2, "marketing": 2, "cold": 2,
        }  # fmt: skip
        assert agent.rpc.socket == plan.rpc_socket(host)
        assert agent.intake.listeners[0].port in range(21000, 21003)
        assert agent.virtual_mtas == host_part(fleet, agent.host).virtual_mtas
        assert str(next(iter(agent.virtual_mtas.values())).address) == next(
            iter(plan.hosts[HOSTS.index(host)].active.values())
        )


def test_a_fourth_host_is_a_postfix_in_the_same_pools_with_ports_and_addresses_of_its_own(tmp_path: Path) -> None:
    plan = Blueprint(directory=tmp_path, network="127.64.7", port=21000, postfix="/usr/sbin/postfix")
    plan.fleet_file.write_text(fleet_text(plan), "utf-8")
    fleet = load_fleet(plan.fleet_file)
    assert tuple(fleet.hosts) == (*HOSTS, POSTFIX_HOST)
    host = host_part(fleet, HostName(POSTFIX_HOST))
    assert host.engine is EngineKind.POSTFIX
    assert host.postfix.instance == str(tmp_path / "mx4" / "postfix" / "etc")
    assert fleet.pools[PoolName("cold")].active == ("cold-1", "cold-3", "cold-5", "cold-7")
    ports = [plan.world_port, *(one.smtp_port for one in plan.hosts)]
    assert len(set(ports)) == 5
    addresses = [a for one in plan.hosts for a in (one.ssh_address, *one.addresses.values())]
    assert len(addresses) == len(set(addresses)) == 29
    assert f"127.64.7.{DNS_HOST}" not in addresses
