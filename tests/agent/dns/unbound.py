"""A real validating resolver on loopback (Debian package unbound), with zones of its own, signed or not."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncquery
import dns.dnssec
import dns.dnssectypes
import dns.exception
import dns.message
import dns.name
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from mailagent.config import structs
from tests.conftest import program
from tests.integration.processes import free_port

CONF = """\
server:
  directory: "{directory}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: "{directory}/unbound.log"
  interface: 127.0.0.1@{port}
  access-control: 127.0.0.0/8 allow
  do-ip6: no
  num-threads: 1
  do-not-query-localhost: no
  module-config: "validator iterator"
{anchors}
remote-control:
  control-enable: no
"""
ZONE = """\
auth-zone:
  name: "{name}"
  zonefile: "{file}"
  for-downstream: no
  for-upstream: yes
  fallback-enabled: no
"""


def signed(name: str, text: str) -> tuple[str, str]:
    """The zone with its signatures, and the key to trust."""
    zone = _zone(name, text)
    key = ec.generate_private_key(ec.SECP256R1())
    public = dns.dnssec.make_dnskey(key.public_key(), dns.dnssectypes.Algorithm.ECDSAP256SHA256, flags=257)
    with zone.writer() as changes:
        dns.dnssec.sign_zone(zone, changes, keys=[(key, public)], lifetime=86_400, add_dnskey=True)
    return zone.to_text(relativize=False), f"{name}. IN DNSKEY {public.to_text()}"


def _zone(name: str, text: str) -> dns.zone.Zone:
    head = "@ 3600 IN SOA ns hostmaster 1 3600 600 86400 300\n@ 3600 IN NS ns\nns 3600 IN A 127.0.0.1\n"
    return dns.zone.from_text(head + text, origin=f"{name}.", relativize=False)


@asynccontextmanager
async def unbound(
    directory: Path, zones: Mapping[str, str], *, plain: tuple[str, ...] = (), bogus: tuple[str, ...] = ()
) -> AsyncIterator[structs.Dns]:
    """A running resolver of `zones` (name -> records); `plain` ones are not signed, of `bogus` ones the signatures are
    those of another key than the one that is trusted.
    """
    port = free_port()
    conf = _write(directory, port, zones, plain, bogus)
    process = await asyncio.create_subprocess_exec(
        str(program("unbound")), "-d", "-c", str(conf), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _answers(process, port, next(iter(zones)), directory)
        yield structs.Dns(servers=(structs.Endpoint(host="127.0.0.1", port=port),), validating=True)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _write(
    directory: Path, port: int, zones: Mapping[str, str], plain: tuple[str, ...], bogus: tuple[str, ...]
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    anchors, sections = [], []
    for name, text in zones.items():
        content, key = signed(name, text)
        if name in bogus:
            key = signed(name, text)[1]
        if name in plain:
            content = _zone(name, text).to_text(relativize=False)
        else:
            anchors.append(f"  trust-anchor: '{key}'")
        file = directory / f"{name}.zone"
        file.write_text(content, encoding="ascii")
        sections.append(ZONE.format(name=name, file=file))
    conf = directory / "unbound.conf"
    head = CONF.format(directory=directory, port=port, anchors="\n".join(anchors))
    conf.write_text(head + "".join(sections), encoding="ascii")
    return conf


async def _answers(process: asyncio.subprocess.Process, port: int, name: str, directory: Path) -> None:
    question = dns.message.make_query(f"ns.{name}.", "A")
    async with asyncio.timeout(20):
        while True:
            log = directory / "unbound.log"
            assert process.returncode is None, log.read_text(encoding="utf-8") if log.exists() else "unbound ended"
            try:
                await dns.asyncquery.udp(question, "127.0.0.1", port=port, timeout=0.5)
            except (dns.exception.DNSException, OSError):
                await asyncio.sleep(0.02)
            else:
                return
