"""What is to be changed in a Postfix: what the host's file asks for, what stands there, what stands in the way."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.ids import VmtaName
from mailagent.config import load_agent
from mailagent.config.structs import AgentConfig
from mailagent.postfix.foreign import Rows
from mailagent.postfix.installing import services
from mailagent.postfix.instance import instance_of
from mailagent.postfix.setup import Setup, SetupRefused, Standing, differences, wanted, without_ours
from mailagent.postfix.tables import SLOTS, dealt, rows_of, senders_text, shown, slots_text, tables, vmta_of, waiting

SMTP = "smtp unix - - n - - smtp -o smtp_tls_security_level=may"
HOST = """\
host: mx1
engine: postfix
virtual_mtas:
  mkt-1: {address: 10.0.0.1, ehlo: m1.example.com, weight: 3}
  mkt-2: {address: 10.0.0.2, address6: "2001:db8::2"}
  tx-1: {address: 10.0.1.1, vmta_connections: 7, vmta_rate: 30/m}
pools:
  marketing: {active: [mkt-1, mkt-2]}
  tx: {active: [tx-1]}
streams:
  marketing: {pool: marketing}
  tx: {pool: tx, senders: ["*@tx.example", "bill?@shop.example"]}
default_stream: marketing
"""


def config(tmp_path: Path, text: str = HOST) -> AgentConfig:
    path = tmp_path / "agent.yaml"
    path.write_text(text, encoding="utf-8")
    return load_agent(path)


def standing(
    parameters: Mapping[str, str] | None = None, lines: Mapping[str, str] | None = None, version: str = "3.7.11"
) -> Standing:
    answers = {"mail_version": version, "queue_directory": "/q", "config_directory": "/etc/postfix"}
    instance = instance_of({**answers, "syslog_name": "postfix", "enable_long_queue_ids": "yes"}, "")
    return Standing(instance, parameters or {}, {"smtp/unix": SMTP, **(lines or {})}, "hash")


def as_standing(setup: Setup, before: Standing) -> Standing:
    """What an instance says after all of `setup` was written."""
    parameters = {**before.parameters, **{one.name: one.value for one in setup.parameters}}
    lines = {**before.services, **{one.name: one.value for one in setup.services}}
    return Standing(before.instance, parameters, lines, before.type)


def test_a_virtual_mta_is_a_copy_of_smtp_that_leaves_from_its_address_or_not_at_all(tmp_path: Path) -> None:
    found = {one.name: one.value for one in wanted(config(tmp_path), standing()).services}
    assert found["vmta-mkt-1/unix"] == (
        "vmta-mkt-1 unix - - n - - smtp -o smtp_tls_security_level=may -o smtp_bind_address=10.0.0.1"
        " -o smtp_bind_address_enforce=yes -o inet_protocols=ipv4 -o smtp_helo_name=m1.example.com"
        " -o smtp_connection_reuse_count_limit=100 -o syslog_name=postfix/vmta-mkt-1"
    )
    assert "-o smtp_bind_address6=2001:db8::2" in found["vmta-mkt-2/unix"]
    assert "-o inet_protocols=all" in found["vmta-mkt-2/unix"]
    assert found["vmta-tx-1/unix"].startswith("vmta-tx-1 unix - - n - 7 smtp ")
    assert vmta_of("postfix/vmta-mkt-1") == "mkt-1"
    assert vmta_of("postfix-out/submission") == ""


def test_streams_are_asked_in_the_order_of_the_file_and_the_default_last(tmp_path: Path) -> None:
    found = {one.name: one.value for one in wanted(config(tmp_path), standing()).parameters}
    assert found["sender_dependent_default_transport_maps"] == (
        "pipemap:{regexp:$mailagent_maps/tx.senders, randmap:{$mailagent_slots}, hash:$mailagent_maps/tx.slots},"
        " pipemap:{randmap:{$mailagent_slots}, hash:$mailagent_maps/marketing.slots}"
    )
    assert found["transport_maps"] == "hash:$mailagent_maps/held"
    assert found["vmta-tx-1_transport_rate_delay"] == "2s"


def test_transport_maps_of_others_are_kept_behind_ours(tmp_path: Path) -> None:
    before = standing({"transport_maps": "hash:/etc/postfix/transport, pcre:{{/x/ y:}}"})
    setup = wanted(config(tmp_path), before)
    chained = next(one.value for one in setup.parameters if one.name == "transport_maps")
    assert chained == "hash:$mailagent_maps/held, hash:/etc/postfix/transport, pcre:{{/x/ y:}}"
    assert any("transport_maps" in note for note in setup.notes)
    after = as_standing(setup, before)
    assert differences(setup, after) == ([], [])
    to_set, to_serve = differences(Setup(), after)
    assert {one.name: one.value for one in to_set}["transport_maps"] == "hash:/etc/postfix/transport, pcre:{{/x/ y:}}"
    assert {one.name for one in to_serve} == {
        "mailagent-wait/unix",
        *(f"vmta-{name}/unix" for name in config(tmp_path).virtual_mtas),
    }
    assert all(not one.value for one in to_serve)


def test_what_stands_in_the_way_is_refused_by_name_all_at_once(tmp_path: Path) -> None:
    settings = {"sender_dependent_default_transport_maps": "hash:/etc/postfix/by_sender", "default_transport": "uucp:"}
    theirs = {"vmta-mkt-1/unix": "vmta-mkt-1 unix - - n - - smtp -o smtp_bind_address=192.0.2.1"}
    with pytest.raises(SetupRefused) as refused:
        wanted(config(tmp_path), standing(settings, theirs))
    assert [word for word in ("by_sender", "uucp:", "vmta-mkt-1/unix") if word not in str(refused.value)] == []
    assert len(refused.value.problems) == 3


def test_virtual_mtas_are_refused_below_3_7_and_suspensions_are_not(tmp_path: Path) -> None:
    with pytest.raises(SetupRefused, match=r"3\.6\.4; it needs 3\.7"):
        wanted(config(tmp_path), standing(version="3.6.4"))
    bare = config(tmp_path, "host: mx1\nengine: postfix\n")
    assert {one.name for one in wanted(bare, standing(version="3.5.6")).services} == {"mailagent-wait/unix"}


def test_a_virtual_mta_that_the_file_lost_goes_with_its_limits_and_nothing_of_others(tmp_path: Path) -> None:
    before = standing(
        {"vmta-theirs_destination_concurrency_limit": "3"}, {"vmta-theirs/unix": "vmta-theirs unix - - n - - smtp"}
    )
    after = as_standing(wanted(config(tmp_path), before), before)
    fewer = config(
        tmp_path, HOST.replace('  mkt-2: {address: 10.0.0.2, address6: "2001:db8::2"}\n', "").replace(", mkt-2", "")
    )
    to_set, to_serve = differences(wanted(fewer, after), after)
    assert [(one.name, one.value) for one in to_serve] == [("vmta-mkt-2/unix", "")]
    assert [(one.name, one.value) for one in to_set] == [("vmta-mkt-2_destination_concurrency_limit", "")]


def test_what_postfix_cannot_keep_is_noted(tmp_path: Path) -> None:
    text = HOST + "providers: {slow: {mx: [slow.example], connections: 1}}\ndomains: {a.example: {rollup: b}}\n"
    text = text.replace("tx: {pool: tx,", "tx: {pool: tx, users: [shop], pools: {gmail: tx},")
    notes = " | ".join(wanted(config(tmp_path, text), standing()).notes)
    for word in ("slow 1", "not per provider", "streams.tx.pools", "headers and users", "rollups", "whole seconds"):
        assert word in notes


def test_one_recipient_in_a_transaction_opens_no_more_connections_than_the_file_allows(tmp_path: Path) -> None:
    text = HOST + "providers: {default: {connections: 3, recipients_per_transaction: 1}}\n"
    by_main_cf = standing({"default_destination_recipient_limit": "1"})
    for setup in (wanted(config(tmp_path, text), standing()), wanted(config(tmp_path), by_main_cf)):
        found = {one.name: one.value for one in setup.parameters}
        assert found["vmta-mkt-1_destination_recipient_limit"] == "2"  # with 1 a destination is one recipient
        assert any("one recipient in a transaction is not kept" in note for note in setup.notes)


def test_what_main_cf_says_of_smtp_holds_for_its_copies_where_the_file_says_nothing(tmp_path: Path) -> None:
    settings = {
        "smtp_destination_concurrency_limit": "2", "smtp_destination_rate_delay": "1s",
        "smtp_transport_rate_delay": "5s", "smtp_tls_loglevel": "1",
    }  # fmt: skip
    before = standing(settings, {"smtp/unix": "smtp unix - - n - 20 smtp"})
    setup = wanted(config(tmp_path), before)
    found = {one.name: one.value for one in setup.parameters if one.name.startswith("vmta-")}
    copied = {"destination_concurrency_limit": "2", "destination_rate_delay": "1s", "transport_rate_delay": "5s"}
    assert found == {
        f"vmta-{vmta}_{key}": value
        for vmta in ("mkt-1", "mkt-2", "tx-1")
        for key, value in (copied | ({"transport_rate_delay": "2s"} if vmta == "tx-1" else {})).items()
    }
    lines = {one.name: one.value for one in setup.services}
    assert lines["vmta-mkt-1/unix"].startswith("vmta-mkt-1 unix - - n - 20 smtp ")
    assert lines["vmta-tx-1/unix"].startswith("vmta-tx-1 unix - - n - 7 smtp ")
    after = as_standing(setup, before)
    assert differences(setup, after) == ([], [])
    to_set, _ = differences(Setup(), after)
    assert {one.name for one in to_set} >= found.keys()
    assert not {one.name for one in to_set} & settings.keys()
    said = wanted(config(tmp_path, HOST + "providers: {default: {connections: 4, rate: 30/m}}\n"), before).parameters
    stands = {one.name: one.value for one in said}
    assert stands["vmta-mkt-1_destination_concurrency_limit"] == "4"
    assert stands["vmta-mkt-1_destination_rate_delay"] == "2s"
    by_all = wanted(config(tmp_path), standing({"default_destination_concurrency_limit": "5"})).parameters
    assert "vmta-mkt-1_destination_concurrency_limit" not in {one.name for one in by_all}


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3).map(VmtaName), st.integers(1, 500), min_size=1, max_size=8)
)
def test_slots_are_dealt_by_weight_and_everybody_has_one(weights: dict[VmtaName, int]) -> None:
    slots = dealt(weights)
    assert len(slots) == SLOTS
    for name, weight in weights.items():
        exact = SLOTS * weight / sum(weights.values())
        assert max(1, int(exact) - len(weights)) <= slots.count(name) <= max(1, int(exact) + 1)


def test_slots_of_nobody_wait_and_the_plan_shows_them_in_one_line() -> None:
    text = slots_text({}, "", "pool tx is\nsuspended by älice")
    assert shown("tx.slots", text) == (
        "100 of 100 slots  mailagent-wait:4.3.2 held by mailagent: pool tx is suspended by ?lice\n"
    )
    assert shown("tx.slots", slots_text({VmtaName("a"): 1, VmtaName("b"): 3}, "[192.0.2.1]:25", "")) == (
        " 25 of 100 slots  vmta-a:[192.0.2.1]:25\n 75 of 100 slots  vmta-b:[192.0.2.1]:25\n"
    )
    assert len(waiting("x" * 5000)) < 300
    assert set(rows_of(text)) == {f"{n:02}" for n in range(SLOTS)}


def test_patterns_become_posix_expressions() -> None:
    assert senders_text(["*@a/b.example", "x+?@c.example"]).splitlines()[1:] == [
        r"/^.*@a\/b\.example$/ found",
        r"/^x\+.@c\.example$/ found",
    ]


def test_rows_that_hide_a_reason_are_named_with_what_cannot_be_looked_through(tmp_path: Path) -> None:
    others = Rows(
        ("a.example", "b.example", "c.example", "d.example"), ("pcre:/etc/postfix/transport.pcre",), ("me@a.example",)
    )
    notes = " | ".join(wanted(config(tmp_path), dataclasses.replace(standing(), others=others)).notes)
    assert "no transport (a.example, b.example, c.example and 1 more): the queue shows the next hop" in notes
    assert "pcre:/etc/postfix/transport.pcre cannot be looked through" in notes
    assert "rows of whole addresses (me@a.example) go before held domains" in notes


def test_tables_are_told_apart_outside_braces() -> None:
    value = "hash:/a,pipemap:{regexp:/b, randmap:{1,2}}  inline:{ {x = y} }"
    assert tables(value) == ["hash:/a", "pipemap:{regexp:/b, randmap:{1,2}}", "inline:{ {x = y} }"]
    assert without_ours("hash:$mailagent_maps/held, hash:/a") == "hash:/a"


def test_lines_of_master_cf_are_joined() -> None:
    text = "smtp       unix  -  -  n  -  -  smtp\n    -o a=b\n    -o c=d\nsmtp inet n - n - - smtpd\n"
    assert services(text) == {
        "smtp/unix": "smtp unix - - n - - smtp -o a=b -o c=d",
        "smtp/inet": "smtp inet n - n - - smtpd",
    }


def test_a_copy_of_smtp_keeps_the_blanks_within_its_options(tmp_path: Path) -> None:
    option = "-o {smtp_header_checks=regexp:{{/^X:  a/ IGNORE}}}"
    lines = services(f"smtp       unix  -       -       n       -       -       smtp {option}\n")
    assert lines == {"smtp/unix": f"smtp unix - - n - - smtp {option}"}
    before = standing(lines=lines)
    setup = wanted(config(tmp_path), before)
    assert all(option in one.value for one in setup.services if one.name.startswith("vmta-"))
    once = as_standing(setup, before)
    assert differences(setup, once) == ([], [])
    squeezed = {name: line.replace("X:  a", "X: a") for name, line in once.services.items() if name != "smtp/unix"}
    _, to_serve = differences(setup, dataclasses.replace(once, services=lines | squeezed))
    assert {one.name for one in to_serve} == {f"vmta-{name}/unix" for name in config(tmp_path).virtual_mtas}


@pytest.mark.parametrize(
    ("protocols", "smtp", "noted"),
    [
        ("all", SMTP, True),
        ("ipv4, ipv6", SMTP, True),
        ("ipv4", SMTP, False),
        ("all", f"{SMTP} -o inet_protocols=ipv4", False),
    ],
)
def test_mail_that_only_ipv6_reaches_is_noted(tmp_path: Path, protocols: str, smtp: str, *, noted: bool) -> None:
    before = standing(lines={"smtp/unix": smtp})
    instance = dataclasses.replace(before.instance, settings={**before.instance.settings, "inet_protocols": protocols})
    notes = wanted(config(tmp_path), dataclasses.replace(before, instance=instance)).notes
    assert any("mkt-1, tx-1 have no address6" in note for note in notes) == noted
