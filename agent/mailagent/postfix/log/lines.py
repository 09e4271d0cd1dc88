"""One line of a Postfix log as a value. Pure.

Three prefixes: traditional syslog (RFC 3164: local time, no year), RFC 3339 as rsyslog writes it, journald's JSON. What
Postfix writes behind them is the same. It replaces control characters by `?`, so that nothing a peer says begins a
line; addresses and replies are hostile all the same, and are read from the left, with quoted strings as such.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple
from zlib import crc32

import msgspec

MAX_TEXT = 4096
"""Characters of a reply that are kept; smtp(8) itself gives up at about 2,048 of a multi-line one."""

_AHEAD = timedelta(days=1)
"""A time without a year that would lie further ahead was last year's; one with a year is no time."""
_AGAIN = timedelta(minutes=30)
"""In the hour that comes twice in autumn, a line is of the second time when that is not so far ahead."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What all lines with a queue id say."""

    at: float  # seconds since 1970; of traditional syslog whole ones
    name: str  # syslog_name: `postfix`, `postfix-out`, `postfix/mkt-1`
    service: str  # the program: `smtp`, `qmgr`
    id: str  # queue id, short or long


class Arrived(Entry, frozen=True, gc=False):
    """smtpd or pickup has a new message."""

    client: str  # `localhost[127.0.0.1]`; `uid=1000` when it came through sendmail(1)
    user: str = ""  # sasl_username
    original: str = ""  # requeued by postsuper, or back from a content filter: its queue id before


class Identified(Entry, frozen=True, gc=False):
    """cleanup has its Message-ID."""

    message_id: str  # without angle brackets


class Activated(Entry, frozen=True, gc=False):
    """qmgr takes it into the active queue, for the first time or again."""

    sender: str
    size: int
    recipients: int  # those it came with


class Tried(Entry, frozen=True, gc=False):
    """One delivery agent is done with one recipient, for now or for good."""

    recipient: str
    relay: str  # host name; `none`, `local`, `virtual` as written
    remote: str  # address:port; empty where there was no connection
    delay_s: float  # since arrival
    delays: tuple[float, float, float, float]  # before qmgr, in qmgr, connecting, transmitting
    dsn: str
    status: str  # `sent`, `deferred`, `bounced`, `undeliverable`, `deliverable`, or what is new
    text: str  # in the brackets behind it
    tls: str = ""  # 3.11: `dane`, `may:none`, `none?`
    mark: int = 0  # checksum of the line: tells two tries apart


class Expired(Entry, frozen=True, gc=False):
    """qmgr gives up what is left of it."""

    forced: bool  # by `postsuper -e` or `-f`


class Removed(Entry, frozen=True, gc=False):
    """It is gone."""

    deleted: bool  # by `postsuper -d`; otherwise all its recipients are done


class Ordered(Entry, frozen=True, gc=False):
    """postsuper did something else to it."""

    act: str  # `placed on hold`, `released from hold`, `requeued`, `expired`


Line = Arrived | Identified | Activated | Tried | Expired | Removed | Ordered

