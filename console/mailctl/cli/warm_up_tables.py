"""Tables of warm-up."""

from collections.abc import Sequence
from datetime import UTC, datetime

from mailagent.api.ids import HostName
from mailagent.api.warm_up import WarmUpCourse
from mailctl.output.human import NOTHING, ago, clock, count, percent
from mailctl.output.tables import Column, table


def course_table(rows: Sequence[tuple[HostName, WarmUpCourse]], width: int | None) -> str:
    """Where each course is today."""
    columns = [
        Column("HOST", spare=4),
        Column("VIRTUAL MTA"),
        Column("PROVIDER"),
        Column("STATE"),
        Column("DAY", right=True),
        Column("CEILING", right=True),
        Column("SENT", right=True),
        Column("DELIVERED", right=True, spare=3),
        Column("DEFERRED", right=True, spare=2),
        Column("LAST", right=True, spare=1),
        Column("WHY", flex=True),
    ]
    now = datetime.now(UTC)
    cells = []
    for host, course in rows:
        one = course.now
        attempts = one.delivered + one.deferred + one.bounced
        cells.append(
            [
                host,
                course.vmta,
                one.provider,
                one.state,
                f"{one.day}/{one.days}" if one.days else NOTHING,
                count(one.ceiling),
                count(one.used),
                count(one.delivered),
                percent(one.deferred / attempts if attempts else None),
                ago(one.last_at, now),
                one.why,
            ]
        )
    return table(columns, cells, width=width) if cells else "no member is warming, or none has had mail yet"


def day_table(host: HostName, course: WarmUpCourse, width: int | None) -> str:
    """Days with mail of one course, oldest first."""
    columns = [
        Column("BEGAN"),
        Column("DAY", right=True),
        Column("CEILING", right=True),
        Column("SENT", right=True),
        Column("DELIVERED", right=True),
        Column("DEFERRED", right=True, spare=1),
        Column("BOUNCED", right=True, spare=2),
        Column("WHY IT WAS REPEATED", flex=True),
    ]
    cells = [
        [
            clock(datetime.fromtimestamp(day.began, UTC)),
            str(day.day),
            count(day.ceiling),
            count(day.used),
            count(day.delivered),
            count(day.deferred),
            count(day.bounced),
            day.why,
        ]
        for day in course.past
    ]
    return f"{course.vmta} at {course.now.provider} on {host}\n" + table(columns, cells, width=width)
