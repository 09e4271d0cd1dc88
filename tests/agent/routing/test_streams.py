import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.ids import PoolName, StreamName, VmtaName
from mailagent.config.structs import Pool, Stream
from mailagent.routing import StreamTable
from tests.agent.routing.configs import agent


def stream(pool: str, *senders: str, **headers: tuple[str, ...]) -> Stream:
    return Stream(
        pool=PoolName(pool), senders=senders, headers={name.replace("_", "-"): p for name, p in headers.items()}
    )


CONFIG = agent(
    pools={
        PoolName("bulk"): Pool(active=(VmtaName("b1"),), standby=(VmtaName("b2"),)),
        PoolName("fast"): Pool(active=(VmtaName("f1"),)),
    },
    streams={
        StreamName("receipts"): stream("fast", "*@receipts.example.com", "billing@example.com"),
        StreamName("news"): stream("bulk", "*@news.example.com", "*@*.example.com", X_Stream=("news*", "weekly")),
        StreamName("both"): stream("bulk", X_Stream=("b",), X_Tenant=("t?",)),
        StreamName("alerts"): stream("fast", "alert+*@example.com"),
    },
)
TABLE = StreamTable(CONFIG)


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (b"a@receipts.example.com", "receipts"),
        (b"Billing@EXAMPLE.com", "receipts"),
        (b"x@other.example.com", "news"),
        (b"alert+7@example.com", "alerts"),
        (b"alert@example.com", None),
        (b"a@receipts.example.com.evil.org", None),
        (b"", None),
        (b"\xff\xfe@x", None),
    ],
)
def test_envelope_sender(sender: bytes, expected: str | None) -> None:
    assert TABLE.classify(sender, {}, "") == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({b"x-stream": b"News-42"}, "news"),
        ({b"x-stream": b" weekly "}, "news"),
        ({b"x-stream": b"b", b"x-tenant": b"t1"}, "both"),
        ({b"x-stream": b"b"}, "receipts"),
        ({b"x-stream": b"b", b"x-tenant": b"t12"}, "receipts"),
        ({b"x-stream": b""}, "receipts"),
    ],
)
def test_headers_come_before_the_sender_and_all_must_match(headers: dict[bytes, bytes], expected: str) -> None:
    assert TABLE.classify(b"billing@example.com", headers, "b1" if expected != "receipts" else "") == expected


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("alerts", "alerts"),
        ("fast", "receipts"),
        ("bulk", "news"),
        ("b2", "news"),
        ("f1", "receipts"),
        ("unknown", "news"),
    ],
)
def test_the_virtual_mta_header_names_a_stream_a_pool_or_a_virtual_mta(named: str, expected: str) -> None:
    assert TABLE.classify(b"x@news.example.com", {}, named) == expected


def test_wanted_headers_are_lower_case() -> None:
    assert TABLE.wanted_headers == {b"x-stream", b"x-tenant"}


def test_default_streams() -> None:
    one = agent(streams={StreamName("default"): stream("p"), StreamName("other"): stream("p")})
    assert StreamTable(one).classify(b"a@b", {}, "") == "default"
    two = agent(streams=one.streams, default_stream=StreamName("other"))
    assert StreamTable(two).classify(b"a@b", {}, "") == "other"
    assert StreamTable(agent()).classify(b"a@b", {}, "x") is None


def test_a_stream_wins_over_a_pool_of_the_same_name() -> None:
    config = agent(
        pools={PoolName("a"): Pool(active=(VmtaName("a"),))},
        streams={StreamName("first"): stream("a"), StreamName("a"): stream("b")},
    )
    assert StreamTable(config).classify(b"", {}, "a") == "a"


chars = st.text("ab.@(", max_size=6)


@given(prefix=chars, suffix=chars, middle=chars)
def test_patterns_are_literal_but_for_the_star(prefix: str, suffix: str, middle: str) -> None:
    table = StreamTable(agent(streams={StreamName("s"): stream("p", f"{prefix}*{suffix}")}))
    assert table.classify(f"{prefix}{middle}{suffix}".encode(), {}, "") == "s"
    assert table.classify(f"x{prefix}{middle}{suffix}".encode(), {}, "") == (None if prefix else "s")


@given(sender=st.binary(max_size=254), value=st.binary(max_size=200))
def test_hostile_bytes_are_classified_or_not(sender: bytes, value: bytes) -> None:
    TABLE.classify(sender, {b"x-stream": value}, "")
