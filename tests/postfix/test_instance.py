"""What postconf says of an instance."""

from pathlib import Path

import pytest

from mailagent.config.postfix import Postfix
from mailagent.postfix.errors import InstanceUnusable, PostfixError
from mailagent.postfix.instance import Capability, find_programs, instance_of, parameters, read_instance, version_of
from tests.postfix.instances import OwnPostfix

SAMPLES = Path(__file__).parents[1] / "data" / "postfix"
SETTINGS = {"mail_version": "3.7.11", "queue_directory": "/var/spool/postfix"}


def test_values_go_on_in_indented_lines() -> None:
    assert parameters("a = 1\nb =\nlong = x,\n    y, z\n") == {"a": "1", "b": "", "long": "x, y, z"}


@pytest.mark.parametrize(
    ("text", "version"), [("3.7.11", (3, 7)), ("3.10-20240115", (3, 10)), ("3.11.0-RC1", (3, 11)), ("?", (0, 0))]
)
def test_a_version_is_its_first_two_numbers(text: str, version: tuple[int, int]) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize(
    ("version", "able"),
    [
        ("3.5.25", {Capability.QUEUE}),
        ("3.6.4", {Capability.QUEUE}),
        ("3.7.11", {Capability.QUEUE, Capability.VIRTUAL_MTAS}),
        ("3.11.0", set(Capability)),
    ],
)
def test_what_a_version_can(version: str, able: set[Capability]) -> None:
    instance = instance_of({**SETTINGS, "mail_version": version}, "")
    assert instance.capabilities == able
    assert bool(instance.why_not(Capability.VIRTUAL_MTAS)) == (Capability.VIRTUAL_MTAS not in able)


@pytest.mark.parametrize(("version", "able"), [("3.5", {Capability.QUEUE}), ("3.11", set(Capability))])
def test_what_old_and_new_versions_say_is_understood(version: str, able: set[Capability]) -> None:
    instance = instance_of(parameters((SAMPLES / f"{version}.postconf").read_text(encoding="utf-8")), "")
    assert version in instance.version_text
    assert instance.capabilities == able
    assert (instance.name, instance.queue_dir, instance.syslog_name) == ("-", "/srv/mail/pf/queue", "postfix")
    assert (instance.long_ids, instance.active_limit, instance.lifetime_s) == (True, 20_000, 5 * 86_400)


def test_a_version_below_the_oldest_is_refused_by_name() -> None:
    with pytest.raises(InstanceUnusable, match=r"Postfix 3\.4\.13 is too old; 3\.5 or newer"):
        instance_of({**SETTINGS, "mail_version": "3.4.13"}, "")


@pytest.mark.parametrize(("limit", "alarm"), [("20000", 16_000), ("62500", 50_000), ("500000", 50_000), ("", 16_000)])
def test_the_alarm_stands_at_the_lower_of_both(limit: str, alarm: int) -> None:
    assert instance_of({**SETTINGS, "qmgr_message_active_limit": limit}, "").active_alarm == alarm


@pytest.mark.needs("postfix", "root")
async def test_a_real_instance_says_what_it_is(own: OwnPostfix) -> None:
    programs = await find_programs(own.config)
    instance = await read_instance(programs)
    assert instance.queue_dir == str(own.queue_dir)
    assert instance.log_file == str(own.log)
    assert instance.config_dir == str(own.config_dir)
    assert instance.version >= (3, 5)
    assert instance.long_ids
    assert instance.active_limit == 20_000
    (queue_id,) = own.send("a@example.test", ["b@example.test"])
    entry = own.settle("deferred", 1)[queue_id]
    assert "refused" in entry.recipients[0].delay_reason


@pytest.mark.needs("postfix", "root")
async def test_a_master_cf_that_nobody_can_read_hides_its_services_alone(still: OwnPostfix) -> None:
    scan, programs = "scan:[127.0.0.1]:10024", await find_programs(still.config)
    still.run("postconf", "-e", f"content_filter={scan}")
    master = still.config_dir / "master.cf"
    text = master.read_text(encoding="utf-8")
    master.write_text(f"{text}1:25 inet n - n - - smtpd -o content_filter= -o syslog_name=back\n", encoding="utf-8")
    instance = await read_instance(programs)
    assert (instance.filters, instance.log_names) == ((scan,), frozenset({"back"}))
    master.unlink()  # or it may not be read: postconf warns, and refuses services alone
    instance = await read_instance(programs)
    assert (instance.filters, instance.log_names) == ((), frozenset())
    assert instance.queue_dir == str(still.queue_dir)


async def test_a_name_is_looked_up_in_postmulti(tmp_path: Path) -> None:
    """In the form of `postmulti -l`: name, group, whether it is enabled, directory."""
    enter = tmp_path / "enter"
    row = "postfix-out     mta             y         /etc/postfix-out"
    enter.write_text(f'#!/bin/sh\n[ "$*" = "postmulti -l -i postfix-out" ] && echo "{row}"\n', encoding="ascii")
    enter.chmod(0o755)
    programs = await find_programs(Postfix(instance="postfix-out", command=(str(enter),)))
    assert programs.argv("postqueue", "-j") == (str(enter), "postqueue", "-c", "/etc/postfix-out", "-j")
    with pytest.raises(InstanceUnusable, match="there is no instance postfix-in"):
        await find_programs(Postfix(instance="postfix-in", command=(str(enter),)))


async def test_an_unknown_instance_is_told() -> None:
    with pytest.raises(PostfixError):
        await find_programs(Postfix(instance="postfix-that-is-not-there"))
    with pytest.raises(PostfixError):
        await read_instance(await find_programs(Postfix(instance="/no/such/directory")))
