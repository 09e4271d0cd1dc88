"""What goes to the spool, and in which order."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mailagent import accepting
from mailagent.config.feedback import Feedback
from mailagent.config.structs import Intake
from mailagent.spool import store
from mailagent.spool.changes import Accept
from mailagent.spool.errors import StorageError
from mailagent.spool.records import NewMessage
from tests.agent.scheduling.host import config, running
from tests.agent.spool.mail import accept, load, message, spool_in


async def test_high_priority_goes_to_the_spool_before_bulk_that_came_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "HELD_FROM_BYTES", 1)
    async with running(tmp_path, config()) as host:
        order: list[str] = []

        def noted(message: NewMessage, finish: Callable[[StorageError | None], None], size_bytes: int) -> Accept:
            order.append(message.stream)
            return Accept(message, finish, size_bytes)

        monkeypatch.setattr(store, "Accept", noted)
        for n, stream in enumerate(("bulk", "bulk", "normal", "bulk", "high")):
            host.submit(f"r{n}@d.x.example", stream=stream)
        assert order == ["bulk", "high"]
        await host.until(lambda: host.pending == 0)
        assert order == ["bulk", "high", "bulk", "normal", "bulk"]
        await host.until(lambda: sum(host.delivered.values()) == 5)


async def test_postmaster_of_the_host_is_who_the_configuration_names(tmp_path: Path) -> None:
    async with running(tmp_path, config()) as host:
        for sections, mailbox in (
            ({}, b"postmaster@mx1"),
            ({"intake": Intake(hostname="mail.example")}, b"postmaster@mail.example"),
            ({"postmaster": "dsn@corp.example"}, b"dsn@corp.example"),
            (
                {"postmaster": "dsn@corp.example", "feedback": Feedback(postmaster="ops@corp.example")},
                b"ops@corp.example",
            ),
        ):
            host.acceptor.configure(config(**sections))
            assert host.acceptor.postmaster == mailbox


async def test_what_enters_the_window_is_what_the_disk_has(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        plain = message(spool)
        recipient = msgspec.structs.replace(plain.recipients[0], notify="NEVER", orcpt="rfc822;a@b.example")
        new = msgspec.structs.replace(
            plain, recipients=(recipient,), utf8=True, user="shop", ret="HDRS", envid="QQ314159"
        )
        await accept(spool, new)
        assert await load(spool, recipient.queue) == [accepting.waiting(new, 0, recipient)]
