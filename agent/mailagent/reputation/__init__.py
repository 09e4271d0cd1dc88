"""What others think of our addresses (DNSBL), and what they find when they look up who we are (PTR, SPF, DMARC)."""

from mailagent.reputation.block_lists import BlockLists
from mailagent.reputation.identity import Identity
from mailagent.reputation.standing import Reputation, Standing

__all__ = ["BlockLists", "Identity", "Reputation", "Standing"]
