"""Standing orders in words: what they change, and the rule and reply behind those of automation."""

import textwrap
from collections.abc import Iterable
from datetime import datetime

from textual.content import Content

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.targets import TargetKind
from mailctl.fleet.state import DirectiveRow, FleetState
from mailctl.tui.listing import Cell
from mailctl.tui.text import clean, clock, until
from mailctl.tui.theme import Tone
from mailctl.tui.widgets.detail import beside, fact, lines

MOST_REPLY_LINES = 3


def order_words(order: Directive) -> str:
    """Its target, and of a limit the values first, so that a narrow column shows them: `gmail/mkt-1 5 → 2 rate`."""
    if order.kind is DirectiveKind.ROTATE:
        return clean(f"{order.target.name} → {order.standby}")
    if order.kind is DirectiveKind.NOTE:
        return clean(order.reason)
    if order.kind is DirectiveKind.LOCK:
        return "all verbs"
    if order.kind is DirectiveKind.LIMIT:
        return clean(f"{order.target.name} {_values(order)} {order.limit}")
    return clean(f"{order.target} {limited(order)}".rstrip())


def limited(order: Directive) -> str:
    """`connections 5 → 2`, `rate 10/s`; of an order about no limit, its value if it has one."""
    if order.kind is DirectiveKind.RETRY:
        return f"within {order.value} s" if order.value else ""
    return f"{order.limit} {_values(order)}".strip() if order.value else ""


def _values(order: Directive) -> str:
    return f"{order.base} → {order.value}" if order.base else order.value


def order_key(row: DirectiveRow) -> str:
    """Key of a row: automation gives a new order for each step, and the cursor is to stay on what it is about."""
    order = row.directive
    return f"{order.kind}/{order.target}/{order.limit}@{','.join(row.hosts)}" if order.rule else row.key


def in_order(rows: Iterable[DirectiveRow]) -> list[DirectiveRow]:
    """People's orders first, newest first; those of automation by what they are about, so that they stand still."""
    rows = tuple(rows)
    own = [row for row in rows if not row.directive.rule]
    return own + sorted((row for row in rows if row.directive.rule), key=_about)


def _about(row: DirectiveRow) -> tuple[str, ...]:
    return (row.directive.target.name, row.directive.kind, row.directive.limit, *row.hosts)


def order_facts(row: DirectiveRow, now: datetime, width: int, progress: Cell) -> Content:
    """One order in full: id, end, how far it is, who pinned it, the rule and the reply verbatim."""
    order = row.directive
    ends = f"{until(order.expires_at, now)} ({clock(order.expires_at)})" if order.expires_at else "by undo"
    what = clean(f"{order.kind} {order.target} {limited(order)}".rstrip())
    first = [fact("id", str(order.id), Tone.ACCENT), fact("ends", ends)]
    if progress.text:
        first.append(Content.styled(progress.text, progress.tone.style))
    if order.pinned:
        first.append(Content.styled("◆ pinned: automation leaves it alone", Tone.TEXT.style))
    elif order.base:
        first.append(fact("quiet time takes it up to", order.base))
    about = [Content.styled(what, Tone.STRONG.style)]
    if order.rule:
        about.append(fact("by rule", clean(order.rule), Tone.STRONG))
    rows = [beside(*about), beside(*first)]
    if said := clean(order.reply or order.reason):
        wrapped = textwrap.wrap(said, max(20, width))
        rows += [Content.styled(line, (Tone.WARN if order.reply else Tone.TEXT).style) for line in wrapped]
    return lines(*rows[: 2 + MOST_REPLY_LINES])


def lowering(state: FleetState, provider: str, vmta: str) -> tuple[DirectiveRow, ...]:
    """Orders that lower a limit of one provider × virtual MTA, newest first."""
    about = {
        (TargetKind.CELL, f"{provider}/{vmta}"),
        (TargetKind.VMTA, vmta),
        (TargetKind.PROVIDER, provider),
    }
    return tuple(
        row
        for row in state.directives
        if row.directive.kind is DirectiveKind.LIMIT
        and (
            (row.directive.target.kind, row.directive.target.name) in about
            or (row.directive.target.kind is TargetKind.QUEUE and row.directive.target.name.endswith(f"/{vmta}"))
        )
    )
