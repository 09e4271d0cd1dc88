"""What others think of our addresses: block lists (DNSBL, RFC 5782)."""

from mailagent.reputation.block_lists import BlockLists

__all__ = ["BlockLists"]
