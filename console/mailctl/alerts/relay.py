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
    account = settings.account
    password = _password(account) if account is not None else None
    try:
        refused, _ = await aiosmtplib.send(
            message,
            sender=settings.sender,
            recipients=list(settings.to),
            hostname=settings.relay.host,
            port=settings.relay.port,
            username=account.user if account is not None else None,
            password=password,
            use_tls=settings.tls is ListenerTls.IMPLICIT,
            start_tls=settings.tls is ListenerTls.STARTTLS,
            tls_context=context,
            timeout=settings.timeout.total_seconds(),
        )
    except aiosmtplib.SMTPException as exc:
        raise NotTaken(f"{settings.relay}: {_said(exc)}") from exc
    if refused:
        raise NotTaken("; ".join(f"{settings.relay} refused {who}: {said.message}" for who, said in refused.items()))


def _password(account: RelayAccount) -> str:
    try:
        return read_secret(account.password_file).decode()
    except ValueError as exc:
        raise NotTaken(f"{account.password_file}: {exc}") from exc


def _said(exc: aiosmtplib.SMTPException) -> str:
    if isinstance(exc, aiosmtplib.SMTPResponseException):
        return f"{exc.code} {exc.message}"
    return exc.message or type(exc).__name__
