"""DANE: a host's certificates against its TLSA records (RFC 6698, 7671, 7672). The only user of X.509 in delivery."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mailagent.delivery.tls import CertificateRefused, TlsResult
from mailagent.dns import Tlsa

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

DANE_TA, DANE_EE = 2, 3
_FULL, _SPKI = 0, 1
_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}
MAX_CHAIN = 10
"""Certificates looked at between the peer's own and the one that a record names."""


def usable(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """The records that mail can use: usages 2 and 3 (RFC 7672 section 3.1.3), known selectors and digests."""
    return tuple(
        record
        for record in records
        if record.usage in (DANE_TA, DANE_EE)
        and record.selector in (_FULL, _SPKI)
        and (
            (record.matching == 0 and record.data)
            or (record.matching in _DIGESTS and len(record.data) == _DIGESTS[record.matching]().digest_size)
        )
    )


def presentation(record: Tlsa) -> str:
    """`3 1 1 A0B1…`, as in a zone file."""
    return f"{record.usage} {record.selector} {record.matching} {record.data.hex().upper()}"


class DaneCheck:
    """Wants a certificate that one of `records` names. `names` are those that the host may be called by."""

    def __init__(self, records: Sequence[Tlsa], names: Sequence[str]) -> None:
        self.records = records
        self._names = names

    def __call__(self, chain: list[bytes], host: str) -> None:
        """Raises CertificateRefused. `chain` is what the peer sent: DER, its own certificate first."""
        if not chain:
            raise CertificateRefused(TlsResult.TLSA_INVALID, f"{host} sent no certificate")
        if any(record.usage == DANE_EE and _matches(record, chain[0]) for record in self.records):
            return  # its name and its dates do not matter (RFC 7671 section 5.1)
        why = self._authority_problem(chain)
        if why:
            raise CertificateRefused(TlsResult.TLSA_INVALID, f"{why} of {host}")

    def _authority_problem(self, chain: list[bytes]) -> str:
        """Why no certificate above the peer's own is a named authority that vouches for it; empty when one does."""
        wanted = [record for record in self.records if record.usage == DANE_TA]
        # "2 0 0" brings the authority's certificate itself, which the peer may leave out (RFC 7671 section 5.2.2)
        brought = [record.data for record in wanted if (record.selector, record.matching) == (_FULL, 0)]
        above = [*chain[1:MAX_CHAIN], *brought]
        named = [der for der in above if any(_matches(record, der) for record in wanted)]
        if not named:
            return "no certificate matches the TLSA records"
        try:
            return _path_problem(chain[0], above, set(named), self._names)
        except Exception as exc:  # noqa: BLE001  cryptography has several for what it cannot read, ValueError not above
            return f"unreadable certificate ({exc})"


def _matches(record: Tlsa, der: bytes) -> bool:
    try:
        data = der if record.selector == _FULL else _public_key(der)
    except Exception:  # noqa: BLE001  see `_authority_problem`
        return False
    digest = _DIGESTS.get(record.matching)
    return (data if digest is None else digest(data).digest()) == record.data


def _public_key(der: bytes) -> bytes:
    """SubjectPublicKeyInfo of a certificate, DER."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    try:
        return load_der_x509_certificate(der).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except UnsupportedAlgorithm as exc:
        raise ValueError(str(exc)) from exc


def _path_problem(leaf: bytes, above: Iterable[bytes], named: set[bytes], names: Sequence[str]) -> str:
    """Why no path of signatures leads from `leaf` to one of `named`; empty when one does."""
    from cryptography.x509 import load_der_x509_certificate

    now = datetime.now(UTC)
    current = load_der_x509_certificate(leaf)
    if not _has_name(current, names):
        return f"the certificate has none of the names {', '.join(names)}"
    issuers = [(load_der_x509_certificate(der), der in named) for der in dict.fromkeys(above)]
    for _ in range(MAX_CHAIN):
        if not current.not_valid_before_utc <= now <= current.not_valid_after_utc:
            return "expired certificate in the chain"
        found = next((pair for pair in issuers if _issued(current, pair[0])), None)
        if found is None:
            return "no signatures lead from the certificate to the authority in the TLSA records"
        current, is_named = found
        if is_named:
            inside = current.not_valid_before_utc <= now <= current.not_valid_after_utc
            return "" if inside else "expired authority in the TLSA records"
        issuers.remove(found)
    return "too long a chain"


def _issued(certificate: "Certificate", issuer: "Certificate") -> bool:
    """Whether `issuer` is an authority that signed `certificate`."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.x509 import BasicConstraints, ExtensionNotFound

    try:
        if not issuer.extensions.get_extension_for_class(BasicConstraints).value.ca:
            return False
        certificate.verify_directly_issued_by(issuer)
    except (ExtensionNotFound, InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _has_name(certificate: "Certificate", names: Sequence[str]) -> bool:
    from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName

    try:
        extension = certificate.extensions.get_extension_for_class(SubjectAlternativeName)
    except ExtensionNotFound:
        return False
    patterns = extension.value.get_values_for_type(DNSName)
    return any(host_matches(pattern, name) for pattern in patterns for name in names)


def host_matches(pattern: str, name: str) -> bool:
    """Whether `name` (lower case) is `pattern`, whose `*` stands for one whole leftmost label (RFC 6125, RFC 8461)."""
    pattern = pattern.lower().rstrip(".")
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:]
    return name == pattern
