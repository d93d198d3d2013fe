"""All promises at once: an installed plugin, found as a kernel finds it, with all its contributions checked.

Its hooks are called for the sandbox's town, never for a real one, so that what they return can do no harm. No other plugin
is in that town: neither their faults nor their contributions count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from tinytown.config import CONFIG_FILE, convert_settings
from tinytown.entry_points import IndexedEntryPoint, installed
from tinytown.errors import NotFound, PluginFaulty
from tinytown.hookspecs import ENTRY_POINT_GROUP
from tinytown.plugin import Plugin, PluginReport, Plugins, load_plugin, survey_plugins
from tinytown_prompts.roles import ROLES_GROUP
from tinytown_sinks import StatusSink

from tinytown_testing.agent_tools import AGENT_TOOL, check_agent_tool
from tinytown_testing.backends import BACKEND, check_agent_backend
from tinytown_testing.boxes import SANDBOX, check_sandbox
from tinytown_testing.commands import COMMAND, COMPLETER, check_command, check_completer
from tinytown_testing.converters import CONVERTER, check_converter
from tinytown_testing.gates import GATE, check_gate
from tinytown_testing.health_checks import HEALTH_CHECK, check_health_check
from tinytown_testing.hook_checks import CHOOSER, PROMPT, check_chooser, check_prompt_sections
from tinytown_testing.plugin_promises import PLUGIN, PluginTrial
from tinytown_testing.promises import CheckReport, Promise, described
from tinytown_testing.roles import ROLES, check_roles
from tinytown_testing.round_access import ROUND_ACCESS, check_round_access
from tinytown_testing.sandbox import Sandbox, open_sandbox
from tinytown_testing.servers import SERVER, check_server_provider
from tinytown_testing.services import SERVICE, check_service
from tinytown_testing.sinks import SINK, check_status_sink
from tinytown_testing.status_sections import STATUS_SECTION, check_status_section
from tinytown_testing.trial import SLACK_S
from tinytown_testing.workspaces import WORKSPACE, check_workspace

#: The promises by contract; ``plugin`` has those of every plugin.
PROMISES: dict[str, tuple[Promise, ...]] = {
    contract.name: contract.promises
    for contract in (
        PLUGIN,
        BACKEND,
        SINK,
        CONVERTER,
        WORKSPACE,
        GATE,
        SERVICE,
        ROUND_ACCESS,
        SANDBOX,
        COMMAND,
        COMPLETER,
        HEALTH_CHECK,
        STATUS_SECTION,
        AGENT_TOOL,
        SERVER,
        PROMPT,
        CHOOSER,
        ROLES,
    )
}


_CHECKS: dict[str, Callable[..., Awaitable[CheckReport]]] = {
    "backends": check_agent_backend,
    "sinks": check_status_sink,
    "converters": check_converter,
    "workspaces": check_workspace,
    "gates": check_gate,
    "services": check_service,
    "round_access": check_round_access,
    "sandboxes": check_sandbox,
    "commands": check_command,
    "completers": check_completer,
    "health_checks": check_health_check,
    "status_sections": check_status_section,
    "agent_tools": check_agent_tool,
}
_HOOK_CHECKS: dict[str, Callable[..., Awaitable[CheckReport]]] = {
    "tinytown_prompt_sections": check_prompt_sections,
    "tinytown_choose_agent": check_chooser,
}
#: The group of entry points that name a `ServerProvider`.
_SERVERS_GROUP = "tinytown.servers"
#: The group in which a plugin names, under its own name, what brings its objects into the situations of their promises.
SCENARIOS_GROUP = "tinytown.scenarios"


async def check_plugin(name: str, *, toml: str = "") -> tuple[CheckReport, ...]:
    """Check all contributions of the installed plugin `name`, in a town whose ``tinytown.toml`` is `toml`.

    A distribution ``tinytown-NAME`` that provides a server and has no hooks counts as a plugin. Situations that only its
    maker can create come from its entry point of the group ``tinytown.scenarios``: a function that is called with the
    `Sandbox` and returns ``{"backend my-tool": BackendScenarios(...)}``. Without one they are skipped. There is no report for
    a plugin without hooks.

    Raises: NotFound if no such plugin is installed; PluginFaulty, with the reason, if the town cannot use it, or its scenarios
    fail; ConfigError for `toml`.
    """
    hooked = [entry for entry in installed(ENTRY_POINT_GROUP) if entry.name == name]
    distributions = {entry.distribution for entry in hooked} | {f"tinytown-{name}"}
    providers = [entry for entry in installed(_SERVERS_GROUP) if entry.distribution in distributions]
    async with open_sandbox(toml=toml) as sandbox:
        servers = [await _check_server(provider, sandbox) for provider in providers]
        hooks = () if servers and not hooked else await _check_hooks(name, sandbox)
        has_roles = any(entry.name == name for entry in installed(ROLES_GROUP))
        roles = [await check_roles(name, sandbox=sandbox)] if has_roles else []
        return (*hooks, *servers, *roles)


async def _check_server(provider: IndexedEntryPoint, sandbox: Sandbox) -> CheckReport:
    report = await check_server_provider(provider.load(), sandbox=sandbox)
    return dataclasses.replace(report, subject=f"{report.subject} {provider.name}")


async def _check_hooks(name: str, sandbox: Sandbox) -> tuple[CheckReport, ...]:
    """What the plugin `name` announces by its hooks, and what the hooks themselves promise."""
    others = {entry.name for entry in installed(ENTRY_POINT_GROUP)} - {name}
    config = msgspec.structs.replace(sandbox.config, blocked_plugins=(*sandbox.config.blocked_plugins, *others))

    def survey() -> Plugins:
        return survey_plugins(config, sandbox.root)

    report = _report(survey(), name)
    reports: list[CheckReport] = []
    scenarios = _scenarios(name, sandbox)
    if report.hooks:
        trial = PluginTrial(sandbox, SLACK_S, lambda: _report(survey(), name))
        reports.append(await PLUGIN.check(f"plugin {name}", trial, None))
        if "L3" in {result.promise.id for result in reports[0].broken}:
            return tuple(reports)  # the contributions to check are not there again
    for kind, check in _CHECKS.items():
        for offered in report.contributions.get(kind, ()):

            def make(kind: str = kind, offered: str = offered) -> Any:
                return _take(survey(), kind, offered)

            noun = kind.removesuffix("s")
            if kind == "services" and isinstance(make(), StatusSink):  # one that no hook for sinks announced
                noun, check = "sink", check_status_sink
            about = scenarios.pop(f"{noun} {offered}", None)
            options: dict[str, Any] = {} if about is None else {"scenarios": about}
            reports.append(await check(make, sandbox=sandbox, **options))
    if scenarios:
        subjects = ", ".join(report.subject for report in reports)
        raise PluginFaulty(
            f"the scenarios of the plugin {name!r} are about {', '.join(scenarios)}; expected {subjects}",
            hint="use the subjects of the report as keys",
            plugin=name,
            stage="scenarios",
        )
    return (*reports, *await _check_functions(report, sandbox))


def _scenarios(name: str, sandbox: Sandbox) -> dict[str, Any]:
    """What the plugin's own scenarios are, by what a report calls their subject. Raises: PluginFaulty, naming what failed."""
    found: dict[str, Any] = {}
    for entry in installed(SCENARIOS_GROUP):
        if entry.name == name:
            try:
                found |= entry.load()(sandbox)
            except Exception as error:
                raise PluginFaulty(
                    f"the scenarios of the plugin {name!r}, {entry.value}: {described(error)}",
                    hint="expected a function that takes a Sandbox and returns scenarios by subject, as 'backend NAME'",
                    plugin=name,
                    stage="scenarios",
                ) from error
    return found


