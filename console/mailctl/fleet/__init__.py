"""Inventory, SSH links, RPC client and merged state of the fleet."""

from mailctl.fleet.errors import LinkError
from mailctl.fleet.fleet import Fleet
from mailctl.fleet.inventory import Inventory
from mailctl.fleet.state import Coverage, FleetState, HostState, LinkState

__all__ = ["Coverage", "Fleet", "FleetState", "HostState", "Inventory", "LinkError", "LinkState"]
