"""Names of the demo's own fleet: what receivers look up about it is as it should be."""

from ipaddress import ip_address

from dns.rdatatype import RdataType

from mailctl.demo.blueprint import Blueprint
from mailctl.demo.dns import Zone

ORGANIZATION = "acme.example"
SENDERS = ("receipts", "news", "outreach")


def publish_names(zone: Zone, blueprint: Blueprint) -> None:
    """PTR, address and SPF of each virtual MTA; SPF, DMARC and MX of what it sends for."""
    for host in blueprint.hosts:
        for vmta, address in host.addresses.items():
            name = f"{vmta}.{ORGANIZATION}"
            zone.publish(name, RdataType.A, address)
            zone.publish(name, RdataType.TXT, '"v=spf1 a -all"')
            zone.publish(ip_address(address).reverse_pointer, RdataType.PTR, f"{name}.")
    zone.publish(f"_dmarc.{ORGANIZATION}", RdataType.TXT, '"v=DMARC1; p=quarantine"')
    for sender in SENDERS:
        publish_spf(zone, blueprint.network, sender)
        zone.publish(f"{sender}.{ORGANIZATION}", RdataType.MX, f"10 mx1.{ORGANIZATION}.")


def publish_spf(zone: Zone, network: str, sender: str, *others: str) -> None:
    """The SPF record of one domain, and `others` beside it."""
    records = (f"v=spf1 ip4:{network}.0/24 -all", *others)
    zone.publish(f"{sender}.{ORGANIZATION}", RdataType.TXT, *(f'"{one}"' for one in records))
