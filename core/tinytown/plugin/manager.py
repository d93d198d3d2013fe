"""What all plugins of a town contribute, by kind and name, and which plugin is responsible for what fails.

Knows what each hook has to return. It runs no method of the objects: their callers report with `Plugins.mark_faulty` what
went wrong. What a plugin raises, be it SystemExit, stays with that plugin.
"""

from __future__ import annotations

import inspect
import os
import re
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from tinytown import contracts
from tinytown.config import CONFIG_FILE, Config, convert_settings
from tinytown.errors import ConfigError, NotFound, PluginError, PluginFaulty, PluginRefused, TinytownError
from tinytown.model.agents import Agent
from tinytown.model.events import Event
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.packages import install_hint
from tinytown.plugin.loader import BLOCK_VARIABLE, HOOKS, Plugin, PluginReport, Status, installed_plugins


class _Kind(NamedTuple):
    """A kind of contribution: the hook that returns it, its contract, and the attribute that names it."""

    hook: str
    contract: type
    key: str


_KINDS = {
    "backends": _Kind("tinytown_agent_backends", contracts.AgentBackend, "kind"),
    "converters": _Kind("tinytown_converters", contracts.Converter, "format"),
    "sinks": _Kind("tinytown_status_sinks", contracts.StatusSink, "name"),
    "workspaces": _Kind("tinytown_workspaces", contracts.Workspace, "name"),
    "gates": _Kind("tinytown_gates", contracts.Gate, "name"),
    "services": _Kind("tinytown_services", contracts.Service, "name"),
    "commands": _Kind("tinytown_commands", contracts.Command, "name"),
    "completers": _Kind("tinytown_completers", contracts.Completer, "name"),
    "health_checks": _Kind("tinytown_health_checks", contracts.HealthCheck, "name"),
    "status_sections": _Kind("tinytown_status_sections", contracts.StatusSection, "name"),
    "agent_tools": _Kind("tinytown_agent_tools", contracts.AgentTool, "name"),
}
T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TARGET = re.compile(r"\w+(\.\w+)*:\w+")
_REASON_LENGTH = 300
_NO_DATA: Mapping[str, Mapping[str, Any]] = {}


