"""Logging in to a smart host (RFC 4954, 7628). The only user of aiosmtplib in delivery.

aiosmtplib reads the greeting, begins TLS and authenticates; then the transport is handed to a Connection, and mail goes
over it as over any other: pipelined, with the final dot, and the in-doubt mark before it, apart from the body. (Its own
`data` writes body and dot at once: the mark would have to stand before DATA, and every cut could mean a duplicate.)
"""

import asyncio
import base64
import socket
import ssl
from pathlib import Path
from typing import cast

import aiosmtplib
from aiosmtplib.response import SMTPResponse

from mailagent.api.smtp import SmtpReply, Verb
from mailagent.config.secret_files import read_secret
from mailagent.config.structs import RouteAuth
from mailagent.delivery.connection import Connection
from mailagent.delivery.errors import ConnectFailed
from mailagent.delivery.raw_reply import RawReply
from mailagent.delivery.tls import Step, TlsFailed, TlsResult, failure, tls_reply
from mailagent.delivery.waits import Waits
from mailagent.routing.rollup import Hop

_BASE64_NOTHING = b"AQ=="  # what ends a refused OAUTHBEARER exchange (RFC 7628 section 3.2.3)


class LoginRefused(ConnectFailed):
    """The smart host does not take the credential, or we cannot read it. Trying again soon might lock the account."""


async def log_in(
    connection: Connection, sock: socket.socket, hop: Hop, step: Step, secret: bytes, waits: Waits
) -> None:
    """Make a session with `hop` over the connected `sock`, TLS verified and authenticated, and give it to `connection`.

    The credential is sent over verified TLS only: `step` is one whose floor is that.

    Raises:
        TlsFailed: no verified TLS.
        LoginRefused: the credential is no good.
        ConnectFailed: the smart host refused, broke off, or did not answer in time.
    """
    auth = cast(RouteAuth, step.auth)
    client = aiosmtplib.SMTP(
        hostname=hop.mx,
        local_hostname=connection.ehlo,
        timeout=waits.by_verb[Verb.EHLO],
        sock=sock,
        use_tls=step.implicit,
        start_tls=False,
        tls_context=cast(ssl.SSLContext, step.context),
    )
    verb = Verb.CONNECT
    transport: asyncio.BaseTransport | None = None
    try:
        await client.connect(timeout=waits.by_verb[Verb.STARTTLS if step.implicit else Verb.CONNECT])
        transport = client.transport
        verb = Verb.EHLO
        await client.ehlo()
        if not step.implicit:
            verb = Verb.STARTTLS
            if not client.supports_extension("starttls"):
                text = f"{hop} does not offer STARTTLS, and the credential is for verified TLS only"
                raise TlsFailed(tls_reply(text, enhanced="4.7.4"), hop, TlsResult.STARTTLS_NOT_SUPPORTED)
            await client.starttls(server_hostname=hop.mx, timeout=waits.by_verb[Verb.STARTTLS])
            transport = client.transport
            verb = Verb.EHLO
            await client.ehlo()
        verb = Verb.AUTH
        answer = await _authenticate(client, auth, secret)
        if answer.code != 235:
            raise aiosmtplib.SMTPAuthenticationError(answer.code, answer.message)
        connection.adopt(cast(asyncio.Transport, transport))
        client.protocol = client.transport = transport = None  # it is the connection's now
    except ConnectFailed:
        raise
    except aiosmtplib.SMTPResponseException as exc:
        raise _refused(hop, verb, exc) from exc
    except (aiosmtplib.SMTPException, OSError, ValueError) as exc:
        raise _broken(hop, verb, exc, waits) from exc
    finally:
        if transport is not None:  # at once: a polite end of TLS could take the peer half a minute
            cast(asyncio.Transport, transport).abort()
        client.close()


async def _authenticate(client: aiosmtplib.SMTP, auth: RouteAuth, secret: bytes) -> SMTPResponse:
    """One try with the best mechanism that both know: a wrong credential must not count three times."""
    offered = client.server_auth_methods
    user = auth.user.encode()
    if auth.token_file is not None:
        if "oauthbearer" in offered:
            return await _oauthbearer(client, user, secret)
        if "xoauth2" in offered:
            return await client.auth_xoauth2(user, secret)
        wanted = "OAUTHBEARER and XOAUTH2"
    else:
        if "plain" in offered:
            return await client.auth_plain(user, secret)
        if "login" in offered:
            return await client.auth_login(user, secret)
        if "cram-md5" in offered:
            return await client.auth_crammd5(user, secret)
        wanted = "PLAIN, LOGIN and CRAM-MD5"
    raise aiosmtplib.SMTPNotSupported(f"none of {wanted} is offered, only: {' '.join(offered) or 'no AUTH'}")


async def _oauthbearer(client: aiosmtplib.SMTP, user: bytes, token: bytes) -> SMTPResponse:
    """RFC 7628 section 3.1."""
    name = user.replace(b"=", b"=3D").replace(b",", b"=2C")
    message = b"n,a=%b,\x01auth=Bearer %b\x01\x01" % (name, token)
    answer = await client.execute_command(b"AUTH", b"OAUTHBEARER", base64.b64encode(message))
    if answer.code == 334:  # the reason comes as a challenge, the refusal after our answer
        answer = await client.execute_command(_BASE64_NOTHING)
    return answer


async def secret_of(auth: RouteAuth, hop: Hop) -> bytes:
    """The password or token: read anew for each connection, so that a rotated one counts at once.

    Raises:
        LoginRefused: it cannot be used; the reply says why.
    """
    file = cast(Path, auth.password_file or auth.token_file)
    try:
        return await asyncio.to_thread(read_secret, file)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        text = f"{hop}: credential not used: {file}: {why}"
        reply = SmtpReply(code=0, enhanced="4.3.5", text=text, verb=Verb.AUTH, local=True)
        raise LoginRefused(reply, hop) from exc


def _refused(hop: Hop, verb: Verb, exc: aiosmtplib.SMTPResponseException) -> ConnectFailed:
    lines = exc.message.encode("utf-8", "surrogateescape").split(b"\n")
    reply = RawReply(exc.code if exc.code > 0 else 0, lines).parsed(verb)
    if verb is Verb.STARTTLS:
        text = f"{hop} refused STARTTLS, and the credential is for verified TLS only: {reply.line()}"
        return TlsFailed(tls_reply(text, enhanced="4.7.4"), hop, TlsResult.STARTTLS_NOT_SUPPORTED)
    return (LoginRefused if verb is Verb.AUTH and reply.is_permanent else ConnectFailed)(reply, hop)


def _broken(hop: Hop, verb: Verb, exc: Exception, waits: Waits) -> ConnectFailed:
    cause = exc if isinstance(exc, ssl.SSLError) else exc.__cause__
    if isinstance(cause, ssl.SSLError) or verb is Verb.STARTTLS:
        return failure(hop, cause or exc, wait_s=waits.by_verb[Verb.STARTTLS])
    reply = SmtpReply(code=0, enhanced="4.4.2", text=f"{hop}: {exc or type(exc).__name__}", verb=verb, local=True)
    return ConnectFailed(reply, hop)
