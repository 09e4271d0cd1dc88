"""Host names as mail uses them."""

import re

MAX_NAME_CHARS = 253
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")


def is_host_name(name: str) -> bool:
    """Whether `name` can be looked up: lower-case labels of letters, digits, `-` and `_` (RFC 1123 section 2.1).

    Underscores are no host names by the letter, but mail domains with them exist and work.
    """
    return len(name) <= MAX_NAME_CHARS and _HOST_NAME.fullmatch(name) is not None
