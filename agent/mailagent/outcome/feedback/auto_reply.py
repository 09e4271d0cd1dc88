"""Automatic answers: vacation notes, ticket systems, challenges (RFC 3834). They are no bounces."""

from mailagent.outcome.feedback.mime import Fields

_PRECEDENCE = frozenset({"auto_reply", "auto-reply", "autoreply"})
_FIELDS = ("x-autoreply", "x-autorespond", "x-auto-reply-from", "x-mail-autoreply", "x-vacation", "auto-reply")
_SUBJECTS = (
    *("out of office", "out of the office", "auto:", "automatic reply", "auto reply", "autoreply", "auto-reply"),
    *("automatische antwort", "abwesenheit", "réponse automatique", "respuesta automática", "risposta automatica"),
    *("resposta automática", "automatisch antwoord", "autosvar", "自動応答", "自动回复", "автоответ"),
)


def auto_reply(fields: Fields) -> str:
    """The field that says so, empty when none does."""
    submitted = fields.get("auto-submitted").partition(";")[0].strip().lower()
    if submitted and submitted != "no":
        return f"Auto-Submitted: {submitted[:60]}"
    if fields.get("precedence").strip().lower() in _PRECEDENCE:
        return "Precedence: auto_reply"
    for name in _FIELDS:
        if fields.get(name):
            return name.title()
    if fields.get("x-auto-response-suppress"):  # Exchange puts it on what it sends by itself
        return "X-Auto-Response-Suppress"
    subject = fields.get("subject").lower()
    return next((f"Subject: {start}" for start in _SUBJECTS if subject.startswith(start)), "")
