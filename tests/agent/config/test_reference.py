"""The reference of the fleet file is what the structs say today."""

from pathlib import Path

from mailagent.config.reference import reference
from mailagent.config.structs import FleetConfig

PAGE = Path(__file__).parents[3] / "docs/reference-fleet-file.md"


def test_the_page_is_as_fresh_as_the_structs() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "the page is stale: make reference"


def test_every_section_of_the_file_is_there_with_kinds_defaults_and_words() -> None:
    page = reference()
    assert [name for name in FleetConfig.__struct_fields__ if f"\n| `{name}` | " not in page] == []
    assert "| `max_message_bytes` | size | `26214400` |" in page
    assert "| `priority` | `high`, `normal`, `bulk` | `normal` |" in page
    assert "## `hosts.NAME.intake.listeners[]`" in page
    assert "no_config" not in page
