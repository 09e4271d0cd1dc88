"""What the agent has put into its Postfix, as `apply` keeps it beside main.cf.

It is root's, like the files of before that `remove` brings back: an agent that is not root reads it and cannot change
what root does by it.
"""

from pathlib import Path
from typing import Final

import msgspec

from mailagent.api.ids import StreamName, VmtaName
from mailagent.config.structs import AgentConfig
from mailagent.postfix.errors import PostfixError
from mailagent.postfix.files import MapFolder
from mailagent.postfix.tables import FOLDER

RECORD: Final = "installed.json"


class RecordUnreadable(PostfixError):
    """The agent cannot tell what is its own in Postfix."""


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent has put into an instance."""

    config_dir: str
    command: tuple[str, ...] = ()  # `postfix.command` of the agent that it is of
    type: str  # of the tables
    vmtas: tuple[VmtaName, ...] = ()
    streams: tuple[StreamName, ...] = ()  # that have slots
    nexthop: str = ""  # of the route `*`
    main_after: str = ""  # digests of main.cf and master.cf as the agent left them
    master_after: str = ""
    begun: bool = False  # an apply or remove that has not come to its end


def home(place: Path) -> Path:
    """The folder about the setup of the instance that is configured in `place`."""
    return place / FOLDER / "setup"


def installed(place: Path, config: AgentConfig) -> Installed | None:
    """What the agent has put into the Postfix that is configured in `place`; None: nothing, or in another's container.

    Raises:
        RecordUnreadable: it is not what this version writes.
    """
    path = home(place) / RECORD
    try:
        record = msgspec.json.decode(path.read_bytes(), type=Installed)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as exc:
        raise RecordUnreadable(f"{path} cannot be read: {exc}") from exc
    return record if record.command == config.postfix.command else None


def folder_of(record: Installed) -> MapFolder:
    """The maps of what is installed."""
    return MapFolder(Path(record.config_dir) / FOLDER, record.type)
