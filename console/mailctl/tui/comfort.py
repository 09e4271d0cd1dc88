"""What an operator sets up: columns, saved views, files that are read again, and screens written to files."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.screen import Screen

from mailagent.config import load_fleet
from mailagent.config.edits import CannotEdit
from mailagent.config.errors import ConfigError
from mailagent.config.structs import FleetConfig
from mailctl.fleet.fleet import Turnover
from mailctl.ops.errors import FilterSyntaxError
from mailctl.ops.filters import Filter
from mailctl.tui.desk import Desk
from mailctl.tui.dialogs.columns import Answer, ColumnsDialog
from mailctl.tui.dialogs.views import ViewsDialog
from mailctl.tui.export import as_file, taken, write_new
from mailctl.tui.layout import Layout, Tables, parse
from mailctl.tui.own import Own, keep_layout, load_layouts
from mailctl.tui.saved import DESCENDING, SavedView, load_views, save_views, wrong_name
from mailctl.tui.screens.view import View
from mailctl.tui.text import clean, listed, plural
from mailctl.tui.theme import Tone
from mailctl.tui.watched import Watched

GROUP: Final = "comfort"
BINDINGS: Final = (
    Binding("vertical_line", "comfort('columns')", "Columns", show=False, id="view.columns"),
    Binding("s", "comfort('save')", "Save the view", show=False, id="view.save"),
    Binding("z", "comfort('views')", "Saved views", show=False, id="view.saved"),
    Binding("e", "comfort('export')", "Export", show=False, id="view.export"),
)
"""Keys of all screens."""

logger = logging.getLogger(__name__)


class Comfort:
    """Belongs to one app. Nothing here asks or changes a host."""

    def __init__(self, desk: Desk, tables: Callable[[], Tables]) -> None:
        self._desk = desk
        self._tables = tables
        self.layouts: dict[str, Layout] = {}
        self.views: dict[str, SavedView] = {}
        self.own_path: Path | None = None  # config.yaml
        self.views_path: Path | None = None
        self._files: list[tuple[Watched, Callable[[], Callable[[], str]]]] = []

    @property
    def _app(self) -> "App[Any]":
        return cast("App[Any]", self._desk)

    def act(self, name: str) -> None:
        """What a key means."""
        view = self._app.screen
        if isinstance(view, View):
            {"columns": self.choose_columns, "save": self.save, "views": self.choose_view, "export": self.export}[name](
                view
            )

    def commands(self, view: View) -> Iterable[SystemCommand]:
        """What the palette offers."""
        yield SystemCommand("Columns", "which, in which order, how wide", partial(self.choose_columns, view))
        yield SystemCommand("Save view", "screen, filter, order and columns under a name", partial(self.save, view))
        yield SystemCommand("Saved views", "open or forget one", partial(self.choose_view, view))
        for name, saved in self.views.items():
            yield SystemCommand(
                f"View {clean(name)}", clean(f"{saved.screen} {saved.filter}"), partial(self.open, name)
            )
        yield SystemCommand("Export screen as SVG", "a picture of it", partial(self.export, view, ".svg"))
        yield SystemCommand("Export screen as text", "what stands on it", partial(self.export, view, ".txt"))
        if self._files:
            yield SystemCommand("Read files again", "config.yaml and the fleet file", self.read_again)

    # columns

    def choose_columns(self, view: View) -> None:
        """Ask for the columns of the table with the focus."""
        name = view.table_name
        if name is None:
            view.say("no table here", Tone.WARN)
            return
        columns = view.tables()[name]
        self._app.push_screen(
            ColumnsDialog(name, columns, self.layouts.get(name, ())), partial(self._columns_chosen, view, name)
        )

    def _columns_chosen(self, view: View, name: str, answer: Answer | None) -> None:
        if answer is None:
            return
        self._arrange(name, answer.layout)
        view.redraw()
        if not answer.keep:
            view.say(f"columns of {name} until the console ends; S in the dialog keeps them")
        elif self.own_path is None:
            view.say("there is no file to keep them in", Tone.WARN)
        else:
            self._run(partial(self._keep, view, self.own_path, name, answer.layout))

    async def _keep(self, view: View, path: Path, name: str, layout: Layout) -> None:
        def write() -> None:
            keep_layout(path, name, layout, lambda draft: load_layouts(draft, self._tables()))
            for watched, _ in self._files:
                if watched.path == path:
                    watched.note()

        try:
            await asyncio.to_thread(write)
        except (CannotEdit, ConfigError, OSError) as exc:
            view.say(f"{path.name}: not kept: {exc}", Tone.BAD)
        else:
            view.say(f"columns of {name} kept in {path}", Tone.GOOD)

    def _arrange(self, name: str, layout: Layout) -> None:
        if layout:
            self.layouts[name] = layout
        else:
            self.layouts.pop(name, None)

    # saved views

    def save(self, view: View) -> None:
        """Ask for a name, and save what the screen shows under it."""
        if self.views_path is None:
            view.say("there is no file to save views in", Tone.WARN)
            return
        screen = type(view).__name__.removesuffix("View")
        if screen in ("Message", "Trace"):
            view.say("this screen is about one thing only; save one that has a filter", Tone.WARN)
            return
        order = ""
        if view.ordering.by is not None:
            index, descending = view.ordering.by
            order = view.COLUMNS[index].title + (DESCENDING if descending else "")
        columns = {name: tuple(map(str, self.layouts[name])) for name in view.tables() if name in self.layouts}
        saved = SavedView(screen=screen, filter=str(view.filter), order=order, columns=columns)
        known = ", ".join(map(clean, self.views)) or "none yet"
        self._desk.ask("Save this view as", f"saved: {known}", wrong_name, partial(self._save, saved))

    def _save(self, saved: SavedView, name: str) -> None:
        again = name in self.views
        self._keep_views({**self.views, name: saved}, f"view {name} {'replaced' if again else 'saved'}; z opens it")

    def forget(self, name: str) -> None:
        """Take a view from the file."""
        self._keep_views({one: saved for one, saved in self.views.items() if one != name}, f"view {name} forgotten")

    def _keep_views(self, views: Mapping[str, SavedView], said: str) -> None:
        before, self.views = self.views, dict(views)
        self._run(partial(self._write_views, before, said))

    async def _write_views(self, before: dict[str, SavedView], said: str) -> None:
        assert self.views_path is not None  # noqa: S101  nothing is saved without
        try:
            await asyncio.to_thread(save_views, self.views_path, dict(self.views))
        except OSError as exc:
            self.views = before
            self._desk.say(f"{self.views_path}: {exc.strerror or exc}", Tone.BAD)
        else:
            self._desk.say(said, Tone.GOOD)

    def choose_view(self, view: View) -> None:
        """List the saved ones."""
        if not self.views:
            view.say("no view is saved yet; s saves this one", Tone.WARN)
            return
        dialog = ViewsDialog(lambda: self.views, self.forget)
        self._app.push_screen(dialog, lambda name: self.open(name) if name is not None else None)

    def open(self, name: str) -> None:
        """Go to the screen of a saved view, with its filter, order and columns."""
        saved = self.views[name]
        known = self._app.is_screen_installed(saved.screen)
        target: Screen[Any] | None = self._app.get_screen(saved.screen) if known else None
        if not isinstance(target, View):
            self._desk.say(f"view {name}: there is no screen {saved.screen}", Tone.WARN)
            return
        try:
            wanted = Filter.parse(saved.filter)
        except FilterSyntaxError as exc:
            self._desk.say(f"view {name}: {exc}", Tone.WARN)
            return
        for table, columns in target.tables().items():
            self._arrange(table, _layout(saved.columns.get(table, ()), columns))
        target.ordering.by_title(saved.order.removesuffix(DESCENDING), descending=saved.order.endswith(DESCENDING))
        if target.is_current:
            target.narrow(wanted)
            target.redraw()
        else:
            self._desk.go_down(saved.screen, wanted)
        self._desk.say(f"view {name}")

    # export

    def export(self, view: View, suffix: str = ".svg") -> None:
        """Ask for a file, and write the screen as it is now into it."""
        picture = self._app.export_screenshot(title=self._app.title)
        name = type(view).__name__.removesuffix("View").lower()
        self._desk.ask(
            "Write this screen to a new file",
            ".svg is a picture, anything else text",
            taken,
            lambda text: self._run(partial(self._export, Path(text).expanduser(), picture)),
            f"{name}-{self._desk.now():%Y%m%dT%H%M%SZ}{suffix}",
        )

    async def _export(self, path: Path, picture: str) -> None:
        try:
            await asyncio.to_thread(write_new, path, as_file(picture, path))
        except OSError as exc:
            self._desk.say(f"{path}: {exc.strerror or exc}", Tone.BAD)
        else:
            self._desk.say(f"screen written to {path}", Tone.GOOD)

    # files

    def watch_own(self, path: Path, load: Callable[[], Own], take: Callable[[Own], None]) -> None:
        """Follow the operator's own file; `load` runs in a thread."""

        def read() -> Callable[[], str]:
            own = load()

            def use() -> str:
                self.layouts = dict(own.layouts)
                take(own)
                for view in self._app.screen_stack:
                    if isinstance(view, View):
                        view.redraw()
                return "keys, theme and columns are as it says"

            return use

        self._files.append((Watched(path), read))

    def watch_fleet(self, path: Path, take: Callable[[FleetConfig], Turnover]) -> None:
        """Follow the fleet file."""

        def read() -> Callable[[], str]:
            config = load_fleet(path)
            return lambda: turned(take(config))

        self._files.append((Watched(path), read))

    def look(self) -> None:
        """See whether a file has changed; called once a second."""
        if self._files and not any(one.group == "files" and one.is_running for one in self._app.workers):
            self._run(self._look, "files")

    def read_again(self) -> None:
        """Read all files, whether they have changed or not."""
        self._run(partial(self._look, anyway=True), "files")

    async def _look(self, *, anyway: bool = False) -> None:
        for watched, read in self._files:
            if await asyncio.to_thread(watched.has_changed) or anyway:
                await self._read(watched.path, read)

    async def _read(self, path: Path, read: Callable[[], Callable[[], str]]) -> None:
        """Take a file over whole, or say what is wrong with it and leave everything as it is."""
        try:
            done = (await asyncio.to_thread(read))()
        except ConfigError as exc:
            first = exc.errors[0]
            place = ": ".join(filter(None, (f"line {first.line}" if first.line else "", first.key, first.message)))
            more = f" (and {plural(len(exc.errors) - 1, 'mistake')} more)" if len(exc.errors) > 1 else ""
            self._desk.say(f"nothing of {path.name} is taken over: {place}{more}", Tone.BAD)
        except (LookupError, OSError) as exc:
            self._desk.say(f"nothing of {path.name} is taken over: {exc}", Tone.BAD)
        else:
            logger.info("file=%s read again: %s", path, done)
            self._desk.say(f"{path.name} read again: {done}", Tone.GOOD)

    def load_saved(self, path: Path) -> None:
        """Read the saved views once, at the start; a mistake there is told and keeps nobody out."""
        self.views_path = path
        try:
            self.views = load_views(path)
        except ConfigError as exc:
            self.views_path = None  # else the next view would write over what is there
            self._desk.said = (f"no saved views: {exc.errors[0]}", Tone.WARN)

    def _run(self, work: Callable[[], Any], group: str = GROUP) -> None:
        self._app.run_worker(cast(Any, work), group=group, name=group)


def turned(turnover: Turnover) -> str:
    """What another fleet file changed in the links."""
    parts = [
        f"{what} {listed(names)}"
        for what, names in (
            ("new:", turnover.fresh),
            ("gone:", turnover.gone),
            ("reached in another way:", turnover.moved),
        )
        if names
    ]
    return "; ".join(parts) or "the same hosts; what they run changes with an apply only (c on Fleet)"


def _layout(words: Iterable[str], columns: Any) -> Layout:
    """The columns of a saved view that there still are."""
    found = []
    for word in words:
        try:
            found.append(parse(word, columns))
        except ValueError:
            logger.info("a saved view has an unknown column: %s", clean(word))
    return tuple(found)
