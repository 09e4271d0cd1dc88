"""From the folder to its effects: at least once, under the same event ids, and nothing is lost on the way."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mailagent.api.classification import Action, Category, Scope, Verdict
from mailagent.api.feedback import FeedbackKind, FeedbackRequest, FeedbackView
from mailagent.api.ids import HostName, PoolName, StreamName
from mailagent.api.smtp import SmtpReply
from mailagent.config.feedback import Bounces, Feedback
from mailagent.config.intake import ListenerKind
from mailagent.config.structs import AgentConfig, Intake, Listener, Stream
from mailagent.intake.submission import Submission
from mailagent.outcome.return_path import FILE_NAME, BounceToken, KeysUnusable, ReturnPaths, add_key, load_keys
from mailagent.returns import service
from mailagent.returns.examination import Examiner, Finding
from mailagent.returns.mailbox import Envelope, Mailbox
from mailagent.spool.ids import MessageIds, recipient_id
from tests.agent.outcome.feedback import samples

TAG = "ABC123"
OK = SmtpReply(code=250, text="ok")


def config(directory: Path, feedback: Feedback | None = None) -> AgentConfig:
    return AgentConfig(
        host=HostName("mx1"),
        state_dir=directory,
        intake=Intake(
            hostname="in.example",
            listeners=(Listener(address=ip_address("127.0.0.1"), port=0, kind=ListenerKind.FEEDBACK),),
        ),
        streams={StreamName("news"): Stream(pool=PoolName("p"), bounces=Bounces(domain="bounce.example"))},
        feedback=feedback or Feedback(),
    )


class Host:
    """What a service needs, and what it did."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lines: list[dict[str, Any]] = []
        self.suppressed: list[str] = []
        self.submitted: list[Submission] = []
        self.answer = OK
        self.fail: Callable[[str], None] = lambda step: None
        self.tasks: list[asyncio.Task[None]] = []

    def account(self, lines: Sequence[bytes]) -> None:
        self.fail("account")
        self.lines += map(json.loads, lines)

    async def suppress(self, finding: Finding) -> bool:
        self.fail("suppress")
        if finding.suppresses:
            self.suppressed.append(finding.sent.recipient)
        return finding.suppresses

    def submit(self, submission: Submission, done: Callable[[SmtpReply], None]) -> None:
        self.submitted.append(submission)
        done(self.answer)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    @property
    def surroundings(self) -> service.Surroundings:
        return service.Surroundings(
            tag=TAG,
            accounting=self.directory / "accounting",
            closed=lambda: None,
            short=lambda: None,
            new_id=lambda: "0" * 17,
            spawn=self.spawn,
            account=self.account,
            classify=lambda reply, provider: Verdict(
                category=Category.BAD_MAILBOX, action=Action.SUPPRESS, scope=Scope.ADDRESS, rule=provider
            ),
            submit=self.submit,
            leaves=lambda: (),
            suppress=self.suppress,
        )

    def put(self, mail: str, message: bytes, *recipients: str) -> None:
        """Mail that an earlier run stored."""
        mailbox = Mailbox(self.directory / "feedback")
        mailbox.open()
        envelope = Envelope(id=mail, at=1_900_000_000.0, client="192.0.2.1", sender="", recipients=recipients)
        mailbox.store(envelope, message)

    def path(self, address: bytes = b"nobody@gmail.com") -> str:
        paths = ReturnPaths(load_keys(self.directory / FILE_NAME), TAG)
        return paths.bounce(recipient_id(MessageIds(0).new(), 0), address).decode() + "@bounce.example"

    @asynccontextmanager
    async def running(self, feedback: Feedback | None = None) -> AsyncIterator[service.Feedback]:
        one = service.Feedback(config(self.directory, feedback), self.surroundings)
        await one.start()
        try:
            yield one
        finally:
            await one.stop(1)
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(service, "RETRY_S", 0.001)
    (tmp_path / "accounting").mkdir()
    return Host(tmp_path)


async def seen(one: service.Feedback, events: int) -> FeedbackView:
    """The view once it has so many events."""
    async with asyncio.timeout(20):
        while len((view := await one.feedback(FeedbackRequest())).last) < events:  # noqa: ASYNC110  no event to wait for
            await asyncio.sleep(0.005)
    return view


@pytest.mark.parametrize("step", ["suppress", "account"])
async def test_what_fails_is_done_again_under_the_same_event_id(host: Host, step: str) -> None:
    failures = [OSError("disk"), OSError("disk")]

    def fail(at: str) -> None:
        if at == step and failures:
            raise failures.pop()

    host.fail = fail
    host.put("1" * 17, samples.GMAIL, host.path())
    async with host.running() as one:
        view = await seen(one, 1)
        assert (view.last[0].kind, view.last[0].suppressed, view.pending) == (FeedbackKind.BOUNCE, True, 0)
        assert [line["event"] for line in host.lines] == ["1" * 17 + "-0-remote-bounced"]
        assert set(host.suppressed) == {"nobody@gmail.com"}
        assert not failures
        assert view.lag.samples == 1
    assert Mailbox(host.directory / "feedback").open() == []


