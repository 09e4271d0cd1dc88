"""The door of feedback listeners: who may hand in what, how much of it, and the 250 once it is on disk."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

from mailagent.api.smtp import SmtpReply
from mailagent.config.feedback import Feedback
from mailagent.intake.sasl import Login
from mailagent.intake.submission import Submission
from mailagent.intake.users import BAD, User
from mailagent.returns.addresses import AddressBook, Refusal
from mailagent.returns.mailbox import Envelope, Mailbox

WINDOW_S = 60.0

log = logging.getLogger(__name__)

_NOT_OURS = SmtpReply(code=550, enhanced="5.1.1", text="No such address here")
_TOO_FAST = SmtpReply(code=450, enhanced="4.7.1", text="Too much mail from your network, try again later")
_BEHIND = SmtpReply(code=452, enhanced="4.3.1", text="Too much mail waits to be read, try again later")
_NO_ROOM = SmtpReply(code=452, enhanced="4.3.1", text="The mail cannot be stored now, try again later")


class Desk:
    """Implements `mailagent.intake.Gate` for strangers."""

    wanted_headers: frozenset[bytes] = frozenset()
    postmaster = b""  # nobody relays here; for strangers the address book has it
    recipient_refusal: Callable[[bytes], SmtpReply | None] | None = None

    def __init__(
        self,
        config: Feedback,
        book: AddressBook,
        mailbox: Mailbox,
        *,
        closed: Callable[[], SmtpReply | None],
        short: Callable[[], SmtpReply | None],
        new_id: Callable[[], str],
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        stored: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`closed` and `short` are the host's: the 421 while it stops, the 4yz while it cannot store.

        `stored` is told the id of each mail that is on disk.
        """
        self.pending = 0  # mails on disk that are not read yet, and those being written
        self.refused: Counter[str] = Counter()
        self._mailbox = mailbox
        self._closed = closed
        self._short = short
        self._new_id = new_id
        self._spawn = spawn
        self._stored = stored
        self._clock = clock
        self._window_at = clock()
        self._of_network: Counter[str] = Counter()
        self.configure(config, book)

    def configure(self, config: Feedback, book: AddressBook) -> None:
        """Use these from now on."""
        self._config = config
        self._book = book

    # -- gate

    def greeting_refusal(self) -> SmtpReply | None:
        """421 while the host stops."""
        return self._closed()

    def mail_refusal(self) -> SmtpReply | None:
        """452 while too much waits, or the disk is full."""
        return _BEHIND if self.pending >= self._config.backlog else self._short()

    def stranger_refusal(self, client: str, recipient: bytes) -> SmtpReply | None:
        """550 for what is not ours, 450 for a network that sends too much."""
        now = self._clock()
        if now - self._window_at >= WINDOW_S:
            self._window_at = now
            self._of_network.clear()
        network = _network(client)
        self._of_network[network] += 1  # also what is refused: nobody tries out tokens
        if self._of_network[network] > self._config.rate_per_minute:
            self.refused["rate"] += 1
            return _TOO_FAST
        found = self._book.look_up(recipient.decode("utf-8", "replace"))
        if isinstance(found, Refusal):
            self.refused[found.value] += 1
            return _NOT_OURS
        return None

    def authenticate(self, login: Login, client: str, done: Callable[[User | SmtpReply], None]) -> None:  # noqa: ARG002
        """Nobody logs in here; the session does not offer it."""
        done(BAD)

    def submit(self, submission: Submission, done: Callable[[SmtpReply], None]) -> None:
        """Store the mail, then answer."""
        envelope = Envelope(
            id=self._new_id(),
            at=time.time(),
            client=submission.client,
            sender=submission.sender.decode("utf-8", "replace"),
            recipients=tuple(address.decode("utf-8", "replace") for address in submission.recipients),
        )
        self.pending += 1
        self._spawn(self._store(envelope, submission.body, done), f"feedback:{envelope.id}")

    async def _store(self, envelope: Envelope, message: bytes, done: Callable[[SmtpReply], None]) -> None:
        try:
            await asyncio.to_thread(self._mailbox.store, envelope, message)
        except OSError as exc:
            self.pending -= 1
            log.error("feedback not stored msg=%s: %s", envelope.id, exc)
            done(_NO_ROOM)
            return
        self._stored(envelope.id)
        done(SmtpReply(code=250, enhanced="2.0.0", text=f"Ok: {envelope.id}"))


@lru_cache(maxsize=4096)
def _network(client: str) -> str:
    """The client's /24 or /64."""
    try:
        return str(ip_network(f"{client}/{64 if ':' in client else 24}", strict=False))
    except ValueError:
        return client
