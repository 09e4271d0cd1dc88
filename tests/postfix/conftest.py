"""`own`: one Postfix of the test's own. Tests with it need Debian's Postfix and root, and are marked so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postfix.instances import OwnPostfix, own_postfix


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnPostfix]:
    """A running instance whose mail stays deferred."""
    with own_postfix(tmp_path / "postfix") as instance:
        yield instance
