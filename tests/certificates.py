"""A certificate authority for tests, and what it signs: right, expired, for another name."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, and its issuers' certificates, in files."""

    file: Path  # the certificate, then those of its issuers but the root
    key: Path
    der: bytes
    spki: bytes  # its public key, DER

    def server(self) -> ssl.SSLContext:
        """The context of a server that has it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context


class Authority:
    """A root, or an authority below one; its files lie in `directory`."""

    def __init__(self, directory: Path, name: str = "Test Root", issuer: "Authority | None" = None) -> None:
        self.directory = directory
        self.name = name
        self._issuer = issuer
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(
            self._key.public_key(), name, [], DAY, authority=True, signer=issuer if issuer is not None else self
        )
        self.der = self.certificate.public_bytes(Encoding.DER)
        self.spki = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.file = directory / f"{name.replace(' ', '-').lower()}.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    @property
    def chain(self) -> list[x509.Certificate]:
        """What a server sends after its own certificate: everything but a root."""
        return [] if self._issuer is None else [self.certificate, *self._issuer.chain]

    def issue(
        self, *names: str, valid_for: timedelta = DAY, file: str = "", chain: Sequence[x509.Certificate] | None = None
    ) -> Certificate:
        """A certificate for host names and addresses; negative `valid_for`: expired since."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key.public_key(), names[0], names, valid_for, authority=False, signer=self)
        stem = file or names[0].replace("*", "any")
        path, key_path = self.directory / f"{stem}.pem", self.directory / f"{stem}.key"
        sent = [certificate, *(self.chain if chain is None else chain)]
        path.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in sent))
        key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key_path.chmod(0o600)
        return Certificate(
            path,
            key_path,
            certificate.public_bytes(Encoding.DER),
            key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        )

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        subject: str,
        names: Sequence[str],
        valid_for: timedelta,
        *,
        authority: bool,
        signer: "Authority",
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        end = now + valid_for
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, signer.name)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, end) - DAY)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer._key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=authority,
                    crl_sign=authority,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
        return builder.sign(signer._key, hashes.SHA256())


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)
