"""Jobs in the scheduler: paced without being touched, cancelled whatever state their mail is in."""

from pathlib import Path

import pytest

from mailagent import accepting
from mailagent.api.directives import DirectiveKind
from mailagent.api.targets import MessageFilter
from tests.agent.control.fleet import directive
from tests.agent.scheduling.host import LATER, OK, config, names, running

SITES = "xyz"


@pytest.mark.parametrize("window", [60, 1000])
async def test_a_paced_job_goes_on_by_itself_and_others_do_not_wait_for_it(tmp_path: Path, window: int) -> None:
    async with running(tmp_path, config(window=window, ready=10)) as host:
        host.direct(directive(DirectiveKind.LIMIT, "job:slow", limit="rate", value="150/s"))
        for n in range(240):
            host.submit(f"r{n}@d{n % 7}.{SITES[n % 3]}.example", job="" if n % 4 == 0 else "slow")
        await host.rest()
        order = [int(name[1:].partition("@")[0]) for name in names(host.dots)]
        assert sorted(order) == list(range(240))
        assert max(place for place, n in enumerate(order) if n % 4 == 0) < 200


async def test_a_cancelled_job_is_given_up_wherever_its_mail_is(tmp_path: Path) -> None:
    async with running(tmp_path, config(window=60, ready=10)) as host:
        host.answer = lambda queue, transaction: LATER if len(host.dots) % 3 else OK
        for n in range(200):
            host.submit(f"r{n}@d{n % 7}.{SITES[n % 3]}.example", job="gone" if n % 2 else "")
        await host.until(lambda: len(host.dots) > 20)
        host.direct(directive(DirectiveKind.SUSPEND, "job:gone"))
        await host.until(lambda: not any(hot.count for hot in host.scheduler._books.hots.values() if hot.job))
        host.answer = lambda queue, transaction: OK
        host.direct(directive(DirectiveKind.JOB_CANCEL, "job:gone"))
        sent = len(host.dots)
        await host.rest()
        assert not [name for name in names(host.dots[sent:]) if int(name[1:].partition("@")[0]) % 2]
        (count,) = await host.spool.jobs()
        assert count.cancelled > 0
        assert (count.waiting, count.delivered + count.cancelled) == (0, 100)
        assert len([name for name in host.delivered if not int(name[1:].partition("@")[0]) % 2]) == 100


async def test_mail_of_more_jobs_than_a_host_keeps_is_queued_as_if_it_had_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "MAX_JOBS", 2)
    async with running(tmp_path, config()) as host:
        host.direct(directive(DirectiveKind.SUSPEND, "pool:a"))
        for n in range(6):
            host.submit(f"r{n}@d.x.example", job=f"job-{n}")
        await host.until(lambda: not host.pending)
        assert {count.name for count in await host.spool.jobs()} == {"job-0", "job-1"}
        assert await host.spool.count(MessageFilter(job="job-1")) == 1
        assert await host.spool.count(MessageFilter(job="job-5")) == 0
        host.direct()
        await host.rest()
        assert len(host.delivered) == 6