async def test_one_mail_that_cannot_be_dealt_with_does_not_hold_up_the_others(host: Host) -> None:
    bad = host.path(b"bad@a.example")
    refused = "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; bad@a.example\nAction: failed"
    host.put("1" * 17, samples.report(refused), bad)
    host.put("2" * 17, samples.GMAIL, host.path())

    async def suppress(finding: Finding) -> bool:
        if finding.sent.recipient == "bad@a.example":
            raise OSError("never")
        return True

    host.suppress = suppress  # type: ignore[method-assign]
    async with host.running() as one:
        view = await seen(one, 1)
        assert view.last[0].id == "2" * 17
        assert view.pending == 1
    assert Mailbox(host.directory / "feedback").open() == ["1" * 17]


async def test_a_mail_that_breaks_the_reader_is_kept(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[Finding]:
        raise RecursionError

    monkeypatch.setattr(Examiner, "examine", broken)
    host.put("1" * 17, samples.GMAIL, host.path())
    async with host.running() as one:
        view = await seen(one, 1)
        assert (view.last[0].kind, view.kept) == (FeedbackKind.UNREAD, 1)


async def test_a_queue_that_is_busy_gets_the_mail_for_postmaster_later(host: Host) -> None:
    host.answer = SmtpReply(code=451, text="busy")
    host.put("1" * 17, b"Subject: hi\n\nbare line ends", "postmaster@bounce.example")
    async with host.running(Feedback(postmaster="ops@corp.example")) as one:
        async with asyncio.timeout(20):
            while len(host.submitted) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        host.answer = OK
        view = await seen(one, 1)
        assert (view.last[0].kind, view.kept) == (FeedbackKind.PEOPLE, 0)
    submission = host.submitted[-1]
    assert (submission.sender, submission.recipients) == (b"", (b"ops@corp.example",))
    assert submission.body == b"Subject: hi\r\n\r\nbare line ends\r\n"


async def test_mail_for_postmaster_is_kept_where_the_queue_takes_it_never_or_nobody_is_named(host: Host) -> None:
    host.answer = SmtpReply(code=550, text="no")
    host.put("1" * 17, b"Subject: hi\r\n\r\n", "postmaster@bounce.example")
    async with host.running(Feedback(postmaster="ops@corp.example")) as one:
        assert (await seen(one, 1)).kept == 1
    host.put("2" * 17, b"Subject: hi\r\n\r\n", "postmaster@bounce.example")
    async with host.running() as one:
        assert (await seen(one, 1)).kept == 2


async def test_a_bounce_is_passed_on_to_the_sender_that_the_message_had(host: Host) -> None:
    path = host.path()
    token = ReturnPaths(load_keys(host.directory / FILE_NAME), TAG).read(path.partition("@")[0])
    assert isinstance(token, BounceToken)
    record = {
        "event": "x", "type": "delivered", "time": datetime.now(UTC), "host": "mx1", "n": 0, "pool": "p",
        "message_id": token.message_id, "sender": "shop@a.example", "recipient": "real@gmail.com",
        "stream": "news", "size_bytes": 1,
    }  # fmt: skip
    (host.directory / "accounting/current.jsonl.part").write_bytes(msgspec.json.encode(record) + b"\n")
    host.put("1" * 17, samples.GMAIL, path)
    async with host.running(Feedback(forward_bounces=True)) as one:
        view = await seen(one, 1)
    assert view.last[0].recipient == "real@gmail.com"
    (submission,) = host.submitted
    assert (submission.sender, submission.recipients) == (b"", (b"shop@a.example",))


async def test_a_reload_takes_new_keys_and_domains_over(host: Host) -> None:
    async with host.running() as one:

        def is_own() -> bool:
            return one.envelopes is not None and one.envelopes.is_own("news")

        assert is_own()
        add_key(host.directory / FILE_NAME)
        changed = msgspec.structs.replace(config(host.directory), streams={})
        one.configure(changed, service.return_keys(changed))
        assert not is_own()
        assert one.addresses


async def test_keys_that_others_may_read_stop_the_start(host: Host) -> None:
    load_keys(host.directory / FILE_NAME)
    (host.directory / FILE_NAME).chmod(0o644)
    with pytest.raises(KeysUnusable):
        service.Feedback(config(host.directory), host.surroundings)


async def test_without_return_paths_and_listeners_there_is_nothing(host: Host) -> None:
    plain = AgentConfig(host=HostName("mx1"), state_dir=host.directory)
    one = service.Feedback(plain, host.surroundings)
    await one.start()
    assert one.envelopes is None
    assert not (await one.feedback(FeedbackRequest())).listening
    await one.stop(1)
    assert sorted(path.name for path in host.directory.iterdir()) == ["accounting"]
