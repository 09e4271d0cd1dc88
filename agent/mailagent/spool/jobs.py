"""Counters of jobs on disk, written with what they count."""

from collections.abc import Mapping

import apsw

from mailagent.spool.bulk import execute_rows, fetch
from mailagent.spool.records import JobCount


class JobChange:
    """What one commit adds to the counters of a job."""

    __slots__ = ("accepted", "at", "bounced", "cancelled", "deferred", "delivered")

    def __init__(self) -> None:
        self.at = 0
        self.accepted = self.deferred = self.delivered = self.bounced = self.cancelled = 0

    def leave(self, resolution: str) -> None:
        """Count one recipient that waits no more."""
        if resolution == "delivered":
            self.delivered += 1
        elif resolution == "cancelled":
            self.cancelled += 1
        else:
            self.bounced += 1


def write_jobs(db: apsw.Connection, changes: Mapping[str, JobChange]) -> None:
    """Add `changes` up; a job is made by its first mail."""
    execute_rows(
        db,
        "INSERT INTO job (name, created_at, last_at, accepted) {values} ON CONFLICT (name)"
        " DO UPDATE SET last_at = excluded.last_at, accepted = accepted + excluded.accepted",
        [(name, change.at, change.at, change.accepted) for name, change in changes.items() if change.accepted],
    )
    execute_rows(
        db,
        "UPDATE job SET last_at = v.column2, deferred = deferred + v.column3, delivered = delivered + v.column4,"
        " bounced = bounced + v.column5, cancelled = cancelled + v.column6"
        " FROM ({values}) AS v WHERE job.name = v.column1",
        [
            (name, change.at, change.deferred, change.delivered, change.bounced, change.cancelled)
            for name, change in changes.items()
            if change.deferred or change.delivered or change.bounced or change.cancelled
        ],
    )


def jobs(db: apsw.Connection) -> list[JobCount]:
    """All jobs, the last active one first."""
    return [
        JobCount(
            name=name,
            created_at=created_at,
            last_at=last_at,
            accepted=accepted,
            deferred=deferred,
            delivered=delivered,
            bounced=bounced,
            cancelled=cancelled,
        )
        for name, created_at, last_at, accepted, deferred, delivered, bounced, cancelled in fetch(
            db,
            "SELECT name, created_at, last_at, accepted, deferred, delivered, bounced, cancelled FROM job"
            " ORDER BY last_at DESC, name",
        )
    ]


def forget(db: apsw.Connection, before: int) -> list[str]:
    """Delete jobs whose last mail left before that time: their names."""
    return [
        name
        for (name,) in fetch(
            db,
            "DELETE FROM job WHERE last_at < ? AND accepted <= delivered + bounced + cancelled RETURNING name",
            (before,),
        )
    ]
