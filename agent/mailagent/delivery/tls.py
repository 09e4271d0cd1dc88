"""TLS of one connection: how it is tried, what came of it, and what a failure is called."""

import ssl
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Protocol

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.config.structs import RouteAuth
from mailagent.delivery.errors import ConnectFailed
from mailagent.routing.rollup import Hop

SHUTDOWN_S = 5.0
"""How long the peer may take to say goodbye in TLS before the connection is cut."""
_CIPHERS = "DEFAULT@SECLEVEL=1"  # unverified: a weak key at the peer still beats sending in clear (RFC 7435)


class Level(IntEnum):
    """What is known about the connection; each includes the ones before."""

    CLEAR = 0
    ENCRYPTED = 1  # with somebody
    VERIFIED = 2  # with the host that we meant: by the authorities (RFC 6125)
    DANE = 3  # with the host that we meant: by its TLSA records (RFC 7672)


_WORDS = {Level.ENCRYPTED: "unverified", Level.VERIFIED: "verified", Level.DANE: "dane"}


class TlsResult(StrEnum):
    """Why TLS failed (RFC 8460 section 4.3)."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


CERTIFICATE_RESULTS = frozenset(
    {
        TlsResult.CERTIFICATE_HOST_MISMATCH,
        TlsResult.CERTIFICATE_EXPIRED,
        TlsResult.CERTIFICATE_NOT_TRUSTED,
        TlsResult.TLSA_INVALID,
    }
)
"""The peer can do TLS, but is not whom we meant."""


class TlsFailed(ConnectFailed):
    """The peer would not, or could not, do the TLS that was wanted. Nothing of a message was sent."""

    def __init__(self, reply: SmtpReply, hop: Hop, result: TlsResult) -> None:
        super().__init__(reply, hop)
        self.result = result


class Check(Protocol):
    """Judges the peer's certificates after the handshake, where the library could not."""

    def __call__(self, chain: list[bytes], host: str) -> None:
        """Raises CertificateRefused. `chain` is DER, the peer's own first."""


class CertificateRefused(ValueError):
    """The peer's certificate is not the one that we want."""

    def __init__(self, result: TlsResult, why: str) -> None:
        super().__init__(why)
        self.result = result


class PolicyType(StrEnum):
    """Who asks for TLS (RFC 8460 section 4.4)."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


@dataclass(frozen=True, slots=True)
class Step:
    """One way to try a hop."""

    level: Level
    floor: Level = Level.CLEAR  # no mail below it
    implicit: bool = False  # TLS from the first byte
    context: ssl.SSLContext | None = None
    check: Check | None = None
    auth: RouteAuth | None = None  # log in, over verified TLS
    name: str = ""  # what the host is asked for; empty: its MX name
    policy: PolicyType = PolicyType.NONE

    def after(self, failure: TlsFailed, weaker: ssl.SSLContext) -> "Step | None":
        """The next way to try the hop on another connection; None when this one was the last."""
        if failure.result in CERTIFICATE_RESULTS and self.floor <= Level.ENCRYPTED < self.level:
            return Step(Level.ENCRYPTED, floor=self.floor, context=weaker)
        return CLEAR if self.floor is Level.CLEAR < self.level else None


CLEAR = Step(Level.CLEAR)


def encrypting_context() -> ssl.SSLContext:
    """TLS 1.2 and later with whoever answers (RFC 8996 retires what is older)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    return context


def verifying_context(ca_file: Path | None) -> ssl.SSLContext:
    """TLS with a host whose certificate has its name and comes from an authority: of `ca_file`, or the system's.

    Takes some 20 ms. Raises OSError (ssl.SSLError) for a file that cannot be read.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def describe(ssl_object: ssl.SSLObject, level: Level) -> str:
    """`TLSv1.3 TLS_AES_256_GCM_SHA384 verified`, as accounting and attempts show it."""
    cipher = ssl_object.cipher()
    return f"{ssl_object.version()} {cipher[0] if cipher else '-'} {_WORDS[level]}"


def peer_chain(ssl_object: ssl.SSLObject) -> list[bytes]:
    """The certificates that the peer sent, DER, its own first."""
    public = getattr(ssl_object, "get_unverified_chain", None)
    if public is not None:  # since Python 3.13
        return list(public())
    inner: Any = ssl_object._sslobj  # type: ignore[attr-defined]
    return [certificate.public_bytes(_DER) for certificate in inner.get_unverified_chain() or ()]


_DER = 2  # _ssl.ENCODING_DER


def failure(hop: Hop, exc: BaseException, *, wait_s: float) -> TlsFailed:
    """What a failed handshake with `hop` is called."""
    result = TlsResult.VALIDATION_FAILURE
    if isinstance(exc, CertificateRefused):
        result, why = exc.result, str(exc)
    elif isinstance(exc, ssl.SSLCertVerificationError):
        result, why = _VERIFY_CODES.get(exc.verify_code, TlsResult.CERTIFICATE_NOT_TRUSTED), exc.verify_message
    elif isinstance(exc, ConnectionAbortedError | TimeoutError):  # what both loops raise when the handshake stalls
        why = f"no TLS handshake within {wait_s:g} s"
    elif isinstance(exc, ssl.SSLError):
        why = exc.reason.replace("_", " ").lower() if exc.reason else str(exc)
    else:
        why = str(exc) or type(exc).__name__
    return TlsFailed(tls_reply(f"{hop}: {result.value}: {why}", enhanced="4.7.5"), hop, result)


def tls_reply(text: str, *, enhanced: str) -> SmtpReply:
    """A local reply about TLS: 4.7.4 when the peer lacks it, 4.7.5 when it failed, 4.7.10 when it is not enough."""
    return SmtpReply(code=0, enhanced=enhanced, text=text, verb=Verb.STARTTLS, local=True)


_VERIFY_CODES = {  # of OpenSSL's x509_vfy.h
    9: TlsResult.CERTIFICATE_EXPIRED,  # not yet valid
    10: TlsResult.CERTIFICATE_EXPIRED,
    62: TlsResult.CERTIFICATE_HOST_MISMATCH,
    64: TlsResult.CERTIFICATE_HOST_MISMATCH,  # IP address
}
