"""Figures for monitoring: the catalogue, their text, and the rows of a snapshot."""

import re
import subprocess
from collections import Counter
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api import codec
from mailagent.api.directives import Directive, DirectiveKind, DirectiveView
from mailagent.api.events import EventSinkView, SinkState
from mailagent.api.exposition import END, Part, exposition, is_openmetrics_wanted
from mailagent.api.ids import DirectiveId, OpId
from mailagent.api.intake import CheckCount
from mailagent.api.methods import MAX_REPLY_BYTES
from mailagent.api.metrics import FAMILIES, MOST_SERIES, SCOPES, Family, Kind, MetricRow, Metrics, MetricTable, Scope
from mailagent.api.reputation import Faults, Listing, Weight
from mailagent.api.targets import Target, TargetKind
from mailagent.api.views import EngineState, Flow, MemberState, Snapshot
from mailagent.metrics import Facts, Process, metrics_of
from tests.console.loopback import START, LoopbackAgent
from tests.exposition import Series, families, series, value

KEY_ZONE = "secretkey.zen.dq.example.net"
PROCESS = Process(cpu_s=1.5, open_fds=20, max_fds=1024, database_bytes=4096, journal_bytes=64)
FLOW = Flow(received=4, delivered=3, deferred=2, bounced=1)
SINK = EventSinkView(
    name="crm",
    target="https://crm.example/hook?token=secret",
    state=SinkState.BEHIND,
    acknowledged=70,
    failures=2,
    lag_p50_s=None,
    lag_p95_s=None,
    behind_bytes=100,
    oldest_at=START - timedelta(seconds=90),
    lost_files=1,
    last_acknowledged_at=None,
    last_error="",
    next_try_at=None,
)


def facts(**other: object) -> Facts:
    told: dict[str, object] = {
        "process": PROCESS,
        "streams": {"news": (FLOW, 7)},
        "suppressed": 5,
        "lists": {},
        "checks": (CheckCount(stream="news", check="date", warned=1, refused=2, moved=3),),
        "sinks": (SINK,),
        "took_s": 0.002,
    }
    return Facts(**{**told, **other})  # type: ignore[arg-type]


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    agent = LoopbackAgent(name="mx1", number=1, socket=tmp_path / "s")
    return msgspec.structs.replace(agent.snapshot(), at=START + timedelta(seconds=30))


def text_of(*parts: Part, openmetrics: bool = True) -> str:
    return "".join(exposition(parts, openmetrics=openmetrics)) + (END if openmetrics else "")


def read(metrics: Metrics) -> Series:
    return series(text_of(Part("", metrics)))


def one_value(scope: Scope, name: str, number: float, *labels: str) -> MetricTable:
    return MetricTable(scope=scope, names=(name,), rows=(MetricRow(labels=labels, values=(number,)),))


# -- the catalogue


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_follow_the_rules_of_prometheus(family: Family) -> None:
    assert re.fullmatch(r"mailagent(_[a-z]+)+", family.name)
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    assert family.name.endswith("_info") == (family.kind is Kind.INFO)
    assert not re.search(r"_(ms|milliseconds|minutes|mb|kib|percent|count)(_|$)", family.name)
    assert family.help.isascii()
    assert family.help.isprintable()
    assert "\\" not in family.help
    assert family.help.endswith(".")


def test_no_name_stands_twice_and_none_is_the_beginning_of_a_counter() -> None:
    names = Counter(re.sub("_(total|info)$", "", family.name) for family in FAMILIES)
    assert [name for name, count in names.items() if count > 1] == []


# -- the text


