"""`own` is a Postfix of the test's own, `still` one that does not run. Both need Debian's Postfix and root."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailctl.demo.instance import master_cf
from tests.integration.postfix import main_cf
from tests.postfix.instances import STOPPED, OwnPostfix, own_postfix


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


@pytest.fixture
def still(tmp_path: Path) -> OwnPostfix:
    """An instance that is configured and does not run."""
    own = OwnPostfix(tmp_path / "postfix", STOPPED, STOPPED)
    for name in ("etc", "queue", "data"):
        (own.directory / name).mkdir(parents=True)
    settings = {"maillog_file": ""}  # of a Postfix that never ran, programs wait for its log
    (own.config_dir / "main.cf").write_text(main_cf(own.directory, settings), encoding="utf-8")
    (own.config_dir / "master.cf").write_text(master_cf("127.0.0.1:1"), encoding="utf-8")
    own.age()
    return own
