import random

from mailctl.demo.providers import Bucket, Limits, Provider, ProviderSpec

SOURCE, OTHER = "127.9.3.21", "127.9.3.22"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def provider(clock: Clock, **options: object) -> Provider:
    spec = ProviderSpec(name="p", mx={}, domains={}, **options)  # type: ignore[arg-type]
    return Provider(spec, rng=random.Random(1), clock=clock)


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(2, 4, 0.0)
    assert [bucket.take(0.0) for _ in range(5)] == [True] * 4 + [False]
    assert [bucket.take(1.0) for _ in range(3)] == [True, True, False]


def test_connections_are_counted_per_source() -> None:
    p = provider(Clock(), limits=Limits(connections=1))
    assert p.connected(SOURCE) is None
    assert p.connected(OTHER) is None
    refusal = p.connected(SOURCE)
    assert refusal is not None
    assert refusal.startswith("421 ")
    p.disconnected(SOURCE)
    p.disconnected(SOURCE)
    assert p.connected(SOURCE) is None


def test_the_rate_holds_per_source_and_comes_back_with_time() -> None:
    clock = Clock()
    p = provider(clock, limits=Limits(rate_per_s=1))
    assert [p.message(SOURCE)[:3] for _ in range(3)] == ["250", "250", "452"]
    assert p.message(OTHER).startswith("250")
    clock.now += 1
    assert p.message(SOURCE).startswith("250")


def test_a_throttle_lets_few_pass_until_it_is_released() -> None:
    clock = Clock()
    p = provider(clock)
    p.throttle(SOURCE, per_minute=6)
    assert [p.message(SOURCE)[:3] for _ in range(2)] == ["250", "452"]
    assert p.message(OTHER).startswith("250")
    clock.now += 10
    assert [p.message(SOURCE)[:3] for _ in range(2)] == ["250", "452"]
    p.release(SOURCE)
    assert p.message(SOURCE).startswith("250")


def test_a_greylist_knows_a_triple_after_its_time_and_from_the_same_source_only() -> None:
    clock = Clock()
    p = provider(clock, greylist_s=10)
    first = p.recipient(SOURCE, "a@acme.example", "b@library.example")
    assert first is not None
    assert first.startswith("450 4.2.0 ")
    clock.now += 9
    assert p.recipient(SOURCE, "a@acme.example", "b@library.example") is not None
    clock.now += 1
    assert p.recipient(SOURCE, "a@acme.example", "b@library.example") is None
    assert p.recipient(OTHER, "a@acme.example", "b@library.example") is not None


def test_unknown_users_and_full_mailboxes_are_refused_for_good() -> None:
    p = provider(Clock())
    assert (p.recipient(SOURCE, "a@b.example", "nobody.x@c.example") or "").startswith("550 5.1.1")
    assert (p.recipient(SOURCE, "a@b.example", "full@c.example") or "").startswith("552 5.2.2")
    assert p.recipient(SOURCE, "a@b.example", "ada@c.example") is None


def test_a_suspect_source_is_deferred_at_its_share() -> None:
    p = provider(Clock())
    p.suspects[SOURCE] = 0.5
    refused = [p.recipient(SOURCE, "a@b.example", "c@d.example") for _ in range(200)]
    assert 60 < sum(answer is not None for answer in refused) < 140
    assert p.recipient(OTHER, "a@b.example", "c@d.example") is None


def test_a_worn_connection_is_ended() -> None:
    p = provider(Clock(), limits=Limits(messages_per_connection=20))
    assert p.mail(SOURCE, 19) is None
    assert (p.mail(SOURCE, 20) or "").startswith("421 ")