def test_a_whole_host_is_read_back_in_both_formats(snapshot: Snapshot) -> None:
    part = Part("", metrics_of(snapshot, facts()))
    for classic in (False, True):
        text = text_of(part, openmetrics=not classic)
        found = series(text, classic=classic)
        assert value(found, "queue_recipients") == 100
        assert value(found, "build_info", version="0.1.0", engine="mailagent") == 1
        assert value(found, "delivered_recipients_total") == 6000
        assert value(found, "pool_members", pool="marketing", state="standby") == 1
        assert value(found, "stream_bounced_recipients_total", stream="news") == 1
        assert value(found, "stream_queue_recipients", stream="news") == 7
        assert value(found, "provider_queue_oldest_age_seconds", provider="gmail") == 30
        assert value(found, "check_refused_messages_total", stream="news", check="date") == 2
        assert value(found, "event_sink_oldest_age_seconds", sink="crm") == 120
        assert value(found, "event_sink_failed_requests_total", sink="crm") == 2
        assert value(found, "process_cpu_seconds_total") == 1.5
        assert value(found, "metrics_seconds") == 0.002
        assert "secret" not in text
    by_name = {family.name: family for family in families(text_of(part))}
    assert by_name["mailagent_spool_free_bytes"].unit == "bytes"
    assert by_name["mailagent_build"].type == "info"
    assert by_name["mailagent_delivered_recipients"].type == "counter"
    assert by_name["mailagent_delivered_recipients"].documentation == "Recipients delivered."


@pytest.mark.needs("promtool")
def test_prometheus_finds_nothing_to_complain_of(snapshot: Snapshot) -> None:
    text = text_of(Part("mx1", metrics_of(snapshot, facts())), openmetrics=False)
    told = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_every_value_has_a_name_and_every_name_a_value(snapshot: Snapshot) -> None:
    listed = msgspec.structs.replace(snapshot.vmtas[0], listings=(listing(KEY_ZONE),))
    slow = msgspec.structs.replace(snapshot.destinations[0], answer_ms=40.0)
    far = msgspec.structs.replace(snapshot.providers[0], connect_ms=80.0)
    now = msgspec.structs.replace(snapshot, vmtas=(listed,), destinations=(slow,), providers=(far,))
    metrics = metrics_of(now, facts(lists={KEY_ZONE: ("zen.example.net", Weight.HIGH)}))
    for table in metrics.tables:
        for row in table.rows:
            assert (len(row.labels), len(row.values)) == (len(SCOPES[Scope(table.scope)].labels), len(table.names))
            assert None not in row.values
    assert {name for name, _ in read(metrics)} == {family.name for family in FAMILIES}


def test_several_hosts_are_one_family_each_with_its_label(snapshot: Snapshot) -> None:
    metrics = metrics_of(snapshot, facts())
    text = text_of(Part("mx1", metrics), Part("mx2", metrics))
    found = series(text)
    assert value(found, "queue_recipients", host="mx1") == value(found, "queue_recipients", host="mx2") == 100
    assert value(found, "pool_queue_recipients", host="mx2", pool="marketing") == 33
    assert text.count("# TYPE mailagent_queue_recipients ") == 1


@given(name=st.text(max_size=20), host=st.text(min_size=1, max_size=20))
def test_whatever_a_host_says_stays_inside_its_label(name: str, host: str) -> None:
    table = one_value(Scope.POOL, "mailagent_pool_queue_recipients", 1, name)
    for classic in (False, True):
        text = text_of(Part(host, Metrics(at=START, tables=(table,))), openmetrics=not classic)
        assert text.count("\n") == (3 if classic else 4)
        assert all(char.isprintable() or char in "\n" or char.isspace() for char in text)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", text)
        ((_, labels),) = series(text, classic=classic)
        assert {key for key, _ in labels} == {"host", "pool"}


def test_hostile_labels_are_escaped() -> None:
    nasty = 'a"} 1\nmailagent_up 1\\\x1b[31m\x00\u202eb'
    table = one_value(Scope.POOL, "mailagent_pool_queue_recipients", 1, nasty)
    text = text_of(Part("", Metrics(at=START, tables=(table,))))
    assert r'{pool="a\"} 1 mailagent_up 1\\ [31m  b"} 1' in text
    assert dict(next(iter(series(text)))[1]) == {"pool": 'a"} 1 mailagent_up 1\\ [31m  b'}


