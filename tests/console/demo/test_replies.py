import random
import re

import pytest

from mailctl.demo.providers import ProviderSpec
from mailctl.demo.receivers import PROVIDERS
from mailctl.demo.replies import COMMON, Situation, Texts, sample, samples


@pytest.mark.parametrize("spec", PROVIDERS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("situation", Situation)
def test_each_provider_has_a_real_text_for_each_situation(spec: ProviderSpec, situation: Situation) -> None:
    texts = Texts(spec.marks, random.Random(1))
    line = texts.line(situation, source="127.9.3.23", recipient="nobody.ada@harbor.example")
    assert re.match(r"[45]\d\d ", line)
    permanent = situation in (Situation.UNKNOWN, Situation.FULL, Situation.LISTED)
    assert permanent or line.startswith("4")
    assert "192.0.2" not in line
    assert "example.org" not in line


def test_a_text_names_the_source_and_the_recipient_that_it_is_about() -> None:
    texts = Texts({Situation.SUSPECT: "very low reputation of the sending IP"}, random.Random(1))
    assert texts.line(Situation.SUSPECT, source="127.9.3.23").startswith("421 4.7.0 [127.9.3.23 15] Our system")
    unknown = texts.line(Situation.UNKNOWN, source="127.9.3.23", recipient="ada@harbor.example")
    assert unknown.startswith("550 5.1.1 <ada@harbor.example>: Recipient address rejected")


def test_every_session_has_a_token_of_its_own() -> None:
    texts = Texts({Situation.THROTTLED: "p=UnsolicitedRateLimitError"}, random.Random(1))
    first, second = (texts.line(Situation.THROTTLED, source="127.9.3.23") for _ in range(2))
    assert first != second
    assert "[127.9.3.0/24]" in first
    assert first.endswith(" - gsmtp")


def test_a_mark_that_fits_several_rows_is_refused() -> None:
    with pytest.raises(LookupError, match="rows"):
        sample("support.google.com")


def test_the_data_file_is_complete() -> None:
    assert len(samples()) > 100
    assert set(COMMON) == set(Situation)
