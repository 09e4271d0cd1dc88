"""Mistakes between rules: examples that another rule decides, and rules that nothing can reach."""

import re

from mailagent.api.smtp import Verb
from mailagent.outcome.classification.classifier import Classifier
from mailagent.outcome.classification.rules import Rule, Rules

_VERBS = "|".join(re.escape(verb) for verb in Verb)
_EXAMPLE = re.compile(rf"(?:({_VERBS}) )?(?:(\d{{3}})(?:\s|$))?(?:([245]\.\d{{1,3}}\.\d{{1,3}})(?:\s|$))?(.*)")


def lint(rules: Rules) -> list[str]:
    """One sentence per finding; empty when every rule is reached by its own examples."""
    classifier = Classifier(rules)
    findings = []
    seen: set[str] = set()
    for rule in rules:
        if rule.id in seen:
            findings.append(f"{rule.id}: a file before it has a rule of this name")
        seen.add(rule.id)
        if not rule.examples:
            findings.append(f"{rule.id}: has no example")
        for example in rule.examples:
            findings += _misses(classifier, rule, example)
    return findings


def _misses(classifier: Classifier, rule: Rule, example: str) -> list[str]:
    match = _EXAMPLE.fullmatch(example)
    assert match is not None  # noqa: S101 - every part is optional, and an example is one line
    verb, code, enhanced, text = match.groups()
    found = []
    for provider in rule.provider or ("",):
        decided = classifier.classify(provider, int(code or 0), enhanced or "", text, Verb(verb) if verb else None)
        if decided.rule != rule.id:
            where = f" of {provider}" if provider else ""
            found.append(f"{rule.id}: {decided.rule} comes first for its example{where}: {example}")
    return found
