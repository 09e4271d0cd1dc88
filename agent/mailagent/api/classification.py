"""What a refused recipient means: categories of replies, what is done about each, and how far that reaches.

Category and action are apart: the category says what the peer meant, the action what we do, and an override file may
change the one without the other. The lists are those of the classifier's rules (`mailagent.outcome`).
"""

from enum import StrEnum

import msgspec


class Category(StrEnum):
    """What a reply or a report says about a message, its recipient, or its sender."""

    BAD_MAILBOX = "bad-mailbox"
    INACTIVE_MAILBOX = "inactive-mailbox"
    BAD_DOMAIN = "bad-domain"
    MAILBOX_FULL = "mailbox-full"
    RECIPIENT_RATE = "recipient-rate"
    RATE_LIMIT = "rate-limit"
    CONNECTION_LIMIT = "connection-limit"
    TOO_MANY_RECIPIENTS = "too-many-recipients"
    GREYLIST = "greylist"
    IP_BLOCKLIST = "ip-blocklist"
    IP_REPUTATION = "ip-reputation"
    DOMAIN_REPUTATION = "domain-reputation"
    SPAM_CONTENT = "spam-content"
    ATTACHMENT_VIRUS = "attachment-virus"
    MESSAGE_FORMAT = "message-format"
    MESSAGE_TOO_LARGE = "message-too-large"
    PROTOCOL_ERROR = "protocol-error"
    AUTH_FAILURE = "auth-failure"
    RDNS = "rdns"
    TLS_REQUIRED = "tls-required"
    SENDER_INVALID = "sender-invalid"
    SMARTHOST_AUTH = "smarthost-auth"
    POLICY = "policy"
    RECIPIENT_POLICY = "recipient-policy"
    RELAY_DENIED = "relay-denied"
    ROUTING_ERROR = "routing-error"
    SYSTEM_ERROR = "system-error"
    NETWORK = "network"
    DNS_TEMP = "dns-temp"
    EXPIRED = "expired"
    AUTO_REPLY = "auto-reply"
    FEEDBACK = "feedback"
    OTHER = "other"


class Action(StrEnum):
    """What is done about it."""

    SUPPRESS = "suppress"  # never mail this address again
    RETRY_THEN_SUPPRESS = "retry-then-suppress"  # go on by schedule; suppress after several messages over days
    RETRY = "retry"  # by schedule
    BACKOFF = "backoff"  # lower the limits of this virtual MTA at this provider
    SUSPEND = "suspend"  # stop this virtual MTA at this provider (by scope: the stream)
    HOLD = "hold"  # a fault of ours: stop the stream, tell a person
    FAIL = "fail"  # bounce this message; the address stays good
    NONE = "none"


class Scope(StrEnum):
    """How far the cause reaches; another IP helps only where it is `ip`."""

    ADDRESS = "address"
    IP = "ip"
    DOMAIN = "domain"
    STREAM = "stream"
    HOST = "host"
    MESSAGE = "message"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule says about one reply."""

    category: Category
    action: Action
    scope: Scope
    rule: str  # id of the rule
