"""Who may do what, and what the audit log says of it."""

import asyncio
import grp
import os
from pathlib import Path

import msgspec
import pytest

from mailagent.api import credentials, requests
from mailagent.api.errors import GuardRefused, RoleRefused, Unavailable
from mailagent.api.evacuation import ParcelTake
from mailagent.api.ids import HostName, OpId
from mailagent.api.methods import METHODS
from mailagent.api.requests import Role
from mailagent.api.targets import MessageFilter, Target, TargetKind
from mailagent.config.structs import Rpc
from mailagent.rpc.peer import OVERFLOW_UID, RoleTable, at_most, includes, peer_of, user_name
from tests.agent.rpc.host import NOBODY_IN_PARTICULAR, serving, somebody

GROUPS = {Role.VIEWER: ("daemon",), Role.OPERATOR: ("mail", "no-such-group"), Role.ADMIN: ("sys",)}
DAEMON, MAIL, SYS = (grp.getgrnam(name).gr_gid for name in ("daemon", "mail", "sys"))
DRAIN = requests.Drain(op_id=OpId("op1"), target=Target(kind=TargetKind.POOL, name="marketing"), reason="why")


@pytest.mark.parametrize(
    ("gids", "role"),
    [
        ({DAEMON}, Role.VIEWER),
        ({MAIL}, Role.OPERATOR),
        ({DAEMON, SYS}, Role.ADMIN),
        ({DAEMON, MAIL, 9999}, Role.OPERATOR),
    ],
)
def test_the_highest_group_counts(gids: set[int], role: Role) -> None:
    assert RoleTable(GROUPS, own_uid=1).role_of(somebody(gids)) is role


def test_root_and_the_own_account_are_admin() -> None:
    table = RoleTable({}, own_uid=77)
    assert table.role_of(somebody(uid=0)) is Role.ADMIN
    assert table.role_of(somebody(uid=77)) is Role.ADMIN


@pytest.mark.parametrize(
    "stranger", [somebody({9999}), somebody(), somebody({SYS}, uid=OVERFLOW_UID), somebody({SYS}, uid=0, pid=0)]
)
def test_strangers_and_callers_from_other_namespaces_are_refused(stranger: object) -> None:
    with pytest.raises(RoleRefused):
        RoleTable(GROUPS, own_uid=1).role_of(stranger)  # type: ignore[arg-type]


def test_an_unknown_group_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    RoleTable(GROUPS)
    assert "no group no-such-group" in caplog.text


def test_a_role_includes_those_below_and_can_only_be_lowered() -> None:
    assert includes(Role.ADMIN, Role.VIEWER)
    assert not includes(Role.VIEWER, Role.OPERATOR)
    assert at_most(Role.OPERATOR, Role.VIEWER) is Role.VIEWER
    assert at_most(Role.OPERATOR, Role.ADMIN) is Role.OPERATOR
    assert at_most(Role.OPERATOR, None) is Role.OPERATOR


def test_accounts_without_name_have_their_number() -> None:
    assert user_name(NOBODY_IN_PARTICULAR) == f"uid {NOBODY_IN_PARTICULAR}"
    assert user_name(0) == "root"


async def test_the_kernel_gives_user_process_and_groups() -> None:
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert (peer.pid, peer.uid) == (os.getpid(), os.getuid())
    assert peer.gids == {os.getgid(), *os.getgroups()}


class Anything(msgspec.Struct, frozen=True, kw_only=True):
    """What any verb wants: fields that it does not know are ignored."""

    op_id: str
    target: Target = DRAIN.target
    directive: str = "d"
    undoes: str = "x"
    filter: MessageFilter = MessageFilter()
    pool: str = "b"
    limit: str = "rate"
    value: str = "1/s"
    user: str = "app"
    entries: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    apply: bool = True
    digest: str = "d"
    text: str = "words"
    scope: credentials.Scope = credentials.Scope()
    streams: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    evacuation: str = "e"
    source: str = "mx9"


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_reads_and_does_what_the_table_says_and_no_more(tmp_path: Path, role: Role) -> None:
    gid = {Role.VIEWER: DAEMON, Role.OPERATOR: MAIL, Role.ADMIN: SYS}[role]
    async with serving(tmp_path, GROUPS) as bench:
        bench.peer = lambda _: somebody({gid})
        async with bench.connected() as lines:
            assert (await lines.hello()).role is role
            for method in METHODS.values():
                if not method.mutates:
                    continue
                request = Anything(op_id=method.name)
                bench.host.gate.set()
                if includes(role, method.role):
                    await lines.call(method.name, request)
                else:
                    with pytest.raises(RoleRefused, match=f"wants the role {method.role}"):
                        await lines.call(method.name, request)
            assert (await lines.call("snapshot")).seq == 1
    done = {verb for verb, _, _ in bench.host.orders}
    assert done == {m.name for m in METHODS.values() if m.mutates and includes(role, m.role)}
    assert all(caller.role is role for _, _, caller in bench.host.orders)
    denied = {entry["verb"] for entry in bench.audit() if entry["event"] == "denied"}
    assert denied == {m.name for m in METHODS.values() if m.mutates} - done


