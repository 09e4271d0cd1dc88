"""Domains that people write in their own letters, and their A-labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.domains import folded_address, folded_domain, is_folded, spellings, starred

LETTERS = "bücher.example"
LABELS = "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (LETTERS, LABELS),
        ("BU\u0308CHER.example", LABELS),
        (f"*.{LETTERS}", f"*.{LABELS}"),
        (LABELS, LABELS),
        ("Example.COM", "Example.COM"),  # nothing but letters beyond ASCII is touched
        ("bü*.example", "bü*.example"),
        ("no domain – at all", "no domain – at all"),
    ],
)
def test_a_domain_is_one_in_whichever_letters(text: str, found: str) -> None:
    assert folded_domain(text) == found
    assert folded_address(f"Änna@{text}") == f"Änna@{found}"


def test_an_address_is_sought_in_both_forms_and_its_lines_by_what_is_the_same_in_both() -> None:
    for domain in (LETTERS, LABELS):
        assert spellings(f"anna@{domain}") == (f"anna@{LABELS}", f"anna@{LETTERS}")
        assert starred(f"anna@{domain}") == "anna@*.example"
    assert spellings("Anna@example.com") == ("Anna@example.com",)


@given(st.text(max_size=40))
def test_whatever_it_is_folding_it_again_changes_nothing(text: str) -> None:
    assert folded_domain(folded_domain(text)) == folded_domain(text)
    assert folded_address(folded_address(text)) == folded_address(text)
    assert all(is_folded(one.rpartition("@")[2]) or one != text for one in spellings(text)[1:])
