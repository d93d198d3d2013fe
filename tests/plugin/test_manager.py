"""Packages made on the spot, installed as far as Python can tell, and found through their own metadata."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Generator
from pathlib import Path
from textwrap import dedent
from uuid import uuid4

import msgspec
import pytest
from tinytown.config import AgentCli, Config
from tinytown.contracts import PromptParts
from tinytown.errors import ConfigError, NotFound, PluginError, PluginFaulty, PluginRefused
from tinytown.hookspecs import HOOK_API
from tinytown.kernel import build_prompt
from tinytown.model.agents import Agent
from tinytown.model.events import OtherEvent
from tinytown.model.tasks import Task
from tinytown.plugin import PluginReport, Plugins, load_plugins, survey_plugins
from tinytown.plugin.loader import hook_specs
from tinytown_prompts.hookspecs import ReportingGuide
from tinytown_testing.installed import install_distribution

HEAD = f"""
from tinytown.contracts import AgentBackend
from tinytown.hookspecs import hookimpl
TINYTOWN_HOOK_API = {HOOK_API}
"""
#: What every backend of these tests is made of.
BACKEND = """
class Backend(AgentBackend):
    def __init__(self, kind):
        self.kind = kind
    def open(self, context):
        raise AssertionError("nobody opens it here")
