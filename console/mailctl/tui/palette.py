"""What the palette finds beside screens and verbs: objects by name, and the incidents of the demo."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, cast

from textual import on
from textual.app import SystemCommand
from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.widgets import Input

from mailctl.fleet.state import FleetState
from mailctl.ops.filters import Filter
from mailctl.ops.plan import Verb
from mailctl.ops.selector import TermKind
from mailctl.tui.desk import Desk
from mailctl.tui.incidents import Incident, IncidentError
from mailctl.tui.screens.view import View
from mailctl.tui.text import clean, listed

LOOK_S = 0.02
"""How soon an enter that came before the hits is tried again."""
_VERBS = (Verb.DRAIN, Verb.ROTATE, Verb.SUSPEND, Verb.RESUME, Verb.RETRY, Verb.LIMIT)


class Palette(CommandPalette):
    """Textual's, but an enter waits for the hits of what was typed: else it takes what stood there before."""

    @on(Input.Submitted)
    def _wait_for_hits(self, event: Input.Submitted) -> None:
        if any(worker.node is self and not worker.is_finished for worker in self.app.workers):
            event.stop()
            event.prevent_default()
            self.set_timer(LOOK_S, partial(self.post_message, Input.Submitted(event.input, event.value)))


def commands_of(screen: View) -> Iterator[SystemCommand]:
    """Verbs with the names of what is selected; one that is not possible says why, and again when it is chosen."""
    for verb in _VERBS:
        subject, answer = screen.subject(verb), screen.verdict(verb)
        title = str(answer.verb or verb).capitalize()
        if subject is not None and subject.names:
            title = f"{title} {clean(listed(subject.names))}"
        act = screen.action_limit if verb is Verb.LIMIT else partial(screen.action_verb, str(verb))
        yield SystemCommand(
            title, (answer.why_not and f"not now: {clean(answer.why_not)}") or "shows its plan first", act
        )
    yield SystemCommand("Undo", "the last operation", screen.action_undo)
    yield SystemCommand("Copy", "the key of the row; again: the whole row", screen.action_copy)


class Place(NamedTuple):
    """An object and the screen that shows it."""

    kind: TermKind
    name: str
    screen: str


def places(state: FleetState) -> Iterator[Place]:
    """Everything that has a name."""
    for host in state.hosts:
        yield Place(TermKind.HOST, host.name, "Pools")
    for pool in state.pools:
        yield Place(TermKind.POOL, pool.name, "Pools")
    for vmta in state.vmtas:
        yield Place(TermKind.VMTA, vmta.view.name, "Destinations")
    for provider in state.providers:
        yield Place(TermKind.PROVIDER, provider.name, "Destinations")


class PlaceProvider(Provider):
    """Goes to an object by its name."""

    async def search(self, query: str) -> Hits:
        """Objects whose selector matches."""
        desk = cast(Desk, self.app)
        matcher = self.matcher(query)
        for place in places(desk.state):
            text = f"{place.kind}:{clean(place.name)}"
            if (score := matcher.match(text)) > 0:
                go = partial(desk.go_down, place.screen, Filter().having((place.kind, place.name)))
                yield Hit(score, matcher.highlight(text), go, text=text, help=f"show in {place.screen}")


class IncidentProvider(Provider):
    """Starts and stops the demo's incidents."""

    async def startup(self) -> None:
        """Ask the demo once for each opening of the palette."""
        desk = cast(Desk, self.app)
        self._incidents: tuple[Incident, ...] = ()
        if desk.incidents.exist:
            try:
                self._incidents = await desk.incidents.list()
            except IncidentError as exc:
                desk.say(str(exc))

    async def discover(self) -> Hits:
        """All incidents."""
        for incident in self._incidents:
            yield DiscoveryHit(_title(incident), self._toggle(incident), help=clean(incident.description))

    async def search(self, query: str) -> Hits:
        """Incidents whose name matches."""
        matcher = self.matcher(query)
        for incident in self._incidents:
            text = _title(incident)
            if (score := matcher.match(text)) > 0:
                yield Hit(
                    score,
                    matcher.highlight(text),
                    self._toggle(incident),
                    text=text,
                    help=clean(incident.description),
                )

    def _toggle(self, incident: Incident) -> partial[None]:
        return partial(cast(Desk, self.app).toggle_incident, incident.name)


def _title(incident: Incident) -> str:
    return f"Incident {clean(incident.name)}: {'stop' if incident.running else 'start'}"
