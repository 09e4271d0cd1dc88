"""Agents on one machine do not share what only one can have."""

from pathlib import Path

import pytest

from mailagent.config import ConfigError, load_fleet

FLEET = """\
hosts:
  mx1-tx:
    machine: mx1
    state_dir: /srv/tx
    rpc: {socket: /run/tx.sock}
    intake: {listeners: [{address: 10.0.0.1, port: 25}]}
    virtual_mtas: {tx-1: {address: 10.0.0.11}}
  mx1-bulk:
    machine: mx1
    state_dir: /srv/bulk
    rpc: {socket: /run/bulk.sock}
    intake: {listeners: [{address: 10.0.0.1, port: 2525}]}
    virtual_mtas: {bulk-1: {address: 10.0.0.12}}
pools: {tx: {active: [tx-1]}, bulk: {active: [bulk-1]}}
"""


def problems(path: Path, old: str = "", new: str = "") -> str:
    assert old in FLEET
    path.write_text(FLEET.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_fleet(path)
    return str(caught.value)


def test_agents_with_their_own_places_share_a_machine(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET, encoding="utf-8")
    assert {host.machine for host in load_fleet(path).hosts.values()} == {"mx1"}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("/srv/bulk", "/srv/tx", "hosts.mx1-bulk.state_dir: state_dir /srv/tx is that of mx1-tx, on the same machine"),
        ("/run/bulk.sock", "/run/tx.sock", "hosts.mx1-bulk.rpc.socket: socket /run/tx.sock is that of mx1-tx"),
        ("port: 2525", "port: 25", "hosts.mx1-bulk.intake.listeners[0]: listener 10.0.0.1, port 25, is that of mx1-tx"),
        ("machine: mx1", "machine: mx1-bulk", "`mx1-bulk` is the name of a host that is not on that machine"),
        ("machine: mx1", 'machine: "mx 1"', "hosts.mx1-tx.machine"),
    ],
)
def test_what_collides_is_told_with_its_key(tmp_path: Path, old: str, new: str, why: str) -> None:
    assert why in problems(tmp_path / "fleet.yaml", old, new)
