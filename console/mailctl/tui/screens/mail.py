"""What screens of waiting mail share: keys that hold it, release it and give it up."""

from typing import ClassVar

from textual.binding import Binding, BindingType

from mailctl.ops.mail import ON_MAIL
from mailctl.ops.plan import Options, Verb
from mailctl.ops.selector import TermKind
from mailctl.tui.screens.view import View
from mailctl.tui.theme import Tone
from mailctl.tui.verdicts import Subject, Verdict, verdict

MOST_NAMES = 60
"""A filter has at most 64 terms."""


class MailView(View):
    """A screen whose rows are waiting mail. `E` releases what a hold has, and else ends what holds the path."""

    VERBS: ClassVar[dict[str, Verb]] = {
        **View.VERBS,
        "H": Verb.HOLD,
        "B": Verb.BOUNCE,
        "X": Verb.DELETE,
        "R": Verb.REQUEUE,
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("H", "verb('hold')", "Hold", show=False, id="verb.hold"),
        Binding("B", "verb('bounce')", "Bounce", show=False, id="verb.bounce"),
        Binding("X", "verb('delete')", "Delete", show=False, id="verb.delete"),
        Binding("R", "verb('requeue')", "Requeue", show=False, id="verb.requeue"),
        Binding("M", "rebind", "Move to a pool", show=False, id="verb.rebind"),
    ]

    def mail(self) -> Subject | None:
        """The mail that is marked, or that the cursor stands on."""
        return None

    @property
    def sites(self) -> tuple[str, ...]:
        """Destinations of that mail, as far as they are known and one row has one."""
        return ()

    @property
    def has_held(self) -> bool:
        """Whether some of it is held."""
        return False

    def action_rebind(self) -> None:
        """Ask for the pool, then plan the move."""
        answer, subject = self.verdict(Verb.REBIND), self.mail()
        if answer.verb is None or subject is None:
            self.say(answer.why_not, Tone.WARN)
            return
        pools = {str(row.name) for row in self.desk.state.pools}

        def plan(pool: str) -> None:
            self.desk.ask_before(Verb.REBIND, subject.selection, Options(filter=subject.line, pool=pool))

        self.desk.prompt(
            "Move it to another pool",
            ", ".join(sorted(pools)),
            lambda pool: "" if pool in pools else f"no pool {pool!r}; there are {', '.join(sorted(pools))}",
            plan,
        )

    def subject(self, verb: Verb) -> Subject | None:
        """The mail, also for the end of what holds it; for a suspension its destinations."""
        if verb in ON_MAIL or (verb is Verb.RESUME and self.has_held):
            return self.mail()
        if verb in (Verb.SUSPEND, Verb.RESUME) and self.sites:
            return Subject(TermKind.QUEUE, tuple(f"{site}/" for site in self.sites), self.filter.selection.hosts)
        return None

    def verdict(self, verb: Verb) -> Verdict:
        """What a key means here."""
        mail = self.mail()
        if verb in ON_MAIL and mail is not None and len(mail.names) > MOST_NAMES:
            return Verdict(None, f"{len(mail.names)} are marked; {MOST_NAMES} at most, or narrow by a filter")
        if verb is Verb.RESUME and self.has_held:
            return verdict(Verb.RELEASE, mail, self.desk.state)
        return super().verdict(verb)