_MONTHS = {
    name: n
    for n, name in enumerate(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)
}
_HEAD = re.compile(
    r"(?:(?P<day>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)|(?P<iso>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?P<rest>\S*)) "
    r"\S+ (?P<name>\S+)/(?P<service>[\w.-]+)\[\d+\]: "
)
_TAG = re.compile(r"(?P<name>\S+)/(?P<service>[\w.-]+)")
# hexadecimal (microseconds and inode), or without vowels: 6 digits for seconds, 4 for microseconds, `z`, the inode
_DIGIT = "[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]"
_QUEUE_ID = rf"(?P<id>[0-9A-F]{{6,24}}|{_DIGIT}{{10}}z{_DIGIT}{{1,16}}): "
_ID = re.compile(_QUEUE_ID)
_ADDRESS = r'<(?P<{}>(?:"(?:[^"\\]|\\.)*"|[^">])*)>'
_TRIED = re.compile(
    rf"to={_ADDRESS.format('to')}(?:, orig_to={_ADDRESS.format('orig')})?,"
    r" relay=(?P<relay>[^\s,\[]+)(?:\[(?P<address>[^\]]*)\](?::(?P<port>\d+))?)?(?P<rest>[^(]*?),"
    r" delay=(?P<delay>[\d.]{1,12}), delays=(?P<delays>[\d.]{1,12}(?:/[\d.]{1,12}){3})(?P<more>(?:, [\w-]+=[^,\s(]*)*),"
    r" dsn=(?P<dsn>\d\.\d{1,3}\.\d{1,3}), status=(?P<status>[\w-]+)(?: \((?P<text>.*))?"
)
_FROM = re.compile(
    rf"from={_ADDRESS.format('from')}, (?:size=(?P<size>\d{{1,15}}), nrcpt=(?P<nrcpt>\d{{1,9}}) \(queue active\)"
    r"|status=(?P<status>[\w-]+), returned to sender)"
)
_CLIENT = re.compile(r"client=(?P<client>[^,\s]+)")
_USER = re.compile(r", sasl_username=(?P<user>[^,\s]+)")
_ORIGINAL = re.compile(r", orig_queue_id=(?P<id>\w+)|(?<=> )orig_id=(?P<requeued>\w+)$")
_PICKED_UP = re.compile(rf"(?P<uid>uid=\d+) from={_ADDRESS.format('from')}")
_TLS = re.compile(r", tls=([^,\s]+)")
_ACTS = frozenset(("placed on hold", "released from hold", "requeued", "expired"))


class _Journal(msgspec.Struct):
    message: str | list[int] | None = msgspec.field(name="MESSAGE", default=None)
    tag: str | None = msgspec.field(name="SYSLOG_IDENTIFIER", default=None)
    at_us: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="0")
    cursor: str = msgspec.field(name="__CURSOR", default="")
    unit: str | None = msgspec.field(name="_SYSTEMD_UNIT", default=None)
    dropped_of: str | None = msgspec.field(name="OBJECT_SYSTEMD_UNIT", default=None)
    dropped: str | None = msgspec.field(name="N_DROPPED", default=None)


_journal = msgspec.json.Decoder(_Journal)


class Parsed(NamedTuple):
    """A journal entry: where it stands, and its line when it is one of ours."""

    cursor: str
    at: float
    line: Line | None
    unit: str = ""  # of systemd, that wrote it; of `dropped` lines, that would have
    dropped: int = 0  # by journald, when a unit writes more than RateLimitBurst


