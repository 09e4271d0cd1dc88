"""The one version of both distributions, and what was made of it."""

from pathlib import Path

__version__ = "0.1.0"


def is_compiled() -> bool:
    """Whether the hot path is (docs/decisions/0012-the-hot-path-is-compiled.md)."""
    return any(Path(__file__).parent.glob("spool/store.*.so"))
