"""What `automation` and the rules of providers mean: patterns that compile, limits that exist, rules that are there."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from mailagent.api.ids import ProviderName
from mailagent.config import scalars
from mailagent.config.automation import Rule, RuleAct
from mailagent.config.checks.words import bad_name, is_name, known
from mailagent.config.nodes import Key
from mailagent.config.providers import merge_providers
from mailagent.config.reading import Reader
from mailagent.config.structs import Provider, Shared, SiteLimits

MAX_LIFE = timedelta(hours=24)


def check_automation(config: Shared, report: Reader) -> None:
    """Report every mistake in `automation`, and in `rules` of providers."""
    settings = config.automation
    merged = merge_providers(config.providers)
    names = [f"{provider}.{name}" for provider, block in merged.items() for name in block.rules]
    for field in ("off", "dry_run"):
        for n, name in enumerate(getattr(settings, field)):
            if name not in names:
                provider = ProviderName(name.partition(".")[0])
                own = [one for one in names if one.partition(".")[0] == provider]
                report.follow_up(("automation", field, n), f"`{name}` is no rule{known(own or merged)}")
    if not 0 < settings.share <= 1:
        report.follow_up(("automation", "share"), "must be above 0 and at most 1: a part of the attempts")
    for field in ("life", "max_life"):
        _check_life(getattr(settings, field), ("automation", field), report)
    check_rules(config.providers, report)


def check_rules(providers: Mapping[ProviderName, Provider], report: Reader) -> None:
    """Report every mistake in rules."""
    for provider, block in providers.items():
        for name, rule in block.rules.items():
            _check_rule(name, rule, ("providers", provider, "rules", name), report)


def _check_rule(name: str, rule: Rule, key: Key, report: Reader) -> None:
    if not is_name(name):
        report.follow_up(key, bad_name(name))
    if not rule.text and not rule.categories:
        report.follow_up(key, "would match every reply; give it `text` or `categories`")
    try:
        pattern = re.compile(rule.text, re.IGNORECASE)
    except re.error as exc:
        report.follow_up((*key, "text"), f"is no regular expression: {exc}")
    else:
        if rule.example and not pattern.search(rule.example):
            report.follow_up((*key, "example"), "is not matched by `text`")
    if not rule.steps:
        report.follow_up((*key, "steps"), "names nothing that could go down; write `act: none`")
    if bool(rule.set) != (rule.act is RuleAct.LIMIT):
        report.follow_up((*key, "set"), "goes with `act: limit`, and only with that")
    for limit, value in rule.set.items():
        try:
            _parse(limit, value)
        except ValueError as exc:
            report.follow_up((*key, "set", limit), str(exc))
    if rule.life is not None:
        _check_life(rule.life, (*key, "life"), report)


def _parse(limit: str, value: str) -> Any:
    names = (*SiteLimits.__struct_fields__, "provider_connections", "provider_rate")
    if limit not in names:
        raise ValueError(f"`{limit}` is no limit{known(names)}")
    if limit == "bytes_rate":
        return scalars.parse_byte_rate(value)
    return scalars.parse_rate(value) if limit.endswith("rate") else scalars.parse_count(value)


def _check_life(life: timedelta, key: Key, report: Reader) -> None:
    if life > MAX_LIFE:
        report.follow_up(key, "is longer than a day; nothing that automation does lives longer without a new reason")
