"""`mailagent feedback`: kept mail, keys, unsubscribe fields."""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest

from mailagent.api.feedback import FeedbackKind
from mailagent.outcome.return_path import ReturnPaths, UnsubscribeToken, load_keys
from mailagent.returns.mailbox import Envelope, Mailbox
from tests.agent.cli.test_commands import AGENT, config, run

__all__ = ["config"]

MAIL = b"Subject: evil \x1b[31m\r\n\r\ntext\r\n"


@pytest.fixture
def kept(config: Path) -> Path:
    mailbox = Mailbox(config.parent / "state/feedback")
    mailbox.open()
    envelope = Envelope(id="0H5KQ2M0C3N5T8W1X", at=1.9e9, client="192.0.2.1", sender="", recipients=("a@b.example",))
    mailbox.keep(envelope, MAIL, FeedbackKind.UNREAD, "nothing known")
    return config


def test_kept_mail_is_listed_without_what_steers_terminals(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("feedback", "list", "--config", kept) == 0
    out = capsys.readouterr().out
    assert "0H5KQ2M0C3N5T8W1X" in out
    assert "nothing known" in out
    assert "\x1b" not in out
    assert run("feedback", "list", "--config", kept, "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "unread"


def test_a_kept_mail_is_printed_as_it_came(kept: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run("feedback", "show", "0h5kq2m0c3n5t8w1x", "--config", kept) == 0
    assert capfdbinary.readouterr().out == MAIL
    assert run("feedback", "show", "x", "--config", kept) == 1


def test_a_key_is_added(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "state").mkdir()
    assert run("feedback", "add-key", "--config", config) == 0
    assert run("feedback", "add-key", "--config", config) == 0
    assert "2 keys" in capsys.readouterr().out
    assert len(load_keys(config.parent / "state/return-path.keys")) == 2


def test_the_unsubscribe_field_signs_for_its_address(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "state").mkdir()
    assert run("feedback", "unsubscribe-header", "user@example.com", "--config", config) == 1
    config.write_text(AGENT + "feedback: {domains: [bounce.example]}\n")
    capsys.readouterr()
    assert run("feedback", "unsubscribe-header", "user+x@example.com", "--config", config) == 0
    field = capsys.readouterr().out.strip()
    assert field.startswith("List-Unsubscribe: <mailto:u+")
    address, _, subject = field.partition("mailto:")[2].rstrip(">").partition("?subject=")
    assert unquote(subject) == "unsubscribe user+x@example.com"
    paths = ReturnPaths(load_keys(config.parent / "state/return-path.keys"), "")
    token = paths.read(address.partition("@")[0])
    assert isinstance(token, UnsubscribeToken)
    assert paths.is_for(token, "user+x@example.com")
