"""Host names as mail uses them, and domains that people write in their own letters. Pure.

What is stored and shown of a domain are its A-labels: queues, sites and the suppression list have them. Addresses of
mail stay as the client gave them, so they are compared in both forms.
"""

import re
import unicodedata

MAX_NAME_CHARS = 253
_PREFIX = "xn--"
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")


def ascii_domain(name: str) -> str:
    """`name` with its labels as A-labels, lower case (RFC 5891): `bücher.example` is `xn--bcher-kva.example`.

    Nothing is mapped but case and composition: `ß` stays itself, where IDNA 2003 sent such mail to another domain.

    Raises:
        ValueError: a label cannot be one of a host name.
    """
    domain = _ascii_labels(name)
    if not is_host_name(domain):
        raise ValueError(f"`{name}` is no domain")
    return domain


def folded_domain(text: str) -> str:
    """A domain, or a pattern of domains such as `*.bücher.example`, in A-labels; what is neither stays as it is."""
    if text.isascii():
        return text
    try:
        return _ascii_labels(text)
    except ValueError:
        return text


def folded_address(text: str) -> str:
    """An address, or a pattern of addresses, with its domain in A-labels; the local part stays."""
    local, at, domain = text.rpartition("@")
    return f"{local}{at}{folded_domain(domain)}" if at else text


def is_folded(domain: str) -> bool:
    """Whether a domain or pattern in A-labels has another form, in the letters of people."""
    return any(label.startswith(_PREFIX) for label in domain.lower().split("."))


def spellings(address: str) -> tuple[str, ...]:
    """An address or pattern as mail may have it: its domain in A-labels, and in letters where these are others."""
    local, at, domain = folded_address(address).rpartition("@")
    if not at or not is_folded(domain):
        return (address,)
    letters = ".".join(map(_letters, domain.lower().split(".")))
    return tuple(dict.fromkeys((f"{local}@{domain}", f"{local}@{letters}")))


def starred(address: str) -> str:
    """An address, domain or pattern with `*` for each label that may be written in two forms."""
    local, at, domain = address.rpartition("@")
    labels = ("*" if label.startswith(_PREFIX) else label for label in folded_domain(domain.lower()).split("."))
    return f"{local}{at}{'.'.join(labels)}"


def _letters(label: str) -> str:
    try:
        return label.removeprefix(_PREFIX).encode("ascii").decode("punycode") if label.startswith(_PREFIX) else label
    except ValueError:
        return label


def _ascii_labels(name: str) -> str:
    return ".".join(map(_ascii_label, unicodedata.normalize("NFC", name.lower()).split(".")))


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    # letters, marks and digits of any script; joiners are right in some contexts, which registries look after
    if not all(char in "-\u200c\u200d" or unicodedata.category(char)[0] in "LMN" for char in label):
        raise ValueError(f"`{label}` is no label of a domain")
    return _PREFIX + label.encode("punycode").decode("ascii")


def is_host_name(name: str) -> bool:
    """Whether `name` can be looked up: lower-case labels of letters, digits, `-` and `_` (RFC 1123 section 2.1).

    Underscores are no host names by the letter, but mail domains with them exist and work.
    """
    return len(name) <= MAX_NAME_CHARS and _HOST_NAME.fullmatch(name) is not None
