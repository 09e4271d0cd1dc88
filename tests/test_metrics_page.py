"""The page about metrics names all of them, and the shipped alert rules use nothing else."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailagent.api.metrics import FAMILIES, MOST_SERIES, SCOPES, Family, Kind
from mailagent.config import load_agent
from mailagent.config.thresholds import Thresholds

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
FILE = ROOT / "docs/alerts.example.yml"
RULES: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"][0]["rules"]
BY_NAME = {family.name: family for family in FAMILIES}
OF_PROMETHEUS = {"up"}


def row(family: Family) -> str:
    labels = ", ".join(f"`{name}`" for name in SCOPES[family.scope].labels)
    return f"| `{family.name}` | {f'{labels} ' if labels else ''}| {family.help} |"


def test_the_page_has_each_metric_with_labels_and_meaning_in_order() -> None:
    shown = [line for line in PAGE.split("\n") if line.startswith("| `mailagent_")]
    assert shown == [row(family) for family in FAMILIES]
    assert "| `mailctl_host_up` | `host` |" in PAGE


def test_the_page_says_the_bound() -> None:
    assert f"A host reports {MOST_SERIES:,} series at most" in PAGE


def test_the_section_of_the_page_loads(tmp_path: Path) -> None:
    (section,) = re.findall(r"```yaml\n(metrics: .*?)```", PAGE, flags=re.DOTALL)
    path = tmp_path / "agent.yaml"
    path.write_text(f"host: mx1\n{section}")
    config = load_agent(path).metrics
    assert config is not None
    assert config.address.is_loopback


def test_the_scrape_configuration_of_the_page_names_the_port_and_the_job_of_the_rules() -> None:
    (text,) = re.findall(r"```yaml\n(# prometheus\.yml\n.*?)```", PAGE, flags=re.DOTALL)
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert f'job="{job["job_name"]}"' in RULES[0]["expr"]
    assert all(target.endswith(":9464") for target in job["static_configs"][0]["targets"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_uses_metrics_that_exist_and_labels_that_they_have(rule: dict[str, Any]) -> None:
    words = re.sub(r"\{[^}]*\}|\[\w+\]|\bon \([^)]*\)", " ", rule["expr"])
    names = set(re.findall(r"[a-z_]{2,}", words)) - {"increase", "and", "or"}
    assert names - OF_PROMETHEUS <= BY_NAME.keys()
    for name in names & BY_NAME.keys():
        counted = f"increase({name}[1h])" in rule["expr"]
        assert counted == (BY_NAME[name].kind is Kind.COUNTER), name
    told = {label for name in names & BY_NAME.keys() for label in SCOPES[BY_NAME[name].scope].labels}
    summary = rule["annotations"]["summary"]
    assert set(re.findall(r"\$labels\.(\w+)", summary)) <= told | {"instance"}
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert (ROOT / rule["annotations"].get("runbook", "docs/runbooks/README.md")).exists()


def test_the_limits_of_the_rules_are_those_of_check() -> None:
    limits = Thresholds()
    expected = {
        "MailDeferred": limits.deferrals.warning,
        "MailDeferredByFar": limits.deferrals.critical,
        "MailBounces": limits.bounces.warning,
        "MailIsOld": limits.oldest.warning.total_seconds() if limits.oldest.warning else None,
        "MailQueueIsDeep": limits.waiting.warning,
        "SpoolIsShort": limits.disk_free.warning_bytes,
        "EventsAreLate": limits.events.warning.total_seconds() if limits.events.warning else None,
    }
    found = {
        rule["alert"]: float(re.findall(r"(?:>|<|>=) ([\d.]+)", rule["expr"])[0])
        for rule in RULES
        if rule["alert"] in expected
    }
    assert found == expected
    least = [re.findall(r">= (\d+)\n?$", rule["expr"].strip()) for rule in RULES if "increase" in rule["expr"]]
    assert least == [[str(limits.least)]] * 3


@pytest.mark.needs("promtool")
def test_the_rules_fire_when_they_should_and_not_before() -> None:
    told = subprocess.run(
        ["promtool", "test", "rules", "tests/data/alerts.yml"], cwd=ROOT, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_each_rule_is_among_those_that_are_made_to_fire() -> None:
    tests = yaml.safe_load((ROOT / "tests/data/alerts.yml").read_text(encoding="utf-8"))["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]}
    assert fired == {rule["alert"] for rule in RULES}
