"""Each way to those who are told, against a real one at its other end."""

import asyncio
import hashlib
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from mailagent.config.alerts import (
    AlertCommand,
    AlertMail,
    Receiver,
    RelayAccount,
    Severity,
    Syslog,
    Webhook,
)
from mailagent.config.endpoint import Endpoint
from mailagent.config.intake import ListenerTls
from mailctl.alerts.book import Alert, Event, Telling
from mailctl.alerts.notice import MAX_LINE_BYTES, MOST, Line, Notice, log_lines, mail, notice, rehearsal, text
from mailctl.alerts.receivers import hand
from mailctl.alerts.signals import Signal
from tests.certificates import Authority

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
SECRET = b"0123456789abcdef-secret"
PASSWORD = "correct horse"
SIGNAL = Signal(
    kind="blocked",
    subject="gmail",
    severity=Severity.CRITICAL,
    text="gmail blocks mkt-1",
    detail="550 5.7.1 go\x1b[2J away",
    advice="its standby takes over",
    command="mailctl rotate vmta:mkt-1",
    hosts=("mx1",),
    providers=("gmail",),
)


def telling(event: Event = Event.NEW, **changed: Any) -> Telling:
    alert = Alert(id="3fa9c1d2", signal=SIGNAL, worst=SIGNAL.severity, since=NOW - timedelta(minutes=3), seen_at=NOW)
    return Telling(receiver="r", event=event, alert=Alert(**{**_fields(alert), **changed}))


def _fields(alert: Alert) -> dict[str, Any]:
    return {name: getattr(alert, name) for name in alert.__struct_fields__}


def told(*tellings: Telling, now: datetime = NOW) -> Notice:
    return notice(tellings or (telling(),), "r", environment="production", now=now, kept={})


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    file.chmod(0o600)
    return file


