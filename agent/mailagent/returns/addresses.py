"""Which addresses mail may come back to, and what for. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from mailagent.config.checks.feedback import feedback_domains
from mailagent.config.structs import Shared
from mailagent.outcome.return_path import BOUNCE, UNSUBSCRIBE, BounceToken, ReturnPaths, Token


class Purpose(StrEnum):
    """What an address is for."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    DMARC = "dmarc"
    TLS = "tls"
    PEOPLE = "people"


class Refusal(StrEnum):
    """Why an address is none of ours."""

    UNKNOWN = "unknown"
    FORGED = "forged"  # has the form of a signed one
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Ours:
    """An address of ours."""

    purpose: Purpose
    token: Token | None = None


class AddressBook:
    """What the configuration calls ours."""

    def __init__(self, config: Shared, paths: ReturnPaths, clock: Callable[[], float], *, dsn_from: str = "") -> None:
        """`dsn_from`: From of our DSNs; answers to it are for people, unless those have their mail passed on to it."""
        feedback = config.feedback
        self._dsn_from = "" if feedback.postmaster.lower() == dsn_from.lower() else dsn_from.lower()
        self._domains = feedback_domains(config)
        self._paths = paths
        self._clock = clock
        self._max_age_s = feedback.token_age.total_seconds()
        self._locals = {"postmaster": Purpose.PEOPLE, "abuse": Purpose.PEOPLE}
        for names, purpose in (
            (feedback.complaints, Purpose.COMPLAINT),
            (feedback.dmarc, Purpose.DMARC),
            (feedback.tls, Purpose.TLS),
        ):
            self._locals |= {name.lower(): purpose for name in names}

    def look_up(self, address: str) -> Ours | Refusal:
        """What `address` is for."""
        local, at, domain = address.rpartition("@")
        if not at:  # RFC 5321 section 4.5.1: postmaster needs no domain
            return Ours(Purpose.PEOPLE) if domain.lower() == "postmaster" else Refusal.UNKNOWN
        if address.lower() == self._dsn_from:
            return Ours(Purpose.PEOPLE)
        if domain.lower().rstrip(".") not in self._domains:
            return Refusal.UNKNOWN
        if local[:2].lower() in (BOUNCE, UNSUBSCRIBE):
            token = self._paths.read(local)
            if token is None:
                return Refusal.FORGED
            if isinstance(token, BounceToken):
                late = token.age_s(self._clock()) > self._max_age_s
                return Refusal.EXPIRED if late else Ours(Purpose.BOUNCE, token)
            return Ours(Purpose.UNSUBSCRIBE, token)
        purpose = self._locals.get(local.lower().partition("+")[0])
        return Ours(purpose) if purpose is not None else Refusal.UNKNOWN
