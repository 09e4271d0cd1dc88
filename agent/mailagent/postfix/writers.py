"""Who writes the maps and has Postfix reload: the agent itself, or the helper when the agent is not root."""

import os
from collections.abc import Mapping
from typing import Protocol

from mailagent.postfix.allowed import APPLY
from mailagent.postfix.asking import Helper
from mailagent.postfix.errors import PostfixError, ProgramFailed
from mailagent.postfix.files import MapFolder, MapsFailed, Programs
from mailagent.postfix.helper import RELOAD, maps_question, understood
from mailagent.postfix.tables import ALLOWED


class Writer(Protocol):
    """Puts maps in place."""

    def why_not(self, folder: MapFolder) -> str:
        """What an operator has to do before this agent can write maps; empty: nothing."""

    async def write(self, folder: MapFolder, texts: Mapping[str, str]) -> set[str]:
        """Put maps in place, all or none; the names of those that changed.

        Raises:
            MapsFailed: nothing has changed.
        """

    async def reload(self) -> None:
        """Have a running Postfix read its files again; one that is stopped reads them when it starts.

        Raises:
            PostfixError: it did not.
        """


class OwnWriter:
    """The agent does it by itself, as root."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def why_not(self, folder: MapFolder) -> str:
        """See `Writer.why_not`."""
        place = folder.path if folder.path.is_dir() else folder.path.parent
        if os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            return ""
        return (
            f"the agent runs as uid {os.geteuid()}, may not write {place}, and has no helper: set up `mailagent"
            " postfix helper` there and name it in postfix.helper (Privileges, in the document on Postfix hosts)"
        )

    async def write(self, folder: MapFolder, texts: Mapping[str, str]) -> set[str]:
        """See `Writer.write`."""
        if folder.changed(texts) and (why := self.why_not(folder)):
            raise MapsFailed(f"the maps stay as they were: {why}")
        return await folder.write(texts, self._programs)

    async def reload(self) -> None:
        """See `Writer.reload`."""
        try:
            await self._programs.run("postfix", "reload")
        except ProgramFailed:
            if await self._is_running():
                raise

    async def _is_running(self) -> bool:
        try:
            await self._programs.run("postfix", "status")
        except ProgramFailed:
            return False
        return True


class HelpedWriter:
    """The helper does it, which checks every row against what `apply` has set up."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper

    def why_not(self, folder: MapFolder) -> str:
        """See `Writer.why_not`."""
        path = folder.path / ALLOWED
        return "" if path.exists() else f"{path} is not there, which says what the helper may write: {APPLY}"

    async def write(self, folder: MapFolder, texts: Mapping[str, str]) -> set[str]:
        """See `Writer.write`."""
        changed = folder.changed(texts)
        if not changed:
            return set()
        try:
            line = maps_question(changed)
            done = understood(await self._helper.ask(line), lambda names: [one for one in names if one in changed])
        except (PostfixError, ValueError) as exc:
            raise MapsFailed(f"the maps in {folder.path} stay as they were: {exc}") from exc
        if done.trouble:
            raise MapsFailed(f"the maps in {folder.path} stay as they were: helper: {done.trouble}")
        return set(done.ids)

    async def reload(self) -> None:
        """See `Writer.reload`."""
        done = understood(await self._helper.ask(RELOAD))
        if done.trouble:
            raise PostfixError(f"helper: postfix reload: {done.trouble}")