"""
AGENTS = tuple(Agent(id=str(uuid4()), name=name, cli="none") for name in ("ada", "ben"))
TASK = Task(id="t1", description="do it")
EVENT = OtherEvent(id="1-0", at="", type="greeted")


class Workshop:
    """A directory on the path in which a test installs packages. `block` names what is installed anyway."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.block = tuple(each.name for each in importlib.metadata.entry_points(group="tinytown"))
        self.modules: list[str] = []

    def install(self, name: str, source: str, *, head: str = HEAD, distribution: str = "", version: str = "1.0") -> str:
        """A distribution with the plugin `name`, whose module has `source`; the module's name."""
        distribution = distribution or f"tinytown-{name}"
        module = f"{distribution.replace('-', '_')}_{uuid4().hex[:8]}"
        self.modules.append(module)
        (self.directory / f"{module}.py").write_text(dedent(head) + dedent(source))
        self.register(distribution, f"[tinytown]\n{name} = {module}\n", version)
        return module

    def register(self, distribution: str, entry_points: str, version: str = "1.0") -> None:
        install_distribution(self.directory, distribution, entry_points, version=version)
        importlib.invalidate_caches()

    def config(self, **settings: object) -> Config:
        blocked = (*self.block, *settings.pop("blocked_plugins", ()))  # type: ignore[misc]
        return msgspec.convert({"name": "town", "blocked_plugins": blocked, **settings}, Config)

    def survey(self, **settings: object) -> Plugins:
        return survey_plugins(self.config(**settings), self.directory)

    def load(self, **settings: object) -> Plugins:
        return load_plugins(self.config(**settings), self.directory)

    def report(self, name: str, **settings: object) -> PluginReport:
        """How the one plugin of this name is doing, in a town that starts all the same."""
        (report,) = [each for each in self.load(**settings).reports if each.name == name]
        return report


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Workshop]:
    monkeypatch.delenv("TINYTOWN_BLOCK", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    made = Workshop(tmp_path)
    yield made
    for module in made.modules:
        sys.modules.pop(module, None)


# -- what a good plugin offers -----------------------------------------------------------------------------


EVERYTHING = """
import msgspec
from tinytown_prompts.hookspecs import ReportingGuide
from tinytown_cli.contracts import Command, Completer

class Settings(msgspec.Struct, forbid_unknown_fields=True):
    word: str = "hello"

class Backend(AgentBackend):
    def __init__(self, kind):
        self.kind = kind
    def open(self, context):
        raise AssertionError("nothing opens it here")

class Anything:
    def __init__(self, name, keeps=()):
        self.name = self.kind = self.format = name
        self.keeps = self.loses = keeps
        self.description, self.arguments, self.changes, self.option = "does it", Settings, False, "deep"
        self.scope = "host"
        self.routes, self.panels, self.page = (), (), None
    def __getattr__(self, method):
        methods = "open read write claims check run call problem wrap settle ask before_failing waiting began ended wants"
        if method in methods.split():
            return lambda *arguments: None
        raise AttributeError(method)

@hookimpl
def tinytown_settings_type():
    return Settings

@hookimpl
def tinytown_agent_backends(settings, config, root):
    return [Backend(f"{settings.word}-{config.name}-{root.name}")]

@hookimpl
def tinytown_converters(settings):
    return (Anything(settings.word),)

@hookimpl
def tinytown_workspaces(config):
    yield Anything("workspace")

@hookimpl
def tinytown_gates():
    return [Anything("gate")]

@hookimpl
def tinytown_status_sinks(root):
    return []

@hookimpl
def tinytown_git_forges(root):
    return []

@hookimpl
def tinytown_services(root, settings):
    return {Anything("service"): 1, Anything(root.name): 2}.keys()

@hookimpl
def tinytown_round_access(settings, config, root):
    return [Anything("access")]

@hookimpl
def tinytown_round_observers(root):
    return [Anything("observer")]

@hookimpl
def tinytown_sandboxes(settings):
    return [Anything("sandbox")]

@hookimpl
def tinytown_commands():
    return [Command("greet", "Say hello.", "greeting.cli:greet"), Command("task greet", "Greet.", "greeting.cli:task")]

@hookimpl
def tinytown_completers():
    return [Completer("greetings", "greeting.cli:greetings")]

@hookimpl
def tinytown_init_note(root):
    return f"look at {root.name}"

@hookimpl
def tinytown_health_checks():
    return [Anything("check")]

@hookimpl
def tinytown_status_sections():
    return [Anything("section")]

@hookimpl
def tinytown_agent_tools(settings):
    return [Anything("tool")]

@hookimpl
def tinytown_townhall_extensions():
    return [Anything("extension")]

@hookimpl
def tinytown_reporting_guide(agent, town_tools):
    return ReportingGuide(task="t {}", mail="m", agents=agent.name, reporting=str(town_tools), acting="")

@hookimpl
def tinytown_event_text(event):
    return f"greeted {event}"

@hookimpl
def tinytown_prompt(parts):
    return f"all for {parts.agent.name}"

@hookimpl
def tinytown_prompt_sections(agent, task):
    return [f"# For {agent.name}", task.description if task else "nothing to do"]

@hookimpl
def tinytown_question_handlers(root):
    return [Anything("handler")]

@hookimpl
def tinytown_failure_handlers(root):
    return [Anything("fallback")]

@hookimpl
def tinytown_round_environment(agent, settings):
    return {"NAME": agent.name}

@hookimpl
def tinytown_choose_agent(agents):
    return agents[-1].name
"""


def test_a_plugin_that_asks_for_it_gets_its_own_data_for_prompts(workshop: Workshop) -> None:
    workshop.install(
        "notes", "@hookimpl\ndef tinytown_prompt_sections(data, agent):\n    return [data.get('x', 'none')]"
    )
    workshop.install("plain", "@hookimpl\ndef tinytown_prompt_sections(agent):\n    return [agent.name]")
    plugins = workshop.load()
    assert plugins.plugins_wanting_data == ("notes",)
    data = {"notes": {"x": "mine"}, "plain": {"x": "another's"}}
    assert plugins.prompt_sections(AGENTS[0], None, data) == ("mine", "ada")
    assert plugins.prompt_sections(AGENTS[0], None) == ("none", "ada")


def test_hooks_at_work_get_the_settings_the_configuration_and_the_root(workshop: Workshop) -> None:
    workshop.install(
        "rules",
        "import msgspec\n"
        "class Settings(msgspec.Struct, forbid_unknown_fields=True):\n    word: str = 'no'\n"
        "@hookimpl\ndef tinytown_settings_type():\n    return Settings\n"
        "@hookimpl\ndef tinytown_prompt_sections(settings, config, root):\n"
        "    return [settings.word, config.name, root.name]\n"
        "@hookimpl\ndef tinytown_choose_agent(task, data, settings):\n    return data.get(settings.word)\n",
    )
    plugins = workshop.load(plugins={"rules": {"word": "be brief"}})
    assert plugins.prompt_sections(AGENTS[0], None) == ("be brief", workshop.config().name, workshop.directory.name)
    assert plugins.choose_agent(TASK, AGENTS, {"rules": {"be brief": "ben"}}) == "ben"


@pytest.mark.parametrize(
    "answer", ["{'TINYTOWN_TOWN': '/'}", "{'A=B': ''}", "{'': ''}", "{'A': 'b\\0c'}", "{'A': 1}", "['A']", "1"]
)
def test_what_cannot_be_in_an_environment_makes_the_plugin_faulty(workshop: Workshop, answer: str) -> None:
    workshop.install("good", "@hookimpl\ndef tinytown_round_environment():\n    return {'A': 'b'}")
    workshop.install("odd", f"@hookimpl\ndef tinytown_round_environment():\n    return {answer}")
    plugins = workshop.load()
    assert plugins.round_environment(AGENTS[0], None) == {"A": "b"}
    assert [report.status for report in plugins.reports if report.name == "odd"] == ["faulty"]


@pytest.mark.parametrize(
    ("versions", "status"),
    [
        ("(1, 2)", "active"),
        ("(2, 9)", "active"),
        ("(3, 4)", "refused"),
        ("(0, 1)", "refused"),
        ("(2,)", "refused"),
        ("()", "refused"),
        ("(2.0, 3)", "refused"),
        ("[1, 2]", "refused"),
    ],
)
def test_a_plugin_may_be_written_for_a_range_of_hook_apis(workshop: Workshop, versions: str, status: str) -> None:
    workshop.install("ranged", f"TINYTOWN_HOOK_API = {versions}", head="")
    report = workshop.report("ranged")
    assert report.status == status
    assert status == "active" or "expected TINYTOWN_HOOK_API = 2" in report.reason


def test_an_import_that_takes_long_is_noted(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytown.plugin.manager._SLOW_IMPORT_S", 0.05)
    workshop.install("slow", "import time\ntime.sleep(0.1)")
    report = workshop.report("slow")
    assert report.status == "active"
    assert report.reason.startswith("importing it took 0.")


def test_a_suspended_plugin_is_not_asked_and_its_calls_are_ended(workshop: Workshop) -> None:
    workshop.install("all", EVERYTHING)
    plugins, ended = workshop.load(), []
    gate = plugins.gates[0]

    def call() -> None:
        with plugins.calling(gate, lambda: ended.append("gate")):
            plugins.suspend("all", "it holds up the kernel")

    with pytest.raises(PluginFaulty, match="no longer called: it holds up the kernel") as caught:
        call()
    assert (caught.value.code, ended) == ("plugin_suspended", ["gate"])
    assert plugins.prompt_sections(AGENTS[0], None) == ()
    assert [report.status for report in plugins.reports if report.name == "all"] == ["faulty"]
    with plugins.calling(object(), ended.clear):
        pass


def test_with_an_allow_list_no_other_plugin_is_imported(workshop: Workshop) -> None:
    workshop.install("good", EVERYTHING)
    workshop.install("other", "raise AssertionError('imported')")
    reports = {report.name: report for report in workshop.survey(allowed_plugins=("good",)).reports}
    assert reports["good"].status == "active"
    assert (reports["other"].status, reports["other"].reason) == ("blocked", "it is not among allowed_plugins")


@pytest.mark.parametrize(
    ("required", "problem"),
    [
        ("good", ""),
        ("good>=2,<3", ""),
        ("good ~= 2.4", ""),
        ("good>=3", "required plugin good>=3: tinytown-good 2.5 is installed"),
        ("broken", "required plugin broken: it is faulty: load: ZeroDivisionError"),
        ("absent", "required plugin absent: it is missing"),
        ("journal", "required plugin journal: it is blocked"),
        ("good>=x", "expected a plugin's name and versions"),
        ("", "required plugin : it is missing"),
    ],
)
def test_a_town_does_not_start_without_a_plugin_that_it_requires(
    workshop: Workshop, required: str, problem: str
) -> None:
    workshop.install("good", EVERYTHING, version="2.5")
    workshop.install("broken", "1 / 0")
    if not problem:
        workshop.load(required_plugins=(required,))
        return
    with pytest.raises(ConfigError) as caught:
        workshop.load(required_plugins=(required,))
    assert problem in caught.value.message
    assert caught.value.fields["key"] == "required_plugins"


def reporting_guide(plugins: Plugins, agent: Agent, town_tools: bool) -> ReportingGuide | None:
    asked = {"agent": agent, "town_tools": town_tools}
    return plugins.first_answer("tinytown_reporting_guide", asked, ReportingGuide, "a ReportingGuide")


def test_every_hook_is_asked_and_what_it_returns_is_there(workshop: Workshop) -> None:
    workshop.install("all", EVERYTHING, version="2.5")
    plugins = workshop.load(plugins={"all": {"word": "hi"}})
    root = workshop.directory.name
    assert list(plugins.backends) == [f"hi-town-{root}"]
    assert plugins.contributed("converters")["hi"].format == "hi"
    assert [workspace.name for workspace in plugins.workspaces] == ["workspace"]
    assert [gate.name for gate in plugins.gates] == ["gate"]
    assert [service.name for service in plugins.services] == ["service", root]
    assert list(plugins.contributed("round_access")) == ["access"]
    assert list(plugins.contributed("round_observers")) == ["observer"]
    assert list(plugins.contributed("failure_handlers")) == ["fallback"]
    assert [sandbox.name for sandbox in plugins.sandboxes] == ["sandbox"]
    assert plugins.contributed("commands")["greet"].target == "greeting.cli:greet"
    assert plugins.prompt_sections(AGENTS[0], TASK) == ("# For ada", "do it")
    assert plugins.prompt_sections(AGENTS[0], None) == ("# For ada", "nothing to do")
    assert plugins.choose_agent(TASK, AGENTS) == "ben"
    assert plugins.round_environment(AGENTS[0], None) == {"NAME": "ada"}
    assert plugins.contributed("completers")["greetings"].target == "greeting.cli:greetings"
    assert plugins.contributed("commands")["task greet"].help == "Greet."
    assert [
        name for kind in ("health_checks", "status_sections", "agent_tools") for name in plugins.contributed(kind)
    ] == ["check", "section", "tool"]
    guide = reporting_guide(plugins, AGENTS[0], True)
    assert guide is not None
    assert (guide.agents, guide.reporting) == ("ada", "True")
    assert build_prompt(plugins, PromptParts(AGENTS[0], None, ())) == "all for ada"
    assert plugins.first_answer("tinytown_event_text", {"event": EVENT}, str, "a text") is not None
    assert plugins.problems == ()
    (report,) = [each for each in plugins.reports if each.name == "all"]
    assert (report.status, report.reason, report.distribution, report.version) == ("active", "", "tinytown-all", "2.5")
    assert report.hooks == tuple(sorted(hook_specs().arguments))
    assert report.contributions["commands"] == ("greet", "task greet")
    assert msgspec.json.decode(msgspec.json.encode(report))["contributions"]["services"] == ["service", root]


def test_the_names_of_all_hooks_are_known() -> None:
    assert hook_specs().arguments["tinytown_status_sinks"] == ("settings", "config", "root")
    assert len(hook_specs().arguments) == 26
    assert hook_specs().arguments["tinytown_gates"] == ("settings", "config", "root")


def test_an_object_knows_its_plugin(workshop: Workshop) -> None:
    workshop.install("all", EVERYTHING)
    plugins = workshop.load()
    (kind,) = plugins.backends
    assert plugins.owner(plugins.backends[kind]) == "all"
    assert plugins.owner(plugins.gates[0]) == "all"
    with pytest.raises(NotFound):
        plugins.owner(object())


def test_without_a_settings_type_a_plugin_gets_none(workshop: Workshop) -> None:
    workshop.install("bare", "@hookimpl\ndef tinytown_gates(settings):\n    assert settings is None\n    return []")
    assert workshop.report("bare").status == "active"


def test_a_plugin_may_be_an_object_in_a_module(workshop: Workshop) -> None:
    module = workshop.install("module", "", distribution="one")
    source = """
        class Plugin:
            TINYTOWN_HOOK_API = 2
            @hookimpl
            def tinytown_prompt_sections(self, agent):
                return [agent.name]
        plugin = Plugin()
    """
    with (workshop.directory / f"{module}.py").open("a") as file:
        file.write(dedent(source))
    workshop.register("two", f"[tinytown]\nobject = {module}:plugin\n")
    assert workshop.load().prompt_sections(AGENTS[0], None) == ("ada",)


def test_plugins_are_asked_by_name_but_for_those_that_want_to_be_first_or_last(workshop: Workshop) -> None:
    for name, option in (("d", "tryfirst=True"), ("a", "trylast=True"), ("c", ""), ("b", "")):
        workshop.install(name, f"@hookimpl({option})\ndef tinytown_prompt_sections():\n    return [{name!r}]")
    assert workshop.load().prompt_sections(AGENTS[0], None) == ("d", "b", "c", "a")


def test_the_first_plugin_with_an_opinion_chooses_the_agent(workshop: Workshop) -> None:
    for name, choice in (("a", None), ("b", "stranger"), ("c", "ada"), ("d", "ben")):
        workshop.install(name, f"@hookimpl\ndef tinytown_choose_agent(task):\n    return {choice!r}")
    plugins = workshop.load()
    assert plugins.choose_agent(TASK, AGENTS) == "ada"
    assert plugins.choose_agent(TASK, AGENTS[1:]) == "ben"
    assert plugins.choose_agent(TASK, ()) is None
    assert plugins.problems == ()


def test_a_hook_of_a_later_version_may_be_marked_optional(workshop: Workshop) -> None:
    workshop.install("newer", "@hookimpl(optionalhook=True)\ndef tinytown_of_tomorrow(moon):\n    return []")
    assert workshop.report("newer").status == "active"


def test_commands_can_be_looked_up_whatever_is_wrong_with_the_plugins(workshop: Workshop) -> None:
    workshop.install("all", EVERYTHING)
    workshop.install("broken", "raise SystemExit(3)")
    plugins = workshop.survey(strict_plugins=True, plugins={"absent": {}, "all": {"wording": 1}})
    assert plugins.contributed("commands") == {}
    plugins = workshop.survey(strict_plugins=True, plugins={"absent": {}})
    assert plugins.contributed("commands")["greet"].help == "Say hello."


# -- what is refused, and what is faulty -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_anywhere", "load: ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise SystemExit(3)", "load: SystemExit: 3"),
        ("def (", "SyntaxError: invalid syntax"),
        ("raise ValueError('two\\nlines \\x1b[31m')", "load: ValueError: two lines \\x1b[31m"),
        ("class Silent(Exception):\n    __str__ = None\nraise Silent", "Silent: <exception str() failed>"),
        ("class Odd(BaseException): pass\nraise Odd", "Odd"),
    ],
)
def test_a_plugin_that_does_not_import_is_faulty_and_the_others_work(
    workshop: Workshop, source: str, reason: str
) -> None:
    workshop.install("broken", source)
    workshop.install("whole", EVERYTHING)
    report = workshop.report("broken")
    assert report.status == "faulty"
    assert reason in report.reason
    assert "\n" not in report.reason
    assert workshop.report("whole").status == "active"


