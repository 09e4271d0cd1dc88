"""A notice by POST, signed as the events of the agents are."""

import asyncio
import ssl
from datetime import datetime
from urllib.parse import urlsplit

from mailagent.api.events import signature
from mailagent.config.alerts import Webhook
from mailagent.config.secret_files import read_key
from mailagent.version import __version__
from mailctl.alerts.errors import NotTaken

MAX_LINE_BYTES = 8192


async def post(webhook: Webhook, body: bytes, at: datetime) -> None:
    """POST `body`; any 2xx acknowledges, redirects are not followed.

    Raises:
        NotTaken: another answer.
        OSError: no connection, or no secret.
        ValueError: the secret cannot be used.
    """
    parts = urlsplit(webhook.url)
    is_tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
        f"User-Agent: mailctl/{__version__}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Mailagent-Signature: {signature(read_key(webhook.secret_file), int(at.timestamp()), body)}\r\n\r\n"
    )
    context = ssl.create_default_context(cafile=webhook.ca_file) if is_tls else None
    port = parts.port or (443 if is_tls else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, limit=MAX_LINE_BYTES)
    try:
        writer.write(head.encode("ascii") + body)
        await writer.drain()
        status = await _status(reader)
    finally:
        writer.transport.abort()
    if not 200 <= status < 300:
        raise NotTaken(f"answered {status}")


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of the answer, after those that only announce it."""
    while True:
        line = await reader.readline()
        version, _, rest = line.partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
            raise NotTaken("its answer is no HTTP" if line else "the connection ended without an answer")
        if (status := int(rest[:3])) >= 200:
            return status
        while (await reader.readline()).strip():
            pass
