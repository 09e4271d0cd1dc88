import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.targets import TargetKind
from mailagent.config import scalars
from mailagent.config.structs import Endpoint, Rate
from mailagent.control.limits import limit_names


@given(st.integers(1, 10**12))
def test_a_duration_survives_writing_and_reading(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert scalars.parse_duration(scalars.format_duration(value)) == value


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_a_rate_survives_writing_and_reading(count: int, period_s: int) -> None:
    rate = Rate(count=count, period_s=period_s)
    assert scalars.parse_rate(str(rate)) == rate


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(1, 65535))
def test_an_endpoint_survives_writing_and_reading(host: object, port: int) -> None:
    endpoint = Endpoint(host=str(host), port=port)
    assert scalars.parse_endpoint(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (scalars.parse_duration, "4d12h", timedelta(days=4, hours=12)),
        (scalars.parse_duration, "500ms", timedelta(milliseconds=500)),
        (scalars.parse_rate, "100/s", Rate(count=100, period_s=1)),
        (scalars.parse_rate, "5000/d", Rate(count=5000, period_s=86400)),
        (scalars.parse_rate, "1/30s", Rate(count=1, period_s=30)),
        (scalars.parse_size, "25M", 26_214_400),
        (scalars.parse_size, "4096", 4096),
        (scalars.parse_endpoint, "[::1]:2525", Endpoint(host="::1", port=2525)),
        (scalars.parse_endpoint, "relay.example.com:25", Endpoint(host="relay.example.com", port=25)),
        (scalars.parse_bool, "true", True),
    ],
)
def test_a_word_means(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "advice"),
    [
        (scalars.parse_duration, "300", "300s"),
        (scalars.parse_duration, "5 m", "4d12h"),
        (scalars.parse_duration, "0s", "longer than zero"),
        (scalars.parse_duration, "99999999999999d", "too long"),
        (scalars.parse_duration, "36526d", "too long; 100 years"),
        (scalars.parse_rate, "0/s", "suspend"),
        (scalars.parse_rate, "100", "100/s"),
        (scalars.parse_size, "25MB", "25M"),
        (scalars.parse_endpoint, "::1:25", "[::1]:25"),
        (scalars.parse_endpoint, "relay.example.com", "host:port"),
        (scalars.parse_endpoint, "bad host:25", "no host name"),
        (scalars.parse_endpoint, "127.0.0.1:0", "port 0"),
        (scalars.parse_endpoint, "127.0.0.1:65536", "65535"),
        (scalars.parse_bool, "yes", "true"),
        (scalars.parse_bool, "off", "false"),
        (scalars.parse_count, "0", "from 1"),
        (scalars.parse_count, "-1", "from 1"),
        (scalars.parse_count, "1_000", "whole number"),
        (scalars.parse_network, "10.0.0.1/8", "10.0.0.0/8"),
        (scalars.parse_ipv4, "2001:db8::1", "address6"),
        (scalars.parse_ipv6, "fe80::1%eth0", "IPv6"),
    ],
)
def test_a_wrong_word_is_refused_with_advice(parse: Callable[[str], object], text: str, advice: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert advice in str(caught.value)


PARSERS = [
    scalars.parse_address,
    scalars.parse_bool,
    scalars.parse_count,
    scalars.parse_duration,
    scalars.parse_endpoint,
    scalars.parse_float,
    scalars.parse_ipv4,
    scalars.parse_ipv6,
    scalars.parse_network,
    scalars.parse_port,
    scalars.parse_rate,
    scalars.parse_seconds,
    scalars.parse_size,
]


@given(st.sampled_from(PARSERS), st.text(max_size=20))
def test_any_text_is_read_or_refused(parse: Callable[[str], object], text: str) -> None:
    with contextlib.suppress(ValueError):
        parse(text)


def test_a_limit_that_a_person_names_is_one_that_an_order_can_lower() -> None:
    assert scalars.parse_named_limit("connections", "2") == 2
    with pytest.raises(ValueError, match="no such limit; there are connections, messages_per_connection"):
        scalars.parse_named_limit("conections", "2")
    every = {name for kind in TargetKind for name in limit_names(kind)}
    assert set(scalars.LIMITS) == every
