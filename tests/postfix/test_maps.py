"""Standing orders become maps: what a Postfix is told by them, when it is reloaded, and what stays when it fails."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import ProviderName
from mailagent.api.targets import Target, TargetKind
from mailagent.config import load_agent
from mailagent.config.structs import AgentConfig
from mailagent.control.state import HostState, host_state
from mailagent.postfix.destinations import Destinations
from mailagent.postfix.errors import ProgramFailed
from mailagent.postfix.files import PLAIN
from mailagent.postfix.holding import Destination, Holds, in_vain, slot_texts, why_not
from mailagent.postfix.maps import Maps, takes_away
from mailagent.postfix.record import RECORD, Installed, home
from mailagent.postfix.tables import rows_of, shown
from mailagent.postfix.writers import OwnWriter
from tests.agent.control import fleet

HOST = """\
host: mx1
engine: postfix
state_dir: ./state
virtual_mtas:
  mkt-1: {address: 127.0.1.1}
  mkt-2: {address: 127.0.1.2}
  mkt-3: {address: 127.0.1.3}
  tx-1: {address: 127.0.2.1}
pools:
  marketing: {active: [mkt-1, mkt-2], standby: [mkt-3]}
  tx: {active: [tx-1]}
streams:
  marketing: {pool: marketing}
  tx: {pool: tx, senders: ["*@tx.example"]}
default_stream: marketing
"""
DRAIN, SUSPEND, ROTATE, LIMIT, *_ = DirectiveKind
SEEN = (
    Destination("gmail.com", "gmail", ProviderName("gmail")),
    Destination("a.example", "google-workspace", ProviderName("gmail")),
    Destination("b.example", "b", ProviderName("default")),
)


def directive(kind: DirectiveKind, target: TargetKind, name: str, standby: str = "") -> Directive:
    return fleet.directive(kind, f"{target}:{name}", standby=standby)


class Programs:
    """Postfix's programs on paper: postmap makes an index, a reload is counted."""

    def __init__(self) -> None:
        self.reloads = 0
        self.fails = ""

    async def run(self, program: str, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None) -> bytes:
        if self.fails and " ".join((program, *arguments)).startswith(self.fails):
            raise ProgramFailed((program, *arguments), 1, "no space left on device")
        if program == "postfix":
            self.reloads += arguments == ("reload",)
            return b""
        path = Path(arguments[-1].partition(":")[2])
        return _asked(path, stdin.decode().splitlines()) if "-q" in arguments else _postmap(path)


def _postmap(path: Path) -> bytes:
    path.with_name(f"{path.name}.db").write_bytes(path.read_bytes())
    return b""


def _asked(path: Path, keys: Sequence[str]) -> bytes:
    rows = rows_of(path.with_name(f"{path.name}.db").read_text())
    return "".join(f"{key}\t{rows[key]}\n" for key in keys if key in rows).encode()