def test_ctrl_c_while_a_plugin_is_imported_is_the_persons(workshop: Workshop) -> None:
    workshop.install("slow", "import signal, time\nsignal.raise_signal(signal.SIGINT)\ntime.sleep(0.1)")
    with pytest.raises(KeyboardInterrupt):
        workshop.load()
    workshop.install("odd", "raise KeyboardInterrupt")
    assert workshop.report("odd", blocked_plugins=("slow",)).reason == "load: KeyboardInterrupt"


@pytest.mark.parametrize(
    ("value", "got"), [(None, "got none"), ("3", "got 3"), ("'1'", "got '1'"), ("True", "got True")]
)
def test_another_hook_api_is_refused(workshop: Workshop, value: str | None, got: str) -> None:
    workshop.install("old", f"TINYTOWN_HOOK_API = {value}" if value else "", head="")
    report = workshop.report("old")
    assert report.status == "refused"
    assert f"expected TINYTOWN_HOOK_API = {HOOK_API}" in report.reason
    assert got in report.reason


CHANGES = "see docs/reference/plugins.md, section 'What changed in API 2'"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("TINYTOWN_HOOK_API = 1", f"expected TINYTOWN_HOOK_API = {HOOK_API}"),
        ("import tinytown.names", "it imports what this version of Tinytown lacks: No module named 'tinytown.names'"),
        ("from tinytown.contracts import Invocation", "cannot import name 'Invocation' from 'tinytown.contracts'"),
    ],
)
def test_a_plugin_of_api_1_is_refused_with_the_place_of_the_table_of_changes(
    workshop: Workshop, source: str, reason: str
) -> None:
    workshop.install("old", source, head="")
    plugins = workshop.load()
    (report,) = [each for each in plugins.reports if each.name == "old"]
    assert report.status == "refused"
    assert reason in report.reason
    assert plugins.problems[0].hint == CHANGES
    assert "## What changed in API 2\n" in (Path(__file__).parents[2] / "docs/reference/plugins.md").read_text()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("@hookimpl\nasync def tinytown_gates():\n    return []", "tinytown_gates is async"),
        ("@hookimpl\nasync def tinytown_gates():\n    yield 1", "tinytown_gates is async"),
        ("@hookimpl\ndef tinytown_gates(settings=None):\n    return []", "gives its argument 'settings' a default"),
        ("@hookimpl\ndef tinytown_gate():\n    return []", "there is no hook tinytown_gate"),
        ("@hookimpl(specname='tinytown_x')\ndef gates():\n    return []", "there is no hook tinytown_x"),
        ("@hookimpl\ndef tinytown_gates(moon):\n    return []", "tinytown_gates has no argument 'moon'"),
        ("@hookimpl\ndef tinytown_gates(*all):\n    return []", "tinytown_gates takes *all"),
        ("@hookimpl\ndef tinytown_gates(*, root):\n    return []", "tinytown_gates takes root"),
        ("@hookimpl(wrapper=True)\ndef tinytown_gates():\n    return (yield)", "tinytown_gates is a wrapper"),
        ("def tinytown_gates():\n    return []", "tinytown_gates is not marked as a hook"),
    ],
)
def test_a_hook_that_breaks_the_rules_refuses_its_plugin(workshop: Workshop, source: str, reason: str) -> None:
    workshop.install("wrong", source)
    report = workshop.report("wrong")
    assert report.status == "refused"
    assert reason in report.reason
    assert report.hooks == ()


