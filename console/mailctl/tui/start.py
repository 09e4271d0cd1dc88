"""Opens the console on a fleet, as its operator has set it up."""

import os
from functools import partial
from pathlib import Path

from mailagent.api.requests import Role
from mailagent.config.structs import FleetConfig
from mailctl.fleet import Fleet
from mailctl.fleet.fleet import Turnover
from mailctl.ops.own import config_path
from mailctl.tui.app import VIEWS, ConsoleApp, all_tables
from mailctl.tui.collecting import Collector
from mailctl.tui.dialogs.columns import ColumnsDialog
from mailctl.tui.dialogs.confirm import ConfirmDialog
from mailctl.tui.dialogs.page import PageDialog
from mailctl.tui.dialogs.prompt import PromptDialog
from mailctl.tui.dialogs.report import ReportDialog
from mailctl.tui.dialogs.views import ViewsDialog
from mailctl.tui.dialogs.welcome import is_first_time
from mailctl.tui.keymap import bindings_of
from mailctl.tui.own import Own, load_own
from mailctl.tui.saved import views_path
from mailctl.tui.screens.help import HelpScreen
from mailctl.tui.source import FleetOperator
from mailctl.tui.terminal import hung_up_with_terminal
from mailctl.tui.widgets.table import FleetTable

PATIENCE_S = 5.0
"""How long a host may take to answer for the first time before the screen calls it lost."""


def binding_ids() -> frozenset[str]:
    """Ids of all bindings of the console, those of the replay too: one file of keys is for both."""
    from mailctl.tui.replay import ReplayApp  # it starts with what is here

    kinds: tuple[type, ...] = (
        ReplayApp,
        *VIEWS.values(),
        FleetTable,
        ConfirmDialog,
        PromptDialog,
        ReportDialog,
        HelpScreen,
        ColumnsDialog,
        ViewsDialog,
        PageDialog,
    )
    return frozenset(binding.id for kind in kinds for binding in bindings_of(kind) if binding.id)


def load_everything() -> Own:
    """The operator's own file.

    Raises:
        ConfigError: all its mistakes.
    """
    return load_own(config_path(), binding_ids(), all_tables())


def settle(app: ConsoleApp, own: Own) -> None:
    """Give a console what its operator has set up, and let it follow changes of that."""
    app.collector = Collector()
    app.keys, app.theme = own.keys, own.theme
    app.comfort.layouts = dict(own.layouts)
    app.comfort.own_path = config_path()
    app.comfort.load_saved(views_path())
    app.comfort.watch_own(config_path(), load_everything, partial(wear, app))


def run(config: FleetConfig, path: Path, *, as_role: Role | None = None, read_only: bool = False) -> int:
    """Open the console on a fleet; the exit code of the process.

    Raises:
        ConfigError: the operator's own file has mistakes.
    """
    own = load_everything()
    fleet = Fleet(config, path=path, as_role=as_role, read_only=read_only, patience_s=PATIENCE_S)
    environment = config.environment or ""
    app = ConsoleApp(fleet, FleetOperator(fleet), path=path, environment=environment, read_only=read_only)
    settle(app, own)
    app.drift.follow(config)
    app.comfort.watch_fleet(path, partial(follow, app, fleet))
    app.is_first_time = is_first_time()
    for name in ("COLUMNS", "LINES"):  # Textual would believe them, though the terminal may have another size by now
        os.environ.pop(name, None)
    with hung_up_with_terminal():
        return app.run() or 0


def wear(app: ConsoleApp, own: Own) -> None:
    """Take over keys and colours of one's own."""
    app.keys, app.theme = own.keys, own.theme
    app.set_keymap(dict(own.keys))


def follow(app: ConsoleApp, fleet: Fleet, config: FleetConfig) -> Turnover:
    """Take over another fleet file; hosts that it has too keep their links."""
    turnover = fleet.take_over(config)
    app.drift.follow(config)
    app.dress(config.environment or "")
    app.screen.refresh(layout=True)
    return turnover
