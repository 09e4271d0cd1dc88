"""Signed return addresses: what we made is read back, everything else is not."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.outcome.return_path import (
    MAX_KEYS,
    BounceToken,
    KeysUnusable,
    ReturnPaths,
    UnsubscribeToken,
    add_key,
    load_keys,
)
from mailagent.spool.ids import MessageIds, message_name, recipient_id

TAG = "ABC123"
PATHS = ReturnPaths([(3, bytes(32)), (4, b"k" * 32)], TAG)
OTHERS = ReturnPaths([(4, b"x" * 32)], TAG)


@given(st.integers(0, 2**63 - 1), st.binary(min_size=1, max_size=250))
def test_a_return_path_is_read_back_in_any_case_and_fits(recipient: int, address: bytes) -> None:
    local = PATHS.bounce(recipient, address).decode()
    assert len(local) <= 64  # RFC 5321 section 4.5.3.1.1
    for text in (local, local.upper(), local.title()):
        token = PATHS.read(text)
        assert isinstance(token, BounceToken)
        assert (token.recipient, token.tag) == (recipient, TAG)


@given(st.text(max_size=60))
def test_what_we_did_not_make_is_not_read(text: str) -> None:
    assert PATHS.read(text) is None
    assert PATHS.read("b+" + text) is None
    assert PATHS.read("u+" + text) is None


@given(st.integers(0, 41), st.sampled_from("0123456789abcdefghjkmnpqrstvwxyz"))
def test_one_changed_character_breaks_it(position: int, char: str) -> None:
    local = PATHS.bounce(1 << 60, b"user@example.com").decode()
    changed = local[:position] + char + local[position + 1 :]
    assert (PATHS.read(changed) is None) == (changed != local)


def test_an_unsubscribe_address_is_no_return_path_and_the_other_way_round() -> None:
    bounce = PATHS.bounce(1, b"user@example.com").decode()
    unsubscribe = PATHS.unsubscribe("user@example.com")
    assert PATHS.read("u+" + bounce[2:]) is None
    assert PATHS.read("b+" + unsubscribe[2:]) is None
    assert OTHERS.read(bounce) is OTHERS.read(unsubscribe) is None


def test_a_token_knows_its_recipient_without_case() -> None:
    token = PATHS.read(PATHS.unsubscribe("User@Example.com"))
    assert isinstance(token, UnsubscribeToken)
    assert PATHS.is_for(token, "user@example.COM")
    assert not PATHS.is_for(token, "other@example.com")


def test_message_and_age() -> None:
    message = MessageIds(0).new()
    token = PATHS.read(PATHS.bounce(recipient_id(message, 7), b"user@example.com").decode())
    assert isinstance(token, BounceToken)
    assert (token.message_id, token.n) == (message_name(message, TAG), 7)
    assert token.age_s((message + 1_577_836_800_000_000) / 1e6 + 5) == pytest.approx(5)


def test_keys_rotate_and_old_addresses_stay_good(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    old = ReturnPaths(load_keys(file), TAG).bounce(1, b"user@example.com").decode()
    assert file.stat().st_mode & 0o777 == 0o600
    assert add_key(file) == 2
    paths = ReturnPaths(load_keys(file), TAG)
    assert paths.read(old) is not None
    new = paths.bounce(1, b"user@example.com").decode()
    assert new != old
    assert ReturnPaths(load_keys(file)[:1], TAG).read(new) is None


def test_the_oldest_of_too_many_keys_goes(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    for _ in range(MAX_KEYS + 3):
        add_key(file)
    keys = load_keys(file)
    assert [number for number, _ in keys] == [*range(3, MAX_KEYS), 0, 1, 2]


@pytest.mark.parametrize("text", ["", "0 abc\n", "x " + "00" * 32 + "\n", "40 " + "5a" * 32 + "\n", "\xff\n"])
def test_a_broken_key_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text, encoding="latin-1")
    file.chmod(0o600)
    with pytest.raises(KeysUnusable):
        load_keys(file)


def test_keys_that_others_may_read_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    add_key(file)
    file.chmod(0o640)
    with pytest.raises(KeysUnusable, match="chmod 600"):
        load_keys(file)


def test_a_key_put_in_by_root_leaves_the_file_to_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    add_key(path)
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda fd, uid, gid: given.append((uid, gid)))
    add_key(path)
    assert given == [(path.stat().st_uid, path.stat().st_gid)]
    assert path.stat().st_mode & 0o777 == 0o600
