"""The rules of reply classification, as data: `rules.yaml`, and an installation's own file asked before it."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path

import msgspec

from mailagent.api.classification import Action, Category, Scope
from mailagent.api.smtp import Verb
from mailagent.config.errors import ConfigError, Problem
from mailagent.config.nodes import Key, compose
from mailagent.config.reading import Reader

SHIPPED_FILE = "rules.yaml"

ADDRESS_CATEGORIES = frozenset(
    {Category.BAD_MAILBOX, Category.INACTIVE_MAILBOX, Category.BAD_DOMAIN, Category.MAILBOX_FULL}
)
"""What only an answer about the recipient can mean."""

_CODE = re.compile(r"[45]xx|[2-5]\d\d|0")
_ENHANCED = re.compile(r"[245x]\.(?:\d{1,3}|\*)\.(?:\d{1,3}|\*)|")
_CAPITAL = re.compile(r"(?<!\\)[A-Z]")


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule; what is empty fits everything. The head of `rules.yaml` explains the keys."""

    id: str
    provider: tuple[str, ...] = ()
    verb: tuple[Verb, ...] = ()
    code: tuple[str, ...] = ()
    enhanced: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    category: Category
    action: Action | None = None  # None: the category's own
    scope: Scope | None = None
    certain: bool = False
    note: str = ""
    examples: tuple[str, ...] = ()


class RuleFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole file of rules."""

    providers: dict[str, tuple[str, ...]] = {}
    contrary: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a classifier is built from: own rules before the shipped ones."""

    files: tuple[RuleFile, ...]
    aliases: dict[str, str]  # every name of a provider -> the one that rules use
    contrary: str  # one regular expression of all

    def __iter__(self) -> Iterator[Rule]:
        return (rule for file in self.files for rule in file.rules)


def load_rules(own: Path | None = None) -> Rules:
    """The shipped rules, under those of the file `own`.

    Raises:
        ConfigError: `own` cannot be read or has mistakes; with all of them.
    """
    shipped = _shipped()
    if own is None:
        return assembled((shipped,))
    try:
        text = own.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            [Problem(str(own), 0, "", f"cannot be read: {getattr(exc, 'strerror', None) or exc}")]
        ) from exc
    return assembled((_parsed(text, str(own), own.absolute().parent, known=shipped.providers), shipped))


def assembled(files: Sequence[RuleFile]) -> Rules:
    """Files of rules as one set, the first asked first."""
    aliases = {alias: name for file in files for name, others in file.providers.items() for alias in (name, *others)}
    contrary = "|".join(pattern for file in files for pattern in file.contrary) or r"(?!)"
    return Rules(files=tuple(files), aliases=aliases, contrary=contrary)


@lru_cache(maxsize=1)
def _shipped() -> RuleFile:
    resource = resources.files("mailagent.outcome").joinpath(SHIPPED_FILE)
    return _parsed(resource.read_text(encoding="utf-8"), SHIPPED_FILE, Path(), known={})


def _parsed(text: str, name: str, folder: Path, *, known: dict[str, tuple[str, ...]]) -> RuleFile:
    problems: list[Problem] = []
    reader = Reader(name, folder, problems)
    root = compose(text, name, problems)
    file = reader.read(root, RuleFile) if root else None
    if file is not None:
        _check(file, reader, {*known, *file.providers})
    if file is None or problems:
        raise ConfigError(problems)
    return file


def _check(file: RuleFile, reader: Reader, providers: set[str]) -> None:
    """Mistakes that one rule shows by itself; `lint` finds those between rules."""
    seen: set[str] = set()
    for n, pattern in enumerate(file.contrary):
        _check_pattern(pattern, reader, ("contrary", n))
    for n, rule in enumerate(file.rules):
        key: Key = ("rules", n)
        if rule.id in seen:
            reader.follow_up((*key, "id"), f"another rule is called {rule.id}, too")
        seen.add(rule.id)
        if not (rule.text or rule.code or rule.enhanced):
            reader.follow_up(key, "fits every reply; give it text, code or enhanced")
        for i, provider in enumerate(rule.provider):
            if provider not in providers:
                why = "ends in a dot" if provider.endswith(".") else "is no provider; `providers` lists their names"
                reader.follow_up((*key, "provider", i), f"{provider} {why}")
        for name, form, want in (("code", _CODE, "550, 5xx or 4xx"), ("enhanced", _ENHANCED, "5.1.1, x.1.1 or 5.7.*")):
            for i, value in enumerate(getattr(rule, name)):
                if not form.fullmatch(value):
                    reader.follow_up((*key, name, i), f"{value!r} is not of the form {want}")
        for i, pattern in enumerate(rule.text):
            _check_pattern(pattern, reader, (*key, "text", i))


def _check_pattern(pattern: str, reader: Reader, key: Key) -> None:
    try:
        compiled = re.compile(pattern)
    except re.error as exc:
        reader.follow_up(key, f"is no regular expression: {exc}")
        return
    if compiled.search(""):
        reader.follow_up(key, "fits every text")
    if "\\\\" in pattern:
        reader.follow_up(key, "has a doubled backslash; YAML in single quotes wants one")
    if _CAPITAL.search(pattern):
        reader.follow_up(key, "has a capital letter and can never fit; texts are compared in small letters")
