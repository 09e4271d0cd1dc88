"""One line of `postqueue -j` as a value. Pure."""

from typing import Final

import msgspec

from mailagent.postfix.errors import PostfixError

QUEUES: Final = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
"""Folders of a Postfix queue that hold mail, in the order in which it passes them."""


class ListingError(PostfixError, ValueError):
    """A line that is no entry of a listing."""


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient; a reason stands there after an attempt."""

    address: str
    delay_reason: str = ""
    orig_address: str = ""  # since 3.11: as it came, before aliases and rewrites; the same, or empty, without them
    bounce_reason: str = ""  # since 3.11, which lists it until its sender is told: it is not tried again


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One queue file."""

    queue_name: str
    queue_id: str
    arrival_time: int  # seconds
    message_size: int = 0
    sender: str = ""  # as listed; MAILER-DAEMON stands for the empty one
    recipients: tuple[Recipient, ...] = ()
    forced_expire: bool = False  # since 3.5: it bounces at its next try

    @property
    def mail_from(self) -> str:
        """The envelope sender; empty for a notification."""
        return "" if self.sender == "MAILER-DAEMON" else self.sender

    @property
    def waiting(self) -> tuple[Recipient, ...]:
        """Recipients that are still to be delivered to."""
        return tuple(one for one in self.recipients if not one.bounce_reason)


_DECODER = msgspec.json.Decoder(Entry)


def parse(line: bytes) -> Entry:
    """The entry that `line` holds. Fields that a later Postfix adds are passed over.

    Raises:
        ListingError: it holds none.
    """
    try:
        return _DECODER.decode(line)
    except UnicodeDecodeError:
        return parse(line.decode("utf-8", "replace").encode())
    except msgspec.MsgspecError as exc:
        raise ListingError(f"no entry of a listing: {exc}: {line[:80]!r}") from exc
