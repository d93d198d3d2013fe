"""What plugins add to the townhall: checked when it begins to serve, and kept from harming it afterwards."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec
from tinytown.config import Config
from tinytown.model.events import Event
from tinytown.model.text import shown
from tinytown.plugin import survey_plugins
from tinytown.town import Town

from tinytown_townhall.attention import TEXT_CHARACTERS, Attention
from tinytown_townhall.contracts import Extension, Panel, Route, Waiting

#: First parts of addresses that are the page's own.
_TAKEN = {
    "",
    "now",
    "board",
    "history",
    "agents",
    "tasks",
    "extensions",
    "v1",
    "mcp",
    "health",
    "ready",
    "api",
    "metrics",
}
_WORD = re.compile(r"[a-z][a-z0-9-]{0,30}")
_FILE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.m?js")
_PICTURE = re.compile(r"[MmLlHhVvCcSsQqTtAaZz0-9 ,.-]{1,1000}")


class PanelView(msgspec.Struct, frozen=True, kw_only=True):
    """A view that a plugin adds to the page. `module` is the address of its JavaScript module, `icon` an SVG path."""

    view: str
    title: str
    icon: str
    module: str


class Extensions:
    """The extensions of a town's plugins. What is wrong with one is printed, and the others are taken.

    `plugin_text` is what plugins say of an event of theirs, see `tinytown_event_text`.
    """

    def __init__(
        self, found: Iterable[Extension] = (), plugin_text: Callable[[Event], str | None] = lambda _: None
    ) -> None:
        self._plugin_text = plugin_text
        self.routes: list[tuple[str, Route]] = []  # each with the name of its extension
        self.panels: list[PanelView] = []
        self.pages: dict[str, Traversable] = {}
        self._extensions: list[Extension] = []
        self._reported: set[str] = set()
        for extension in found:
            try:
                self._take(extension)
            except Exception as error:  # the plugin's fault, of whatever type
                self.report(getattr(extension, "name", type(extension).__name__), f"is left out: {error}")

    def _take(self, extension: Extension) -> None:
        if not _WORD.fullmatch(extension.name):
            raise ValueError(f"expected a lower-case word as name, got {extension.name!r}")
        panels: list[PanelView] = []
        for panel in extension.panels:
            panels.append(_panel(extension, panel, [*self.panels, *panels]))
        self._extensions.append(extension)
        self.routes += [(extension.name, route) for route in extension.routes]
        self.panels += panels
        if extension.page is not None:
            self.pages[extension.name] = extension.page

    async def waiting(self, town: Town) -> list[Attention]:
        """What waits for a person according to plugins."""
        found: list[Attention] = []
        for extension in self._extensions:
            try:
                found += [_attention(each) for each in await extension.waiting(town)]
            except Exception as error:  # one plugin's fault does not hide what the others know
                self.report(extension.name, f"cannot say what waits: {error!r}")
        return found

    def event_text(self, event: Event) -> str | None:
        """One line about an event of a plugin, in the plugin's own words; None without any."""
        try:
            return self._plugin_text(event)
        except Exception as error:  # one plugin's fault costs its words alone
            self.report(event.type, f"cannot describe its event: {error!r}")
            return None

    def report(self, name: object, text: str) -> None:
        """Print a fault of the extension `name` once, with the exception that is being handled."""
        if text not in self._reported:
            self._reported.add(text)
            print(f"townhall: the extension {shown(str(name))} of a plugin {text}", file=sys.stderr)
            traceback.print_exc(file=sys.stderr)


def load_extensions(config: Config, root: Path) -> Extensions:
    """The extensions of the town's plugins. Imports every plugin."""
    plugins = survey_plugins(config, root)

    def plugin_text(event: Event) -> str | None:
        return plugins.first_answer("tinytown_event_text", {"event": event}, str, "a text")

    return Extensions(plugins.contributed("townhall_extensions").values(), plugin_text)


def _panel(extension: Extension, panel: Panel, others: Sequence[PanelView]) -> PanelView:
    if not _WORD.fullmatch(panel.view) or panel.view in _TAKEN or panel.view in {each.view for each in others}:
        raise ValueError(f"expected a free lower-case word as view, got {panel.view!r}")
    if not _PICTURE.fullmatch(panel.icon):
        raise ValueError(f"expected the path of an SVG picture as icon of {panel.view}, got {panel.icon!r:.80}")
    if extension.page is None or not _FILE.fullmatch(panel.module) or not (extension.page / panel.module).is_file():
        raise ValueError(f"the page has no file {panel.module!r}")
    address = f"/extensions/{extension.name}/{panel.module}"
    return PanelView(view=panel.view, title=shown(panel.title, 40), icon=panel.icon, module=address)


def _attention(waiting: Waiting) -> Attention:
    return Attention(
        kind="other",
        id=waiting.id,
        label=shown(waiting.label, 40),
        title=shown(waiting.title, 120),
        text=waiting.text[:TEXT_CHARACTERS],
        since=waiting.since,
        agent=waiting.agent,
        task=waiting.task,
        link=waiting.link,
    )
