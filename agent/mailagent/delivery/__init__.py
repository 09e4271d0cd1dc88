"""SMTP out: one session, one connection, from a virtual MTA's own address."""

from mailagent.delivery.bindable import bind_problem
from mailagent.delivery.connect import connect
from mailagent.delivery.connection import Connection, Owner
from mailagent.delivery.errors import AddressesExhausted, AddressNotOnHost, BindFailed, ConnectFailed, DeliveryError
from mailagent.delivery.policy import TlsPolicies
from mailagent.delivery.source import Source
from mailagent.delivery.tls import Level, Step, TlsFailed, TlsResult
from mailagent.delivery.transaction import Transaction

__all__ = [
    "AddressNotOnHost",
    "AddressesExhausted",
    "BindFailed",
    "ConnectFailed",
    "Connection",
    "DeliveryError",
    "Level",
    "Owner",
    "Source",
    "Step",
    "TlsFailed",
    "TlsPolicies",
    "TlsResult",
    "Transaction",
    "bind_problem",
    "connect",
]
