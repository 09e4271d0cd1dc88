"""The readiness check for balancers: `GET /ready` says 200 while mail is taken, and 503 with the reason else."""

import logging
from collections.abc import Callable

from mailagent.config.structs import Endpoint
from mailagent.http import ANSWER_S, HttpListener, Response
from mailagent.intake.errors import ListenFailed

MAX_CONNECTIONS = 512
"""Of all balancers."""
PACE_S = 0.001
"""Between two of their questions."""

log = logging.getLogger(__name__)


class Readiness:
    """A listener that answers one question per connection. `start`, then `stop`."""

    def __init__(self, why_not: Callable[[], str], *, patience_s: float = ANSWER_S) -> None:
        """`why_not` says why no mail is taken now; empty: it is."""
        self._why_not = why_not
        self._http = HttpListener("/ready", self._answer, most=MAX_CONNECTIONS, patience_s=patience_s, pace_s=PACE_S)

    @property
    def port(self) -> int:
        """As really bound."""
        return self._http.port

    async def start(self, endpoint: Endpoint) -> None:
        """Listen.

        Raises:
            ListenFailed: the address cannot be bound.
        """
        try:
            await self._http.start(endpoint.host, endpoint.port)
        except OSError as exc:
            raise ListenFailed(endpoint.host, endpoint.port, exc) from exc
        log.info("readiness at http://%s/ready", endpoint)

    def stop(self) -> None:
        """Listen no more."""
        self._http.stop()

    async def _answer(self, _accept: str) -> Response:
        why = self._why_not()
        return Response(why or "ready", 503 if why else 200)
