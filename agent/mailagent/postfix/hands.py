"""Who carries acts on single messages out: Postfix's programs themselves, or the helper when the agent is not root."""

from collections.abc import Sequence
from typing import Protocol

from mailagent.postfix.acts import Act, Done, commands, last_words, said
from mailagent.postfix.asking import Helper
from mailagent.postfix.commands import Programs
from mailagent.postfix.errors import HelperSilent, PostfixError
from mailagent.postfix.helper import ACT_S, question, understood


class Hands(Protocol):
    """Does something to messages by their queue ids."""

    async def act(self, act: Act, ids: Sequence[str]) -> Done:
        """Do `act` to at most MOST_IDS messages; what was done, also when not all of it was.

        Raises:
            ValueError: one of `ids` is none.
        """


class Own:
    """The agent runs the programs by itself: as root, or in a container that it may enter."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    async def act(self, act: Act, ids: Sequence[str]) -> Done:
        """See `Hands.act`. A program that is stopped for its time has not said what it did."""
        done: set[str] = set()
        for program, arguments, given in commands(act, ids):
            try:
                ran = await self._programs.told(program, *arguments, stdin=given, timeout_s=ACT_S)
            except PostfixError as exc:
                return Done(frozenset(done), str(exc))
            if act is not Act.FLUSH:
                done |= said(act, ran.complaint)
            elif ran.code == 0:
                done.add(arguments[-1])
            if ran.code:
                return Done(frozenset(done), f"{program}: {last_words(ran.code, ran.complaint)}")
        return Done(frozenset(done))


class Helped:
    """The helper does it. What any user may ask of Postfix (`authorized_flush_users`) the agent does by itself."""

    def __init__(self, helper: Helper, own: Own) -> None:
        self._helper = helper
        self._own = own

    async def act(self, act: Act, ids: Sequence[str]) -> Done:
        """See `Hands.act`."""
        if act is Act.FLUSH:
            return await self._own.act(act, ids)
        line = question(act, ids)
        try:
            return understood(await self._helper.ask(line))
        except HelperSilent as exc:
            return Done(frozenset(), str(exc))
