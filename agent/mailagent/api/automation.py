"""What automation does and knows, as lists show it."""

from datetime import datetime

import msgspec

from mailagent.api.directives import Directive


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that may act, or could if it were not off."""

    name: str  # `gmail.unusual-rate`
    act: str
    mode: str  # `on`, `dry-run`, `off`
    threshold: str  # `3/h`
    hits: int  # matches since the agent started
    live: int  # directives of it that live


class WouldAct(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule in dry-run mode would have done."""

    at: datetime
    rule: str
    detail: str
    reply: str


class AutomationView(msgspec.Struct, frozen=True, kw_only=True):
    """Automation on one host. `live` are its directives: value, rule, since when, until when, the reply behind it."""

    mode: str
    live: tuple[Directive, ...] = ()
    rules: tuple[RuleView, ...] = ()
    would: tuple[WouldAct, ...] = ()  # newest first
