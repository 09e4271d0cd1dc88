"""Mail that came back, on disk."""

import os
from pathlib import Path

import pytest

from mailagent.api.feedback import FeedbackKind
from mailagent.returns.mailbox import Envelope, Mailbox, kept_mail, read_kept

MAIL = b"Subject: =?x?\r\n folded\r\n\r\ntext \xff\r\n"


def envelope(n: int) -> Envelope:
    return Envelope(id=f"{n:017}", at=1_900_000_000.0 + n, client="192.0.2.1", sender="", recipients=("a@b.example",))


@pytest.fixture
def mailbox(tmp_path: Path) -> Mailbox:
    made = Mailbox(tmp_path / "feedback")
    assert made.open() == []
    return made


def test_half_files_of_a_crash_are_forgotten_and_whole_ones_come_in_order(mailbox: Mailbox, tmp_path: Path) -> None:
    mailbox.store(envelope(2), MAIL)
    mailbox.store(envelope(1), MAIL)
    half = tmp_path / "feedback/new/.00000000000000003"
    half.write_bytes(b'{"id":')
    assert Mailbox(tmp_path / "feedback").open() == [envelope(1).id, envelope(2).id]
    assert not half.exists()


def test_a_mail_is_removed_once_and_again(mailbox: Mailbox) -> None:
    mailbox.store(envelope(1), MAIL)
    assert mailbox.load(envelope(1).id) == (envelope(1), MAIL)
    mailbox.remove(envelope(1).id)
    mailbox.remove(envelope(1).id)
    with pytest.raises(FileNotFoundError):
        mailbox.load(envelope(1).id)


def test_what_is_kept_is_listed_newest_first_and_read(mailbox: Mailbox, tmp_path: Path) -> None:
    for n in (1, 2, 2):  # again after a crash
        mailbox.keep(envelope(n), MAIL, FeedbackKind.DMARC, "a report")
    (tmp_path / "feedback/kept/0000000000000000X.eml").write_bytes(b"damaged")
    found = list(kept_mail(tmp_path))
    assert [mail.id for mail in found] == [envelope(2).id, envelope(1).id]
    assert (found[0].kind, found[0].why, found[0].subject) == (FeedbackKind.DMARC, "a report", "=?x? folded")
    assert found[0].size_bytes == len(MAIL)
    assert mailbox.kept == (2, 2 * len(MAIL))
    assert read_kept(tmp_path, envelope(1).id) == MAIL
    assert read_kept(tmp_path, "0" * 17) is None
    assert read_kept(tmp_path, "../new/x") is None


def test_old_mail_goes_and_then_the_oldest_of_too_much(mailbox: Mailbox, tmp_path: Path) -> None:
    for n in range(5):
        mailbox.keep(envelope(n), MAIL, FeedbackKind.PEOPLE, "")
        os.utime(tmp_path / f"feedback/kept/{envelope(n).id}.eml", (1000 + n, 1000 + n))
    mailbox.purge(before=1001, most_bytes=10**6)
    assert [mail.id for mail in kept_mail(tmp_path)] == [envelope(n).id for n in (4, 3, 2, 1)]
    size = (tmp_path / f"feedback/kept/{envelope(1).id}.eml").stat().st_size
    mailbox.purge(before=0, most_bytes=2 * size)
    assert [mail.id for mail in kept_mail(tmp_path)] == [envelope(n).id for n in (4, 3)]
    assert mailbox.kept[0] == 2