class Rig:
    """Maps over a folder that is set up."""

    def __init__(self, config: AgentConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.programs = Programs()
        self.seen = list(SEEN)
        self.maps = Maps(config, OwnWriter(self.programs), lambda: self.seen, folder.parent, clock=lambda: self.now)
        self.now = 1000.0

    async def order(self, *directives: Directive) -> str:
        """Have these and no other standing orders: what is in the way."""
        self.now += 60
        self.maps.apply(host_state(self.config, directives))
        return await self.maps.settled()

    def text(self, name: str) -> str:
        return shown(name, (self.folder / name).read_text(encoding="utf-8"))


def config(tmp_path: Path, text: str = HOST) -> AgentConfig:
    (tmp_path / "agent.yaml").write_text(text, encoding="utf-8")
    return load_agent(tmp_path / "agent.yaml")


@asynccontextmanager
async def rig(tmp_path: Path, type: str = "hash") -> AsyncIterator[Rig]:
    found = config(tmp_path)
    record = Installed(
        config_dir=str(tmp_path), type=type, vmtas=tuple(found.virtual_mtas), streams=tuple(found.streams)
    )
    write_record(tmp_path, record)
    one = Rig(found, tmp_path / "mailagent")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(one.maps.run(), name="maps")
        assert await one.order() == ""
        yield one
        task.cancel()


def write_record(place: Path, record: Installed) -> None:
    home(place).mkdir(parents=True, exist_ok=True)
    (home(place) / RECORD).write_bytes(msgspec.json.encode(record))


def slots(found: AgentConfig, state: HostState, vmtas: Sequence[str] | None = None) -> dict[str, str]:
    there = [name for name in found.virtual_mtas if vmtas is None or name in vmtas]
    texts = slot_texts(found, state, tuple(found.streams), there, "")
    return {name: shown(name, text) for name, text in texts.items()}


def test_a_drained_virtual_mta_has_no_slot_and_a_standby_rotated_in_has_them(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert slots(found, host_state(found, ()))["marketing.slots"] == (
        " 50 of 100 slots  vmta-mkt-1:\n 50 of 100 slots  vmta-mkt-2:\n"
    )
    drained = host_state(found, [directive(DRAIN, TargetKind.VMTA, "mkt-1")])
    assert slots(found, drained)["marketing.slots"] == "100 of 100 slots  vmta-mkt-2:\n"
    rotated = host_state(found, [directive(ROTATE, TargetKind.VMTA, "mkt-1", standby="mkt-3")])
    assert slots(found, rotated)["marketing.slots"] == " 50 of 100 slots  vmta-mkt-2:\n 50 of 100 slots  vmta-mkt-3:\n"
    assert slots(found, rotated, ["mkt-1", "mkt-2"])["marketing.slots"] == "100 of 100 slots  vmta-mkt-2:\n"


@pytest.mark.parametrize(("kind", "name"), [("pool", "tx"), ("stream", "tx"), ("vmta", "tx-1")])
def test_mail_that_nobody_may_send_waits_with_the_reason(tmp_path: Path, kind: str, name: str) -> None:
    found = config(tmp_path)
    held = slots(found, host_state(found, [directive(SUSPEND, TargetKind(kind), name)]))
    assert held["tx.slots"].startswith("100 of 100 slots  mailagent-wait:4.3.2 held by mailagent: ")
    assert "suspended by" in held["tx.slots"]
    assert "mailagent-wait" not in held["marketing.slots"]


def test_domains_of_a_suspended_provider_wait_and_no_others(tmp_path: Path) -> None:
    found = config(tmp_path)
    state = host_state(found, [directive(SUSPEND, TargetKind.PROVIDER, "gmail")])
    odd = Destination("a b.example", "gmail", ProviderName("gmail"))
    rows = Holds(found, state).rows((*SEEN, odd))
    assert list(rows) == ["a.example", "gmail.com"]
    assert rows["gmail.com"].startswith("mailagent-wait:4.3.2 held by mailagent: provider gmail is suspended by ")
    assert Holds(found, host_state(found, ())).rows(SEEN) == {}


def test_a_destination_waits_when_every_virtual_mta_that_sends_is_held_there(tmp_path: Path) -> None:
    found = config(tmp_path)
    some = [directive(SUSPEND, TargetKind.QUEUE, "b/mkt-1")]
    assert Holds(found, host_state(found, some)).rows(SEEN) == {}
    every = [directive(SUSPEND, TargetKind.QUEUE, f"b/{vmta}") for vmta in ("mkt-1", "mkt-2", "tx-1")]
    assert list(Holds(found, host_state(found, every)).rows(SEEN)) == ["b.example"]


def test_a_site_is_held_by_its_domains_and_a_domain_by_its_name(tmp_path: Path) -> None:
    found = config(tmp_path)

    def held(*names: str) -> dict[str, str]:
        orders = [directive(SUSPEND, TargetKind.QUEUE, name) for name in names]
        return Holds(found, host_state(found, orders)).rows(SEEN)

    assert list(held("google-workspace/")) == ["a.example"]
    assert held("gmail/")["gmail.com"].startswith("mailagent-wait:4.3.2 held by mailagent: site gmail is suspended by ")
    assert list(held("gmail/", "B.example/", "new.example/")) == ["b.example", "gmail.com", "new.example"]
    assert held("nobody-was-seen-there/", "*.example/") == {}


def test_one_virtual_mta_at_one_site_is_held_while_it_alone_sends(tmp_path: Path) -> None:
    found = config(tmp_path)
    target = Target(kind=TargetKind.QUEUE, name="b/mkt-1")
    alone = [directive(DRAIN, TargetKind.VMTA, "mkt-2"), directive(SUSPEND, TargetKind.POOL, "tx")]
    assert why_not(found, host_state(found, alone), SUSPEND, target) == ""
    refused = why_not(found, host_state(found, ()), SUSPEND, target)
    assert "others send there (mkt-2, tx-1); suspend queue:b/, or drain the virtual MTA" in refused
    path = directive(SUSPEND, TargetKind.QUEUE, "b/mkt-1")
    held = host_state(found, [*alone, path])
    assert list(Holds(found, held).rows(SEEN)) == ["b.example"]
    assert in_vain(found, held) == []
    undrained = host_state(found, [alone[1], path])
    assert Holds(found, undrained).rows(SEEN) == {}
    assert in_vain(found, undrained) == ["the suspension of queue:b/mkt-1 holds nothing while mkt-2 may send there"]


def test_what_postfix_cannot_do_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    found = config(tmp_path)

    def asked(kind: DirectiveKind, target: TargetKind, name: str) -> str:
        return why_not(found, host_state(found, ()), kind, Target(kind=target, name=name))

    assert "its pools" in asked(DRAIN, TargetKind.HOST, "mx1")
    assert "suspend provider:gmail" in asked(SUSPEND, TargetKind.CELL, "gmail/mkt-1")
    assert "the stream or the provider" in asked(SUSPEND, TargetKind.TRAFFIC, "gmail/tx")
    assert "mailagent postfix apply" in asked(LIMIT, TargetKind.VMTA, "mkt-1")
    assert asked(SUSPEND, TargetKind.PROVIDER, "gmail") == asked(DRAIN, TargetKind.VMTA, "mkt-1") == ""
    assert asked(SUSPEND, TargetKind.QUEUE, "gmail/") == ""


def test_only_what_takes_a_way_away_needs_a_reload() -> None:
    assert takes_away({"a.slots": "00\tx:\n01\ty:\n"}, {"a.slots": "00\tx:\n01\tx:\n"})
    assert not takes_away({"a.slots": "00\tx:\n01\tx:\n"}, {"a.slots": "00\tx:\n01\ty:\n"})
    assert takes_away({"held": ""}, {"held": "gmail.com\twait:\n"})
    assert not takes_away({"held": "gmail.com\twait:\n"}, {"held": ""})


async def test_an_order_is_in_the_maps_when_it_has_settled_and_reloads_only_to_take_away(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        assert await one.order(directive(DRAIN, TargetKind.VMTA, "mkt-1")) == ""
        assert one.text("marketing.slots") == "100 of 100 slots  vmta-mkt-2:\n"
        assert one.programs.reloads == 1
        assert await one.order() == ""
        assert one.programs.reloads == 1
        assert await one.order(directive(SUSPEND, TargetKind.PROVIDER, "gmail")) == ""
        assert set(one.maps.held) == {"gmail.com", "a.example"}
        assert one.programs.reloads == 2
        assert "2 domains seen so far wait" in " ".join(one.maps.notices())


async def test_a_new_domain_of_a_suspended_provider_follows_without_a_reload(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.order(directive(SUSPEND, TargetKind.PROVIDER, "gmail"))
        one.seen.append(Destination("new.example", "google-workspace", ProviderName("gmail")))
        one.maps._look()  # what `look` does a second later
        assert await one.maps.settled() == ""
        assert "new.example" in rows_of(one.text("held"))
        assert one.programs.reloads == 1


async def test_a_table_that_postfix_reads_once_is_reloaded_after_each_change(tmp_path: Path) -> None:
    async with rig(tmp_path, PLAIN) as one:
        await one.order(directive(DRAIN, TargetKind.VMTA, "mkt-1"))
        reloads = one.programs.reloads
        await one.order()
        assert one.programs.reloads == reloads + 1


@pytest.mark.parametrize("step", ["postmap hash", "postmap -q -"])
async def test_maps_that_cannot_be_written_leave_the_last_good_ones(tmp_path: Path, step: str) -> None:
    async with rig(tmp_path) as one:
        before = {path.name: path.read_bytes() for path in one.folder.iterdir() if path.is_file()}
        one.programs.fails = step
        trouble = await one.order(directive(DRAIN, TargetKind.VMTA, "mkt-1"))
        assert "stay as they were" in trouble
        assert "no space left on device" in trouble
        assert one.maps.notices() == [trouble]
        assert {path.name: path.read_bytes() for path in one.folder.iterdir() if path.is_file()} == before
        one.programs.fails = ""
        assert await one.order(directive(DRAIN, TargetKind.VMTA, "mkt-1")) == ""
        assert one.maps.notices() == []


async def test_a_refused_reload_is_said_and_asked_for_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.programs.fails = "postfix reload"
        trouble = await one.order(directive(DRAIN, TargetKind.VMTA, "mkt-1"))
        assert "mail in the active queue still goes the old way" in trouble
        assert one.text("marketing.slots") == "100 of 100 slots  vmta-mkt-2:\n"
        one.programs.fails = ""
        assert await one.order(directive(DRAIN, TargetKind.VMTA, "mkt-1")) == ""
        assert one.programs.reloads == 1


async def test_orders_without_a_setup_are_said_to_have_no_effect(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        (home(one.folder.parent) / RECORD).unlink()
        trouble = await one.order(directive(DRAIN, TargetKind.VMTA, "mkt-1"))
        assert "run mailagent postfix apply" in trouble
        assert not one.maps.ready
        assert await one.order(directive(DirectiveKind.LOCK, TargetKind.HOST, "mx1")) == ""


def test_domains_are_known_again_after_a_restart(tmp_path: Path) -> None:
    told: list[int] = []
    book = Destinations(tmp_path / "d.tsv", lambda: told.append(len(book)))
    book.note("gmail.com", "gmail", "gmail")
    book.note("gmail.com", "gmail", "gmail")
    book.note("b.example", "b", "default")
    book.note("b.example", "google-workspace", "gmail")
    book.save()
    assert told == [1, 2, 2]
    again = Destinations(tmp_path / "d.tsv", lambda: None)
    again.load()
    assert list(again) == list(book)
    assert [one.provider for one in again] == ["gmail", "gmail"]
