"""What the `events` section means."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from mailagent.api.accounting import LETTERS
from mailagent.config.accounting import Accounting
from mailagent.config.checks.words import bad_name, is_name, known
from mailagent.config.events import EventSink
from mailagent.config.nodes import Key
from mailagent.config.reading import Reader

MAX_SINKS = 16


def check_events(events: tuple[EventSink, ...], accounting: Accounting, report: Reader) -> None:
    """Report sinks that could not work, and types that are not accounted for."""
    if len(events) > MAX_SINKS:
        report.follow_up(("events",), f"has {len(events)} sinks; {MAX_SINKS} at most")
    streams = report.names("streams")
    usual = EventSink(name="").types  # may name types that are not written: then there are none
    names: set[str] = set()
    for n, sink in enumerate(events):
        key: Key = ("events", n)
        if not is_name(sink.name):
            report.follow_up((*key, "name"), bad_name(sink.name))
        elif sink.name in names:
            report.follow_up((*key, "name"), f"`{sink.name}` is taken by another sink")
        names.add(sink.name)
        if bool(sink.url) == (sink.file is not None):
            report.follow_up(key, "wants either `url` or `file`")
        if sink.url:
            check_url(sink.url, (*key, "url"), report, shows="recipients")
            if sink.secret_file is None:
                report.follow_up(
                    key, "has a url and no secret_file, so the application could not tell our events from others"
                )
        for position, letter in enumerate(sink.types):
            if letter not in LETTERS:
                message = f"`{letter}` is no type of record; there are {', '.join(LETTERS)}"
                report.follow_up((*key, "types", position), message)
            elif letter not in accounting.records and sink.types != usual:
                report.follow_up((*key, "types", position), f"`{letter}` is not among accounting.records")
        for position, stream in enumerate(sink.streams):
            if stream not in streams:
                report.follow_up((*key, "streams", position), f"`{stream}` is no stream{known(streams)}")


def check_url(url: str, key: Key, report: Reader, *, shows: str) -> None:
    """Report an address at `key` that nothing can be posted to, or that `shows` what it should not."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError for a bad one
    except ValueError as exc:
        report.follow_up(key, f"`{url}` is no URL: {exc}")
        return
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None or parts.fragment:
        report.follow_up(key, "is no address to post to; write https://app.example.com/path")
    elif not re.fullmatch(r"[!-~]+", url):
        report.follow_up(key, "has a character that a URL does not have; write it as %XX")
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        report.follow_up(key, f"would send {shows} in clear; write https, or http on loopback")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
