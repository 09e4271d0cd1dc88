"""One message: why it waits, when it is tried next, what happened so far, its headers."""

import textwrap
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mailagent.api.outcome import Attempt
from mailagent.api.parts import MessageParts, PartsRequest
from mailagent.api.reasons import WaitReason
from mailagent.api.requests import MessageRequest
from mailagent.api.smtp import SmtpReply
from mailagent.api.smtp import Verb as Step
from mailagent.api.views import MessageDetail, MessageSummary
from mailctl.fleet.state import FleetState
from mailctl.ops.selector import TermKind
from mailctl.tui.desk import MessageRef
from mailctl.tui.screens.mail import MailView
from mailctl.tui.screens.reasons import reason_mark
from mailctl.tui.source import ASK_DEADLINE_S
from mailctl.tui.text import NOTHING, clean, clean_lines, clock, plural, since, size, until
from mailctl.tui.theme import Tone
from mailctl.tui.verdicts import Subject
from mailctl.tui.widgets.detail import beside, fact, lines

INDENT = 13
"""Cells before the words of a reason."""


class MessageView(MailView):
    """Explains one waiting recipient."""

    TAB = "Message"
    HINTS = (("T", "retry now"), ("H", "hold"), ("X", "delete"), ("j/k", "scroll"), ("esc", "back"))
    AUTO_FOCUS = "VerticalScroll"
    DEFAULT_CSS = """
    MessageView VerticalScroll { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    MessageView Static { height: auto; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "parts", "Parts", show=False, id="message.parts"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._shown: MessageRef | None = None
        self._detail: MessageDetail | None = None
        self._trouble = ""
        self._parts: MessageParts | None = None

    def body(self) -> Iterable[Widget]:
        """One page to scroll."""
        with VerticalScroll():
            yield Static(classes="page", markup=False)
            yield Static(classes="parts", markup=False)

    def action_parts(self) -> None:
        """The text of the next part; after the last, none."""
        ref, parts = self.desk.message, self._parts
        if ref is None:
            self.say("no message to look into", Tone.WARN)
        elif parts is not None and (parts.part or 0) + 1 >= len(parts.parts):
            self._parts = None
            self.say("parts hidden")
            self.show(self.desk.state, self.desk.now())
        else:
            self.fetch("parts", self._fetch_part, ref, 0 if parts is None or parts.part is None else parts.part + 1)

    async def _fetch_part(self, ref: MessageRef, n: int) -> None:
        request = PartsRequest(message_id=ref.message_id, part=n)
        answers = await self.desk.source.ask_all("parts", request, hosts=(ref.host,), deadline_s=ASK_DEADLINE_S)
        if ref != self.desk.message or not self.is_drawable:
            return
        for answer in answers.values():
            if isinstance(answer, MessageParts):
                self._parts = answer
                kind = next((f"{clean(one.kind)}, " for one in answer.parts if one.n == n), "")
                self.say(f"{kind}{n + 1} of {plural(len(answer.parts), 'part')}; this is on record")
            else:
                self.say(clean(str(answer)), Tone.WARN)
        self.show(self.desk.state, self.desk.now())
        if self._parts is not None:  # they stand below all that is known of the message
            parts = self.query_one(".parts", Static)
            page = self.query_one(VerticalScroll)
            self.call_after_refresh(page.scroll_to_widget, parts, animate=False, top=True)

    def key_j(self) -> None:
        """Scroll down."""
        self.query_one(VerticalScroll).scroll_down(animate=False)

    def key_k(self) -> None:
        """Scroll up."""
        self.query_one(VerticalScroll).scroll_up(animate=False)

    def key_g(self) -> None:
        """Scroll to the first line."""
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def key_upper_g(self) -> None:
        """Scroll to the last line."""
        self.query_one(VerticalScroll).scroll_end(animate=False)

    def poll(self) -> None:
        """Ask again: the reasons change while one looks."""
        ref = self.desk.message
        if ref is None:
            return
        if ref != self._shown:
            self._shown, self._detail, self._trouble, self._parts = ref, None, "", None
        elif self.is_asking("message"):
            return
        self.fetch("message", self._fetch, ref)

    async def _fetch(self, ref: MessageRef) -> None:
        request = MessageRequest(message_id=ref.message_id, n=ref.n)
        answers = await self.desk.source.ask_all("message", request, hosts=(ref.host,), deadline_s=ASK_DEADLINE_S)
        if ref != self.desk.message or not self.is_drawable:
            return
        for answer in answers.values():
            if isinstance(answer, MessageDetail):
                self._detail, self._trouble = answer, ""
            else:
                self._trouble = clean(str(answer))
        self.show(self.desk.state, self.desk.now())

    def show(self, state: FleetState, now: datetime) -> None:
        """Draw the page."""
        del state
        ref = self.desk.message
        if ref is None:
            page = Content.styled(
                "no message chosen: open one from Deferred (4), or find one (ctrl+f)", Tone.QUIET.style
            )
        elif self._detail is None:
            page = Content.styled(self._trouble or f"asking {ref.host} for {ref.message_id} …", Tone.QUIET.style)
        else:
            page = explained(self._detail, ref.host, now, self.size.width - 4)
            if self._trouble:
                page = lines(Content.styled(f"{self._trouble} (below: as it was)", Tone.WARN.style), page)
        self.query_one(".page", Static).update(page)
        parts = self.query_one(".parts", Static)
        parts.display = self._detail is not None and self._parts is not None
        if self._parts is not None:
            parts.update(lines(*_part(self._parts)))

    def mail(self) -> Subject | None:
        """The recipient."""
        ref = self.desk.message
        return Subject(TermKind.MESSAGE, (f"{ref.message_id}.{ref.n}",), (ref.host,)) if ref else None

    @property
    def has_held(self) -> bool:
        """Whether it is held."""
        return self._detail is not None and bool(self._detail.summary.held)

    @property
    def sites(self) -> tuple[str, ...]:
        """Its destination, once it is known."""
        return (self._detail.summary.site,) if self._detail is not None and self._detail.summary.site else ()

    def copied(self) -> str:
        """The queue id."""
        return self.desk.message.message_id if self.desk.message else ""


def explained(detail: MessageDetail, host: str, now: datetime, width: int) -> Content:
    """The whole page, `width` cells wide."""
    one = detail.summary
    facts = [
        fact("from", clean(one.sender) or "<>"),
        fact("size", size(one.size_bytes)),
        fact("waiting", since(one.received_at, now)),
        fact("expires", until(one.expires_at, now)),
        fact("stream", one.stream or NOTHING),
        fact("pool", one.pool or NOTHING),
        fact("site", clean(one.site) or "not looked up yet"),
        fact("provider", one.provider or NOTHING),
        fact("from host", clean(detail.client) or NOTHING),
        *([fact("sent to", clean(detail.original))] if detail.original not in ("", one.recipient) else []),
        *([fact("job", clean(detail.job))] if detail.job else []),
    ]
    rows = [
        beside(
            Content.styled(one.message_id, f"bold {Tone.ACCENT.style}"),
            fact("on", host),
            fact("to", clean(one.recipient), Tone.STRONG),
        ),
        *_flowed(facts, width),
    ]
    if detail.recipients > 1:
        rows.append(
            Content.styled(f"{plural(detail.recipients, 'recipient')} of this message still wait", Tone.QUIET.style)
        )
    if detail.in_doubt:
        rows.append(
            Content.styled("? an earlier delivery was cut after the final dot: it may arrive twice", Tone.WARN.style)
        )
    rows += [Content(""), _title(f"Why it waits, next try {_next_try(one, now)}")]
    last = detail.attempts[-1].reply if detail.attempts else None
    for reason in detail.reasons:
        rows += _reason(reason, last, now, width)
    rows += [Content(""), _title(plural(one.attempts, "attempt") if one.attempts else "No attempt yet")]
    for attempt in reversed(detail.attempts):
        rows += _attempt(attempt, width)
    rows += [Content(""), _title("Headers" if detail.headers else "Headers are not told by its engine")]
    for line in clean_lines(detail.headers.rstrip()):
        name, colon, value = line.partition(":")
        if colon and name and not name.startswith(" "):
            rows.append(Content.assemble((f"{name}:", Tone.QUIET.style), (value, Tone.TEXT.style)))
        else:
            rows.append(Content.styled(line, Tone.TEXT.style))
    if detail.headers_truncated:
        rows.append(Content.styled("… cut at 16 KiB", Tone.QUIET.style))
    return lines(*rows)


def _part(found: MessageParts) -> list[Content]:
    """What the message holds, and the text of one part, harmless."""
    rows = [Content(""), _title(plural(len(found.parts), "part"))]
    for one in found.parts:
        text = f"{one.n:>3}  {clean(one.kind)}  {size(one.octets)}  {clean(one.name)}"
        rows.append(Content.styled(text, (Tone.STRONG if one.n == found.part else Tone.QUIET).style))
    rows += [Content(""), *(Content.styled(line, Tone.TEXT.style) for line in clean_lines(found.text))]
    if found.text_truncated or found.truncated:
        rows.append(Content.styled("… cut", Tone.QUIET.style))
    return rows


def _reason(reason: WaitReason, last: SmtpReply | None, now: datetime, width: int) -> list[Content]:
    """What holds it, and below that which setting, whose, and what would end it."""
    glyph, tone = reason_mark(reason)
    ends = f"  {until(reason.until, now)}" if reason.until else ""
    first, *more = _hanging(clean(reason.detail or NOTHING) + ends, INDENT, width, Tone.TEXT)
    rows = [Content.assemble((f"{glyph} {reason.kind}".ljust(INDENT), f"bold {tone.style}"), first[INDENT:]), *more]
    setting = f"{reason.key} = {reason.value}" if reason.key and reason.value else reason.key
    release = f"ends with {reason.release}" if reason.release else ""
    notes = [note for note in (clean(setting), clean(reason.origin), clean(release)) if note]
    rows += _hanging(" · ".join(notes), INDENT, width, Tone.QUIET)
    if reason.reply is not None and reason.reply != last:  # which stands below
        rows += _hanging(clean(reason.reply.line()), INDENT, width, Tone.WARN)
    return rows


def _attempt(attempt: Attempt, width: int) -> list[Content]:
    """When, over which path, and what the peer said."""
    path = f"{attempt.vmta} → {clean(attempt.mx)} {attempt.remote} from {attempt.source or NOTHING}"
    if not (attempt.mx or attempt.remote or attempt.source):
        path = f"{attempt.vmta} no connection".lstrip()
    first = Content.assemble(
        (f"{attempt.number:>3}  {clock(attempt.at)}  ", Tone.STRONG.style),
        (f"{attempt.duration_s:.1f}s  ", Tone.QUIET.style),
        (path, Tone.TEXT.style),
    )
    step = {Step.DOT: "after the data", Step.CONNECT: "on connecting"}.get(
        attempt.reply.verb, f"to {attempt.reply.verb}"
    )
    said = f"{attempt.reply.line()} ({step})"
    notes = [clean(attempt.tls) or ("in clear" if attempt.source else "")]
    if (found := attempt.verdict) is not None:
        notes.insert(0, f"{found.category}: {found.action} (rule {clean(found.rule)})")
    return [
        first.truncate(width, ellipsis=True),
        *_hanging(clean(said), 5, width, Tone.WARN),
        *_hanging(" · ".join(filter(None, notes)), 5, width, Tone.QUIET),
    ]


def _hanging(text: str, indent: int, width: int, tone: Tone) -> list[Content]:
    """`text` wrapped, every line indented."""
    blank = " " * indent
    wrapped = textwrap.wrap(text, max(20, width), initial_indent=blank, subsequent_indent=blank)
    return [Content.styled(line, tone.style) for line in wrapped]


def _flowed(facts: list[Content], width: int) -> list[Content]:
    """Facts on as few lines as they need, none broken."""
    rows: list[Content] = []
    for one in facts:
        if rows and rows[-1].cell_length + 3 + one.cell_length <= width:
            rows[-1] = beside(rows[-1], one)
        else:
            rows.append(one)
    return rows


def _title(text: str) -> Content:
    return Content.styled(text, f"bold {Tone.ACCENT.style}")


def _next_try(one: MessageSummary, now: datetime) -> str:
    if one.held:
        return "none while it is held"
    return "not told by its engine" if "next_try_at" in one.unknown else until(one.next_try_at, now)