def test_what_is_not_in_the_catalogue_or_does_not_fit_is_left_out() -> None:
    name = "mailagent_pool_queue_recipients"
    tables = (
        one_value(Scope.HOST, "mailagent_new_thing", 1),
        one_value(Scope.HOST, name, 1),  # of another scope
        one_value(Scope.HOST, "evil\n# EOF", 1),
        MetricTable(scope="tomorrow", names=(name,), rows=()),
        MetricTable(
            scope=Scope.POOL,
            names=(name, name, "mailagent_pool_accepted_recipients_total"),
            rows=(
                MetricRow(labels=("a",), values=(1, 2, -3)),  # twice the same name, and a counter below zero
                MetricRow(labels=("a",), values=(1, 2, -3)),
                MetricRow(labels=("b", "c"), values=(1,)),
                MetricRow(labels=("d",), values=()),
            ),
        ),
        one_value(Scope.POOL, name, 5, "a"),
    )
    assert read(Metrics(at=START, tables=tables[3:])) == {(name, frozenset({("pool", "a")})): 1}
    assert read(Metrics(at=START, tables=tables)) == {(name, frozenset({("pool", "a")})): 1}


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text ; Version=1.0.0 ; Q=0.5 , text/plain;q=0.4", True),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
        (",;,;q=", False),
    ],
)
def test_the_older_text_is_for_all_that_do_not_ask(accept: str, openmetrics: bool) -> None:
    assert is_openmetrics_wanted(accept) is openmetrics


# -- the rows


def listing(zone: str, weight: Weight = Weight.HIGH) -> Listing:
    return Listing(zone=zone, address="192.0.2.1", weight=weight, meaning="SBL", since=START)


def test_a_block_list_is_shown_without_the_key_in_its_zone(snapshot: Snapshot) -> None:
    first, second, *rest = snapshot.vmtas
    first = msgspec.structs.replace(first, listings=(listing(KEY_ZONE), listing("info.example", Weight.INFO)))
    second = msgspec.structs.replace(second, lists_unknown=2)
    now = msgspec.structs.replace(snapshot, vmtas=(first, second, *rest))
    lists = {KEY_ZONE: ("zen.example.net", Weight.HIGH), "bl.example.net": ("bl.example.net", Weight.LOW)}
    metrics = metrics_of(now, facts(lists=lists))
    found = read(metrics)
    assert value(found, "block_list_virtual_mtas", zone="zen.example.net", weight="high") == 1
    assert value(found, "block_list_virtual_mtas", zone="bl.example.net", weight="low") == 0
    assert value(found, "vmta_listings", pool=first.pool, vmta=first.name) == 1
    assert value(found, "vmta_unknown_listings", pool=second.pool, vmta=second.name) == 2
    assert "secretkey" not in text_of(Part("", metrics))


def test_what_receivers_mind_is_counted(snapshot: Snapshot) -> None:
    first = msgspec.structs.replace(snapshot.vmtas[0], faults=Faults(count=1), identity_unknown=2)
    pool = msgspec.structs.replace(snapshot.pools[0], faults=Faults(count=2))
    now = msgspec.structs.replace(snapshot, vmtas=(first,), pools=(pool,))
    found = read(metrics_of(now, facts()))
    assert value(found, "vmta_identity_faults", pool=first.pool, vmta=first.name) == 1
    assert value(found, "vmta_unknown_identity", pool=first.pool, vmta=first.name) == 2
    assert value(found, "pool_identity_faults", pool=pool.name) == 2


def test_nothing_is_said_of_lists_where_none_is_asked(snapshot: Snapshot) -> None:
    names = {name for name, _ in read(metrics_of(snapshot, facts()))}
    assert not [name for name in names if "list" in name]


def test_orders_are_counted_by_kind_and_author(snapshot: Snapshot) -> None:
    def view(number: int, kind: DirectiveKind, rule: str, waiting: int) -> DirectiveView:
        return DirectiveView(
            directive=Directive(
                id=DirectiveId(f"d{number}"),
                kind=kind,
                target=Target(kind=TargetKind.POOL, name="marketing"),
                author="alice\n",
                reason='"',
                created_at=START,
                expires_at=None,
                op_id=OpId("o"),
                rule=rule,
            ),
            waiting=waiting,
        )

    live = (
        view(1, DirectiveKind.SUSPEND, "", 5),
        view(2, DirectiveKind.SUSPEND, "gmail.blocked", 7),
        view(3, DirectiveKind.SUSPEND, "", 6),
    )
    found = read(metrics_of(msgspec.structs.replace(snapshot, directives=live), facts()))
    assert value(found, "directives", kind="suspend", by="people") == 2
    assert value(found, "directives", kind="suspend", by="automation") == 1
    assert value(found, "directives", kind="limit", by="automation") == 0
    assert value(found, "directives", kind="drain", by="people") == 0
    assert value(found, "directives_held_recipients", kind="suspend", by="people") == 11


