"""How far away providers are."""

from mailagent.telemetry.connect_times import KEPT, ConnectTimes


def test_the_last_connections_of_a_provider_count() -> None:
    times = ConnectTimes()
    assert times.median_ms("gmail") is None
    for seconds in (0.01, 0.5, 0.02):
        times.took("gmail", seconds)
    assert times.median_ms("gmail") == 20.0
    for _ in range(KEPT):
        times.took("gmail", 0.1)
    assert (times.median_ms("gmail"), times.median_ms("yahoo")) == (100.0, None)
