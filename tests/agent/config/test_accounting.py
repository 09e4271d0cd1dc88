"""The `accounting` section: types of records."""

from pathlib import Path

import pytest

from mailagent.config import ConfigError, load_agent
from mailagent.config.accounting import Accounting, AccountingCsv

HOST = """\
host: mx1
virtual_mtas: {a1: {address: 127.0.0.1}}
pools: {default: {active: [a1]}}
streams: {default: {pool: default}}
"""


def load(directory: Path, text: str) -> Accounting:
    file = directory / "agent.yaml"
    file.write_text(HOST + text, encoding="utf-8")
    return load_agent(file).accounting


def test_a_csv_without_words_has_what_analysers_want(tmp_path: Path) -> None:
    assert load(tmp_path, "accounting: {csv: {}}").csv == AccountingCsv(records=("d", "b", "x", "t"))
    assert load(tmp_path, "").csv is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "accounting: {records: [d, z]}",
            "accounting.records[1]: `z` is no type of record; there are d, b, x, k, t, tq",
        ),
        ("accounting: {records: []}", "accounting.records: names no type of record"),
        ("accounting: {csv: {records: [d, r]}}", "accounting.csv.records[1]: `r` is not among accounting.records"),
    ],
)
def test_a_mistake_has_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert f"agent.yaml:5: {message}" in str(caught.value)
