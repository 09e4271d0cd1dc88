"""Room on the disks of a Postfix, as df says it."""

import os
from pathlib import Path

import pytest

from mailagent.config.postfix import Postfix
from mailagent.postfix.commands import Programs
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.instance import Instance, instance_of
from mailagent.postfix.room import LOG_BYTES, Room, read_room


def instance(queue: Path, **settings: str) -> Instance:
    return instance_of({"mail_version": "3.7.11", "queue_directory": str(queue), **settings}, "")


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, 15_360_000), ({"message_size_limit": "2000000"}, 3_000_000), ({"message_size_limit": "0"}, 0),
        ({"message_size_limit": "2000000", "queue_minfree": "5000000"}, 5_000_000),
    ],
)  # fmt: skip
def test_smtpd_keeps_room_for_the_greatest_message(settings: dict[str, str], kept: int) -> None:
    one = instance(Path("/q"), **settings)
    assert one.kept_free == kept
    assert Room(queue=kept + 1).refusal(one) == Room().refusal(one) == ""
    assert Room(queue=kept).refusal(one).startswith(f"disk full: {kept / 2**20:.0f} MiB free")


async def test_df_says_what_is_free(tmp_path: Path) -> None:
    room = await read_room(Programs(Postfix()), instance(tmp_path), str(tmp_path / "mail.log"))
    found = os.statvfs(tmp_path)
    assert room.queue is not None
    assert abs(room.queue - found.f_bavail * found.f_frsize) < 1 << 30
    assert room.log is not None
    assert not room.log_is_full
    assert Room(log=LOG_BYTES - 1).log_is_full
    assert (await read_room(Programs(Postfix()), instance(tmp_path), "")).log is None
    with pytest.raises(PostfixError):
        await read_room(Programs(Postfix()), instance(tmp_path / "missing"), "")
