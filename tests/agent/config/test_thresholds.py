"""The `thresholds` section."""

from datetime import timedelta
from pathlib import Path

import pytest

from mailagent.config import ConfigError, dump_agent, host_part, load_fleet
from mailagent.config.structs import FleetConfig
from mailagent.config.thresholds import AgeLimits, CountLimits, Thresholds

FLEET = """\
hosts: {mx1: {virtual_mtas: {a1: {address: 127.0.0.1}}}}
pools: {default: {active: [a1]}}
streams: {default: {pool: default}}
"""


def load(directory: Path, text: str) -> FleetConfig:
    file = directory / "fleet.yaml"
    file.write_text(FLEET + text, encoding="utf-8")
    return load_fleet(file)


def test_a_pair_stands_for_itself_and_the_others_are_as_shipped(tmp_path: Path) -> None:
    config = load(
        tmp_path, "thresholds: {waiting: {warning: 7}, oldest: {critical: 2h, streams: {default: {warning: 1m}}}}"
    )
    found = config.thresholds
    assert found.waiting == CountLimits(warning=7)
    assert (found.oldest.warning, found.oldest.critical) == (None, timedelta(hours=2))
    assert found.oldest.streams == {"default": AgeLimits(warning=timedelta(minutes=1))}
    assert found.deferrals == Thresholds().deferrals
    assert "thresholds" not in dump_agent(host_part(config, next(iter(config.hosts))))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("period: 2d", "thresholds.period: must be from 1m to 1d"),
        ("waiting: {warning: 9, critical: 8}", "thresholds.waiting: would be critical before it is a warning"),
        ("disk_free: {warning_bytes: 1G, critical_bytes: 2G}", "thresholds.disk_free: would be critical before"),
        ("deferrals: {warning: 5}", "thresholds.deferrals.warning: must be above 0 and at most 1: a share"),
        (
            "deferrals: {providers: {gmial: {warning: 0.1}}}",
            "thresholds.deferrals.providers.gmial: `gmial` is none of the providers; there are",
        ),
        ("bounces: {pools: {x: {warning: 0.1}}}", "`x` is none of the pools; there are default"),
        ("oldest: {streams: {default: {warning: 2h, critical: 1h}}}", "oldest.streams.default: would be critical"),
        ("colour: blue", "thresholds.colour: unknown key"),
    ],
)
def test_a_mistake_has_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"thresholds: {{{text}}}")
    assert "fleet.yaml:4: " in str(caught.value)
    assert message in str(caught.value)