async def test_a_caller_may_lower_the_role_and_not_raise_it(tmp_path: Path) -> None:
    async with serving(tmp_path, GROUPS) as bench:
        async with bench.connected() as lines:
            assert (await lines.hello(as_role=Role.VIEWER)).role is Role.VIEWER
            with pytest.raises(RoleRefused):
                await lines.call("drain", DRAIN)
        bench.peer = lambda _: somebody({DAEMON})
        async with bench.connected() as lines:
            assert (await lines.hello(as_role=Role.ADMIN)).role is Role.VIEWER


async def test_a_caller_is_denied_in_the_words_of_its_command(tmp_path: Path) -> None:
    pause = requests.Suspend(op_id=OpId("op1"), target=Target(kind=TargetKind.JOB, name="spring"))
    async with serving(tmp_path, GROUPS) as bench, bench.connected() as lines:
        await lines.hello(as_role=Role.VIEWER)
        with pytest.raises(RoleRefused, match=r"^job pause wants the role operator; "):
            await lines.call("suspend", pause)
        with pytest.raises(RoleRefused, match=r"^dkim switch wants the role operator; "):
            await lines.call("dkim_switch", requests.Empty())
    assert [entry["verb"] for entry in bench.audit()] == ["suspend", "dkim_switch"]


async def test_other_roles_hold_from_the_next_call_on(tmp_path: Path) -> None:
    async with serving(tmp_path, GROUPS) as bench:
        bench.peer = lambda _: somebody({MAIL})
        async with bench.connected() as lines:
            await lines.hello()
            await lines.call("drain", DRAIN)
            bench.server.configure(Rpc(socket=bench.config.socket, roles={Role.VIEWER: ("mail",)}))
            with pytest.raises(RoleRefused):
                await lines.call("drain", DRAIN)
            await lines.call("snapshot")
            bench.server.configure(Rpc(socket=bench.config.socket))
            with pytest.raises(RoleRefused):
                await lines.call("snapshot")


async def test_an_order_is_on_record_before_it_is_done_and_before_it_is_acknowledged(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        await lines.call("drain", DRAIN)
        asked, done = bench.audit()
        assert (asked["event"], asked["verb"], asked["op_id"]) == ("asked", "drain", "op1")
        assert asked["request"]["reason"] == "why"
        assert asked["role"] == "admin"
        assert (done["event"], done["result"], done["detail"]) == ("done", "applied", "drain done")
        bench.host.refuse = True
        with pytest.raises(GuardRefused):
            await lines.call("drain", DRAIN)
        assert bench.audit()[-1]["event"] == "refused"
        assert "no eligible IP" in bench.audit()[-1]["detail"]


async def test_a_dry_run_and_a_read_leave_no_line(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        await lines.call("drain", requests.Drain(op_id=OpId("op1"), target=DRAIN.target, dry_run=True))
        await lines.call("snapshot")
    assert bench.audit() == []


async def test_without_a_working_audit_log_nothing_is_done(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        bench.server._audit.close()
        with pytest.raises(Unavailable, match="drain is not done"):
            await lines.call("drain", DRAIN)
        assert not bench.host.orders


async def test_the_audit_log_goes_on_in_a_new_file_after_it_was_moved_away(tmp_path: Path) -> None:
    async with serving(tmp_path) as bench, bench.connected() as lines:
        await lines.hello()
        await lines.call("drain", DRAIN)
        old = await asyncio.to_thread(bench.audit_path.rename, tmp_path / "audit.1")
        bench.server.reopen_audit()
        await lines.call("drain", DRAIN)
        assert len(bench.audit()) == 2
        assert len(old.read_bytes().splitlines()) == 2


async def test_a_viewer_takes_no_parcels(tmp_path: Path) -> None:
    async with serving(tmp_path, GROUPS) as bench:
        bench.peer = lambda _: somebody({DAEMON})
        async with bench.connected() as lines:
            await lines.hello()
            with pytest.raises(RoleRefused, match="operator"):
                await lines.call("parcel_take", ParcelTake(evacuation=OpId("e"), target=HostName("mx2")))
