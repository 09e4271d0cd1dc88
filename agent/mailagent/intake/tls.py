"""TLS towards clients: certificates, and the layer between a socket's octets and a session's.

The layer works over memory, not over the transport: what a PROXY header or a STARTTLS left unread is in our hands, and
both event loops behave alike.
"""

import ssl
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mailagent.config.intake import Certificate
from mailagent.intake.errors import CertificateUnusable

READ_BYTES = 65_536

Contexts = dict[Certificate, ssl.SSLContext]


def load_contexts(certificates: Iterable[Certificate]) -> Contexts:
    """A TLS context for each certificate.

    Raises:
        CertificateUnusable: a file cannot be read, does not fit the other, or its key is not kept secret.
    """
    return {certificate: _context(certificate) for certificate in certificates}


def _context(certificate: Certificate) -> ssl.SSLContext:
    _check_key(certificate.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # without a password of ours OpenSSL would ask the terminal for one
        context.load_cert_chain(certificate.cert, certificate.key, password=_no_password)
    except _Encrypted:
        raise CertificateUnusable(certificate.key, "the key is encrypted; store it without a passphrase") from None
    except ssl.SSLError as exc:
        fits = "key and certificate do not fit" if exc.reason == "KEY_VALUES_MISMATCH" else "no PEM certificate and key"
        raise CertificateUnusable(certificate.cert, f"{fits} ({exc.reason or exc})") from exc
    except OSError as exc:
        raise CertificateUnusable(certificate.cert, str(exc.strerror)) from exc
    return context


class _Encrypted(Exception):
    """A key wants a passphrase."""


def _no_password() -> str:
    raise _Encrypted


def _check_key(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as exc:
        raise CertificateUnusable(key, str(exc.strerror)) from exc
    if mode & 0o007:
        raise CertificateUnusable(key, "everybody on this host can read or write the key; chmod 600 or 640")


class TlsLayer:
    """The server's side of TLS for one connection: octets in, octets out.

    Methods raise ssl.SSLError when the peer breaks the protocol; what `pending` holds then should still go out.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "ended", "established")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False  # the handshake is done
        self.ended = False  # the peer took leave: it sends nothing more

    @property
    def version(self) -> str:
        """`TLSv1.3`, once established."""
        return self._object.version() or ""

    def receive(self, data: bytes) -> bytes:
        """Plain octets out of `data` from the socket; `pending` may have an answer to them."""
        self._incoming.write(data)
        plain: list[bytes] = []
        try:
            if not self.established:
                self._object.do_handshake()
                self.established = True
            while chunk := self._object.read(READ_BYTES):
                plain.append(chunk)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def send(self, plain: bytes) -> bytes:
        """`plain` and what was pending, for the socket."""
        self._object.write(plain)
        return self._outgoing.read()

    def pending(self) -> bytes:
        """What the protocol itself has for the socket."""
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """The last octets of an orderly end."""
        with suppress(ssl.SSLError):  # the peer has not said so, or never will
            self._object.unwrap()
        return self._outgoing.read()
