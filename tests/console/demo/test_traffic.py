import asyncio
import random
from collections import Counter

import pytest

from mailctl.demo import judge
from mailctl.demo.farside import FarSide
from mailctl.demo.letters import Author
from mailctl.demo.receivers import PROVIDERS
from mailctl.demo.traffic import Traffic
from tests.console.demo.conftest import until


def test_letters_follow_the_shares_of_providers_and_streams() -> None:
    author = Author(PROVIDERS, random.Random(1))
    letters = [author.write() for _ in range(4000)]
    provider_of = {domain: spec.name for spec in PROVIDERS for domain in spec.domains}
    providers = Counter(provider_of.get(letter.recipient.rpartition("@")[2], "none") for letter in letters)
    assert providers["gmail"] / 4000 == pytest.approx(0.42, abs=0.03)
    assert providers["outlook"] / 4000 == pytest.approx(0.20, abs=0.03)
    assert providers["yahoo"] / 4000 == pytest.approx(0.15, abs=0.03)
    assert 20 < sum(letter.recipient.startswith("nobody") for letter in letters) < 120
    streams = Counter(letter.sender.partition("@")[2] for letter in letters)
    assert set(streams) == {"receipts.acme.example", "news.acme.example", "outreach.acme.example"}
    cold = [letter for letter in letters if letter.sender.endswith("@outreach.acme.example")]
    assert all(b"X-Virtual-MTA: cold\r\n" in letter.data for letter in cold)
    assert len({letter.sender for letter in letters}) == 4000


def test_a_letter_is_canonical() -> None:
    author = Author(PROVIDERS, random.Random(2))
    for letter in (author.write() for _ in range(50)):
        assert letter.data.endswith(b"\r\n")
        assert letter.data.count(b"\n") == letter.data.count(b"\r\n")
        assert not any(line.startswith(b".") for line in letter.data.split(b"\r\n"))
        assert max(len(line) for line in letter.data.split(b"\r\n")) < 200


async def test_traffic_flows_and_a_host_that_is_away_leaves_its_share_to_the_others(far: FarSide) -> None:
    here = (far.addresses["mx.acme.example"], far.port)
    away = (f"{far.network}.99", far.port)
    rng = random.Random(3)
    traffic = Traffic([here, away], rate=400, author=Author(PROVIDERS, rng), rng=rng)
    task = asyncio.create_task(traffic.run(), name="traffic")
    await until(lambda: traffic.accepted >= 100)
    task.cancel()
    await asyncio.wait([task])
    far.log.flush()
    delivered = [line for line in judge.read(far.log.path) if line.verb == "."]
    assert len({line.message_id for line in delivered}) == len(delivered)
    assert len(delivered) >= traffic.accepted
    assert traffic.accepted + traffic.refused <= len(delivered) + 50


async def test_a_refused_letter_does_not_end_the_session(far: FarSide) -> None:
    rng = random.Random(3)
    traffic = Traffic(
        [(far.addresses["mx.library.example"], far.port)], rate=200, author=Author(PROVIDERS, rng), rng=rng
    )
    task = asyncio.create_task(traffic.run(), name="traffic")
    await until(lambda: traffic.refused >= 20)
    task.cancel()
    await asyncio.wait([task])
    far.log.flush()
    assert sum(line.verb == "connect" for line in judge.read(far.log.path)) <= 2
