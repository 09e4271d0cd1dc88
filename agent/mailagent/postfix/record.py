"""What the agent has put into its Postfix, as it keeps it in its own folder."""

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
    """What the agent has put into an instance, as kept in its own folder."""

    config_dir: str
    type: str  # of the tables
    vmtas: tuple[VmtaName, ...] = ()
    streams: tuple[StreamName, ...] = ()  # that have slots
    nexthop: str = ""  # of the route `*`
    main_after: str = ""  # digests of main.cf and master.cf as the agent left them
    master_after: str = ""
    begun: bool = False  # an apply or remove that has not come to its end


def home(config: AgentConfig) -> Path:
    """The agent's own folder about its Postfix."""
    return config.state_dir / "postfix"


def installed(config: AgentConfig) -> Installed | None:
    """What the agent has put into its Postfix; None: nothing.

    Raises:
        RecordUnreadable: it is not what this version writes.
    """
    path = home(config) / RECORD
    try:
        return msgspec.json.decode(path.read_bytes(), type=Installed)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as exc:
        raise RecordUnreadable(f"{path} cannot be read: {exc}") from exc


def folder_of(record: Installed) -> MapFolder:
    """The maps of what is installed."""
    return MapFolder(Path(record.config_dir) / FOLDER, record.type)
