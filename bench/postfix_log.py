"""The log of a Postfix that sends 1,000 messages a second: what following it costs, all effects on disk."""

import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailagent.api.ids import HostName, PoolName, VmtaName
from mailagent.config.structs import AgentConfig, Pool, VirtualMta
from mailagent.outcome.accounting import AccountingLog
from mailagent.outcome.classification import Classifier, load_rules
from mailagent.postfix.log.changes import Changes
from mailagent.postfix.log.follow import FileTail
from mailagent.postfix.log.keeper import LogKeeper
from mailagent.postfix.log.lines import LineParser
from mailagent.postfix.log.outcomes import Outcomes
from mailagent.postfix.log.sources import FileSource
from mailagent.postfix.queue_ids import DIGITS
from mailagent.spool.store import Spool
from mailagent.telemetry.counters import Counters

LINES = 100_000
LINES_PER_S = 5000
GOAL = 0.4
"""Of a core at that rate."""
DEFERRED_OF_100 = 15
BOUNCED_OF_100 = 2
PAUSE_S = 0.02
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = AgentConfig(
    host=HostName("mx1"),
    pools={PoolName("marketing"): Pool(active=(VmtaName("mkt-1"),))},
    virtual_mtas={VmtaName("mkt-1"): VirtualMta()},
)


@dataclass(frozen=True)
class Followed:
    """Seconds of processor time for `lines` lines, of all threads, and as they passed."""

    lines: int
    cpu_s: float
    elapsed_s: float
    rss_bytes: int

    @property
    def share(self) -> float:
        """Of a core, at LINES_PER_S."""
        return self.cpu_s / self.lines * LINES_PER_S


async def measure(lines: int = LINES) -> Followed:
    """Follow a log that is there already."""
    with tempfile.TemporaryDirectory(prefix="mailctl-bench-") as name:
        place = Path(name)
        path = place / "mail.log"
        path.write_text("".join(texts(lines)), encoding="utf-8")
        accounting = AccountingLog(place / "accounting", CONFIG.accounting)
        spool = await Spool.open(place / "state", before_commit=accounting.write)
        changes = Changes(CONFIG, Classifier(load_rules()), site_of=lambda _: ("", ""), lifetime_s=lambda _: 5 * 86_400)
        keeper = LogKeeper(
            FileSource(FileTail(path, from_start=True), LineParser(now=lambda: BEGAN + timedelta(days=1))),
            Outcomes("postfix", changes.vmta_of),
            changes,
            spool,
            Counters(),
            place=None,
            gone=lambda _: None,
        )
        cpu_s, started = time.process_time(), time.monotonic()
        task = asyncio.create_task(keeper.run(), name="log")
        while keeper.told < lines:  # noqa: ASYNC110 - what is measured knows nothing of it
            await asyncio.sleep(PAUSE_S)
        found = Followed(
            lines,
            time.process_time() - cpu_s,
            time.monotonic() - started,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await spool.close(clean=True)
        accounting.close()
        return found


def texts(lines: int) -> Iterator[str]:
    """Five lines a message as Postfix writes them; what is deferred stays."""
    written = message = 0
    while written < lines:
        at = BEGAN + timedelta(milliseconds=message)
        queue_id, head = _queue_id(at, message), f"{at:%b %e %H:%M:%S} mx1 postfix"
        domain = f"d{message % 1000}.example"
        for text in (
            f"smtpd[101]: {queue_id}: client=app.shop.example[192.0.2.5]",
            f"cleanup[102]: {queue_id}: message-id=<{message}.news@shop.example>",
            f"qmgr[103]: {queue_id}: from=<bounces+{message}@shop.example>, size=10240, nrcpt=1 (queue active)",
            f"vmta-mkt-1/smtp[104]: {queue_id}: to=<user{message}@{domain}>, relay=mx1.{domain}[192.0.2.9]:25,"
            f" delay=0.9, delays=0.05/0.01/0.4/0.44, {_status(message, domain)}",
            f"qmgr[103]: {queue_id}: removed",
        ):
            if written < lines and not (text.endswith("removed") and message % 100 < DEFERRED_OF_100):
                yield f"{head}/{text}\n"
                written += 1
        message += 1


def _status(message: int, domain: str) -> str:
    host = f"host mx1.{domain}[192.0.2.9] said:"
    turn = message % 100
    if turn < DEFERRED_OF_100:
        return (
            f"dsn=4.7.1, status=deferred ({host} 451 4.7.1 <user{message}@{domain}>: Recipient address rejected:"
            " Greylisted (in reply to RCPT TO command))"
        )
    if turn < DEFERRED_OF_100 + BOUNCED_OF_100:
        return f"dsn=5.1.1, status=bounced ({host} 550 5.1.1 User unknown (in reply to RCPT TO command))"
    return f"dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {message:012X})"


def _queue_id(at: datetime, message: int) -> str:
    return f"{_digits(int(at.timestamp()), 6, 52)}{_digits(at.microsecond, 4, 52)}z{_digits(message, 5, 51)}"


def _digits(value: int, count: int, base: int) -> str:
    text = ""
    for _ in range(count):
        value, digit = divmod(value, base)
        text = DIGITS[digit] + text
    return text