Dialogue = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def serving(dialogue: Dialogue, context: Any = None) -> AsyncIterator[int]:
    """The port of a server that does `dialogue` with each client."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await dialogue(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Application:
    """An application that takes notices by HTTP; answers with `status`."""

    def __init__(self, *status: str) -> None:
        self.status = status or ("200 OK",)
        self.head = ""
        self.body = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in self.head.splitlines() if line.startswith("Content-Length"))
        self.body = await reader.readexactly(int(length.split()[1]))
        for status in self.status:
            writer.write(f"HTTP/1.1 {status}\r\nX: y\r\n\r\n".encode())
        await writer.drain()

    def header(self, name: str) -> str:
        return next(line.partition(": ")[2] for line in self.head.splitlines() if line.startswith(f"{name}:"))


def is_ours(secret: bytes, header: str, body: bytes) -> bool:
    """As docs/events.md has it."""
    fields = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(secret, fields["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, fields["v1"])


# -- webhook


async def test_a_webhook_gets_signed_json(secret: Path) -> None:
    app = Application("103 Early Hints", "204 No Content")
    async with serving(app) as port:
        webhook = Webhook(url=f"http://127.0.0.1:{port}/hook?x=1", secret_file=secret)
        assert await hand(Receiver(webhook=webhook), told()) == ""
    assert app.head.startswith("POST /hook?x=1 HTTP/1.1\r\n")
    assert is_ours(SECRET, app.header("X-Mailagent-Signature"), app.body)
    found = json.loads(app.body)
    assert (found["schema"], found["environment"]) == ("mailctl.alert/1", "production")
    assert found["summary"] == "critical: gmail blocks mkt-1"
    assert found["alerts"][0]["detail"] == "550 5.7.1 go [2J away"


async def test_a_webhook_by_tls_is_verified(secret: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    app = Application()
    async with serving(app, authority.issue("localhost").server()) as port:
        webhook = Webhook(url=f"https://localhost:{port}/", secret_file=secret, ca_file=authority.file)
        assert await hand(Receiver(webhook=webhook), told()) == ""
        stranger = Webhook(url=f"https://localhost:{port}/", secret_file=secret)
        assert "certificate verify failed" in await hand(Receiver(webhook=stranger), told())


@pytest.mark.parametrize(
    ("status", "why"), [("302 Found", "answered 302"), ("500 No", "answered 500"), ("x", "its answer is no HTTP")]
)
async def test_a_webhook_that_does_not_answer_well_has_not_taken_it(secret: Path, status: str, why: str) -> None:
    async with serving(Application(status)) as port:
        webhook = Webhook(url=f"http://127.0.0.1:{port}/token-in-path", secret_file=secret)
        assert await hand(Receiver(webhook=webhook), told()) == why


async def test_a_webhook_that_says_nothing_is_given_up(secret: Path) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as port:
        webhook = Webhook(url=f"http://127.0.0.1:{port}/", secret_file=secret, timeout=timedelta(milliseconds=50))
        assert await hand(Receiver(webhook=webhook), told()) == "gave no answer in time"


@pytest.mark.parametrize(
    ("change", "why"),
    [(lambda file: file.chmod(0o644), "can be read by others"), (Path.unlink, "secret: No such file or directory")],
)
async def test_a_secret_that_others_can_read_or_is_not_there(
    secret: Path, change: Callable[[Path], None], why: str
) -> None:
    change(secret)
    webhook = Webhook(url="http://127.0.0.1:9/", secret_file=secret)
    assert why in await hand(Receiver(webhook=webhook), told())


async def test_nobody_there_is_told_without_the_path(secret: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    webhook = Webhook(url=f"http://127.0.0.1:{port}/token-in-path", secret_file=secret)
    why = await hand(Receiver(webhook=webhook), told())
    assert "Connect call failed" in why
    assert "token" not in why


# -- command


async def test_a_command_gets_the_json_and_no_shell(tmp_path: Path) -> None:
    out = tmp_path / "$(out)"
    command = AlertCommand(run=("/bin/sh", "-c", 'cat > "$1"', "sh", str(out)))
    assert await hand(Receiver(command=command), told()) == ""
    assert json.loads(out.read_text())["receiver"] == "r"


async def test_a_command_that_takes_too_long_is_given_up() -> None:
    command = AlertCommand(run=("/bin/sleep", "60"), timeout=timedelta(milliseconds=50))
    assert await hand(Receiver(command=command), told()) == "gave no answer in time"


async def test_a_command_that_is_given_up_is_killed_with_what_it_started(tmp_path: Path) -> None:
    fifo, note = tmp_path / "fifo", tmp_path / "note"
    program = f"mkfifo {fifo}; (read x < {fifo}) & echo $! > {note}.part; mv {note}.part {note}; wait"
    receiver = Receiver(command=AlertCommand(run=("/bin/sh", "-c", program)))
    async with asyncio.TaskGroup() as group:
        handing = group.create_task(hand(receiver, told()), name="handing")
        child = await asyncio.to_thread(_noted, note)
        handing.cancel()
    await asyncio.to_thread(_gone, child)


def _noted(note: Path) -> int:
    while not note.exists():
        time.sleep(0.01)
    return int(note.read_text())


def _gone(process: int) -> None:
    """Wait until a process is no more, or is only waited for."""
    with suppress(OSError):
        while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X"):
            time.sleep(0.01)


async def test_a_command_that_does_not_read_or_is_not_there() -> None:
    long = told(*(telling(id=str(n)) for n in range(MOST)))
    for _ in range(20):  # what a program does not read breaks no pipe
        assert await hand(Receiver(command=AlertCommand(run=("/bin/true",))), long) == ""
    assert (
        await hand(Receiver(command=AlertCommand(run=("/nowhere",))), told()) == "/nowhere: No such file or directory"
    )


async def test_a_receiver_that_breaks_down_is_one_that_failed() -> None:
    assert await hand(Receiver(command=AlertCommand(run=())), told()) == "broke down: TypeError"


# -- mail


class Mailbox:
    """What a relay took."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody"):
            return "550 5.1.1 unknown"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 ok"


