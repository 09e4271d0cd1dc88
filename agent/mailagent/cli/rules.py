"""`mailagent classify` and `mailagent rules`: try the rules of reply classification, and look after them."""

import csv
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailagent.cli.failure import FAILED, USAGE, Failure, count, load, unusable
from mailagent.cli.options import Listed

if TYPE_CHECKING:
    from mailagent.api.smtp import Verb
    from mailagent.outcome.classification.rules import Rules

_WANTED = ("provider", "smtp_code", "enhanced_code", "text_sample")
_ADDED = ("category", "action", "rule")
_ABSENT = ("", "-")
_CODE = re.compile(r"[2-5]\d\d")
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")

_WORD_END = re.compile(r"[ _:-]")

_rules_option = click.option(
    "--rules",
    "own",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Rules asked before the shipped ones, as `classification.rules` names them.",
)
_config_option = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), metavar="FILE", help="Take the rules of a host's file."
)


@click.command()
@_rules_option
@_config_option
def classify(own: Path | None, config_path: Path | None) -> None:
    """Say what replies mean: CSV on standard input, CSV on standard output.

    Wants the columns provider, smtp_code, enhanced_code and text_sample, in any order; a column verb (connect, EHLO,
    STARTTLS, AUTH, MAIL, RCPT, DATA, DOT) says what a reply answered, and may be absent or empty. The columns come out
    as they went in, and after them category, action and rule (its id), also where the input had columns of these names.

    \b
    Example:
      mailagent classify < replies.csv > verdicts.csv
    """
    from mailagent.outcome.classification import Classifier

    classifier = Classifier(_rules(own, config_path))
    source = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
    try:
        rows = _rows(source)
        columns = _columns(next((cells for _, cells in rows), []))
        kept = [name for name in columns if name not in _ADDED]
        _print([*kept, *_ADDED])
        for line, cells in rows:
            if len(cells) != len(columns):
                raise _wrong(line, f"has {count(len(cells), 'field')}, the first line has {len(columns)}")
            row = dict(zip(columns, cells, strict=True))
            enhanced = row["enhanced_code"].strip()
            verdict = classifier.classify(
                row["provider"].strip().lower(),
                _code(row["smtp_code"].strip(), line),
                enhanced if _ENHANCED.fullmatch(enhanced) else "",
                row["text_sample"],
                _verb(row.get("verb", "").strip(), line),
            )
            _print([*(row[name] for name in kept), verdict.category, verdict.action, verdict.rule])
    except UnicodeDecodeError as exc:
        raise Failure(f"standard input is not UTF-8 text: {exc.reason}", USAGE) from exc


@click.group(cls=Listed)
def rules() -> None:
    """Look after the rules of reply classification."""


@rules.command()
@_rules_option
@_config_option
def check(own: Path | None, config_path: Path | None) -> None:
    """Run every rule's examples through all rules: finds what is shadowed, doubled or never reached; exit 1 then."""
    from mailagent.outcome.classification.lint import lint

    found = _rules(own, config_path)
    findings = lint(found)
    for finding in findings:
        click.echo(finding)
    total = count(sum(1 for _ in found), "rule")
    if findings:
        raise Failure(f"{count(len(findings), 'finding')} in {total}", FAILED)
    click.echo(f"{total}: no findings")


def _rules(own: Path | None, config_path: Path | None) -> "Rules":
    from mailagent.config import ConfigError
    from mailagent.outcome.classification import load_rules

    if own is not None and config_path is not None:
        raise click.UsageError("name the rules by --rules FILE or by --config FILE, not by both")
    if config_path is not None:
        own = load(config_path).classification.rules
    try:
        return load_rules(own)
    except ConfigError as exc:
        raise unusable(exc) from exc


def _rows(source: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row that is not empty."""
    reader = csv.reader(source, strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as exc:
        raise _wrong(reader.line_num, f"is no CSV: {exc}") from exc


def _print(cells: list[str]) -> None:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    click.echo(line.getvalue().encode("utf-8", "replace"), nl=False)


def _columns(cells: list[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    if missing := [name for name in _WANTED if name not in columns]:
        raise Failure(f"standard input: the first line lacks {', '.join(missing)}", USAGE)
    if len(set(columns)) != len(columns):
        raise Failure("standard input: the first line names a column twice", USAGE)
    return columns


def _code(text: str, line: int) -> int:
    if text in _ABSENT:
        return 0
    if not _CODE.fullmatch(text):
        raise _wrong(line, f"smtp_code `{text}` is no SMTP code")
    return int(text)


def _verb(text: str, line: int) -> "Verb | None":
    from mailagent.api.smtp import Verb

    word = _WORD_END.split(text.upper())[0] or text  # `RCPT TO`, `mail_from`
    verbs = {verb.value.upper(): verb for verb in Verb}
    verbs |= dict.fromkeys(("DOT", "END", "EOD", "EOM", "BODY", "FINAL"), Verb.DOT)
    verbs |= dict.fromkeys(("HELO", "LHLO", "AUTH"), Verb.EHLO) | {"MAILFROM": Verb.MAIL, "RCPTTO": Verb.RCPT}
    verbs |= dict.fromkeys(("GREETING", "BANNER", "INITIAL"), Verb.CONNECT)
    if text in _ABSENT:
        return None
    if word not in verbs:
        raise _wrong(line, f"verb `{text}` is none of {', '.join(sorted(verbs))}")
    return verbs[word]


def _wrong(line: int, what: str) -> Failure:
    return Failure(f"standard input, line {line}: {what}", USAGE)
