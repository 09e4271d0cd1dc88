"""Host names as mail uses them."""

import re
import unicodedata

MAX_NAME_CHARS = 253
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")


def ascii_domain(name: str) -> str:
    """`name` with its labels as A-labels, lower case (RFC 5891): `bücher.example` is `xn--bcher-kva.example`.

    Nothing is mapped but case and composition: `ß` stays itself, where IDNA 2003 sent such mail to another domain.

    Raises:
        ValueError: a label cannot be one of a host name.
    """
    labels = [_ascii_label(label) for label in unicodedata.normalize("NFC", name.lower()).split(".")]
    domain = ".".join(labels)
    if not is_host_name(domain):
        raise ValueError(f"`{name}` is no domain")
    return domain


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    # letters, marks and digits of any script; joiners are right in some contexts, which registries look after
    if not all(char in "-\u200c\u200d" or unicodedata.category(char)[0] in "LMN" for char in label):
        raise ValueError(f"`{label}` is no label of a domain")
    return "xn--" + label.encode("punycode").decode("ascii")


def is_host_name(name: str) -> bool:
    """Whether `name` can be looked up: lower-case labels of letters, digits, `-` and `_` (RFC 1123 section 2.1).

    Underscores are no host names by the letter, but mail domains with them exist and work.
    """
    return len(name) <= MAX_NAME_CHARS and _HOST_NAME.fullmatch(name) is not None
