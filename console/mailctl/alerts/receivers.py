"""The way to each receiver: hands a notice over within its time, or says why it was not taken."""

import asyncio
import logging
import os

from mailagent.config.alerts import Receiver
from mailctl.alerts.errors import NotTaken
from mailctl.alerts.notice import Notice, body, log_lines, mail
from mailctl.output.human import printable

SPARE_S = 5.0
"""Beyond the time-out of a mail, which aiosmtplib counts for each answer."""

log = logging.getLogger(__name__)


async def hand(receiver: Receiver, notice: Notice) -> str:
    """Why `receiver` did not take `notice`; empty: it did. Never a secret, nor the path of a URL."""
    try:
        await _hand(receiver, notice)
    except TimeoutError:
        return "gave no answer in time"
    except (NotTaken, OSError, ValueError, asyncio.IncompleteReadError) as exc:
        if isinstance(exc, OSError) and exc.strerror and exc.filename:
            return f"{exc.filename}: {exc.strerror}"
        return printable(str(exc) or type(exc).__name__)
    except Exception as exc:
        log.exception("a receiver broke down")
        return f"broke down: {type(exc).__name__}"
    return ""


async def _hand(receiver: Receiver, notice: Notice) -> None:
    if (webhook := receiver.webhook) is not None:
        from mailctl.alerts.webhook import post

        async with asyncio.timeout(webhook.timeout.total_seconds()):
            await post(webhook, body(notice), notice.at)
    elif (command := receiver.command) is not None:
        from mailctl.alerts.program import feed

        async with asyncio.timeout(command.timeout.total_seconds()):
            await feed(command, body(notice))
    elif (settings := receiver.mail) is not None:
        from mailctl.alerts.relay import hand_over

        async with asyncio.timeout(settings.timeout.total_seconds() + SPARE_S):
            await hand_over(settings, mail(notice, sender=settings.sender, to=settings.to))
    elif (syslog := receiver.syslog) is not None:
        from mailctl.alerts.syslog import log

        async with asyncio.timeout(syslog.timeout.total_seconds()):
            await log(syslog, log_lines(notice, process=os.getpid()))