class Plugins:
    """All plugins of a town and what they contribute; see `load_plugins`.

    Contributions of a kind are held by name (a backend's kind, a converter's format), each name once, in the order in which
    plugins are called: those whose hook says ``tryfirst``, then by the plugin's name, then those with ``trylast``.
    """

    def __init__(self, config: Config, root: Path) -> None:
        self._contributions: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
        self._config = config
        self._path = root.absolute() / CONFIG_FILE
        self._plugins = installed_plugins()
        # By plugin and stage, so that it cannot grow for ever.
        self._problems: dict[tuple[str, str], TinytownError] = {}
        self._load()
        self._collect()
        self._check_agent_clis()
        known = self._contributions
        self.backends: Mapping[str, contracts.AgentBackend] = known["backends"]
        self.converters: Mapping[str, contracts.Converter] = known["converters"]
        self.sinks: Mapping[str, contracts.StatusSink] = known["sinks"]
        self.commands: Mapping[str, contracts.Command] = known["commands"]
        self.completers: Mapping[str, contracts.Completer] = known["completers"]
        self.health_checks: Mapping[str, contracts.HealthCheck] = known["health_checks"]
        self.status_sections: Mapping[str, contracts.StatusSection] = known["status_sections"]
        self.agent_tools: Mapping[str, contracts.AgentTool] = known["agent_tools"]
        self.workspaces: tuple[contracts.Workspace, ...] = tuple(known["workspaces"].values())
        self.gates: tuple[contracts.Gate, ...] = tuple(known["gates"].values())
        self.services: tuple[contracts.Service, ...] = tuple(known["services"].values())

    @property
    def reports(self) -> tuple[PluginReport, ...]:
        """One for each plugin, by name."""
        return tuple(plugin.report() for plugin in self._plugins)

    @property
    def problems(self) -> tuple[TinytownError, ...]:
        """What is wrong, at most one for each plugin and stage; what the plugin raised is the `__cause__`."""
        return tuple(self._problems.values())

    def check(self) -> None:
        """Raise what a town must not start with, as `load_plugins` says."""
        unfit = {plugin.name for plugin in self._plugins if plugin.status in ("refused", "faulty", "missing")}
        for (plugin, _), problem in sorted(
            self._problems.items(), key=lambda item: not isinstance(item[1], ConfigError)
        ):
            asked_for = plugin in unfit and plugin in self._config.plugins
            if asked_for or self._config.strict_plugins or isinstance(problem, ConfigError):
                raise problem

    def owner(self, contributed: object) -> str:
        """The name of the plugin that contributed an object. Raises: NotFound."""
        for kind, objects in self._contributions.items():
            for name, known in objects.items():
                if known is contributed:
                    return next(plugin.name for plugin in self._plugins if name in plugin.contributions.get(kind, ()))
        raise NotFound(f"no plugin has contributed {_described(contributed)}")

    def mark_faulty(self, plugin: str, stage: str, error: BaseException) -> PluginError:
        """Record that something of a plugin failed at run time; the error that names the plugin.

        `stage` says where, in a word or two (``sink journal``); of each stage the first failure is kept. The plugin's
        objects stay registered; what becomes of the one that failed is for the caller to decide. `owner` has the name.
        """
        known = next((known for known in self._plugins if known.name == plugin and known.manager), Plugin(plugin))
        return self._blame(known, stage, error)

    @property
    def plugins_wanting_data(self) -> tuple[str, ...]:
        """The plugins that want what they keep in the town for what they add to prompts."""
        hook = "tinytown_prompt_sections"
        return tuple(each.name for each in self._implementing(hook) if "data" in each.arguments[hook])

    def prompt_sections(
        self, agent: Agent, task: Task | None, data: Mapping[str, Mapping[str, Any]] = _NO_DATA
    ) -> tuple[str, ...]:
        """What the plugins add to an agent's prompt, in their order; `data` is what each keeps in the town."""
        hook = "tinytown_prompt_sections"
        sections: list[str] = []
        for plugin in self._implementing(hook):
            with self._blaming(plugin, hook):
                answers = plugin.call(hook, {"agent": agent, "task": task, "data": data.get(plugin.name, {})})
                sections += [_expect(each, str, "a text") for answer in answers for each in _items(answer)]
        return tuple(sections)

    def choose_agent(self, task: Task, agents: Sequence[Agent]) -> str | None:
        """The name of one of `agents`, by the first plugin with an opinion; any other name counts as none."""
        hook, names = "tinytown_choose_agent", {agent.name for agent in agents}
        for plugin in self._implementing(hook):
            with self._blaming(plugin, hook):
                for answer in plugin.call(hook, {"task": task, "agents": tuple(agents)}):
                    name = _expect(answer, str, "the name of an agent")
                    if name in names:
                        return name
        return None

    def reporting_guide(self, agent: Agent, town_tools: bool) -> contracts.ReportingGuide | None:
        """How the prompt of `agent` says to report, by the first plugin with an opinion; None without one.

        `town_tools`: whether the agent's backend offers the town's tools to its model.
        """
        arguments = {"agent": agent, "town_tools": town_tools}
        return self._first("tinytown_reporting_guide", arguments, contracts.ReportingGuide, "a ReportingGuide")

    def event_text(self, event: Event) -> str | None:
        """One line about an event, by the first plugin with an opinion; None without one."""
        return self._first("tinytown_event_text", {"event": event}, str, "a text")

    def _first(self, hook: str, arguments: Mapping[str, Any], kind: type[T], what: str) -> T | None:
        """The first answer to a hook that is a `kind`."""
        for plugin in self._implementing(hook):
            with self._blaming(plugin, hook):
                for answer in plugin.call(hook, arguments):
                    return _expect(answer, kind, what)
        return None

    # -- loading -----------------------------------------------------------------------------------------

    def _load(self) -> None:
        blocked = {name.strip() for name in os.environ.get(BLOCK_VARIABLE, "").split(",")}
        blocked.update(self._config.blocked_plugins)
        names = [plugin.name for plugin in self._plugins]
        for plugin in self._plugins:
            namesakes = [each.distribution for each in self._plugins if each.name == plugin.name]
            with self._blaming(plugin, "load"):
                if blocked & {plugin.name, "*"}:
                    plugin.status, plugin.reason = "blocked", f"by blocked_plugins or {BLOCK_VARIABLE}"
                elif len(namesakes) > 1:
                    raise PluginRefused(
                        f"{' and '.join(namesakes)} each have a plugin of this name", hint="uninstall all but one"
                    )
                else:
                    plugin.load()
        for name in self._config.plugins.keys() - set(names):
            if blocked.isdisjoint({name, "*"}):
                absent = Plugin(name)
                self._plugins.append(absent)
                problem = PluginRefused(
                    f"it is not installed, but {self._path} or your own settings have [plugins.{name}]",
                    hint=install_hint("plugins", name, "install the distribution that brings it, or remove the table"),
                )
                self._blame(absent, "load", problem, "missing")
        self._plugins.sort(key=lambda plugin: (plugin.name, plugin.distribution))

    def _collect(self) -> None:
        town: dict[str, Any] = {"config": self._config, "root": self._path.parent}
        arguments = {plugin.name: town | {"settings": self._settings(plugin)} for plugin in self._plugins}
        for kind, (hook, _, _) in _KINDS.items():
            for plugin in self._implementing(hook):
                with self._blaming(plugin, hook):
                    named = {name: arguments[plugin.name][name] for name in HOOKS[hook]}
                    for answer in plugin.call(hook, named):
                        for contributed in _items(answer):
                            self._register(plugin, kind, contributed)

    def _settings(self, plugin: Plugin) -> msgspec.Struct | None:
        """Its table as its settings type. If they do not fit, none of its other hooks is called."""
        hook, key = "tinytown_settings_type", f"plugins.{plugin.name}"
        table = self._config.plugins.get(plugin.name, {})
        with self._blaming(plugin, hook):
            kind = next(iter(plugin.call(hook, {})), None)
            if kind is None:
                if table and plugin.manager:
                    key = f"{key}.{next(iter(table))}"
                    raise ConfigError(f"{self._path}: it takes no settings, got {key}", path=str(self._path), key=key)
                return None
            if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
                raise PluginFaulty(f"expected a subclass of msgspec.Struct, got {_described(kind)}")
            if not kind.__struct_config__.forbid_unknown_fields:
                raise PluginRefused(
                    f"its {kind.__name__} would let unknown keys pass", hint="forbid_unknown_fields=True"
                )
            try:
                return convert_settings(kind, table, self._path, key)
            except ConfigError as error:
                if plugin.name in self._config.plugins:
                    raise
                raise PluginRefused(f"it needs settings: {error.message}", hint=f"write [{key}]") from error
        plugin.manager = None
        return None

    def _register(self, plugin: Plugin, kind: str, contributed: Any) -> None:
        hook, contract, key = _KINDS[kind]
        objects = self._contributions[kind]
        with self._blaming(plugin, hook):
            _expect_contract(contributed, contract)
            name = _expect(getattr(contributed, key), str, f"a text as {key}")
            # A command below another one has a name of two words.
            words = name.split(" ", 1) if isinstance(contributed, contracts.Command) else [name]
            if not all(_NAME.fullmatch(word) for word in words):
                raise PluginFaulty(f"expected letters, digits, '.', '_' or '-' as {key}, got {name!r}")
            if isinstance(contributed, (contracts.Command, contracts.Completer)) and not _TARGET.fullmatch(
                contributed.target
            ):
                raise PluginFaulty(f"expected 'module:function' as the target of {name!r}, got {contributed.target!r}")
            if name in objects:
                taken = PluginRefused(
                    f"the plugin {self.owner(objects[name])!r} already has the {key} {name!r} among the {kind}",
                    hint="block one of the two if it is the wrong one",
                )
                self._blame(plugin, f"{hook} {name}", taken, plugin.status)
                return
            objects[name] = contributed
            plugin.contributions[kind] = (*plugin.contributions.get(kind, ()), name)

    def _check_agent_clis(self) -> None:
        """A table that no plugin understands would be a kind that silently does not exist."""
        if any(plugin.status == "blocked" for plugin in self._plugins):
            return
        for kind in sorted(self._config.agent_clis.keys() - self._contributions["backends"].keys()):
            self._problems["", kind] = ConfigError(
                f"{self._path}: no working plugin makes agents of [agent_clis.{kind}]",
                hint=install_hint("settings", "agent_clis"),
                path=str(self._path),
                key=f"agent_clis.{kind}",
            )

    # -- asking and blaming ------------------------------------------------------------------------------

    def _implementing(self, hook: str) -> list[Plugin]:
        """The plugins that implement a hook, in the order in which they are asked."""
        having = [plugin for plugin in self._plugins if plugin.manager and hook in plugin.ranks]
        return sorted(having, key=lambda plugin: plugin.ranks[hook])

    @contextmanager
    def _blaming(self, plugin: Plugin, stage: str) -> Generator[None]:
        """Whatever is raised inside is a problem of this plugin and of nobody else. Only Ctrl-C is the person's."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except (ConfigError, PluginRefused) as error:
            self._blame(plugin, stage, error, "refused")
        except BaseException as error:
            self._blame(plugin, stage, error)

    def _blame(self, plugin: Plugin, stage: str, error: BaseException, status: Status = "faulty") -> PluginError:
        """Make `error` a problem of the plugin's; the first one of an active plugin decides how it is doing."""
        reason = f"{stage}: {_one_line(error)}" if status == "faulty" else _one_line(error)
        kind = PluginRefused if isinstance(error, PluginRefused) else PluginFaulty
        problem: PluginError = kind(
            f"plugin {plugin.name!r}{plugin.source and f' ({plugin.source})'}: {reason}",
            hint=error.hint if isinstance(error, TinytownError) else "",
            plugin=plugin.name,
            distribution=plugin.distribution,
            stage=stage,
        )
        problem.__cause__ = error
        self._problems.setdefault((plugin.name, stage), error if isinstance(error, ConfigError) else problem)
        if plugin.status == "active":
            plugin.status, plugin.reason = status, reason
        return problem


