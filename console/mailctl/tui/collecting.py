"""When Python looks for garbage cycles: while nobody types.

A full collection over a large fleet takes a tenth of a second and more, and comes when it likes: a key would wait.
So what stands after the start is left out for good, and full collections wait until the keys rest.
"""

import gc
from time import monotonic

KEYS_REST_S = 2.0
EVERY_S = 30.0
LATEST_S = 600.0
"""Somebody may type for long: then it is done all the same."""
_NEVER = 1_000_000
"""Middle collections before a full one by itself."""


class Collector:
    """Made once, by the process that holds the screens."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, _NEVER)
        self._last = monotonic()

    def look(self, idle_s: float) -> None:
        """Collect if it is time; `idle_s`: since the last key."""
        since = monotonic() - self._last
        if since >= LATEST_S or (since >= EVERY_S and idle_s >= KEYS_REST_S):
            gc.collect()
            self._last = monotonic()