TRIED: list[str] = []
"""Mechanisms that clients of the relay have tried."""


def _account(_: Any, __: Any, ___: Any, mechanism: str, given: Any) -> AuthResult:
    assert isinstance(given, LoginPassword)
    TRIED.append(mechanism)
    return AuthResult(success=given == LoginPassword(b"mailctl", PASSWORD.encode()), handled=False)


@asynccontextmanager
async def relay(mailbox: Mailbox, authority: Authority, *, implicit: bool = False) -> AsyncIterator[Endpoint]:
    """A smart host that wants TLS and an account."""
    context = authority.issue("localhost").server()
    loop = asyncio.get_running_loop()

    def factory() -> SMTP:
        return SMTP(
            mailbox,
            hostname="relay.test",
            tls_context=None if implicit else context,
            require_starttls=not implicit,
            auth_require_tls=not implicit,
            auth_required=True,
            authenticator=_account,
            loop=loop,
        )

    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context if implicit else None)
    try:
        yield Endpoint(host="localhost", port=server.sockets[0].getsockname()[1])
    finally:
        server.close()


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("tls", [ListenerTls.STARTTLS, ListenerTls.IMPLICIT])
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
async def test_a_mail_goes_to_the_relay_by_verified_tls(tmp_path: Path, password: Path, tls: ListenerTls) -> None:
    authority, mailbox = Authority(tmp_path), Mailbox()
    async with relay(mailbox, authority, implicit=tls is ListenerTls.IMPLICIT) as endpoint:
        settings = AlertMail(
            to=("ops@corp.example", "eve@corp.example"),
            sender="mailctl@corp.example",
            relay=endpoint,
            tls=tls,
            ca_file=authority.file,
            account=RelayAccount(user="mailctl", password_file=password),
        )
        assert await hand(Receiver(mail=settings), told()) == ""
    (envelope,) = mailbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("mailctl@corp.example", ["ops@corp.example", "eve@corp.example"])
    assert isinstance(envelope.content, bytes)
    message = message_from_bytes(envelope.content, policy=policy.default)
    assert message["Subject"] == "[mail production] critical: gmail blocks mkt-1"
    assert message["Auto-Submitted"] == "auto-generated"
    body = message.get_body()
    assert body is not None
    assert (
        "CRITICAL new: gmail blocks mkt-1\n  id 3fa9c1d2, blocked, since 2026-11-24 01:57:00 UTC (3m)"
        in body.get_content().replace("\r\n", "\n")
    )


async def test_a_mail_that_the_relay_refuses_is_not_taken_and_the_password_not_told(
    tmp_path: Path, password: Path
) -> None:
    authority, mailbox = Authority(tmp_path), Mailbox()
    async with relay(mailbox, authority) as endpoint:

        def receiver(to: str = "ops@corp.example", **changed: Any) -> Receiver:
            account = RelayAccount(user="mailctl", password_file=password)
            fields = {"relay": endpoint, "ca_file": authority.file, "account": account, **changed}
            return Receiver(mail=AlertMail(to=(to, "x@corp.example"), sender="a@corp.example", **fields))

        assert "5.1.1 unknown" in await hand(receiver("nobody@corp.example"), told())
        assert "certificate verify failed" in await hand(receiver(ca_file=None), told())
        TRIED.clear()
        why = await hand(receiver(account=RelayAccount(user="eve", password_file=password)), told())
    assert "535" in why
    assert TRIED == ["PLAIN"]  # a wrong password does not count twice where accounts are locked
    assert "horse" not in why


# -- syslog


