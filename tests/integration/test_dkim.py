"""Signatures of real deliveries, verified by two programs that are not ours."""

import asyncio
import re
import subprocess
from pathlib import Path

import dkim
import pytest

from mailagent.dkim import Algorithm
from tests.agent.dkim.material import key_file, pem, private_key
from tests.conftest import program as installed
from tests.integration.rig import POOLS, SOON, Rig, rig

SECTION = """\
dkim:
  keys:
    - {{domain: sender.example, pool: marketing, selector: mkt1, file: {folder}/mkt1.pem}}
    - {{domain: sender.example, pool: marketing, selector: mkt1e, file: {folder}/mkt1e.pem}}
    - {{domain: tx.example, pool: tx, selector: tx1, file: {folder}/mkt1.pem, headers: [From, To, Subject]}}
"""
RECORDS = {
    "mkt1._domainkey.sender.example": Algorithm.RSA,
    "mkt1e._domainkey.sender.example": Algorithm.ED25519,
    "tx1._domainkey.tx.example": Algorithm.RSA,
}
NEWS = "From: News <news@sender.example>\r\nList-Unsubscribe: <https://u.example/1>\r\n"
MESSAGES = {
    "plain@one.example": (NEWS, "Subject: hello\r\n\r\nworld\r\n"),
    "empty@one.example": (NEWS, "Subject: no body\r\n\r\n"),
    "lines@one.example": (NEWS, "\r\n\r\n\r\n\r\n"),
    "blanks@one.example": (NEWS, "Subject: blanks\r\n\r\na \t b   \r\n\t\r\n  \r\n"),
    "million@one.example": (NEWS, "Subject: many\r\n\r\n" + (" " * 900 + "\r\n") * 1100 + "end\r\n"),
    "folded@one.example": (NEWS, "Subject: a\r\n\tlong\r\n   one\t\r\nTo: x@y.example,\r\n z@y.example\r\n\r\nx\r\n"),
    "double@one.example": (NEWS, "To: x@y.example\r\nTo: y@y.example\r\nX-Job: j1\r\n\r\nx\r\n"),
    "tight@one.example": (NEWS, "Subject:tight\r\nX-Nothing:\r\n\r\nx\r\n"),
    "dots@one.example": (NEWS, "Subject: dots\r\n\r\n..\r\n...two\r\n"),
    "eight@one.example": (NEWS, "Subject: Käse\r\nContent-Transfer-Encoding: 8bit\r\n\r\nKäse und Brötchen\r\n"),
    "nobody@one.example": (NEWS, "Subject: no empty line\r\n"),
}


def section(folder: Path) -> str:
    key_file(folder, "mkt1.pem")
    key_file(folder, "mkt1e.pem", pem(Algorithm.ED25519))
    return SECTION.format(folder=folder)


def arrived(one: Rig, recipient: str) -> bytes:
    """The message as it was before it was put on the wire."""
    (mail,) = one.sink.attempts(recipient)
    text = mail.data.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
    return text[1:] if text.startswith(b"..") else text


def publish(one: Rig) -> None:
    for name, algorithm in RECORDS.items():
        record = private_key(algorithm).record
        one.dns.add(name, "TXT", " ".join(f'"{record[at : at + 255]}"' for at in range(0, len(record), 255)))


def asked(one: Rig, name: bytes) -> bytes:
    """The TXT record of `name`, from the name server of the rig."""
    import dns.message
    import dns.query

    question = dns.message.make_query(name.decode(), "TXT")
    answer = dns.query.udp(question, "127.0.0.1", port=one.dns.port, timeout=10).answer
    return b"".join(answer[0][0].strings) if answer else b""


@pytest.mark.needs("opendkim")
async def test_every_signature_is_accepted_by_dkimpy_and_by_opendkim(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON + section(tmp_path)) as one:
        publish(one)
        for recipient, (headers, body) in MESSAGES.items():
            await one.accepted(recipient, headers=headers, body=body)
        await one.accepted("tx@two.example", sender="a@tx.example", headers="From: a@mail.tx.example\r\n")
        await one.delivered(*MESSAGES, "tx@two.example")
        for recipient in MESSAGES:
            message = arrived(one, recipient)
            assert message.count(b"DKIM-Signature:") == 2
            assert message.index(b"DKIM-Signature:") < message.index(b"Received:")
            assert await asyncio.to_thread(by_dkimpy, one, message), recipient
            assert await asyncio.to_thread(by_opendkim, tmp_path, message) == ["pass", "pass"], recipient
        transactional = arrived(one, "tx@two.example")
        assert b"d=tx.example; s=tx1;" in transactional
        assert await asyncio.to_thread(by_opendkim, tmp_path, transactional) == ["pass"]
        broken = arrived(one, "plain@one.example").replace(b"world", b"World")
        assert await asyncio.to_thread(by_opendkim, tmp_path, broken) == ["fail", "fail"]


def by_dkimpy(one: Rig, message: bytes) -> bool:
    """The RSA signature, with the key that the name server has."""
    return bool(dkim.DKIM(message).verify(dnsfunc=lambda name, timeout=5: asked(one, name)))


def by_opendkim(folder: Path, message: bytes) -> list[str]:
    """What OpenDKIM says of each signature."""
    records = (f"{name} {private_key(algorithm).record}\n" for name, algorithm in RECORDS.items())
    (folder / "records").write_text("".join(records))
    (folder / "opendkim.conf").write_text(f"Mode v\nTestDNSData file:{folder}/records\n")
    (folder / "message").write_bytes(message)
    command = [str(installed("opendkim")), "-x", str(folder / "opendkim.conf"), "-vv", "-t", str(folder / "message")]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return re.findall(r"dkim=(\w+)", done.stdout.decode())


async def test_mail_of_other_domains_and_pools_leaves_unsigned(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON + section(tmp_path)) as one:
        await one.accepted("other@one.example", headers="From: a@other.example\r\n")
        await one.accepted("pool@one.example", sender="a@tx.example", headers=NEWS)
        await one.accepted("none@one.example")
        await one.delivered("other@one.example", "pool@one.example", "none@one.example")
        assert not [mail for mail in one.sink.mails if b"DKIM-Signature" in mail.data]


async def test_a_reload_takes_new_keys_and_refuses_bad_ones(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        one.configure(POOLS + SOON + section(tmp_path))
        assert (await one.call("reload", op_id="r1")).result == "applied"
        await one.accepted("signed@one.example", headers=NEWS)
        (tmp_path / "mkt1.pem").chmod(0o644)
        with pytest.raises(Exception, match=r"agent.yaml:\d+: dkim.keys\[0\].file: .*chmod 600"):
            await one.call("reload", op_id="r2")
        await one.accepted("still@one.example", headers=NEWS)
        await one.delivered("signed@one.example", "still@one.example")
        assert all(b"DKIM-Signature" in mail.data for mail in one.sink.mails)