def test_two_distributions_with_one_plugin_name_are_both_refused(workshop: Workshop) -> None:
    modules = [workshop.install("twin", EVERYTHING, distribution=name) for name in ("twin-a", "twin-b")]
    plugins = workshop.load()
    twins = [each for each in plugins.reports if each.name == "twin"]
    assert [each.status for each in twins] == ["refused", "refused"]
    assert all("twin-a and twin-b" in each.reason for each in twins)
    assert not plugins.backends
    assert not sys.modules.keys() & set(modules)


def test_of_two_installations_of_one_distribution_the_first_on_the_path_counts(
    workshop: Workshop, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.install("again", "", distribution="Tiny.Again", version="1.0")
    newer = Workshop(tmp_path_factory.mktemp("first"))
    monkeypatch.syspath_prepend(newer.directory)
    newer.install("again", "", distribution="tiny-again", version="2.0")
    workshop.modules += newer.modules
    report = workshop.report("again")
    assert (report.status, report.version) == ("active", "2.0")


def test_metadata_that_cannot_be_read_costs_nobody_else_anything(workshop: Workshop) -> None:
    workshop.register("torn", "[tinytown]\nthis is no entry point\n")
    workshop.install("whole", EVERYTHING)
    assert workshop.report("whole").status == "active"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("@hookimpl\ndef tinytown_gates():\n    1 / 0", "tinytown_gates: ZeroDivisionError"),
        ("@hookimpl\ndef tinytown_gates():\n    raise SystemExit", "tinytown_gates: SystemExit"),
        ("@hookimpl\ndef tinytown_gates():\n    return 7", "expected a sequence, got int 7"),
        ("@hookimpl\ndef tinytown_gates():\n    return 'gate'", "expected a sequence, got str 'gate'"),
        ("@hookimpl\ndef tinytown_gates():\n    return {}", "expected a sequence, got dict {}"),
        ("async def gates(): pass\n@hookimpl\ndef tinytown_gates():\n    return gates()", "got coroutine"),
        ("@hookimpl\ndef tinytown_gates():\n    yield 1 / 0", "tinytown_gates: ZeroDivisionError"),
        ("@hookimpl\ndef tinytown_gates():\n    return [object()]", "which lacks name, wants(), check()"),
        (
            "class Gate:\n    name = 'g'\n@hookimpl\ndef tinytown_gates():\n    return [Gate()]",
            "which lacks wants(), check()",
        ),
        ("class Gate:\n    name = 'g'\n@hookimpl\ndef tinytown_gates():\n    return [Gate]", "the class Gate itself"),
        (
            "class Gate:\n    wants = check = lambda self: None\n    @property\n    def name(self): 1 / 0\n"
            "@hookimpl\ndef tinytown_gates():\n    return [Gate()]",
            "ZeroDivisionError",
        ),
        (f"{BACKEND}@hookimpl\ndef tinytown_agent_backends():\n    return [Backend('a b')]", "as kind, got 'a b'"),
        (f"{BACKEND}@hookimpl\ndef tinytown_agent_backends():\n    return [Backend(None)]", "expected a text as kind"),
        ("@hookimpl\ndef tinytown_commands():\n    return [('a', 'b', 'c:d')]", "expected a Command, got tuple"),
        (
            "from tinytown_cli.contracts import Command\n"
            "@hookimpl\ndef tinytown_commands():\n    return [Command('a', 'b', 'c.d')]",
            "expected 'module:function' as the target of 'a', got 'c.d'",
        ),
        ("@hookimpl\ndef tinytown_completers():\n    return [('a', 'b:c')]", "expected a Completer, got tuple"),
        (
            "from tinytown_cli.contracts import Command\n"
            "@hookimpl\ndef tinytown_commands():\n    return [Command('a b c', 'b', 'c:d')]",
            "expected letters, digits, '.', '_' or '-' as name, got 'a b c'",
        ),
        ("@hookimpl\ndef tinytown_settings_type():\n    return dict", "expected a subclass of msgspec.Struct"),
        ("@hookimpl\ndef tinytown_settings_type():\n    return 7", "expected a subclass of msgspec.Struct, got int 7"),
    ],
)
def test_a_hook_that_fails_costs_its_own_answers_only(workshop: Workshop, source: str, reason: str) -> None:
    workshop.install("odd", source)
    workshop.install("whole", EVERYTHING)
    plugins = workshop.load()
    (report,) = [each for each in plugins.reports if each.name == "odd"]
    assert report.status == "faulty"
    assert reason in report.reason
    assert [gate.name for gate in plugins.gates] == ["gate"]
    (problem,) = plugins.problems
    assert isinstance(problem, PluginFaulty)
    assert problem.__cause__ is not None
    assert problem.fields["plugin"] == "odd"
    assert problem.fields["distribution"] == "tinytown-odd"
    assert problem.message.startswith("plugin 'odd' (tinytown-odd 1.0): ")


