"""Answers of hosts, added up to one plan."""

import pytest

from mailctl.ops.dry_run import merged


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ([], []),
        (["what was tried cannot be called back"], ["what was tried cannot be called back"]),
        (
            [f"what left from {name} by then stays sent" for name in ("tx-2", "tx-4", "tx-6")],
            ["what left from tx-2, tx-4 and tx-6 by then stays sent"],
        ),
        (["what left stays sent", "it is gone"], ["what left stays sent", "it is gone"]),
        (["2 of tx-2 are gone", "3 of tx-4 are gone"], ["2 of tx-2 are gone", "3 of tx-4 are gone"]),
    ],
)
def test_notes_that_differ_in_a_name_are_one(texts: list[str], told: list[str]) -> None:
    assert list(merged(texts)) == told
