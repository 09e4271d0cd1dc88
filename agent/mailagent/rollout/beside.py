"""What has to follow a configuration beside the agent: nothing with our own engine, else the Postfix behind it."""

from dataclasses import dataclass
from typing import Final, Protocol

from mailagent.api.rollout import Ceiling, ConfigChange
from mailagent.config.structs import AgentConfig
from mailagent.rollout.difference import ceilings


@dataclass(frozen=True, slots=True)
class Need:
    """What a configuration asks of what stands beside the agent."""

    changes: tuple[ConfigChange, ...] = ()  # from what stands there
    notes: tuple[str, ...] = ()  # what will not be as the file says, and what somebody has to do by hand
    by_hand: bool = False  # an apply does not make the changes; `notes` say what does
    problems: tuple[str, ...] = ()  # why an apply is refused

    @property
    def does(self) -> bool:
        """Whether an apply changes something there."""
        return bool(self.changes) and not self.by_hand


class Beside(Protocol):
    """What follows."""

    def ceilings(self, running: AgentConfig, config: AgentConfig) -> list[Ceiling]:
        """Limits in effect that differ."""

    async def need(self, running: AgentConfig, config: AgentConfig) -> Need:
        """What has to change for `config`, while `running` is in effect; with the same twice: what is not as it was
        set up."""

    async def make(self, config: AgentConfig) -> str:
        """Make the changes, as far as they are not for somebody's hand; what was done, or nothing.

        Raises:
            Refused: everything is as it was before.
        """


class _Nothing:
    """Our own engine follows its file alone."""

    def ceilings(self, running: AgentConfig, config: AgentConfig) -> list[Ceiling]:
        """Limits in effect that differ."""
        return ceilings(running, config)

    async def need(self, running: AgentConfig, config: AgentConfig) -> Need:  # noqa: ARG002
        """Nothing."""
        return Need()

    async def make(self, config: AgentConfig) -> str:  # noqa: ARG002
        """Nothing."""
        return ""


ALONE: Final[Beside] = _Nothing()
