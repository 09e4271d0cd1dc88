"""What the `accounting` section means."""

from mailagent.api.accounting import LETTERS
from mailagent.config.accounting import Accounting
from mailagent.config.nodes import Key
from mailagent.config.reading import Reader


def check_accounting(accounting: Accounting, report: Reader) -> None:
    """Report types of records that do not exist, and those that the CSV wants and the log does not have."""
    _check_letters(accounting.records, ("accounting", "records"), report)
    if accounting.csv is None:
        return
    key: Key = ("accounting", "csv", "records")
    _check_letters(accounting.csv.records, key, report)
    for n, letter in enumerate(accounting.csv.records):
        if letter in LETTERS and letter not in accounting.records:
            report.follow_up((*key, n), f"`{letter}` is not among accounting.records, from which the CSV is made")


def _check_letters(letters: tuple[str, ...], key: Key, report: Reader) -> None:
    if not letters:
        report.follow_up(key, f"names no type of record; there are {', '.join(LETTERS)}")
    for n, letter in enumerate(letters):
        if letter not in LETTERS:
            report.follow_up((*key, n), f"`{letter}` is no type of record; there are {', '.join(LETTERS)}")
