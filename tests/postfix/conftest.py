"""`own`: one Postfix of the test's own. Tests with it need Debian's Postfix and root, and are marked so."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postfix.instances import OwnPostfix, own_postfix


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that user postfix may enter; pytest closes its own ones to others whenever another run begins."""
    with tempfile.TemporaryDirectory(prefix="mailctl-postfix-") as directory:
        yield Path(directory)


@pytest.fixture
def own(place: Path) -> Iterator[OwnPostfix]:
    """A running instance whose mail stays deferred."""
    with own_postfix(place / "postfix") as instance:
        yield instance
