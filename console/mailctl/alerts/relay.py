"""A notice as a mail, handed to a relay that is no host of the fleet. The only user of aiosmtplib in the console."""

import ssl
from email.message import EmailMessage

import aiosmtplib

from mailagent.config.alerts import AlertMail, RelayAccount
from mailagent.config.intake import ListenerTls
from mailagent.config.secret_files import read_secret
from mailctl.alerts.errors import NotTaken


async def hand_over(settings: AlertMail, message: EmailMessage) -> None:
    """Send `message`. It is taken when the relay took it for everybody in `to`.

    Raises:
        NotTaken: the relay refused it, somebody of those in it, or the account; or the password cannot be used.
        OSError: no connection, or no password.
    """
    context: ssl.SSLContext | None = None
    if settings.tls is not ListenerTls.OFF:
        context = ssl.create_default_context(cafile=settings.ca_file)
    password = _password(settings.account) if settings.account is not None else ""
    client = aiosmtplib.SMTP(
        hostname=settings.relay.host,
        port=settings.relay.port,
        use_tls=settings.tls is ListenerTls.IMPLICIT,
        start_tls=settings.tls is ListenerTls.STARTTLS,
        tls_context=context,
        timeout=settings.timeout.total_seconds(),
    )
    try:
        async with client:
            if settings.account is not None:
                await _log_in(client, settings.account.user, password)
            refused, _ = await client.send_message(message, sender=settings.sender, recipients=list(settings.to))
    except aiosmtplib.SMTPException as exc:
        raise NotTaken(f"{settings.relay}: {_said(exc)}") from exc
    if refused:
        raise NotTaken("; ".join(f"{settings.relay} refused {who}: {said.message}" for who, said in refused.items()))


async def _log_in(client: aiosmtplib.SMTP, user: str, password: str) -> None:
    """One try with the best mechanism that both know: a wrong password must not count three times each minute."""
    await client.ehlo()
    offered = client.server_auth_methods
    if "plain" in offered:
        await client.auth_plain(user, password)
    elif "login" in offered:
        await client.auth_login(user, password)
    elif "cram-md5" in offered:
        await client.auth_crammd5(user, password)
    else:
        raise NotTaken(f"none of PLAIN, LOGIN and CRAM-MD5 is offered, only: {' '.join(offered) or 'no AUTH'}")


def _password(account: RelayAccount) -> str:
    try:
        return read_secret(account.password_file).decode()
    except ValueError as exc:
        raise NotTaken(f"{account.password_file}: {exc}") from exc


def _said(exc: aiosmtplib.SMTPException) -> str:
    if isinstance(exc, aiosmtplib.SMTPResponseException):
        return f"{exc.code} {exc.message}"
    return exc.message or type(exc).__name__