def test_a_plugin_keeps_what_its_other_hooks_and_objects_offer(workshop: Workshop) -> None:
    source = f"""{BACKEND}
@hookimpl
def tinytown_agent_backends():
    return [Backend("one"), object(), Backend("two")]
@hookimpl
def tinytown_gates():
    1 / 0
@hookimpl
def tinytown_prompt_sections():
    return ["still here"]
"""
    workshop.install("half", source)
    plugins = workshop.load()
    assert list(plugins.backends) == ["one", "two"]
    assert plugins.prompt_sections(AGENTS[0], None) == ("still here",)
    assert [problem.fields["stage"] for problem in plugins.problems] == ["tinytown_agent_backends", "tinytown_gates"]


@pytest.mark.parametrize("answer", ["'one text'", "[7]", "1 / 0"])
def test_prompt_sections_of_one_plugin_do_not_spoil_those_of_another(workshop: Workshop, answer: str) -> None:
    workshop.install("a", f"@hookimpl\ndef tinytown_prompt_sections():\n    return {answer}")
    workshop.install("b", "@hookimpl\ndef tinytown_prompt_sections():\n    return ['good']")
    plugins = workshop.load()
    assert plugins.reports[0].status == "active"
    for _ in range(3):
        assert plugins.prompt_sections(AGENTS[0], None) == ("good",)
    assert [each.status for each in plugins.reports if each.name in "ab"] == ["faulty", "active"]
    assert len(plugins.problems) == 1


