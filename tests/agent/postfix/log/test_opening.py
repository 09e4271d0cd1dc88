"""Which log belongs to an instance."""

import asyncio
import stat
import time
from datetime import datetime
from pathlib import Path

from mailagent.config.postfix import Postfix
from mailagent.postfix.instance import Instance, instance_of
from mailagent.postfix.log.lines import Tried
from mailagent.postfix.log.opening import source_of
from mailagent.postfix.log.sources import CommandSource, FileSource, JournalSource

TRIED = (
    "mx1 postfix/smtp[7]: 4jXnwf43Y2zJMH{}: to=<u@a.example>, relay=none, delay=0, delays=0/0/0/0, dsn=2.0.0,"
    " status=sent (x)"
)


def instance(maillog_file: str = "") -> Instance:
    return instance_of(
        {"mail_version": "3.7.11", "queue_directory": "/var/spool/postfix", "maillog_file": maillog_file}, ""
    )


def test_the_first_that_is_said_is_read() -> None:
    assert isinstance(source_of(Postfix(log_command=("logs",), log="journal"), instance(), None), CommandSource)
    assert isinstance(source_of(Postfix(log="journal"), instance("/var/log/postfix.log"), None), JournalSource)
    for config, found in ((Postfix(log="/a.log"), "/a.log"), (Postfix(), "/b.log")):
        source = source_of(config, instance("/b.log"), None)
        assert isinstance(source, FileSource)
        assert str(source.path) == found
    source = source_of(Postfix(), instance(), None)
    assert isinstance(source, FileSource)
    assert str(source.path) == "/var/log/mail.log"


async def test_the_log_of_a_container_is_read_through_its_prefix_from_now_on(tmp_path: Path) -> None:
    log = tmp_path / "inside" / "mail.log"
    log.parent.mkdir()
    now = int(time.time())
    old, new = (datetime.fromtimestamp(at).astimezone().isoformat() for at in (now - 60, now + 2))
    log.write_text(f"{old} {TRIED.format('a')}\n{new} {TRIED.format('B')}\n")
    wrapper = tmp_path / "exec"
    wrapper.write_text(f'#!/bin/sh\ncd {log.parent} && exec "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    source = source_of(Postfix(command=(str(wrapper),), log="mail.log"), instance(), None)
    async with asyncio.timeout(30):
        batch = await source.next()
    await source.close()
    (line,) = batch.lines
    assert isinstance(line, Tried)
    assert line.at == now + 2
