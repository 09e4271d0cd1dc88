"""Recipient domains that mail was seen for, and whose MX hosts they have: what is suspended is made of them.

Transport maps match recipient domains, never MX hosts. So the agent keeps the domains of the log and of the queue with
what DNS said, also over a restart.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from mailagent.api.ids import ProviderName
from mailagent.postfix.files import replace_file
from mailagent.postfix.holding import Destination

log = logging.getLogger(__name__)

MOST: Final = 200_000
"""Domains kept; of more, the one that was first seen longest ago is forgotten."""
FILE: Final = "destinations.tsv"


class Destinations:
    """The book of domains. Runs on the loop thread; `load` and `save` block."""

    def __init__(self, path: Path, changed: Callable[[], None]) -> None:
        """`changed` is told of a domain that is new, or has moved to another provider."""
        self._path = path
        self._changed = changed
        self._known: dict[str, tuple[str, str]] = {}
        self._saved = True

    def __iter__(self) -> Iterator[Destination]:
        return (Destination(domain, site, ProviderName(provider)) for domain, (site, provider) in self._known.items())

    def __len__(self) -> int:
        return len(self._known)

    def note(self, domain: str, site: str, provider: str) -> None:
        """Mail for `domain` was seen; called for each outcome."""
        place = (site, provider)
        if self._known.get(domain) == place:
            return
        if len(self._known) >= MOST and domain not in self._known:
            del self._known[next(iter(self._known))]
        self._known[domain] = place
        self._saved = False
        self._changed()

    def load(self) -> None:
        """Read what an earlier run has kept; nothing when it cannot be read."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        except (OSError, ValueError) as exc:
            log.warning("domains of earlier runs are lost: %s", exc)
            return
        rows = (line.split("\t") for line in lines)
        self._known = {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}

    def save(self) -> None:
        """Keep them for the next run, if there are new ones."""
        if self._saved:
            return
        known = dict(self._known)
        text = "".join(f"{domain}\t{site}\t{provider}\n" for domain, (site, provider) in known.items())
        self._saved = True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, text.encode("utf-8", "backslashreplace"))
        except OSError as exc:
            self._saved = False
            log.warning("domains are not kept for the next run: %s", exc)
