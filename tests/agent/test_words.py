"""What is said to operators has the words that they type."""

import pytest

from mailagent.api.ids import OpId
from mailagent.api.methods import METHODS
from mailagent.api.requests import Empty, Suspend
from mailagent.api.targets import Target, TargetKind
from mailagent.api.words import asked, command, verb


@pytest.mark.parametrize(
    ("method", "about", "typed", "acting"),
    [
        ("drain", "pool:marketing", "drain", "drain"),
        ("suspend", "provider:gmail", "suspend", "suspend"),
        ("suspend", "job:spring", "job pause", "pause"),
        ("resume", "job:spring", "job resume", "resume"),
        ("job_cancel", "job:spring", "job cancel", "cancel"),
        ("dkim_switch", "dkim:example.com/marketing", "dkim switch", "dkim switch"),
        ("credential_rotate", "", "credentials rotate", "credentials rotate"),
        ("config_undo", "", "apply --undo", "apply --undo"),
    ],
)
def test_a_method_has_the_words_of_its_command(method: str, about: str, typed: str, acting: str) -> None:
    kind, _, name = about.partition(":")
    target = Target(kind=TargetKind(kind), name=name) if kind else None
    assert (command(method, target), verb(method, target)) == (typed, acting)
    assert command(method, about) == typed


def test_a_request_has_the_words_of_what_it_is_about() -> None:
    request = Suspend(op_id=OpId("1"), target=Target(kind=TargetKind.JOB, name="spring"))
    assert (asked("suspend", request), asked("in_doubt", Empty())) == ("job pause", "in-doubt")


def test_no_words_have_the_underscores_of_the_wire() -> None:
    assert not [words for words in map(command, METHODS) if "_" in words]