async def test_a_unix_socket_gets_a_line_for_each_alert(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        both = told(telling(), telling(Event.RESOLVED, gone_at=NOW))
        assert await hand(Receiver(syslog=Syslog(socket=path)), both) == ""
        first, second = (listening.recv(4096).decode() for _ in range(2))
        assert first.startswith("<26>1 2026-11-24T02:00:00.000000Z ")
        assert " mailctl " in first
        assert first.endswith(
            ' new - id=3fa9c1d2 kind=blocked severity=critical environment=production text="gmail blocks mkt-1"'
            ' detail="550 5.7.1 go [2J away"'
        )
        assert second.startswith("<29>1 ")
        assert " resolved - id=" in second
    assert "Connection refused" in await hand(Receiver(syslog=Syslog(socket=path)), told())


async def test_a_datagram_and_a_stream_carry_the_same(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        place = Endpoint(host="127.0.0.1", port=listening.getsockname()[1])
        assert await hand(Receiver(syslog=Syslog(udp=place)), told()) == ""
        datagram = listening.recv(4096)
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def keep(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await got.put(await reader.read())

    async with serving(keep) as port:
        syslog = Syslog(tcp=Endpoint(host="127.0.0.1", port=port))
        assert await hand(Receiver(syslog=syslog), told()) == ""
        async with asyncio.timeout(5):
            assert await got.get() == b"%d %b" % (len(datagram), datagram)
    assert await hand(Receiver(syslog=syslog), told()) != ""


# -- words


def test_the_page_shows_every_field() -> None:
    page = (Path(__file__).parents[3] / "docs/alerts.md").read_text(encoding="utf-8")
    names = (*Notice.__struct_fields__, *Line.__struct_fields__)
    assert [name for name in names if f'"{name}": ' not in page] == []


def test_what_is_too_much_for_one_notice_is_counted() -> None:
    flood = told(*(telling(id=f"{n:08x}") for n in range(MOST + 3)))
    assert (len(flood.alerts), flood.more) == (MOST, 3)
    assert flood.summary == f"critical: gmail blocks mkt-1 (and {MOST + 2} more alerts)"
    assert "and 3 more alerts: mailctl alerts list" in text(flood)


async def test_a_long_reply_makes_no_long_line(tmp_path: Path) -> None:
    long = Signal(kind="slow", subject="x", severity=Severity.WARNING, text="ä" * 5000)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "log"))
        assert await hand(Receiver(syslog=Syslog(socket=tmp_path / "log")), told(telling(signal=long))) == ""
        line = listening.recv(8192)
    assert len(line) <= MAX_LINE_BYTES
    line.decode()


def test_what_a_far_side_says_cannot_add_words_to_a_log() -> None:
    forged = msgspec.structs.replace(SIGNAL, detail='550 no" severity="none\\')
    (line,) = log_lines(told(telling(signal=forged)), process=1)
    assert line.decode().endswith(' detail="550 no\\" severity=\\"none\\\\"')


def test_only_what_lasts_and_is_critical_is_urgent() -> None:
    def priority(*events: Event) -> str:
        made = mail(told(*map(telling, events)), sender="a@corp.example", to=["b@corp.example"])
        return str(made["X-Priority"])

    assert (priority(Event.NEW, Event.RESOLVED), priority(Event.RESOLVED)) == ("1", "3")


@pytest.mark.parametrize(
    ("events", "summary"),
    [
        ([Event.RESOLVED], "resolved: gmail blocks mkt-1"),
        ([Event.RESOLVED] * 2, "2 alerts are resolved"),
        ([Event.ESCALATED, Event.RESOLVED], "escalated, critical: gmail blocks mkt-1 (and 1 resolved)"),
        ([Event.REMINDER, Event.REMINDER], "reminder, critical: gmail blocks mkt-1 (and 1 more alert)"),
    ],
)
def test_the_summary_says_the_worst_first(events: list[Event], summary: str) -> None:
    assert told(*(telling(event) for event in events)).summary == summary
    assert rehearsal("r", environment="", now=NOW).title == "[mail] test of the receiver r: nothing is wrong"