def test_what_an_engine_cannot_know_is_not_there(snapshot: Snapshot) -> None:
    unknown = ("connections_in", "connections_out", "in_doubt", "in_doubt_listed", "ready_queues")
    host = msgspec.structs.replace(snapshot.host, engine="postfix 3.7.11", unknown=unknown)
    found = read(metrics_of(msgspec.structs.replace(snapshot, host=host), facts(checks=None)))
    names = {name for name, _ in found}
    assert not [name for name in names if "connections" in name or "doubt" in name or "duplicate" in name]
    assert not [name for name in names if "check" in name or re.search("(pool|vmta|provider|cell)_queue_ready", name)]
    assert value(found, "queue_ready_recipients") == 5
    assert value(found, "cell_queue_deferred_recipients", pool="marketing", provider="gmail", vmta="mkt-3") == 7


def test_an_empty_queue_has_no_age_and_a_clock_behind_none_below_zero(snapshot: Snapshot) -> None:
    host = msgspec.structs.replace(snapshot.host, oldest_at=None)
    pools = tuple(msgspec.structs.replace(one, oldest_at=START + timedelta(hours=1)) for one in snapshot.pools)
    found = read(metrics_of(msgspec.structs.replace(snapshot, host=host, pools=pools), facts()))
    assert value(found, "queue_oldest_age_seconds") == 0
    assert value(found, "pool_queue_oldest_age_seconds", pool="cold") == 0


def test_a_host_reports_no_more_than_its_bound_and_says_what_is_left_out(snapshot: Snapshot) -> None:
    names = [f"{n:04}".ljust(63, "x") for n in range(600)]
    now = msgspec.structs.replace(
        snapshot,
        pools=tuple(msgspec.structs.replace(snapshot.pools[0], name=name) for name in names),
        vmtas=tuple(
            msgspec.structs.replace(snapshot.vmtas[0], name=name, pool=name, state=state)
            for name, state in zip(names, list(MemberState) * 100, strict=False)
        ),
        providers=tuple(msgspec.structs.replace(snapshot.providers[0], name=name) for name in names),
        destinations=tuple(
            msgspec.structs.replace(snapshot.destinations[0], provider=name, vmta=name, pool=name, answer_ms=1.23)
            for name in names[:512]
        ),
    )
    metrics = metrics_of(
        now,
        facts(
            streams=dict.fromkeys(names, (FLOW, 1)),
            lists={name: (name, Weight.LOW) for name in names},
            checks=tuple(CheckCount(stream=name, check="date") for name in names),
            sinks=tuple(msgspec.structs.replace(SINK, name=name) for name in names),
        ),
    )
    found = read(metrics)
    assert len(found) <= MOST_SERIES < 18_000
    assert sum(name == "mailagent_cell_answer_seconds" for name, _ in found) == 512
    assert value(found, "metrics_left_out_rows") == sum(
        max(0, rows - SCOPES[scope].most)
        for scope, rows in {
            Scope.POOL: 600,
            Scope.POOL_STATE: 600 * 4,
            Scope.MEMBERS: 600 * 7,
            Scope.STREAM: 600,
            Scope.PROVIDER: 600,
            Scope.VMTA: 600,
            Scope.CELL: 512,
            Scope.BLOCK_LIST: 600,
            Scope.CHECK: 600,
            Scope.SINK: 600,
        }.items()
    )
    assert len(codec.encode(metrics)) < MAX_REPLY_BYTES * 0.8


def test_each_state_of_the_agent_is_told(snapshot: Snapshot) -> None:
    for state in EngineState:
        host = msgspec.structs.replace(snapshot.host, state=state)
        found = read(metrics_of(msgspec.structs.replace(snapshot, host=host), facts()))
        assert [one for one in EngineState if value(found, "state", state=one.value)] == [state]