@pytest.mark.parametrize("answer", ["7", "[]", "1 / 0"])
def test_a_choice_that_is_none_leaves_it_to_the_next_plugin(workshop: Workshop, answer: str) -> None:
    workshop.install("a", f"@hookimpl\ndef tinytown_choose_agent():\n    return {answer}")
    workshop.install("b", "@hookimpl\ndef tinytown_choose_agent():\n    return 'ada'")
    plugins = workshop.load()
    assert plugins.choose_agent(TASK, AGENTS) == "ada"
    assert plugins.reports[0].status == "faulty"


@pytest.mark.parametrize("answer", ["7", "[]", "1 / 0"])
def test_an_answer_of_the_wrong_type_leaves_guide_and_event_text_to_the_next_plugin(
    workshop: Workshop, answer: str
) -> None:
    workshop.install(
        "a",
        f"@hookimpl\ndef tinytown_reporting_guide():\n    return {answer}\n"
        f"@hookimpl\ndef tinytown_event_text():\n    return {answer}\n",
    )
    workshop.install("b", EVERYTHING)
    plugins = workshop.load()
    guide = reporting_guide(plugins, AGENTS[1], False)
    assert guide is not None
    assert guide.agents == "ben"
    assert str(plugins.first_answer("tinytown_event_text", {"event": EVENT}, str, "a text")).startswith("greeted ")
    assert plugins.reports[0].status == "faulty"


