"""One request by HTTPS, one bounded answer, within a deadline. For policies and reports; not for speed."""

import asyncio
import http.client
import io
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from mailagent.config.structs import Network
from mailagent.dns import Address, Found, Resolver

MAX_HEAD_BYTES = 16_384


class HttpsFailed(Exception):
    """No usable answer; `__cause__` has the error of the network or of TLS, when there was one."""


@dataclass(frozen=True, slots=True)
class HttpsAnswer:
    """What a server said."""

    status: int
    content_type: str  # lower case, without parameters
    body: bytes


async def public_address(resolver: Resolver, host: str, allowed: Iterable[Network]) -> Address | None:
    """An address of `host` that a stranger may make us connect to: a global one, or one in `allowed`."""
    for version in (4, 6):
        answer = await resolver.addresses(host, version=version)
        if isinstance(answer, Found):
            for address in answer.records:
                if address.is_global or any(address in network for network in allowed):
                    return address
    return None


async def request(
    method: str,
    host: str,
    path: str,
    *,
    address: str,
    port: int,
    context: ssl.SSLContext,
    timeout_s: float,
    max_bytes: int,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> HttpsAnswer:
    """Ask `host` at `address`. Redirects are answers like others; more than `max_bytes` is a failure.

    Raises:
        HttpsFailed: no connection, no TLS, no HTTP, too long or too late.
    """
    where = host if port == 443 else f"{host}:{port}"
    fields = {"Host": where, "User-Agent": "mailagent", "Connection": "close", **(headers or {})}
    if body:
        fields["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    try:
        async with asyncio.timeout(timeout_s):
            raw = await _exchange(
                f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body,
                address=address,
                port=port,
                host=host,
                context=context,
                limit=MAX_HEAD_BYTES + max_bytes,
            )
    except TimeoutError as exc:
        raise HttpsFailed(f"{where}: no answer within {timeout_s:g} s") from exc
    except (OSError, UnicodeError, ValueError) as exc:
        raise HttpsFailed(f"{where}: {exc or type(exc).__name__}") from exc
    return _parsed(raw, method, where, max_bytes)


async def _exchange(data: bytes, *, address: str, port: int, host: str, context: ssl.SSLContext, limit: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    try:
        writer.write(data)
        await writer.drain()
        received = bytearray()
        while len(received) <= limit and (block := await reader.read(65_536)):
            received += block
        return bytes(received)
    finally:
        writer.transport.abort()


class _Received:
    """Bytes where `http.client` wants a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


def _parsed(raw: bytes, method: str, where: str, max_bytes: int) -> HttpsAnswer:
    response = http.client.HTTPResponse(cast(Any, _Received(raw)), method=method)
    try:
        response.begin()
        body = response.read()
    except (http.client.HTTPException, OSError, ValueError) as exc:
        raise HttpsFailed(f"{where}: no proper HTTP answer ({exc or type(exc).__name__})") from exc
    if len(body) > max_bytes:
        raise HttpsFailed(f"{where}: more than {max_bytes} bytes")
    kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
    return HttpsAnswer(response.status, kind, body)
