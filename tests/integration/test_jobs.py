"""Jobs on a running agent: counted, paused, paced, started, ended and cancelled, while all others go on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailagent.api.errors import InvalidRequest, NotFound, Refused
from mailagent.api.jobs import JobDetail, JobState, JobView
from tests.integration.processes import until
from tests.integration.rig import LATE, POOLS, SOON, Rig, rig

SPRING = "X-Job: spring\r\n"
TARGET = "job:spring"


async def job(one: Rig, name: str = "spring") -> JobView:
    return (await detail(one, name)).job


async def detail(one: Rig, name: str = "spring") -> JobDetail:
    found: JobDetail = await one.call("job", name=name)
    return found


async def becomes(one: Rig, what: str, **fields: Any) -> JobView:
    """The job once its fields are so."""
    seen: list[JobView] = []

    async def check() -> bool:
        seen.append(await job(one))
        return all(getattr(seen[-1], name) == value for name, value in fields.items())

    await until(check, what)
    return seen[-1]


def names(count: int, domain: str = "one.example") -> list[str]:
    return [f"u{n}@{domain}" for n in range(count)]


async def test_a_job_is_counted_from_its_first_mail_to_its_last(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        refused = {"bad@one.example"}
        one.sink.refuse = lambda mail, recipient: b"550 5.1.1 no such user\r\n" if recipient in refused else None
        with pytest.raises(NotFound):
            await job(one)
        await one.accepted(*names(5), "bad@one.example", headers=SPRING)
        await one.accepted("x@one.example")
        found = await becomes(one, "all of the job gone", waiting=0)
        assert (found.accepted, found.delivered, found.bounced) == (6, 5, 1)
        assert found.state is JobState.DONE
        await one.restart()
        again = await job(one)
        assert (again.accepted, again.delivered, again.bounced) == (6, 5, 1)


async def test_a_paused_job_waits_with_its_name_as_the_reason_and_others_go_on(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        await one.do("suspend", TARGET, reason="wrong price")
        await one.accepted(*names(3), *names(3, "two.example"), headers=SPRING)
        await one.accepted("other@one.example", headers="X-Job: other\r\n")
        await one.accepted("none@one.example")
        await one.delivered("other@one.example", "none@one.example")
        found = await job(one)
        assert (found.state, found.waiting, found.delivered) == (JobState.PAUSED, 6, 0)
        assert "wrong price" in found.reason
        (reason,) = (await one.explain("u0@one.example")).reasons
        assert reason.kind == "directive"
        assert "job spring is paused by" in reason.detail
        assert reason.release == "mailctl job resume job:spring"

        await one.restart()
        await one.accepted("none2@one.example")
        await one.delivered("none2@one.example")
        assert not one.sink.received.keys() & set(names(3))
        await one.do("resume", TARGET)
        await one.delivered(*names(3), *names(3, "two.example"))
        await becomes(one, "done", state=JobState.DONE)


async def test_a_pause_recalls_what_waits_in_memory(tmp_path: Path) -> None:
    one_at_a_time = "providers: {default: {connections: 1, messages_per_connection: 1, rate: 1/h}}\n"
    async with rig(tmp_path, POOLS + SOON + one_at_a_time) as one:
        await one.accepted(*names(8), headers=SPRING)
        await one.do("suspend", TARGET)
        await one.shows(lambda snapshot: snapshot.host.ready == 0, "ready queues without mail of the job")
        assert (await one.waiting(job="spring"))[0].recipient == "u0@one.example" or len(one.sink.received) <= 2
        assert (await detail(one)).reasons[0].kind == "directive"


async def test_a_job_starts_when_it_is_told_to(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        start = datetime.now(UTC) + timedelta(hours=1)
        await one.do("job_set", TARGET, start=start)
        assert (await job(one)).state is JobState.SCHEDULED
        await one.accepted(*names(3), headers=SPRING)
        (reason,) = (await one.explain("u0@one.example")).reasons
        assert "to start at" in reason.detail
        assert reason.until == start
        await one.do("job_set", TARGET, start=datetime.now(UTC))
        await one.delivered(*names(3))


async def test_a_start_comes_by_itself(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        start = datetime.now(UTC) + timedelta(seconds=1.5)
        await one.do("job_set", TARGET, start=start)
        await one.accepted(*names(3), headers=SPRING)
        await one.delivered(*names(3))
        assert datetime.now(UTC) >= start


async def test_at_its_end_a_job_is_held_and_says_so(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.refuse = lambda mail, recipient: b"451 4.7.1 later\r\n"
        await one.accepted(*names(2), headers=SPRING)
        await one.deferred(2)
        end = datetime.now(UTC) + timedelta(seconds=1)
        await one.do("job_set", TARGET, end=end, reason="sale is over")
        found = await job(one)
        assert (found.end, found.late) == (end, True)
        assert (await detail(one)).deferred[0].text == "later"
        found = await becomes(one, "held", state=JobState.PAUSED)
        assert "its end has come (sale is over)" in found.reason
        await one.accepted("late@one.example", headers=SPRING)
        assert (await job(one)).waiting == 3


async def test_a_rate_is_never_exceeded_and_shared_by_all_sites(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        await one.do("job_set", TARGET, rate="10/s")
        recipients = [f"u{n}@d{n % 5}.example" for n in range(25)]
        await one.accepted(*recipients, headers=SPRING)
        await one.accepted("free@d0.example")
        await one.delivered(*recipients, "free@d0.example")
        times = sorted(mail.at for mail in one.sink.mails if mail.recipients[0] in recipients)
        assert times[-1] - times[0] >= 24 / 10 - 0.3  # connections may be opened while the first ones wait
        assert {mail.recipients[0] for mail in one.sink.mails} == {*recipients, "free@d0.example"}
        await becomes(one, "done", state=JobState.DONE, delivered=25)


async def test_lifting_a_rate_lets_the_rest_go(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        await one.do("job_set", TARGET, rate="1/h")
        await one.accepted(*names(6), headers=SPRING)
        await one.delivered("u0@one.example")
        waits = await one.explain("u3@one.example")
        assert "job spring may send 1/h on this host" in [reason.detail for reason in waits.reasons]
        found = await detail(one)
        assert (found.job.rate, found.job.waiting) == ("1/h", 5)
        assert found.reasons[0].detail == "the job may send 1/h on this host"
        await one.do("job_set", TARGET, rate="none")
        await one.delivered(*names(6))


async def test_cancel_gives_up_everything_that_waits_and_refuses_more(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        held = {"u0@one.example", "u1@one.example"}
        one.sink.refuse = lambda mail, recipient: b"451 4.7.1 later\r\n" if recipient in held else None
        await one.accepted(*held, headers=SPRING)
        await one.accepted("other@one.example", headers="X-Job: other\r\n")
        await one.deferred(2)
        await one.do("suspend", TARGET)
        await one.accepted(*names(6)[2:], headers=SPRING)
        planned = await one.do("job_cancel", TARGET, dry_run=True)
        assert planned.impact.messages == 6
        with pytest.raises(Refused, match="6 recipients wait, more than 5"):
            await one.do("job_cancel", TARGET, max_affected=5)
        done = await one.do("job_cancel", TARGET, max_affected=6, reason="wrong list")
        assert done.detail.startswith("6 recipients: ")
        found = await becomes(one, "all given up", waiting=0)
        assert (found.state, found.cancelled, found.delivered) == (JobState.CANCELLED, 6, 0)
        assert await one.send("more@one.example", headers=SPRING) == "550 5.7.0 job spring was cancelled by root"
        assert not await one.waiting(job="spring")
        await one.accepted("after@one.example")
        await one.delivered("other@one.example", "after@one.example")
        assert len([mail for mail in one.sink.mails if mail.taken]) == 2  # no DSN
        with pytest.raises(Refused, match="cannot be undone"):
            await one.call("undo", op_id="u", undoes=done.op_id)
        await one.stop()
        given_up = [line for line in one.accounting() if "cancelled" in line.get("text", "")]
        assert len(given_up) == 6


async def test_cancel_can_tell_the_senders(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        await one.do("suspend", TARGET)
        await one.accepted("u0@one.example", headers=SPRING)
        await one.do("job_cancel", TARGET, bounce=True)
        await one.delivered("a@sender.example")
        assert b"job spring was cancelled" in one.sink.mails[0].data


async def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        with pytest.raises(InvalidRequest, match="rate"):
            await one.do("job_set", TARGET, rate="fast")
        with pytest.raises(InvalidRequest, match="not after the start"):
            await one.do("job_set", TARGET, end=datetime.now(UTC) - timedelta(hours=1))
        with pytest.raises(InvalidRequest, match="does not act on"):
            await one.do("job_set", "pool:tx")
        nothing = await one.do("job_set", TARGET)
        assert nothing.result == "nothing-to-do"


async def test_a_job_says_which_limit_its_mail_waits_for(tmp_path: Path) -> None:
    slow = "providers: {default: {connections: 1, rate: 1/h}}\n"
    async with rig(tmp_path, POOLS + SOON + slow) as one:
        await one.accepted(*names(8), headers=SPRING)
        seen: list[JobDetail] = []

        async def check() -> bool:
            seen.append(await detail(one))
            return any(reason.kind == "throttle" and reason.value == "1/h" for reason in seen[-1].reasons)

        await until(check, "the rate of the provider as a reason of the job")
        assert seen[-1].job.state is JobState.RUNNING