def test_without_an_opinion_there_is_neither_guide_nor_event_text(workshop: Workshop) -> None:
    plugins = workshop.load()
    assert reporting_guide(plugins, AGENTS[0], True) is None
    assert plugins.first_answer("tinytown_event_text", {"event": EVENT}, str, "a text") is None


def test_the_second_of_two_backends_of_one_kind_is_refused_alone(workshop: Workshop) -> None:
    for name, kinds in (("a", "'same', 'a'"), ("b", "'same', 'b'")):
        workshop.install(
            name, f"{BACKEND}@hookimpl\ndef tinytown_agent_backends():\n    return [Backend(k) for k in ({kinds})]"
        )
    plugins = workshop.load(plugins={"b": {}})
    assert list(plugins.backends) == ["same", "a", "b"]
    assert plugins.owner(plugins.backends["same"]) == "a"
    (report,) = [each for each in plugins.reports if each.name == "b"]
    assert report.status == "active"
    assert "the plugin 'a' already has the kind 'same'" in report.reason
    assert report.contributions == {"backends": ("b",)}
    (problem,) = plugins.problems
    assert isinstance(problem, PluginRefused)


def test_what_fails_at_run_time_is_told_once_for_each_stage(workshop: Workshop) -> None:
    workshop.install("all", EVERYTHING)
    plugins = workshop.load()
    for attempt in range(3):
        error = plugins.mark_faulty(plugins.owner(plugins.gates[0]), "gate", OSError(f"disk {attempt}"))
        assert f"disk {attempt}" in error.message
    plugins.mark_faulty("all", "service", RuntimeError("no"))
    (report,) = [each for each in plugins.reports if each.name == "all"]
    assert (report.status, report.reason) == ("faulty", "gate: OSError: disk 0")
    assert [problem.fields["stage"] for problem in plugins.problems] == ["gate", "service"]
    assert len(plugins.gates) == 1


