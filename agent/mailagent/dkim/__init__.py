from mailagent.dkim.keys import Algorithm, KeyUnfit, PrivateKey
from mailagent.dkim.ring import KeyRing, load_ring
from mailagent.dkim.signature import SigningKey, signatures
from mailagent.dkim.signing import Chosen, Signing

__all__ = [
    "Algorithm",
    "Chosen",
    "KeyRing",
    "KeyUnfit",
    "PrivateKey",
    "Signing",
    "SigningKey",
    "load_ring",
    "signatures",
]