async def _check_functions(report: PluginReport, sandbox: Sandbox) -> list[CheckReport]:
    """What the hooks promise that are no announcements but the thing itself."""
    plugin = load_plugin(next(entry for entry in installed(ENTRY_POINT_GROUP) if entry.name == report.name))
    config = sandbox.config
    (kind, *_) = [*plugin.call("tinytown_settings_type", {}), None]
    settings = kind and convert_settings(
        kind, config.plugins.get(report.name, {}), sandbox.root / CONFIG_FILE, f"plugins.{report.name}"
    )
    given: dict[str, Any] = {"settings": settings, "config": config, "root": sandbox.root, "data": {}}
    reports: list[CheckReport] = []
    for hook, check in _HOOK_CHECKS.items():
        if hook in report.hooks:

            def make(hook: str = hook) -> Callable[..., Any]:
                return _function(plugin, hook, given)

            found = await check(make, sandbox=sandbox)
            reports.append(dataclasses.replace(found, subject=f"{found.subject} {report.name}"))
    return reports


def _function(plugin: Plugin, hook: str, given: Mapping[str, Any]) -> Callable[..., Any]:
    """A plugin's hook as a function that takes what is asked about; a kernel gives it `given` beside that."""

    def ask(**arguments: Any) -> Any:
        known = {**given, **arguments}
        answers = plugin.call(hook, {name: known[name] for name in plugin.specs.arguments[hook]})
        return answers[0] if answers else None

    return ask


def _report(plugins: Plugins, name: str) -> PluginReport:
    reports = [report for report in plugins.reports if report.name == name]
    if not reports or reports[0].status == "missing":
        known = ", ".join(report.name for report in plugins.reports if report.status != "missing") or "none"
        raise NotFound(f"no plugin {name!r} is installed", hint=f"installed are: {known}")
    (report, *_) = reports
    if report.status != "active":
        raise PluginFaulty(
            f"the plugin {name!r} is {report.status}: {report.reason}", hint="see tt plugins", plugin=name, stage="load"
        )
    return report


def _take(plugins: Plugins, kind: str, name: str) -> Any:
    """The object of this name, made afresh by its hook."""
    return plugins.contributed(kind)[name]
