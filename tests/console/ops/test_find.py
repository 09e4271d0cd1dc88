"""Find: queues and accounting files of all hosts as one timeline."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from mailagent.api.find import Found
from mailagent.api.ids import HostName
from mailagent.api.terms import Field
from mailctl.fleet import Fleet
from mailctl.ops import SelectorError
from mailctl.ops.find import Trace, find, said, sought, timeline, when
from mailctl.ops.grammar import tokens
from tests.console.loopback import START, LoopbackAgent, fleet_config, summary

Agents = dict[str, LoopbackAgent]
NOW = START + timedelta(hours=1)
ID = "00000000000000007"


@pytest.fixture
async def fleet(agents: Agents) -> AsyncIterator[Fleet]:
    async with Fleet(fleet_config(agents)) as fleet:
        await fleet.settled(5)
        yield fleet


def event(minute: int, state: str, message_id: str = ID, **fields: object) -> Found:
    """One accounting record, so many minutes after START."""
    values: dict[str, object] = {
        "time": START + timedelta(minutes=minute),
        "state": state,
        "message_id": message_id,
        "n": 0,
        "recipient": "user7@gmail.com",
        "sender": "news@example.test",
        "event": f"{message_id}-0-{minute}-{state}",
        "stream": "news",
        "pool": "marketing",
        "attempt": minute,
        "code": 421,
        "enhanced": "4.7.28",
        "text": "unusual rate",
        "arrived_at": START,
    } | fields
    return Found(**values)  # type: ignore[arg-type]


async def search(
    fleet: Fleet, text: str, *, limit: int = 1000, since: datetime = START, deadline_s: float = 5
) -> Trace:
    wanted = sought(tokens(text))
    hosts = [host.name for host in fleet.state.hosts if wanted.admits_host(host.name)]
    return await find(fleet, wanted, since=since, now=NOW, limit=limit, hosts=hosts, deadline_s=deadline_s)


def shown(trace: Trace) -> list[tuple[str, str, int]]:
    return [(host, row.state, round((row.time - START).total_seconds() / 60)) for host, row in trace.rows]


async def test_files_and_queues_of_all_hosts_are_one_timeline(agents: Agents, fleet: Fleet) -> None:
    agents["mx1"].found = (event(2, "deferred"), event(1, "deferred"))
    agents["mx1"].messages = (summary(7), summary(8, held="order-1"))
    agents["mx3"].found = (event(3, "delivered", "0" * 16 + "9", arrived_at=START - timedelta(hours=1), code=250),)
    trace = await search(fleet, "user7@gmail.com")
    assert shown(trace) == [
        ("mx1", "received", 0),
        ("mx1", "received", 0),
        ("mx1", "deferred", 1),
        ("mx1", "deferred", 2),
        ("mx3", "delivered", 3),
        ("mx1", "waiting", 5),
        ("mx1", "held", 5),
    ]
    assert (trace.failed, trace.truncated) == ({}, False)
    (terms,) = {filter.terms for filter in agents["mx2"].filters}
    assert [(term.field, term.value) for term in terms] == [(Field.ADDRESS, "user7@gmail.com")]


async def test_pages_are_read_to_the_limit_and_the_newest_stay(agents: Agents, fleet: Fleet) -> None:
    agents["mx1"].found = tuple(event(minute, "deferred") for minute in range(30, 0, -1))
    trace = await search(fleet, "job:spring", limit=10)
    assert [minute for _, _, minute in shown(trace)] == list(range(21, 31))
    assert trace.truncated


async def test_a_host_that_gives_nothing_is_named_and_the_others_count(agents: Agents, fleet: Fleet) -> None:
    agents["mx1"].found = (event(1, "delivered"),)
    agents["mx2"].faults.mute = {"find"}
    trace = await search(fleet, "unusual", deadline_s=0.2)
    assert shown(trace) == [("mx1", "received", 0), ("mx1", "delivered", 1)]
    assert list(trace.failed) == ["mx2"]
    assert "no answer to find" in trace.failed[HostName("mx2")]


@pytest.mark.parametrize(
    ("states", "queue", "values"),
    [
        ("state:bounced", False, []),
        ("state:waiting", True, []),
        ("state:deferred", True, ["deferred"]),
        ("state:deferred state:bounced", True, ["deferred"]),
        ("!state:waiting", False, []),
        ("!state:delivered", True, []),
        ("!state:untried", True, ["untried"]),
    ],
)
async def test_states_choose_between_files_and_queues(
    agents: Agents, fleet: Fleet, states: str, queue: bool, values: list[str]
) -> None:
    await search(fleet, f"host:mx1 to:a@b.example {states}")
    filters = agents["mx1"].filters
    assert len(filters) == 1 + queue
    if queue:
        asked = next(one for one in filters if [t.value for t in one.terms if t.field is Field.STATE] == values)
        assert asked.recipient == "a@b.example"


def test_bare_words_are_addresses_messages_or_text() -> None:
    wanted = sought(tokens(f'a@b.example {ID.lower()} {ID}.3 "mailbox full" @b.example spring !c@d.example'))
    assert str(wanted) == (
        f'address:a@b.example message:{ID} message:{ID}.3 "mailbox full" @b.example spring !address:c@d.example'
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("provider:gmail", "names whom or what"),
        ("!a@b.example", "names whom or what"),
        ("word group:00ff", "do not know groups"),
        ("word state:sleeping", "no mail has the state sleeping"),
        ("word dkim:x/y", "DKIM"),
    ],
)
def test_a_search_for_nothing_in_particular_is_refused(text: str, why: str) -> None:
    with pytest.raises(SelectorError, match=why):
        sought(tokens(text))


def test_an_event_is_told_once_and_an_arrival_not_invented_beside_its_record() -> None:
    twice = [("mx1", event(1, "deferred")), ("mx1", event(1, "deferred")), ("mx1", event(0, "received"))]
    rows = timeline(twice, START)  # type: ignore[arg-type]
    assert [row.state for _, row in rows] == ["received", "deferred"]
    assert not any(row.state == "received" for _, row in timeline(twice[:1], START + timedelta(seconds=1)))  # type: ignore[arg-type]


def test_mail_that_has_no_next_try_has_no_time() -> None:
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert [when(event(1, state, time=never)) for state in ("waiting", "held")] == [None, None]
    assert when(event(1, "waiting")) == when(event(1, "deferred")) == START + timedelta(minutes=1)


def test_what_is_said_has_the_codes_once() -> None:
    assert said(event(1, "deferred")) == "421 4.7.28 unusual rate"
    assert said(event(1, "remote-bounced", code=550, text="550 5.1.1 no\n such user")) == "550 5.1.1 no such user"
    assert said(event(1, "received")) == "from news@example.test, stream news, pool marketing"
    assert said(event(1, "deferred", code=0, enhanced="", text="connection refused")) == "connection refused"
