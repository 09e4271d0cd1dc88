"""What `mailctl jobs` shows: jobs gathered from the hosts, and one in full."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from mailagent.api.errors import NotFound
from mailagent.api.ids import HostName
from mailagent.api.jobs import JobDetail, JobPage, JobQuery, JobView
from mailagent.api.requests import Empty
from mailctl.cli.narrow import narrow
from mailctl.cli.show import is_beyond, selected
from mailctl.fleet import Fleet
from mailctl.fleet.jobs import JobRow, merged_jobs
from mailctl.fleet.lists import reason as why_not
from mailctl.ops import NothingSelected, Selection, TermKind
from mailctl.output.human import NOTHING, count, printable, until
from mailctl.output.tables import Column, table, wrapped

Rows = Sequence[tuple[HostName, JobView]]


async def jobs_of(
    fleet: Fleet, selection: Selection, *, deadline_s: float
) -> tuple[Rows, Mapping[HostName, str], bool]:
    """Jobs of the selected hosts that match, why hosts gave none, and whether there are more."""
    names = [host.name for host in selected(fleet.state, selection)]
    answers = await fleet.ask_all("jobs", Empty(), hosts=names, deadline_s=deadline_s)
    pages = {host: answer for host, answer in answers.items() if isinstance(answer, JobPage)}
    failed = {host: why_not(answer) for host, answer in answers.items() if isinstance(answer, Exception)}
    rows = [(host, row) for host, page in pages.items() for row in page.rows]
    found = narrow(rows, selection, {TermKind.JOB: lambda one: (one[1].name,)}, view="jobs")
    return found, failed, any(page.truncated for page in pages.values())


def job_table(rows: Rows, width: int | None) -> str:
    """Jobs, each summed over hosts."""
    now = datetime.now(UTC)
    columns = [
        Column("JOB"),
        Column("STATE"),
        Column("HOSTS", right=True, spare=3),
        Column("ACCEPTED", right=True, spare=1),
        Column("WAITING", right=True),
        Column("DELIVERED", right=True),
        Column("BOUNCED", right=True, spare=2),
        Column("PACE", right=True, late=1),
        Column("DONE"),
        Column("NOTE", flex=True),
    ]
    cells = [
        [
            printable(row.name),
            row.state,
            str(len(row.parts)),
            count(row.sum("accepted")),
            count(row.sum("waiting")),
            count(row.sum("delivered")),
            count(row.sum("bounced")),
            f"{row.pace:.3g}/s",
            _done(row, now),
            _note(row),
        ]
        for row in merged_jobs(rows)
    ]
    return table(columns, cells, width=width) if cells else "no jobs"


def _done(row: JobRow, now: datetime) -> str:
    """When the last host is through, as far as all can say."""
    if not row.sum("waiting"):
        return NOTHING
    return until(row.eta, now) if row.eta else "?"


def _note(row: JobRow) -> str:
    notes = [*row.reasons, *(f"at most {rate} a host" for rate in row.rates)]
    if row.end is not None:
        notes.insert(0, f"{'late: ' if row.late else ''}ends {row.end:%Y-%m-%d %H:%M} UTC")
    return printable("; ".join(notes))


async def details_of(
    fleet: Fleet, selection: Selection, *, deadline_s: float
) -> tuple[Sequence[tuple[HostName, JobDetail]], Mapping[HostName, str], str]:
    """One job on the selected hosts, why hosts gave none, and what is nowhere."""
    names = selection.names(TermKind.JOB)
    if len(names) != 1:
        raise NothingSelected("one job at a time: mailctl job show NAME")
    hosts = [host.name for host in selected(fleet.state, selection)]
    answers = await fleet.ask_all("job", JobQuery(name=names[0]), hosts=hosts, deadline_s=deadline_s)
    rows = [(host, answer) for host, answer in answers.items() if isinstance(answer, JobDetail)]
    failed = {
        host: why_not(answer)
        for host, answer in answers.items()
        if isinstance(answer, Exception) and not isinstance(answer, NotFound)
    }
    return rows, failed, "" if rows else nowhere(names, hosts, failed)


async def unknown(fleet: Fleet, name: str, hosts: Sequence[HostName], *, deadline_s: float) -> str:
    """That none of `hosts` knows the job `name`; empty when one does, or could."""
    answers = await fleet.ask_all("job", JobQuery(name=name), hosts=hosts, deadline_s=deadline_s)
    without = {
        host
        for host, answer in answers.items()
        if isinstance(answer, Exception) and is_beyond(fleet.state, host, why_not(answer))
    }
    known = any(not isinstance(answer, NotFound) for host, answer in answers.items() if host not in without)
    return "" if known else nowhere([name], hosts, without)


def nowhere(names: Sequence[str], hosts: Sequence[HostName], failed: Collection[HostName]) -> str:
    """That none of `hosts` has one of these jobs, beside those that could not say."""
    told = ", ".join(host for host in hosts if host not in failed)
    return f"no job {' or '.join(names)} on {told or 'any host'}"


def detail_text(rows: Sequence[tuple[HostName, JobDetail]], width: int | None) -> str:
    """One job, host by host: progress, then what binds it."""
    now = datetime.now(UTC)
    blocks = []
    for host, found in rows:
        job = found.job
        below = [
            f"accepted {count(job.accepted)}, waiting {count(job.waiting)}, delivered {count(job.delivered)},"
            f" bounced {count(job.bounced)}, cancelled {count(job.cancelled)}; {count(job.deferred)} failed attempts",
            f"pace {job.rate_now:.3g}/s{f' of at most {job.rate}' if job.rate else ''};"
            f" done {until(job.eta, now) if job.waiting else NOTHING}",
        ]
        if job.start is not None:
            below.append(f"starts {job.start:%Y-%m-%d %H:%M:%S} UTC ({until(job.start, now)})")
        if job.end is not None:
            below.append(f"ends {job.end:%Y-%m-%d %H:%M:%S} UTC ({until(job.end, now)}){', late' if job.late else ''}")
        below += [f"{reason.kind}: {printable(reason.detail)}; {reason.release}" for reason in found.reasons]
        below += [
            f"{count(group.count)} wait at {group.provider or NOTHING}: {group.code} {printable(group.text)}"
            for group in found.deferred
        ]
        lines = [part for text in below for part in wrapped(text, indent=2, width=width)]
        blocks.append("\n".join([f"{printable(job.name)} on {host}: {job.state}", *lines]))
    return "\n".join(blocks)
