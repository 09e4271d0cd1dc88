"""What a reply means, by rules. Pure.

The verb guards what a reply may mean: before RCPT the peer judges our address or our sender, and only RCPT and the
message itself can be about a mailbox. A text that also speaks of something else never suppresses an address.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from mailagent.api.classification import Action, Category, Scope, Verdict
from mailagent.api.smtp import SmtpReply, Verb, split_enhanced
from mailagent.outcome.classification.rules import ADDRESS_CATEGORIES, Rule, Rules

MAX_TEXT = 600
"""Characters of a text that rules see: bounds what a hostile text costs."""
CACHE_ENTRIES = 4096

LOCAL = "local"
"""Provider, in rules, of replies that we made ourselves."""
UNMATCHED = "unmatched"
"""Id in the verdict of a reply that no rule knows."""

_AFTER_RCPT = frozenset({Verb.DATA, Verb.DOT})
_NOT_ABOUT_ADDRESS = frozenset({500, 502, 503, 504, 530, 534, 535, 538, 555})
"""Codes about commands and logins."""
_ABOUT_SENDER = re.compile(r"\bsender\b|\bmail from\b|return[- ]path")
"""What contradicts even a rule that is certain: a receiver may look our own address up with the same words."""
_ADDRESS_CODES = frozenset({"5.1.1", "5.1.6", "5.1.10"})

_DEFAULTS: dict[Category, tuple[Action, Action, Scope]] = {  # action for 5yz, for 4yz and no reply; scope
    Category.BAD_MAILBOX: (Action.SUPPRESS, Action.RETRY_THEN_SUPPRESS, Scope.ADDRESS),
    Category.INACTIVE_MAILBOX: (Action.SUPPRESS, Action.RETRY_THEN_SUPPRESS, Scope.ADDRESS),
    Category.BAD_DOMAIN: (Action.SUPPRESS, Action.RETRY_THEN_SUPPRESS, Scope.ADDRESS),
    Category.MAILBOX_FULL: (Action.RETRY_THEN_SUPPRESS, Action.RETRY_THEN_SUPPRESS, Scope.ADDRESS),
    Category.RECIPIENT_RATE: (Action.RETRY, Action.RETRY, Scope.ADDRESS),
    Category.RATE_LIMIT: (Action.BACKOFF, Action.BACKOFF, Scope.IP),
    Category.CONNECTION_LIMIT: (Action.BACKOFF, Action.BACKOFF, Scope.IP),
    Category.TOO_MANY_RECIPIENTS: (Action.RETRY, Action.RETRY, Scope.MESSAGE),
    Category.GREYLIST: (Action.RETRY, Action.RETRY, Scope.ADDRESS),
    Category.IP_BLOCKLIST: (Action.SUSPEND, Action.SUSPEND, Scope.IP),
    Category.IP_REPUTATION: (Action.SUSPEND, Action.BACKOFF, Scope.IP),
    Category.DOMAIN_REPUTATION: (Action.SUSPEND, Action.BACKOFF, Scope.DOMAIN),
    Category.SPAM_CONTENT: (Action.FAIL, Action.RETRY, Scope.MESSAGE),
    Category.ATTACHMENT_VIRUS: (Action.FAIL, Action.RETRY, Scope.MESSAGE),
    Category.MESSAGE_FORMAT: (Action.FAIL, Action.RETRY, Scope.MESSAGE),
    Category.MESSAGE_TOO_LARGE: (Action.FAIL, Action.RETRY, Scope.MESSAGE),
    Category.PROTOCOL_ERROR: (Action.FAIL, Action.RETRY, Scope.HOST),
    Category.AUTH_FAILURE: (Action.HOLD, Action.HOLD, Scope.DOMAIN),
    Category.RDNS: (Action.SUSPEND, Action.SUSPEND, Scope.IP),
    Category.TLS_REQUIRED: (Action.HOLD, Action.HOLD, Scope.HOST),
    Category.SENDER_INVALID: (Action.HOLD, Action.HOLD, Scope.STREAM),
    Category.SMARTHOST_AUTH: (Action.SUSPEND, Action.SUSPEND, Scope.HOST),
    Category.POLICY: (Action.FAIL, Action.RETRY, Scope.MESSAGE),
    Category.RECIPIENT_POLICY: (Action.FAIL, Action.RETRY, Scope.ADDRESS),
    Category.RELAY_DENIED: (Action.FAIL, Action.RETRY, Scope.ADDRESS),
    Category.ROUTING_ERROR: (Action.FAIL, Action.RETRY, Scope.ADDRESS),
    Category.SYSTEM_ERROR: (Action.RETRY, Action.RETRY, Scope.MESSAGE),
    Category.NETWORK: (Action.RETRY, Action.RETRY, Scope.HOST),
    Category.DNS_TEMP: (Action.RETRY, Action.RETRY, Scope.HOST),
    Category.EXPIRED: (Action.FAIL, Action.FAIL, Scope.MESSAGE),
    Category.AUTO_REPLY: (Action.NONE, Action.NONE, Scope.ADDRESS),
    Category.FEEDBACK: (Action.SUPPRESS, Action.NONE, Scope.ADDRESS),
    Category.OTHER: (Action.FAIL, Action.RETRY, Scope.MESSAGE),
}

_CONTINUED = re.compile(r"\b[45]\d\d-(?:[45]\.\d{1,3}\.\d{1,3}\b)?")  # `550-5.7.26 ` where lines were joined
# Peers choose the text: each pattern has one place to begin a run at, and gives none of it back (`++`, look-behinds).
_VARYING = (
    (re.compile(r"<[^<>\s@]*@[^<>\s]*>|(?<![\w.+%=-])[\w.+%=-]++@[\w.-]+\.\w+"), "<address>"),
    (re.compile(r"\[?\b(?:\d{1,3}\.){3}\d{1,3}\b\]?"), "<ip>"),
    (re.compile(r"(?<!\S)(?=[^\s\d]*+\d)\S++(?= - gsmtp)"), "<id>"),
    (re.compile(r" ?\(in reply to [^()]*\)"), ""),  # Postfix
    (re.compile(r"\b\d{4}-\d\d-\d\dt[\d:.]+z?"), "<time>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b"), "<id>"),
)
_CODE_IN_TEXT = re.compile(r"[#(]([245]\.\d{1,3}\.\d{1,3})\b")  # qmail and others: `sorry … (#5.1.1)`


class _Question(msgspec.Struct, frozen=True):
    """What rules are asked; equal questions have the same answer."""

    provider: str
    verb: Verb | None  # None: not known
    code: int
    enhanced: str
    text: str

    @property
    def permanent(self) -> bool:
        return self.code >= 500 or (self.code == 0 and self.enhanced.startswith("5"))

    @property
    def code_text(self) -> str:
        """`550`; without a code its class by `enhanced`: `5--`, else `0`."""
        return str(self.code) if self.code or not self.enhanced else f"{self.enhanced[0]}--"


class Classifier:
    """Rules, compiled. Not thread-safe; asked for each failed attempt, never for a 250."""

    def __init__(self, rules: Rules) -> None:
        self._aliases = rules.aliases
        self._contrary = re.compile(plain(rules.contrary))
        self._compiled = [_Compiled(rule) for rule in rules]
        self._by_provider: dict[str, tuple[_Compiled, ...]] = {}
        self._answer = lru_cache(maxsize=CACHE_ENTRIES)(self._decide)

    def verdict(self, reply: SmtpReply, provider: str) -> Verdict:
        """What a failed `reply` of `provider` means."""
        return self.classify(provider, reply.code, reply.enhanced, reply.text, reply.verb, local=reply.local)

    def classify(
        self, provider: str, code: int, enhanced: str, text: str, verb: Verb | None, *, local: bool = False
    ) -> Verdict:
        """The same for the parts of a reply; `verb` None: not known; rules that name no verb fit.

        `code` 0: there was no reply, or its code is not known; then the class of `enhanced` counts.
        """
        text = signature(text)
        if not enhanced:
            enhanced, rest = split_enhanced(text)
            if enhanced:
                text = rest
            elif match := _CODE_IN_TEXT.search(text):
                enhanced = match.group(1)
        name = LOCAL if local else self._aliases.get(provider, "")
        return self._answer(_Question(name, verb, code, enhanced, text))

    def _decide(self, question: _Question) -> Verdict:
        contrary: bool | None = None
        for rule in self._rules(question.provider):
            if not rule.fits(question):
                continue
            verdict = rule.permanent if question.permanent else rule.transient
            if verdict.action is Action.SUPPRESS and rule.certain:
                if _ABOUT_SENDER.search(question.text):
                    continue
            elif verdict.action is Action.SUPPRESS:
                if contrary is None:
                    contrary = self._contrary.search(question.text) is not None
                if contrary and question.enhanced not in _ADDRESS_CODES:
                    continue
                if contrary:
                    return msgspec.structs.replace(verdict, action=Action.RETRY_THEN_SUPPRESS)
            return verdict
        return _verdict(UNMATCHED, Category.OTHER, None, None, permanent=question.permanent)

    def _rules(self, provider: str) -> tuple["_Compiled", ...]:
        rules = self._by_provider.get(provider)
        if rules is None:
            rules = tuple(rule for rule in self._compiled if not rule.provider or provider in rule.provider)
            self._by_provider[provider] = rules
        return rules


class _Compiled:
    """One rule, ready to be asked."""

    __slots__ = (
        "_about_address", "_code", "_enhanced", "_text", "_verb", "certain", "permanent", "provider", "transient",
    )  # fmt: skip

    def __init__(self, rule: Rule) -> None:
        self.provider = frozenset(rule.provider)
        self._verb = frozenset(rule.verb)
        self._code = _any_of(rule.code, lambda code: code.replace("xx", ".."))
        self._enhanced = _any_of(rule.enhanced, _enhanced_pattern)
        self._text = re.compile(plain("|".join(rule.text))) if rule.text else None
        self._about_address = rule.category in ADDRESS_CATEGORIES
        self.certain = rule.certain
        self.permanent = _verdict(rule.id, rule.category, rule.action, rule.scope, permanent=True)
        self.transient = _verdict(rule.id, rule.category, rule.action, rule.scope, permanent=False)

    def fits(self, question: _Question) -> bool:
        verb = question.verb
        if verb is not None:
            if self._verb and verb not in self._verb:
                return False
        elif self._verb:
            return False
        if self._about_address and question.provider != LOCAL and not self._may_be_address(question):
            return False
        if self._code is not None and not self._code.fullmatch(question.code_text):
            return False
        if self._enhanced is not None and not self._enhanced.fullmatch(question.enhanced):
            return False
        return self._text is None or self._text.search(question.text) is not None

    def _may_be_address(self, question: _Question) -> bool:
        if question.code in _NOT_ABOUT_ADDRESS:
            return False
        if question.verb in _AFTER_RCPT:
            return self._text is not None
        return question.verb is None or question.verb is Verb.RCPT


def signature(text: str) -> str:
    """`text` as rules see it: small letters without accents, one line, without what differs from message to message."""
    text = plain(" ".join(_CONTINUED.sub("", text[: 4 * MAX_TEXT]).lower().replace("\u2019", "'").split()))
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    return text[:MAX_TEXT]


def plain(text: str) -> str:
    """`text` without accents and full-width forms, so that `übergroß` and `ubergroß` are one."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _verdict(rule: str, category: Category, action: Action | None, scope: Scope | None, *, permanent: bool) -> Verdict:
    for_good, for_now, default_scope = _DEFAULTS[category]
    action = action or (for_good if permanent else for_now)
    if action is Action.SUPPRESS and not permanent:
        action = Action.RETRY_THEN_SUPPRESS
    return Verdict(category=category, action=action, scope=scope or default_scope, rule=rule)


def _any_of(values: Sequence[str], pattern: Callable[[str], str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(pattern, values))) if values else None


def _enhanced_pattern(value: str) -> str:
    return value.replace("x", "[245]").replace(".", r"\.").replace("*", r"\d{1,3}")
