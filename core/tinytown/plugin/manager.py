"""What all plugins of a town contribute, by kind and name, and which plugin is responsible for what fails.

Knows what each hook has to return. It runs no method of the objects: their callers report with `Plugins.mark_faulty` what
went wrong. What a plugin raises, be it SystemExit, stays with that plugin.
"""

from __future__ import annotations

import inspect
import re
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from tinytown import contracts
from tinytown.config import CONFIG_FILE, Config, convert_settings
from tinytown.entry_points import installed, loading_state
from tinytown.errors import ConfigError, NotFound, PluginError, PluginFaulty, PluginRefused, TinytownError
from tinytown.interrupts import is_from_outside, telling_interrupts
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.packages import install_hint
from tinytown.plugin import loader

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VARIABLE = re.compile(r"(?!TINYTOWN_)[^=\0]+")
_REASON_LENGTH = 300
_SLOW_IMPORT_S = 2.0

#: The name of the plugin whose code is being called, in its tasks too; empty outside of them.
CURRENT_PLUGIN: ContextVar[str] = ContextVar("CURRENT_PLUGIN", default="")

#: Functions from a town's root to a guard: ``check(plugin)`` may refuse a plugin, ``call(plugin, stage)`` is around each call.
_GUARDS_GROUP = "tinytown.call_guards"

_NO_DATA: Mapping[str, Mapping[str, Any]] = {}


