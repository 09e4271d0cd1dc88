"""A running agent takes a renewed certificate at SIGHUP, and keeps the old one when the new cannot be used."""

import asyncio
import os
import signal
import smtplib
import ssl
from pathlib import Path

from tests.certificates import Authority
from tests.integration.processes import until
from tests.integration.rig import rig


def serial(port: int, authority: Authority) -> str:
    """Of the certificate that the agent shows."""
    context = ssl.create_default_context(cafile=str(authority.file))
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as smtp:
        smtp.starttls(context=context)
        assert isinstance(smtp.sock, ssl.SSLSocket)
        shown = smtp.sock.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


async def test_certificates_are_renewed_without_a_restart(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    made = authority.issue("127.0.0.1")
    listener = f", tls: starttls, certificate: {{cert: {made.file}, key: {made.key}}}"
    async with rig(tmp_path, listener=listener) as one:
        assert one.agent.process is not None
        before = await asyncio.to_thread(serial, one.port, authority)
        authority.issue("127.0.0.1")  # into the same files
        os.kill(one.agent.process.pid, signal.SIGHUP)

        async def renewed() -> bool:
            return await asyncio.to_thread(serial, one.port, authority) != before

        await until(renewed, "the new certificate is shown")
        after = await asyncio.to_thread(serial, one.port, authority)
        made.key.chmod(0o644)
        os.kill(one.agent.process.pid, signal.SIGHUP)

        async def refused() -> bool:
            return "everybody on this host can read or write the key" in one.agent.log.read_text(encoding="utf-8")

        await until(refused, "the reload is refused")
        assert await asyncio.to_thread(serial, one.port, authority) == after