# -- blocking ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["config", "variable", "all"])
def test_a_blocked_plugin_is_not_even_imported(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    module = workshop.install("boo", "raise SystemExit('imported')")
    if way != "config":
        monkeypatch.setenv("TINYTOWN_BLOCK", "other, boo" if way == "variable" else "*")
    blocked = ["boo"] if way == "config" else []
    report = workshop.report("boo", blocked_plugins=blocked, plugins={"boo": {"any": 1}}, strict_plugins=True)
    assert report.status == "blocked"
    assert "TINYTOWN_BLOCK" in report.reason
    assert module not in sys.modules


def test_blocking_one_of_two_names_blocks_both_twins(workshop: Workshop) -> None:
    for name in ("twin-a", "twin-b"):
        workshop.install("twin", EVERYTHING, distribution=name)
    twins = [
        each for each in workshop.load(blocked_plugins=["twin"], strict_plugins=True).reports if each.name == "twin"
    ]
    assert [each.status for each in twins] == ["blocked", "blocked"]


# -- settings, and what the person asked for ---------------------------------------------------------------


def test_an_unknown_setting_is_named_with_its_whole_path(workshop: Workshop) -> None:
    workshop.install("all", EVERYTHING)
    with pytest.raises(ConfigError, match=r"tinytown\.toml: unknown key at plugins\.all\.wording") as caught:
        workshop.load(plugins={"all": {"wording": "hi"}})
    assert caught.value.fields["key"] == "plugins.all.wording"
    assert caught.value.hint == "known here: word"


def test_a_setting_of_the_wrong_type_is_named_with_its_whole_path(workshop: Workshop) -> None:
    workshop.install("all", EVERYTHING)
    config = {"plugins": {"all": {"word": 7}}}
    with pytest.raises(ConfigError) as caught:
        workshop.load(**config)
    assert caught.value.fields["key"] == "plugins.all.word"
    (report,) = [each for each in workshop.survey(**config).reports if each.name == "all"]
    assert report.status == "refused"
    assert "plugins.all.word" in report.reason


def test_settings_for_a_plugin_that_takes_none_are_an_error(workshop: Workshop) -> None:
    workshop.install("bare", "")
    assert workshop.report("bare", plugins={"bare": {}}).status == "active"
    with pytest.raises(ConfigError, match=r"takes no settings, got plugins\.bare\.word"):
        workshop.load(plugins={"bare": {"word": "hi"}})


def test_a_hook_may_say_that_a_setting_cannot_be_meant(workshop: Workshop) -> None:
    source = """
    from tinytown.errors import ConfigError
    @hookimpl
    def tinytown_gates():
        raise ConfigError("no such colour: blurple", key="plugins.paint.colour")
    """
    workshop.install("paint", source)
    with pytest.raises(ConfigError, match="blurple"):
        workshop.load()


def test_a_plugin_that_needs_settings_waits_for_them_without_troubling_anybody(workshop: Workshop) -> None:
    source = """
    import msgspec
    class Settings(msgspec.Struct, forbid_unknown_fields=True):
        url: str
    @hookimpl
    def tinytown_settings_type():
        return Settings
    @hookimpl
    def tinytown_prompt_sections():
        return ["never asked"]
    """
    workshop.install("hook", source)
    plugins = workshop.load()
    (report,) = [each for each in plugins.reports if each.name == "hook"]
    assert report.status == "refused"
    assert "it needs settings" in report.reason
    assert plugins.problems[0].hint == "write [plugins.hook]"
    assert plugins.prompt_sections(AGENTS[0], None) == ()
    with pytest.raises(ConfigError, match="missing required field `url`"):
        workshop.load(plugins={"hook": {}})


def test_a_settings_type_that_lets_unknown_keys_pass_is_refused(workshop: Workshop) -> None:
    workshop.install(
        "lax",
        "import msgspec\nclass Lax(msgspec.Struct): pass\n@hookimpl\ndef tinytown_settings_type():\n    return Lax",
    )
    report = workshop.report("lax")
    assert report.status == "refused"
    assert "its Lax would let unknown keys pass" in report.reason


def test_a_plugin_that_the_config_names_must_be_installed(workshop: Workshop) -> None:
    with pytest.raises(PluginError, match="install the distribution that brings it") as caught:
        workshop.load(plugins={"absent": {"colour": "red"}})
    assert caught.value.fields["plugin"] == "absent"
    workshop.install("zest", "")
    ours = [each for each in workshop.survey(plugins={"absent": {}}).reports if each.name in ("absent", "zest")]
    assert [(each.name, each.status) for each in ours] == [("absent", "missing"), ("zest", "active")], "by name"
    workshop.load(plugins={"absent": {}}, blocked_plugins=["absent"])


@pytest.mark.parametrize(
    ("source", "error"),
    [("import no_such_module_anywhere", PluginFaulty), ("@hookimpl\nasync def tinytown_gates(): pass", PluginRefused)],
)
def test_a_plugin_that_the_config_names_must_work(workshop: Workshop, source: str, error: type[PluginError]) -> None:
    workshop.install("required", source)
    assert workshop.report("required").status != "active"
    with pytest.raises(error, match="plugin 'required'"):
        workshop.load(plugins={"required": {}})


def test_under_strict_plugins_any_problem_is_an_error(workshop: Workshop) -> None:
    workshop.install("broken", "1 / 0")
    workshop.load()
    with pytest.raises(PluginFaulty, match="ZeroDivisionError"):
        workshop.load(strict_plugins=True)


def test_a_kind_of_agent_that_no_plugin_understands_is_an_error(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tinytown.entry_points", "tinytown.plugin.loader"):
        monkeypatch.setattr(f"{module}.installed", lambda group: ())
    config = Config(name="town", agent_clis={"linter": AgentCli(command="lint")})
    with pytest.raises(ConfigError, match=r"no working plugin makes agents of \[agent_clis\.linter\]") as caught:
        load_plugins(config, workshop.directory)
    assert caught.value.fields["key"] == "agent_clis.linter"