class Plugins:
    """All plugins of a town and what they contribute; see `load_plugins`.

    Contributions of a kind are held by name (a backend's kind, a converter's format), each name once, in the order in which
    plugins are called: those whose hook says ``tryfirst``, then by the plugin's name, then those with ``trylast``.
    """

    def __init__(self, config: Config, root: Path) -> None:
        self._specs = loader.hook_specs()
        self._contributions: dict[str, dict[str, Any]] = {kind: {} for kind in self._specs.contributions}
        self._config = config
        self._path = root.absolute() / CONFIG_FILE
        self.loaded_from = loading_state(self._path)
        self._plugins = loader.installed_plugins(root.absolute())
        # By plugin and stage, so that it cannot grow for ever.
        self._problems: dict[tuple[str, str], TinytownError] = {}
        self._suspended: dict[str, str] = {}
        self._calls: list[tuple[str, Callable[[], object]]] = []
        self._guards: list[Any] = []
        for name, error in self._specs.faults.items():
            self._blame(loader.Plugin(name), "hookspecs", error)
        with telling_interrupts():
            self._load()
            self._collect()
        self._check_agent_clis()
        self._check_required()
        self.backends: Mapping[str, contracts.AgentBackend] = self.contributed("backends")
        self.workspaces: tuple[contracts.Workspace, ...] = tuple(self.contributed("workspaces").values())
        self.gates: tuple[contracts.Gate, ...] = tuple(self.contributed("gates").values())
        kinds = [kind for kind, each in self._specs.contributions.items() if contracts.Service in each.contract.__mro__]
        self.services: tuple[contracts.Service, ...] = tuple(s for k in kinds for s in self.contributed(k).values())
        self.sandboxes: tuple[contracts.Sandbox, ...] = tuple(self.contributed("sandboxes").values())

    def contributed(self, kind: str) -> Mapping[str, Any]:
        """The objects of a kind by name, each of the contract that the kind is declared with."""
        return self._contributions[kind]

    @property
    def reports(self) -> tuple[loader.PluginReport, ...]:
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
        """Record that something of a plugin failed at run time; the error that names the plugin. `stage` says where (``sink
        journal``); the first failure of each is kept. The object stays registered: its caller decides."""
        known = next((each for each in self._plugins if each.name == plugin and each.manager), loader.Plugin(plugin))
        return self._blame(known, stage, error)

    def suspend(self, plugin: str, reason: str) -> None:
        """Call nothing of a plugin any more: its hooks are left out, and its calls in progress are cancelled."""
        self._suspended[plugin] = reason
        for known in self._plugins:
            if known.name == plugin:
                known.manager, known.status, known.reason = None, "faulty", reason
        for owner, end in tuple(self._calls):
            if owner == plugin:
                end()

    @contextmanager
    def calling(self, contributed: object, end: Callable[[], object]) -> Generator[None]:
        """Around a call of a contributed object, which `end` ends if its plugin is suspended meanwhile.
        Raises: PluginFaulty with code ``plugin_suspended`` if it is."""
        plugin, call = "", ("", end)
        with suppress(NotFound):  # the kernel's own
            plugin = self.owner(contributed)
            call = plugin, end
        self._check_suspended(plugin)
        self._calls.append(call)
        called = CURRENT_PLUGIN.set(plugin)
        try:
            yield
        finally:
            CURRENT_PLUGIN.reset(called)
            self._calls.remove(call)
        self._check_suspended(plugin)

    def _check_suspended(self, plugin: str) -> None:
        if reason := self._suspended.get(plugin):
            raise PluginFaulty(
                f"plugin {plugin!r} is no longer called: {reason}",
                hint="update or block it, and restart the kernel",
                code="plugin_suspended",
                plugin=plugin,
            )

    @property
    def plugins_wanting_data(self) -> tuple[str, ...]:
        """The plugins with a hook that takes what they keep in the town."""
        return tuple(each.name for each in self._plugins if any("data" in names for names in each.arguments.values()))

    def prompt_sections(
        self, agent: Agent, task: Task | None, data: Mapping[str, Mapping[str, Any]] = _NO_DATA
    ) -> tuple[str, ...]:
        """What the plugins add to an agent's prompt, in their order; `data` is what each keeps in the town."""
        answers = self._ask("tinytown_prompt_sections", {"agent": agent, "task": task}, _texts, data)
        return tuple(section for _, sections in answers for section in sections)

    def round_environment(self, agent: Agent, task: Task | None) -> Mapping[str, str]:
        """What the plugins add to the environment of a round."""
        answers = self._ask("tinytown_round_environment", {"agent": agent, "task": task}, _variables)
        return {name: value for _, variables in answers for name, value in variables.items()}

    def choose_agent(
        self, task: Task, agents: Sequence[Agent], data: Mapping[str, Mapping[str, Any]] = _NO_DATA
    ) -> str | None:
        """The name of one of `agents`, by the first plugin with an opinion; any other name counts as none."""
        hook, names = "tinytown_choose_agent", {agent.name for agent in agents}
        given = {"task": task, "agents": tuple(agents)}
        answers = self._ask(hook, given, lambda answer: _expect(answer, str, "the name of an agent"), data)
        return next((name for _, name in answers if name in names), None)

    def first_answer(self, hook: str, arguments: Mapping[str, Any], kind: type[T], what: str) -> T | None:
        """The first answer to a hook, which is a `kind`; None without one. `what` is expected, in words."""
        answers = self._ask(hook, arguments, lambda answer: _expect(answer, kind, what))
        return next((answer for _, answer in answers), None)

    def _load(self) -> None:
        guards = [entry.load() for entry in installed(_GUARDS_GROUP) if not self._config.blocking(entry.name)]
        self._guards = [guard(self._path.parent) for guard in guards]
        names = [plugin.name for plugin in self._plugins]
        for plugin in self._plugins:
            namesakes = [other.distribution for other in self._plugins if other.name == plugin.name]
            with self._blaming(plugin, "load"):
                if reason := self._config.blocking(plugin.name):
                    plugin.status, plugin.reason = "blocked", reason
                elif len(namesakes) > 1:
                    raise PluginRefused(
                        f"{' and '.join(namesakes)} each have a plugin of this name", hint="uninstall all but one"
                    )
                else:
                    began = time.monotonic()
                    for guard in self._guards:
                        guard.check(plugin.name)
                    plugin.load()
                    if (took_s := time.monotonic() - began) > _SLOW_IMPORT_S:
                        plugin.reason = f"importing it took {took_s:.1f} s"
        for name in self._config.plugins.keys() - set(names):
            if not self._config.blocking(name):
                absent = loader.Plugin(name)
                self._plugins.append(absent)
                problem = PluginRefused(
                    f"it is not installed, but {self._path} or your own settings have [plugins.{name}]",
                    hint=install_hint("plugins", name, "install the distribution that brings it, or remove the table"),
                )
                self._blame(absent, "load", problem, "missing")
        self._plugins.sort(key=lambda plugin: (plugin.name, plugin.distribution))

    def _collect(self) -> None:
        for plugin in self._plugins:
            plugin.settings = self._settings(plugin)
        for kind, contribution in self._specs.contributions.items():
            for plugin, contributions in self._ask(contribution.hook, {}, _items):
                for contributed in contributions:
                    self._register(plugin, kind, contributed)

    def _settings(self, plugin: loader.Plugin) -> msgspec.Struct | None:
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

    def _register(self, plugin: loader.Plugin, kind: str, contributed: Any) -> None:
        hook, contract, key, check = self._specs.contributions[kind]
        objects = self._contributions[kind]
        with self._blaming(plugin, hook):
            _expect_contract(contributed, contract)
            name = _expect(getattr(contributed, key), str, f"a text as {key}")
            if check is not None:
                try:
                    check(contributed)
                except ValueError as error:
                    raise PluginFaulty(f"expected {error}") from error
            elif not _NAME.fullmatch(name):
                raise PluginFaulty(f"expected letters, digits, '.', '_' or '-' as {key}, got {name!r}")
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

    def _check_required(self) -> None:
        """A town that requires a plugin does not start without it, or with another version of it."""
        for text in self._config.required_plugins:
            name, _, versions = re.sub(r"([=<>!~])", r" \1", text, count=1).partition(" ")
            plugin = next((each for each in self._plugins if each.name == name), loader.Plugin(name, status="missing"))
            problem = ""
            try:
                if plugin.status != "active":
                    problem = f"it is {plugin.status}{plugin.reason and f': {plugin.reason}'}"
                elif versions and not _contains(versions, plugin.version):
                    problem = f"{plugin.source} is installed"
            except ValueError as error:
                problem = f"expected a plugin's name and versions, as in 'journal>=0.2': {error}"
            if problem:
                self._problems["", f"required {text}"] = ConfigError(
                    f"{self._path}: required plugin {shown(text)}: {problem}",
                    hint=install_hint("plugins", name),
                    path=str(self._path),
                    key="required_plugins",
                )

    def _ask(
        self,
        hook: str,
        arguments: Mapping[str, Any],
        read: Callable[[Any], T],
        data: Mapping[str, Mapping[str, Any]] = _NO_DATA,
    ) -> Iterator[tuple[loader.Plugin, T]]:
        """The plugins that answer a hook, in the order in which they are asked, and what `read` makes of each answer."""
        town = {"config": self._config, "root": self._path.parent, "plugins": self, **arguments}
        asked = [plugin for plugin in self._plugins if plugin.manager and hook in plugin.ranks]
        for plugin in sorted(asked, key=lambda plugin: plugin.ranks[hook]):
            known = {"settings": plugin.settings, "data": data.get(plugin.name, {}), **town}
            answers: list[T] = []
            with self._blaming(plugin, hook):
                given = {name: known[name] for name in self._specs.arguments[hook]}
                answers += [read(answer) for answer in plugin.call(hook, given)]
            yield from ((plugin, answer) for answer in answers)

    @contextmanager
    def _blaming(self, plugin: loader.Plugin, stage: str) -> Generator[None]:
        """What is raised inside is a fault of this plugin only, except for Ctrl-C."""
        called = CURRENT_PLUGIN.set(plugin.name)
        try:
            with ExitStack() as guarded:
                for guard in self._guards:
                    guarded.enter_context(guard.call(plugin.name, stage))
                yield
        except (ConfigError, PluginRefused) as error:
            self._blame(plugin, stage, error, "refused")
        except BaseException as error:
            if is_from_outside(error):
                raise
            self._blame(plugin, stage, error)
        finally:
            CURRENT_PLUGIN.reset(called)

    def _blame(
        self, plugin: loader.Plugin, stage: str, error: BaseException, status: loader.Status = "faulty"
    ) -> PluginError:
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


