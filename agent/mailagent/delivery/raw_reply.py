"""One reply of a peer, before anybody has looked what it says."""

import msgspec

from mailagent.api import codec
from mailagent.api.smtp import SmtpReply, Verb, split_enhanced


class RawReply(msgspec.Struct, frozen=True):
    """One reply as it came: its code, and its lines without code and line end."""

    code: int
    lines: list[bytes]

    def parsed(self, verb: Verb) -> SmtpReply:
        """The reply as the answer to `verb`."""
        enhanced, text = split_enhanced(self.lines[0].decode("utf-8", "backslashreplace"))
        if len(self.lines) > 1:
            lines = [line.decode("utf-8", "backslashreplace") for line in self.lines[1:]]
            text = " ".join((text, *(line.removeprefix(f"{enhanced} ") if enhanced else line for line in lines)))
        return SmtpReply(code=self.code, enhanced=enhanced, text=codec.cut(text), verb=verb)
