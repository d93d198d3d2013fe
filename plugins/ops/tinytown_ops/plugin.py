"""The hooks of the plugin. Apart from the package, so that typing a command imports none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinytown.hookspecs import hookimpl
from tinytown_cli.contracts import Command, Completer, HealthCheck, StatusSection

if TYPE_CHECKING:
    from pathlib import Path

    from tinytown.config import Config
    from tinytown.contracts import FailureHandler, QuestionHandler, RoundObserver, Service
    from tinytown.model.events import OtherEvent
    from tinytown.plugin import Plugins

    from tinytown_ops.plugin_settings import OpsSettings

TINYTOWN_HOOK_API = 2

_TOWN = "The town"
_MONITOR = "Monitor"
_MAIL = "Mail and questions"

#: Each is also an entry point of the group ``tinytown.commands``, by which it is found when it is typed.
_COMMANDS = (
    Command(
        "hosts", "List the kernels of the town, on all machines.", "tinytown_ops.explain.hosts_command:hosts", _TOWN
    ),
    Command(
        "recover",
        "Show what crashed or is stuck, and what happens to it.",
        "tinytown_ops.doctor.recover_command:recover",
        _TOWN,
    ),
    Command("doctor", "Check for problems, and say how to fix them.", "tinytown_ops.doctor.command:doctor", _TOWN),
    Command(
        "bootstrap",
        "Say which server is used, or what is missing.",
        "tinytown_ops.doctor.bootstrap_command:bootstrap",
        _TOWN,
    ),
    Command(
        "service",
        "Run the kernel at login and overnight.",
        "tinytown_ops.service.command:service",
        _TOWN,
    ),
    Command("towns", "List your towns with their state.", "tinytown_ops.doctor.towns_command:towns", _TOWN),
    Command("config", "Show and change settings.", "tinytown_ops.settings.command:config", _TOWN),
    Command(
        "prompt", "Show the prompt of an agent's next round.", "tinytown_ops.explain.prompt_command:prompt", "Agents"
    ),
    Command(
        "reclaim",
        "Move the work of stopped agents to others.",
        "tinytown_ops.doctor.reclaim_command:reclaim",
        "Agents",
    ),
    Command("prune", "Remove stopped agents; their work stays.", "tinytown_ops.doctor.reclaim_command:prune", "Agents"),
    Command(
        "why",
        "Explain why tasks do not run, or an agent does not work.",
        "tinytown_ops.explain.why_command:why",
        _MONITOR,
    ),
    Command("task why", "Explain why a task is not running.", "tinytown_ops.explain.why_command:task_why", "Tasks"),
    Command("task tree", "Show tasks with parts and dependencies.", "tinytown_ops.explain.tree_command:tree", "Tasks"),
    Command("costs", "Show costs by agent, task, day or kind.", "tinytown_ops.costs.costs_command:costs", _MONITOR),
    Command("budget", "Show what is left of the budgets.", "tinytown_ops.costs.costs_command:budget", _MONITOR),
    Command(
        "accounts",
        "List vendor accounts, and which are rate limited.",
        "tinytown_ops.costs.accounts_command:accounts",
        _MONITOR,
    ),
    Command("questions", "List what agents ask people.", "tinytown_ops.questions.commands:questions", _MAIL),
    Command("answer", "Answer an agent's question.", "tinytown_ops.questions.commands:answer", _MAIL),
    Command("deny", "Refuse a permission that an agent asks for.", "tinytown_ops.questions.commands:deny", _MAIL),
    Command("trace", "Show the history of a message.", "tinytown_ops.explain.trace_command:trace", _MAIL),
    Command("conductor", "Run the town through a coding CLI.", "tinytown_ops.conductor.command:conductor"),
    Command("top", "Watch the town on one screen.", "tinytown_ops.top.command:top", _MONITOR),
    Command(
        "history",
        "List finished rounds, or show one in full.",
        "tinytown_ops.explain.history_command:history",
        _MONITOR,
    ),
    Command("logs", "Print the output of an agent's processes.", "tinytown_ops.explain.logs_command:logs", _MONITOR),
)


@hookimpl
def tinytown_settings_type() -> type:
    """``[plugins.ops]``."""
    from tinytown_ops.plugin_settings import OpsSettings

    return OpsSettings


@hookimpl
def tinytown_commands() -> Sequence[Command]:
    """The commands of this plugin."""
    return _COMMANDS


@hookimpl
def tinytown_completers() -> Sequence[Completer]:
    """Accounts, work and coding CLIs."""
    return (
        Completer("accounts", "tinytown_ops.completers:accounts"),
        Completer("work", "tinytown_ops.completers:work"),
        Completer("coding_clis", "tinytown_ops.completers:coding_clis"),
    )


@hookimpl
def tinytown_health_checks() -> Sequence[HealthCheck]:
    """What ``tt doctor`` checks in any town."""
    from tinytown_ops.doctor.town_checks import TOWN_CHECKS

    return TOWN_CHECKS


@hookimpl
def tinytown_services(settings: OpsSettings, plugins: Plugins, config: Config) -> Sequence[Service]:
    """What names plugins that hold up the kernel, ends idle conversations, forgets what is old, answers questions, and gives
    tasks to another kind of agents."""
    from tinytown_ops.answers.service import QuestionAnswers
    from tinytown_ops.chatter.service import ChatterBrake
    from tinytown_ops.costs.retention import CostRetention
    from tinytown_ops.fallback.service import Fallback
    from tinytown_ops.housekeeping import Housekeeping
    from tinytown_ops.retention import Retention
    from tinytown_ops.watchdog.service import Watchdog

    brake = ChatterBrake(config.limits.chatter)
    services = (Watchdog(plugins), brake, CostRetention(), Retention(), Housekeeping(), QuestionAnswers())
    # A service of the town asks for its lease again and again, so that one without work is left out.
    return (*services, Fallback(settings.fallback)) if settings.fallback else services


@hookimpl
def tinytown_failure_handlers(settings: OpsSettings) -> Sequence[FailureHandler]:
    """Who gives a task that a model cannot do to another kind of agents."""
    from tinytown_ops.fallback.handler import DeclinedTasks

    return (DeclinedTasks(settings.fallback),) if settings.fallback else ()


@hookimpl
def tinytown_round_observers(config: Config, root: Path) -> Sequence[RoundObserver]:
    """What keeps the files of rounds."""
    from tinytown_ops.explain.transcripts import RoundFiles

    return (RoundFiles(root, config.limits),)


@hookimpl(trylast=True)
def tinytown_question_handlers() -> Sequence[QuestionHandler]:
    """A person, after every policy."""
    from tinytown_ops.questions.handler import SupervisorQuestions

    return (SupervisorQuestions(),)


@hookimpl
def tinytown_event_text(event: OtherEvent) -> str | None:
    """What an agent asks, and who stands in for whom."""
    if event.type == "task_fell_back":
        named = {name: event.fields.get(name, "?") for name in ("task", "from", "to", "reason")}
        return "task {task:.8} was given to {to} in place of {from}: {reason}".format(**named)
    if event.type != "question_asked":
        return None
    return f"{event.fields.get('agent', '?')} asks: {event.fields.get('text', '')}"


@hookimpl
def tinytown_status_sections() -> Sequence[StatusSection]:
    """Details of agents, server, sinks and hosts; and why open tasks are not running."""
    from tinytown_ops.explain.deep_status import DeepSection, WhySection

    return (DeepSection(), WhySection())
