"""A message as it goes over the wire after 354: dot-stuffed, in blocks, with the final dot (RFC 5321 section 4.5.2)."""

from collections.abc import Iterator

BLOCK_BYTES = 65_536
_END = b".\r\n"


def wire_blocks(added: bytes, body: bytes, *, plain: bool = False) -> tuple[Iterator[bytes], bytes]:
    """(all blocks but the last, the last one), about BLOCK_BYTES each; the last one ends with the final dot.

    `added` and `body` have CRLF line ends only; a `plain` body has no line that begins with a dot. A last line without
    its end gets one.
    """
    head = added
    if not plain:
        body = body.replace(b"\r\n.", b"\r\n..")
        if body.startswith(b"."):
            head += b"."
    tail = _END if body.endswith(b"\r\n") or not body else b"\r\n" + _END
    if len(head) + len(body) <= BLOCK_BYTES:
        return iter(()), b"".join((head, body, tail))
    view = memoryview(body)
    last = (len(body) - 1) // BLOCK_BYTES * BLOCK_BYTES if body else 0
    return _leading(head, view[:last]), b"".join((view[last:], tail))


def _leading(head: bytes, body: memoryview) -> Iterator[bytes]:
    if head:
        yield head
    for start in range(0, len(body), BLOCK_BYTES):
        yield bytes(body[start : start + BLOCK_BYTES])
