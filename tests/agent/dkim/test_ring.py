from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mailagent.config import ConfigError, load_agent_with_origins
from mailagent.dkim import Algorithm, KeyRing, load_ring
from mailagent.dkim.fields import _remembered, author_domain
from tests.agent.dkim.material import key_file, pem

HEAD = """\
host: mx1
virtual_mtas: {a: {address: 127.0.0.1}, b: {address: 127.0.0.2}}
pools: {marketing: {active: [a]}, tx: {active: [b]}}
dkim:
  keys:
"""


def ring(folder: Path, *keys: str) -> KeyRing:
    path = folder / "agent.yaml"
    path.write_text(HEAD + "".join(f"    - {{{key}}}\n" for key in keys))
    return load_ring(*load_agent_with_origins(path))


def mistakes(folder: Path, *keys: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        ring(folder, *keys)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.errors]


def der(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


MKT = "domain: example.com, pool: marketing, selector: mkt1, file: key.pem"


def test_pool_and_domain_of_from_choose_the_keys(tmp_path: Path) -> None:
    key_file(tmp_path)
    key_file(tmp_path, "ed.pem", pem(Algorithm.ED25519))
    found = ring(
        tmp_path,
        "domain: example.com, pool: marketing, selector: mkt1e, file: ed.pem",
        MKT,
        "domain: news.example.com, pool: marketing, selector: n1, file: key.pem",
        "domain: example.com, pool: tx, selector: tx1, file: key.pem",
    )

    def selectors(pool: str, author: bytes | None) -> list[str]:
        return [key.selector for key in found.of(pool, author)]

    assert selectors("marketing", b"Ann <ann@example.com>") == ["mkt1", "mkt1e"]
    assert selectors("marketing", b"ann@deep.below.EXAMPLE.com") == ["mkt1", "mkt1e"]
    assert selectors("marketing", b"ann@news.example.com") == ["n1"]
    assert selectors("tx", b"ann@example.com") == ["tx1"]
    assert selectors("tx", b"ann@example.org") == []
    assert selectors("cold", b"ann@example.com") == []
    assert selectors("tx", None) == []


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        (b"ann@example.com", "example.com"),
        (b"Ann <ann@Example.COM>", "example.com"),
        (b'"a@evil.example" <ann@example.com>', "example.com"),
        (b"ann@example.com (at home)", "example.com"),
        (b"Ann\r\n <ann@example.com>", "example.com"),
        (b"a@one.example, b@two.example", "one.example"),
        ("Ann <ann@bücher.example>".encode(), "xn--bcher-kva.example"),
        (b"ann", ""),
        (b"", ""),
        (b"<>", ""),
        (b"\xff\xfe@\xff", ""),
    ],
)
def test_the_domain_of_a_from(value: bytes, domain: str) -> None:
    assert author_domain(value) == domain


def test_a_from_that_cannot_be_read_names_no_domain_and_long_ones_are_not_remembered() -> None:
    assert author_domain(b"(" * 3000 + b"a@one.test") == ""
    before = _remembered.cache_info().currsize
    assert author_domain(b"a" * 600 + b" <a@one.test>") == "one.test"
    assert _remembered.cache_info().currsize == before


def test_files_that_must_not_be_used_are_refused_with_their_line(tmp_path: Path) -> None:
    key_file(tmp_path, "open.pem", mode=0o644)
    key_file(tmp_path, "short.pem", der(rsa.generate_private_key(public_exponent=65537, key_size=1024)))
    key_file(tmp_path, "curve.pem", der(ec.generate_private_key(ec.SECP256R1())))
    key_file(tmp_path, "text.pem", b"no key")
    head = "domain: example.com, pool: marketing"
    found = mistakes(
        tmp_path,
        f"{head}, selector: a, file: open.pem",
        f"{head}, selector: b, file: short.pem",
        f"{head}, selector: c, file: curve.pem",
        f"{head}, selector: d, file: text.pem",
        f"{head}, selector: e, file: missing.pem",
    )
    assert found == [
        "agent.yaml:6: dkim.keys[0].file: open.pem can be read or written by others (mode 0644); chmod 600, and take a"
        " new key when somebody may have read it",
        "agent.yaml:7: dkim.keys[1].file: short.pem holds an RSA key of 1024 bits; 2048 to 4096 are wanted",
        "agent.yaml:8: dkim.keys[2].file: curve.pem holds neither an RSA nor an Ed25519 key",
        "agent.yaml:9: dkim.keys[3].file: text.pem holds no private key in PEM form without a password",
        "agent.yaml:10: dkim.keys[4].file: missing.pem cannot be read: No such file or directory",
    ]


def test_keys_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    key_file(tmp_path)
    key_file(tmp_path, "ed.pem", pem(Algorithm.ED25519))
    assert mistakes(tmp_path, MKT, MKT.replace("mkt1", "mkt2")) == [
        "agent.yaml:7: dkim.keys[1]: pool marketing has an rsa key for example.com already; one signs"
    ]
    assert mistakes(tmp_path, MKT.replace("key.pem", "ed.pem")) == [
        "agent.yaml:6: dkim.keys[0]: an Ed25519 key signs beside an RSA key only: large providers verify RSA alone"
    ]


@pytest.mark.parametrize(
    ("key", "mistake"),
    [
        ("domain: example com, pool: tx, selector: a, file: k", "domain: `example com` is no domain"),
        ("domain: example.com, pool: tx, selector: a_b, file: k", "selector: `a_b` is no selector"),
        ("domain: example.com, pool: gone, selector: a, file: k", "pool: `gone` is no pool"),
        ("domain: example.com, pool: tx, selector: a, file: k, headers: [To]", "headers: lacks From"),
        ("domain: example.com, pool: tx, selector: a, file: k, headers: [From, 'a;b']", "headers[1]: `a;b` is no name"),
        ("domain: example.com, pool: tx, selector: a", "file: is missing"),
    ],
)
def test_mistakes_in_the_section(tmp_path: Path, key: str, mistake: str) -> None:
    (found,) = mistakes(tmp_path, key)
    assert f"agent.yaml:6: dkim.keys[0].{mistake}" in found


def test_one_selector_has_one_file(tmp_path: Path) -> None:
    found = mistakes(tmp_path, MKT, "domain: example.com, pool: tx, selector: mkt1, file: other.pem", MKT)
    assert found == [
        "agent.yaml:7: dkim.keys[1].file: dkim.keys[0] has another file for the same selector and domain",
        "agent.yaml:8: dkim.keys[2].selector: stands in dkim.keys[0] already",
    ]