def _items(answer: Any) -> tuple[Any, ...]:
    """What a hook returned, one by one. Raises PluginFaulty when it is no sequence."""
    if inspect.iscoroutine(answer):
        answer.close()  # or Python would complain, later and elsewhere, that nobody awaited it
        raise PluginFaulty(f"expected a sequence, got {_described(answer)}")
    if isinstance(answer, (str, bytes, dict)) or not hasattr(answer, "__iter__"):
        raise PluginFaulty(f"expected a sequence, got {_described(answer)}")
    return tuple(answer)


def _expect(value: Any, kind: type[T], what: str) -> T:
    """`value` itself. Raises PluginFaulty when it is of another type."""
    if not isinstance(value, kind):
        raise PluginFaulty(f"expected {what}, got {_described(value)}")
    return value


def _expect_contract(contributed: Any, contract: type) -> None:
    """Raises PluginFaulty for an object that lacks something of its Protocol, or is no Command where one is due."""
    if isinstance(contributed, type):
        raise PluginFaulty(f"expected an object that is a {contract.__name__}, got {_described(contributed)} itself")
    if contract in (contracts.Command, contracts.Completer):
        _expect(contributed, contract, f"a {contract.__name__}")
    attributes = inspect.get_annotations(contract)
    methods = [name for name, value in vars(contract).items() if inspect.isfunction(value) and name[0] != "_"]
    lacking = [name for name in attributes if not hasattr(contributed, name)]
    lacking += [f"{name}()" for name in methods if not callable(getattr(contributed, name, None))]
    if lacking:
        raise PluginFaulty(
            f"expected {contract.__name__}, got {_described(contributed)}, which lacks {', '.join(lacking)}",
            hint=f"subclass tinytown.contracts.{contract.__name__}: what may be left out then has its default",
        )


def _described(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"{type(value).__name__} {shown(repr(value), 60)}"


def _one_line(error: BaseException) -> str:
    if isinstance(error, TinytownError):
        return shown(error.message, _REASON_LENGTH)
    return shown("".join(traceback.format_exception_only(error)), _REASON_LENGTH)


def load_plugins(config: Config, root: Path) -> Plugins:
    """The plugins of the town at `root`, ready for use. What is wrong with one that nobody asked for is only reported.

    Raises: ConfigError for settings that do not fit, with `key` as in ``plugins.journal.path``, and for a table
    ``[agent_clis.NAME]`` that no plugin understands; PluginError for a plugin that the configuration names but that is
    missing, refused or faulty, and with ``strict_plugins`` for any problem of any plugin.
    """
    plugins = survey_plugins(config, root)
    plugins.check()
    return plugins


def survey_plugins(config: Config, root: Path) -> Plugins:
    """Like `load_plugins`, but never raises for what is wrong: for the report on plugins, and for their commands.

    It imports every plugin, so a quick command calls it only for words that are none of the essential commands.
    """
    return Plugins(config, root)