class LineParser:
    """Lines to values. Keeps the last second that it saw, so that dates cost nothing."""

    def __init__(self, *, now: Callable[[], datetime], zone: tzinfo | None = None) -> None:
        """`zone` is where traditional timestamps were made; None: this machine's."""
        self._now = now
        self._zone = zone
        self._second = ""
        self._second_at = 0.0
        self.unread = 0
        """Lines about a recipient that were not understood."""

    def syslog(self, raw: bytes) -> Line | None:
        """`raw` without its line end; None when it is not about a message, or not understood."""
        text = raw.decode("utf-8", "backslashreplace")
        head = _HEAD.match(text)
        if head is None:
            return None
        end = head.end()
        if _ID.match(text, end) is None:
            return None
        at = self._at(head)
        return self._line(at, head["name"], head["service"], text[end:], raw) if at is not None else None

    def journal(self, raw: bytes) -> Parsed | None:
        """One line of `journalctl -o json`; None when it is no such thing."""
        try:
            entry = _journal.decode(raw)
            at = int(entry.at_us) / 1e6
            if at > self._now().timestamp() + _AHEAD.total_seconds():
                return None
            message = entry.message or ""
            text = message if isinstance(message, str) else bytes(message).decode("utf-8", "backslashreplace")
            if entry.dropped is not None:
                return Parsed(entry.cursor, at, None, entry.dropped_of or "", int(entry.dropped))
        except (msgspec.MsgspecError, ValueError, OverflowError):
            return None
        tag = _TAG.fullmatch(entry.tag or "")
        line = self._line(at, tag["name"], tag["service"], text, raw) if tag is not None else None
        return Parsed(entry.cursor, at, line, entry.unit or "")

    def _line(self, at: float, name: str, service: str, text: str, raw: bytes) -> Line | None:
        found = _ID.match(text)
        if found is None:
            return None
        id, rest = found["id"], text[found.end() :]
        if rest.startswith("to=<"):
            tried = _tried(at, name, service, id, rest, raw)
            self.unread += tried is None
            return tried
        if rest.startswith("from=<"):
            match = _FROM.match(rest)
            if match is None:
                return None
            if match["status"] is not None:
                return Expired(at, name, service, id, match["status"] == "force-expired")
            return Activated(at, name, service, id, match["from"], int(match["size"]), int(match["nrcpt"]))
        if rest.startswith("message-id="):
            return Identified(at, name, service, id, rest[11:].strip().removeprefix("<").removesuffix(">")[:MAX_TEXT])
        if rest == "removed":
            return Removed(at, name, service, id, service == "postsuper")
        if match := _CLIENT.match(rest):
            user, original = _USER.search(rest), _ORIGINAL.search(rest)
            before = original["id"] or "" if original else ""
            return Arrived(at, name, service, id, match["client"], user["user"] if user else "", before)
        if match := _PICKED_UP.match(rest):
            original = _ORIGINAL.search(rest, match.end())
            return Arrived(at, name, service, id, match["uid"], "", original["requeued"] or "" if original else "")
        if service == "postsuper" and rest in _ACTS:
            return Ordered(at, name, service, id, rest)
        return None

    def _at(self, head: re.Match[str]) -> float | None:
        day, iso = head["day"], head["iso"]
        try:
            if day is not None:
                if day != self._second:
                    self._second_at = self._traditional(day)
                    self._second = day
                return self._second_at
            rest = head["rest"]
            fraction = ""
            if rest.startswith("."):
                digits = len(rest) - len(rest[1:].lstrip("0123456789"))
                fraction, rest = rest[:digits], rest[digits:]
            if iso + rest != self._second:
                zoned = datetime.fromisoformat(iso + rest)
                if zoned.tzinfo is None:
                    zoned = zoned.replace(tzinfo=self._zone).astimezone(UTC)
                if zoned > self._now() + _AHEAD:
                    return None
                self._second_at = zoned.timestamp()
                self._second = iso + rest
            return self._second_at + (float(fraction) if len(fraction) > 1 else 0.0)
        except ValueError:
            return None

    def _traditional(self, day: str) -> float:
        """`Nov 23 01:12:18`, of this year, or the last when it would lie ahead."""
        now = self._now()
        this_year = now.astimezone(self._zone).year
        month = _MONTHS.get(day[:3])
        if month is None:
            raise ValueError(day)
        clock = (int(day[7:9]), int(day[10:12]), int(day[13:15]))
        for year in range(this_year + 1, this_year - 5, -1):  # 29 February
            try:
                local = datetime(year, month, int(day[4:6]), *clock, tzinfo=self._zone)
            except ValueError:
                continue
            for fold, ahead in ((1, _AGAIN), (0, _AHEAD)):
                at = local.replace(fold=fold).astimezone(UTC)  # a naive one is local time
                if at <= now + ahead:
                    return at.timestamp()
        raise ValueError(day)


def _tried(at: float, name: str, service: str, id: str, rest: str, raw: bytes) -> Tried | None:
    match = _TRIED.match(rest)
    if match is None:
        return None
    text = match["text"] or ""
    more = match["more"]
    tls = _TLS.search(more) if more else None
    address, port = match["address"], match["port"]
    first, second, third, fourth = match["delays"].split("/")
    try:
        delays = (float(first), float(second), float(third), float(fourth))
        delay_s = float(match["delay"])
    except ValueError:  # `1.2.3`
        return None
    remote = ""
    if address:
        host = f"[{address}]" if ":" in address and port else address
        remote = f"{host}:{port}" if port else host
    return Tried(
        at, name, service, id, match["to"], match["relay"], remote, delay_s, delays, match["dsn"], match["status"],
        text.removesuffix(")")[:MAX_TEXT], tls[1] if tls else "", crc32(raw),
    )  # fmt: skip
