"""What Postfix's programs did not do.

PostfixError
├── ProgramMissing    no such program: install Postfix, or mend `postfix.command`
├── ProgramFailed     it ended with an error: its last words say why
├── ProgramSlow       it did not end in time
├── OutputTooLong     it said more than anybody asked for
├── HelperSilent      the helper that is root cannot be asked: see that its socket or sudo rule is there
└── InstanceUnusable  the instance is not there, or is none that the agent can stand in front of
"""

from collections.abc import Sequence


class PostfixError(Exception):
    """A program of Postfix did not do what it was asked."""


class ProgramMissing(PostfixError, FileNotFoundError):
    """The program, or what stands before it, cannot be started."""

    def __init__(self, argv: Sequence[str], why: str) -> None:
        super().__init__(f"{argv[0]} cannot be started: {why}; install Postfix, or mend postfix.command")
        self.argv = tuple(argv)

    def __str__(self) -> str:
        return str(self.args[0])


class ProgramFailed(PostfixError):
    """It ended with `code`; `words` are its last ones."""

    def __init__(self, argv: Sequence[str], code: int, words: str) -> None:
        super().__init__(f"{shown(argv)} ended with {code}: {words or 'it said nothing'}")
        self.argv = tuple(argv)
        self.code = code
        self.words = words


class ProgramSlow(PostfixError, TimeoutError):
    """It was ended after its time."""

    def __init__(self, argv: Sequence[str], timeout_s: float, complaint: bytes = b"") -> None:
        """`complaint` is what it has said on standard error by then."""
        super().__init__(f"{shown(argv)} did not end within {timeout_s:g} s")
        self.argv = tuple(argv)
        self.complaint = complaint


class OutputTooLong(PostfixError):
    """It was ended after so many bytes."""

    def __init__(self, argv: Sequence[str], limit_bytes: int) -> None:
        super().__init__(f"{shown(argv)} said more than {limit_bytes} bytes")
        self.argv = tuple(argv)


class HelperSilent(PostfixError):
    """The helper that is root did not answer."""

    def __init__(self, asked: Sequence[str], why: OSError) -> None:
        super().__init__(f"the helper {shown(asked)} cannot be asked: {str(why) or 'no answer in time'}; see its log")
        self.asked = tuple(asked)


class InstanceUnusable(PostfixError):
    """No instance that the agent can stand in front of; the message says what to do."""


def shown(argv: Sequence[str]) -> str:
    """A command for people: cut, and never its input."""
    text = " ".join(argv)
    return text if len(text) <= 200 else f"{text[:199]}…"
