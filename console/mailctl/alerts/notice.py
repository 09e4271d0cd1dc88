"""What a receiver is told: one notice for all that one look has for it, as JSON, as a mail, as lines of a log. Pure."""

import socket
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

import msgspec

from mailagent.api import codec
from mailagent.config.alerts import Severity
from mailctl.alerts.book import Event, Telling
from mailctl.output.human import duration, plural, printable

SCHEMA = "mailctl.alert/1"
MOST = 50
"""Alerts in one notice: whoever is told of more looks at the fleet, not at the notice."""
MAX_LINE_BYTES = 1800
"""Of a line of a log: a syslog takes 2,048 octets (RFC 5424 section 6.1), which leaves room for its head."""
_FACILITY = 3  # system daemons
_LEVELS = {Severity.CRITICAL: 2, Severity.WARNING: 4}
_NOTICE = 5
_INFORMATIONAL = 6


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One alert."""

    event: Event
    id: str
    kind: str
    severity: Severity
    text: str
    detail: str
    advice: str
    command: str
    hosts: tuple[str, ...]
    pools: tuple[str, ...]
    streams: tuple[str, ...]
    providers: tuple[str, ...]
    since: datetime
    ended_at: datetime | None  # of what is over
    kept: int  # of a host that does not answer: alerts about it that neither end nor are repeated meanwhile


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What one receiver gets at once."""

    schema: str = SCHEMA
    at: datetime
    receiver: str
    environment: str  # of the fleet file; empty: it says none
    test: bool = False
    summary: str
    alerts: tuple[Line, ...] = ()  # the worst first
    more: int = 0  # alerts beyond these

    @property
    def title(self) -> str:
        """The summary, and which fleet it is about."""
        return f"[mail {self.environment}] {self.summary}" if self.environment else f"[mail] {self.summary}"


def notice(
    tellings: Sequence[Telling], receiver: str, *, environment: str, now: datetime, kept: dict[str, int]
) -> Notice:
    """The notice for one receiver; `kept`: alerts hidden behind each silent host."""
    lines = tuple(_line(one, kept) for one in tellings[:MOST])
    return Notice(
        at=now,
        receiver=receiver,
        environment=environment,
        summary=_summary(tellings),
        alerts=lines,
        more=len(tellings) - len(lines),
    )


def rehearsal(receiver: str, *, environment: str, now: datetime) -> Notice:
    """A notice that is marked as a test."""
    text = f"test of the receiver {receiver}: nothing is wrong"
    return Notice(at=now, receiver=receiver, environment=environment, test=True, summary=text)


def _line(telling: Telling, kept: dict[str, int]) -> Line:
    alert, signal = telling.alert, telling.alert.signal
    return Line(
        event=telling.event,
        id=alert.id,
        kind=signal.kind,
        severity=signal.severity,
        text=printable(signal.text),
        detail=printable(signal.detail),
        advice=signal.advice,
        command=signal.command,
        hosts=signal.hosts,
        pools=signal.pools,
        streams=signal.streams,
        providers=signal.providers,
        since=alert.since,
        ended_at=alert.gone_at if telling.event is Event.RESOLVED else None,
        kept=kept.get(signal.subject, 0) if signal.kind == "lost" else 0,
    )


def _summary(tellings: Sequence[Telling]) -> str:
    lasting = [one for one in tellings if one.event is not Event.RESOLVED]
    first = tellings[0]
    text = printable(first.alert.signal.text)
    if not lasting:
        return f"resolved: {text}" if len(tellings) == 1 else f"{len(tellings)} alerts are resolved"
    head = f"{first.alert.signal.severity}: {text}"
    if first.event in (Event.ESCALATED, Event.REMINDER):
        head = f"{first.event}, {head}"
    others = [plural(len(lasting) - 1, "more alert")] if len(lasting) > 1 else []
    others += [f"{len(tellings) - len(lasting)} resolved"] if len(lasting) < len(tellings) else []
    return f"{head} (and {', '.join(others)})" if others else head


def body(notice: Notice) -> bytes:
    """For programs."""
    return codec.encode(notice)


def mail(notice: Notice, *, sender: str, to: Sequence[str]) -> EmailMessage:
    """For people."""
    message = EmailMessage()
    message["From"] = f"mailctl <{sender}>"
    message["To"] = ", ".join(to)
    message["Subject"] = notice.title[:200]
    message["Date"] = format_datetime(notice.at)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies
    urgent = any(one.severity is Severity.CRITICAL and one.event is not Event.RESOLVED for one in notice.alerts)
    message["X-Priority"] = "1" if urgent else "3"
    message.set_content(text(notice))
    return message


def text(notice: Notice) -> str:
    """All of it, to be read."""
    parts = [notice.summary]
    parts += ["\n".join(_paragraph(line, notice.at)) for line in notice.alerts]
    if notice.more:
        parts.append(f"and {plural(notice.more, 'more alert')}: mailctl alerts list")
    if any(line.event is not Event.RESOLVED for line in notice.alerts):
        parts.append("mailctl alerts ack ID ends reminders and escalation of what somebody sees to.")
    return "\n\n".join(parts) + "\n"


def _paragraph(line: Line, now: datetime) -> list[str]:
    until = line.ended_at or now
    lasted = duration((until - line.since).total_seconds())
    lines = [
        f"{line.severity.upper()} {line.event}: {line.text}",
        f"  id {line.id}, {line.kind}, since {line.since:%Y-%m-%d %H:%M:%S} UTC ({lasted})",
    ]
    lines += [f"  {line.detail}"] if line.detail else []
    if line.event is Event.RESOLVED:
        return lines
    lines += [f"  {line.advice}"] if line.advice else []
    lines += [f"  {line.command}"] if line.command else []
    lines += [f"  {plural(line.kept, 'alert')} about it neither end nor repeat until it answers"] if line.kept else []
    return lines


def log_lines(notice: Notice, *, host: str = "", process: int) -> list[bytes]:
    """Lines of RFC 5424, one for each alert."""
    head = f"{notice.at:%Y-%m-%dT%H:%M:%S.%fZ} {host or socket.gethostname() or '-'} mailctl {process}"
    if notice.test:
        return [_log_line(_INFORMATIONAL, head, "test", f"text={_quoted(notice.summary)}")]
    found = [
        _log_line(
            _NOTICE if one.event is Event.RESOLVED else _LEVELS[one.severity],
            head,
            one.event,
            f"id={one.id} kind={one.kind} severity={one.severity} environment={notice.environment or '-'}"
            f" text={_quoted(one.text)} detail={_quoted(one.detail)}",
        )
        for one in notice.alerts
    ]
    if notice.more:
        found.append(_log_line(_LEVELS[Severity.CRITICAL], head, "more", f"alerts={notice.more}"))
    return found


def _quoted(text: str) -> str:
    """In quotes that what a far side says cannot end."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _log_line(level: int, head: str, event: str, words: str) -> bytes:
    line = f"<{_FACILITY * 8 + level}>1 {head} {event} - {words}".encode()
    return line if len(line) <= MAX_LINE_BYTES else line[:MAX_LINE_BYTES].decode(errors="ignore").encode()
