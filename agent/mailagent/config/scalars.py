"""Words of the files and what they mean: `4d12h`, `100/s`, `25M`, `[::1]:2525`. Both directions.

Every `parse_` function raises ValueError with a message for the operator.
"""

import re
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from mailagent.config.structs import ByteRate, Endpoint, Rate

_UNIT_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_DURATION = re.compile(r"(?:[0-9]+(?:ms|[dhms]))+")
_DURATION_PART = re.compile(r"([0-9]+)(ms|[dhms])")
_RATE = re.compile(r"([0-9]+)/([0-9]*)([smhd])")
_SIZE = re.compile(r"([0-9]+)([KMG]?)")
_SIZE_FACTOR = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)*"
)
MAX_MAIL_ADDRESS = 320  # RFC 5321 section 4.5.3.1: 64, the at sign, 255
_MAX_DIGITS = 15  # longer numbers are slips


def parse_bool(text: str) -> bool:
    """`true` or `false`, nothing else."""
    if text not in ("true", "false"):
        raise ValueError(f"`{text}` is neither true nor false")
    return text == "true"


def parse_count(text: str) -> int:
    """A whole number from 1 on."""
    if not re.fullmatch(r"[0-9]{1,15}", text) or not int(text):
        raise ValueError(f"`{text}` is no whole number from 1 on")
    return int(text)


def parse_seconds(text: str) -> int:
    """Whole seconds from 0 on, the unit being in the key's name."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f"`{text}` is no whole number of seconds")
    return int(text)


def parse_float(text: str) -> float:
    """A decimal number: `0.15`."""
    if not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]+)?(e[+-]?[0-9]{1,3})?", text):
        raise ValueError(f"`{text}` is no number")
    return float(text)


def parse_size(text: str) -> int:
    """Bytes: `4096`, `64K`, `25M`, `2G` (powers of 1,024)."""
    match = _SIZE.fullmatch(text)
    if not match or len(text) > _MAX_DIGITS or not int(match[1]):
        raise ValueError(f"`{text}` is no size; write bytes, or a number with K, M or G: 25M")
    return int(match[1]) * _SIZE_FACTOR[match[2]]


def parse_port(text: str) -> int:
    """A port; 0 lets the kernel choose."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError(f"`{text}` is no port (0 to 65535)")
    return int(text)


LONGEST = timedelta(days=36_525)
"""Longest duration: a moment so far from now is a date still."""


def parse_duration(text: str) -> timedelta:
    """A positive duration: `500ms`, `90s`, `5m`, `4d12h`."""
    if re.fullmatch(r"[0-9]+", text):
        raise ValueError(f"`{text}` has no unit; write {text}s, {text}m, {text}h or {text}d")
    if not _DURATION.fullmatch(text) or len(text) > 2 * _MAX_DIGITS:
        raise ValueError(f"`{text}` is no duration; write 90s, 5m or 4d12h")
    total = sum(int(count) * _UNIT_MS[unit] for count, unit in _DURATION_PART.findall(text))
    if not total:
        raise ValueError("must be longer than zero")
    if total > LONGEST / timedelta(milliseconds=1):
        raise ValueError(f"`{text}` is too long; 100 years are the most")
    return timedelta(milliseconds=total)


def format_duration(value: timedelta) -> str:
    """`value` as `parse_duration` reads it, exact to the millisecond."""
    rest = round(value / timedelta(milliseconds=1))
    parts = []
    for unit, size in _UNIT_MS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_rate(text: str) -> Rate:
    """So many per period: `100/s`, `300/h`, `1/30s`."""
    match = _RATE.fullmatch(text)
    if not match or len(text) > _MAX_DIGITS:
        raise ValueError(f"`{text}` is no rate; write 100/s, 300/m, 5000/h or 20000/d")
    count, period = int(match[1]), int(match[2] or 1)
    if not count or not period:
        raise ValueError(f"`{text}` never lets anything through; suspend instead")
    return Rate(count=count, period_s=period * _UNIT_MS[match[3]] // 1000)


def parse_byte_rate(text: str) -> ByteRate:
    """So many bytes per period: `10M/s`, `2G/h`."""
    size, _, period = text.partition("/")
    try:
        per = parse_rate(f"1/{period}")
        return ByteRate(count=parse_size(size), period_s=per.period_s)
    except ValueError:
        raise ValueError(f"`{text}` is no rate of bytes; write 10M/s or 2G/h") from None


def parse_limit(name: str, value: str) -> int | Rate:
    """The value of a limit: `5` for connections, messages, recipients, `10/s` for rates, `10M/s` for that of bytes.

    Raises:
        ValueError: not such a value; the message says what is wrong.
    """
    if name == "bytes_rate":
        return parse_byte_rate(value)
    return parse_rate(value) if name.endswith("rate") else parse_count(value)


LIMITS = (
    "connections",
    "messages_per_connection",
    "recipients_per_connection",
    "recipients_per_transaction",
    "rate",
    "connect_rate",
    "bytes_rate",
    "provider_connections",
    "provider_rate",
    "vmta_connections",
    "vmta_rate",
)
"""Limits that an order can lower; not each has a meaning for each target."""


def parse_named_limit(name: str, value: str) -> int | Rate:
    """`parse_limit` of what a person wrote.

    Raises:
        ValueError: no such limit, or no such value; the message says what is wrong.
    """
    if name not in LIMITS:
        raise ValueError(f"no such limit; there are {', '.join(LIMITS)}")
    return parse_limit(name, value)


def parse_endpoint(text: str) -> Endpoint:
    """Host and port: `127.0.0.1:2525`, `[::1]:2525`, `relay.example.com:25`."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError(f"`{text}` has no port; write host:port")
    if host.startswith("[") and host.endswith("]"):
        host = str(parse_ipv6(host[1:-1]))
    elif ":" in host:
        raise ValueError(f"`{text}`: write an IPv6 address in brackets, [::1]:25")
    elif not is_host(host):
        raise ValueError(f"`{host}` is no host name and no address")
    number = parse_port(port)
    if not number:
        raise ValueError("port 0 cannot be connected to")
    return Endpoint(host=host, port=number)


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """An IPv4 or IPv6 address."""
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"`{text}` is no IP address") from None


def parse_ipv4(text: str) -> IPv4Address:
    """An IPv4 address."""
    address = parse_address(text)
    if not isinstance(address, IPv4Address):
        raise ValueError(f"`{text}` is an IPv6 address; that one goes into `address6`")  # noqa: TRY004 - a wrong word
    return address


def parse_ipv6(text: str) -> IPv6Address:
    """An IPv6 address without zone."""
    address = parse_address(text)
    if not isinstance(address, IPv6Address) or address.scope_id:
        raise ValueError(f"`{text}` is no global IPv6 address")
    return address


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """A network: `10.0.0.0/8`, `2001:db8::/32`, or one address."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        whole = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"`{text}` is no network; write 10.0.0.0/8") from None
    raise ValueError(f"`{text}` has bits behind its prefix; write {whole}")


def is_host(text: str) -> bool:
    """Whether `text` is a host name (letters, digits, hyphen, underscore) or an IPv4 address."""
    return _HOST.fullmatch(text) is not None


def is_mail_address(text: str) -> bool:
    """Whether `text` is `anna@example.com`, its domain in A-labels."""
    local, _, domain = text.rpartition("@")
    return bool(local) and len(text) <= MAX_MAIL_ADDRESS and is_host(domain) and text.isprintable()