def _contains(versions: str, version: str) -> bool:
    """Whether a version is one of ``>=0.2,<1``. Raises: ValueError for what are no versions."""
    from packaging.specifiers import SpecifierSet  # late: few towns ask

    return SpecifierSet(versions.strip()).contains(version, prereleases=True)


def _items(answer: Any) -> tuple[Any, ...]:
    """What a hook returned, one by one. Raises PluginFaulty when it is no sequence."""
    if inspect.iscoroutine(answer):
        answer.close()  # or Python would warn later, elsewhere, that it was never awaited
    if isinstance(answer, (str, bytes, dict)) or not hasattr(answer, "__iter__"):
        raise PluginFaulty(f"expected a sequence, got {_described(answer)}")
    return tuple(cast("Sequence[Any]", answer))


def _texts(answer: Any) -> list[str]:
    return [_expect(item, str, "a text") for item in _items(answer)]


def _variables(answer: Any) -> dict[str, str]:
    """What a hook adds to the environment of a round. Raises: PluginFaulty, ValidationError for what cannot be there."""
    variables = msgspec.convert(answer, dict[str, str])
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise PluginFaulty(f"expected a variable without NUL and not TINYTOWN_*, got {shown(repr(name), 60)}")
    return variables


def _expect(value: Any, kind: type[T], what: str) -> T:
    """`value` itself. Raises PluginFaulty when it is of another type."""
    if not isinstance(value, kind):
        raise PluginFaulty(f"expected {what}, got {_described(value)}")
    return value


def _expect_contract(contributed: Any, contract: type) -> None:
    """Raises PluginFaulty for an object that lacks something of its Protocol, or is not an instance of its class."""
    if isinstance(contributed, type):
        raise PluginFaulty(f"expected an object that is a {contract.__name__}, got {_described(contributed)} itself")
    if not getattr(contract, "_is_protocol", False):
        _expect(contributed, contract, f"a {contract.__name__}")
    attributes = inspect.get_annotations(contract)
    methods = [name for name, value in vars(contract).items() if inspect.isfunction(value) and name[0] != "_"]
    lacking = [name for name in attributes if not hasattr(contributed, name)]
    lacking += [f"{name}()" for name in methods if not callable(getattr(contributed, name, None))]
    if lacking:
        raise PluginFaulty(
            f"expected {contract.__name__}, got {_described(contributed)}, which lacks {', '.join(lacking)}",
            hint=f"subclass {contract.__module__}.{contract.__name__}: what may be left out then has its default",
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
    """The plugins of the town at `root`, ready for use. Faults of plugins that the settings do not require are only reported.

    Raises: ConfigError for settings that do not fit, with `key` as in ``plugins.journal.path``, and for a table
    ``[agent_clis.NAME]`` that no plugin understands; PluginError for a plugin that the configuration names but that is
    missing, refused or faulty, and with ``strict_plugins`` for any problem of any plugin.
    """
    plugins = survey_plugins(config, root)
    plugins.check()
    return plugins


def survey_plugins(config: Config, root: Path) -> Plugins:
    """Like `load_plugins`, but raises nothing: for the report on plugins, and for their commands. Imports every plugin."""
    return Plugins(config, root)
