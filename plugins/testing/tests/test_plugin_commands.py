"""``tt plugin test`` and ``tt plugin new`` as a person types them; what `new` writes is installed and tested."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tinytown.errors import UsageError
from tinytown_testing import PROMISES
from tinytown_testing.installed import install_distribution, install_plugin
from tinytown_testing.scaffold import KINDS, check_plugin_name

DEADLINE_S = 60.0


class Shell:
    """Types commands in `directory`; packages in `site` are installed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.site = directory / "site"
        self.site.mkdir()

    def __call__(self, *words: str, code: int = 0, module: str = "tinytown") -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TINYTOWN_")}
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            cwd=self.directory,
            env={**environment, "PYTHONPATH": str(self.site), "PYTEST_ADDOPTS": "-p no:valkey -p no:cacheprovider"},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code).stdout)

    def error(self, *words: str, code: int) -> Any:
        return json.loads(self("--json", *words, code=code).stderr.splitlines()[-1])["error"]

    def install(self, name: str, source: str) -> None:
        """A plugin whose module has `source`."""
        install_plugin(self.site, name, dedent(source))

    def install_package(self, directory: Path) -> None:
        """The package in `directory`, as `pip install -e` does."""
        project = tomllib.loads((directory / "pyproject.toml").read_text())["project"]
        ((_, module),) = project["entry-points"]["tinytown"].items()
        (self.site / f"{module}.pth").write_text(f"{directory}\n")  # only a site directory's are read
        (self.site / module).symlink_to(directory / module)
        groups = project["entry-points"].items()
        text = "".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in each.items()) for group, each in groups)
        install_distribution(self.site, project["name"], text)


@pytest.fixture
def tt(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


#: What a kind is called in a report, where that is something else.
SUBJECTS = {"prompt": "prompt sections", "cli": "backend", "acp": "backend"}

HEAD = """
from tinytown import contracts
from tinytown.contracts import Verdict
from tinytown.hookspecs import hookimpl
TINYTOWN_HOOK_API = 2

class Gate(contracts.Gate):
    name = "odd"
    async def check(self, work, directory):
        {body}

@hookimpl
def tinytown_gates():
    return [Gate()]
"""


# -- tt plugin test ----------------------------------------------------------------------------------------


def test_a_good_plugin_is_ok_promise_by_promise(tt: Shell) -> None:
    shown = tt("plugin", "test", "echo").stdout
    assert shown.startswith("plugin echo\n  ok              L1   Its hooks return quickly")
    assert "\nbackend echo\n  ok              B1   Its kind is a word" in shown
    assert "  not applicable  B13  " in shown
    assert shown.endswith(" not applicable\n")
    assert " 0 broken, " in shown


def test_a_distribution_with_a_server_alone_is_checked_too(tt: Shell) -> None:
    (report,) = tt.json("plugin", "test", "server")["reports"]
    assert report["subject"] == "server embedded"
    assert [promise["status"] for promise in report["promises"]] == ["ok"] * len(PROMISES["server"])


def test_a_broken_promise_is_shown_and_ends_with_1(tt: Shell) -> None:
    tt.install("odd", HEAD.format(body="return None"))
    shown = tt("plugin", "test", "odd", code=1).stdout
    assert "  BROKEN          G2   It returns a verdict on any work" in shown
    assert "expected Verdict from check(), got NoneType None" in shown
    outcome_text = tt.json("plugin", "test", "odd", code=1)
    assert (outcome_text["plugin"], outcome_text["broken"]) == ("odd", 1)
    _, report = outcome_text["reports"]
    assert report["subject"] == "gate odd"
    assert [each["id"] for each in report["promises"]] == [promise.id for promise in PROMISES["gate"]]
    assert [each["status"] for each in report["promises"][:2]] == ["ok", "broken"]


def test_settings_come_from_a_named_file_only(tt: Shell) -> None:
    (tt.directory / "settings.toml").write_text('name = "x"\n[plugins.echo]\ncolour = "red"\n')
    assert tt.json("plugin", "test", "echo")["broken"] == 0
    error = tt.error("plugin", "test", "echo", "--config", "settings.toml", code=1)
    assert "plugins.echo.colour" in error["message"]
    (tt.directory / "settings.toml").write_text('[plugins.echo]\nprefix = "x"\n')
    assert tt.json("plugin", "test", "echo", "--config", "settings.toml")["broken"] == 0
    assert tt.error("plugin", "test", "echo", "--config", "absent.toml", code=2)["code"] == "config"


def test_a_plugin_that_is_not_there_ends_with_3(tt: Shell) -> None:
    error = tt.error("plugin", "test", "absent", code=3)
    assert error["message"] == "no plugin 'absent' is installed"
    assert "echo" in error["hint"]


def test_a_plugin_that_does_not_import_says_so(tt: Shell) -> None:
    tt.install("torn", "import no_such_module_anywhere")
    error = tt.error("plugin", "test", "torn", code=1)
    assert error["code"] == "plugin_faulty"
    assert "No module named" in error["message"]


PROMPT = """
import msgspec
from tinytown.hookspecs import hookimpl
TINYTOWN_HOOK_API = 2

class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    words: str = "be kind"

@hookimpl
def tinytown_settings_type():
    return Settings

@hookimpl
def tinytown_prompt_sections(agent, settings, config, root, data):
    return [f"{settings.words} in {config.name}, {agent.name}; {sorted(data)}"]
"""


def test_a_hook_is_given_what_a_kernel_gives_it(tt: Shell) -> None:
    tt.install("kind", PROMPT)
    assert tt.json("plugin", "test", "kind")["broken"] == 0


def test_a_plugin_without_promises_is_told_from_one_that_keeps_them(tt: Shell) -> None:
    tt.install("bare", "TINYTOWN_HOOK_API = 2\n")
    assert tt("plugin", "test", "bare").stdout == "the plugin bare offers nothing that has promises\n"


# -- tt plugin new -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_keeps_every_promise_and_passes_its_own_test(tt: Shell, kind: str) -> None:
    outcome_text = tt.json("plugin", "new", "my-tool", "--kind", kind)
    directory = Path(outcome_text["directory"])
    assert directory == tt.directory / "tinytown-my-tool"
    assert sorted(outcome_text["files"]) == sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    )
    tt.install_package(directory)
    shown = tt.json("plugin", "test", "my-tool")
    of_hooks, report = shown["reports"]
    assert of_hooks["subject"] == "plugin my-tool"
    assert report["subject"] == f"{SUBJECTS.get(kind, kind)} my-tool"
    assert shown["broken"] == 0
    assert " passed" in tt("-q", str(directory / "tests"), module="pytest").stdout


def test_workflows_test_the_plugin_and_publish_it(tt: Shell) -> None:
    tt("plugin", "new", "my-tool", "--kind", "gate", "--dir", "new")
    workflows = tt.directory / "new" / ".github" / "workflows"
    tests, publish = (workflows / "tests.yml").read_text(), (workflows / "publish.yml").read_text()
    assert "tt plugin test my-tool" in tests
    assert "${{ matrix.python }}" in tests
    assert "id-token: write" in publish
    assert "token:" not in publish.replace("id-token:", ""), "publishing needs no secret"


SCENARIOS = """
from tinytown_testing import {name}
def scenarios(sandbox):
    {body}
"""


def test_a_plugin_brings_its_own_scenarios(tt: Shell) -> None:
    tt.install("odd", HEAD.format(body="return Verdict(passed=False, evidence='no')"))
    (tt.site / "odd_scenarios.py").write_text(
        SCENARIOS.format(
            name="GateScenario, GateScenarios",
            body="return {'gate odd': GateScenarios(passing=GateScenario(prepare=lambda directory: None))}",
        )
    )
    entries = "[tinytown]\nodd = tinytown_odd\n[tinytown.scenarios]\nodd = odd_scenarios:scenarios\n"
    install_distribution(tt.site, "tinytown-odd", entries)
    _, report = tt.json("plugin", "test", "odd", code=1)["reports"]
    assert {each["id"]: each["status"] for each in report["promises"]}["G4"] == "broken"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("return {'gate strange': None}", "about gate strange; expected plugin odd, gate odd"),
    ],
)
def test_scenarios_that_fail_or_are_about_nothing_are_named(tt: Shell, body: str, message: str) -> None:
    tt.install("odd", HEAD.format(body="return Verdict(passed=True)"))
    (tt.site / "odd_scenarios.py").write_text(SCENARIOS.format(name="GateScenarios", body=body))
    entries = "[tinytown]\nodd = tinytown_odd\n[tinytown.scenarios]\nodd = odd_scenarios:scenarios\n"
    install_distribution(tt.site, "tinytown-odd", entries)
    error = tt.error("plugin", "test", "odd", code=1)
    assert message in error["message"]


def test_a_new_plugin_can_be_built_and_installed(tt: Shell) -> None:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    tt("plugin", "new", "my-tool", "--kind", "gate", "--dir", "somewhere")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    tt("install", *options, "--target", str(tt.site), "./somewhere", module="pip")
    assert (tt.site / "tinytown_my_tool" / "py.typed").exists()
    assert tt.json("plugin", "test", "my-tool")["broken"] == 0


def test_nothing_is_overwritten(tt: Shell) -> None:
    place = tt.directory / "tinytown-mine"
    place.mkdir()
    (place / "notes").write_text("mine")
    error = tt.error("plugin", "new", "mine", "--kind", "sink", code=4)
    assert error["code"] == "exists"
    assert [path.name for path in place.iterdir()] == ["notes"]
    tt("plugin", "new", "mine", "--kind", "sink", "--dir", "empty/below")
    assert tt.error("plugin", "new", "mine", "--kind", "sink", "--dir", "empty/below", code=4)["code"] == "exists"
    (tt.directory / "vacant").mkdir()
    tt("plugin", "new", "mine", "--kind", "sink", "--dir", "vacant")
    assert (tt.directory / "vacant" / "pyproject.toml").exists()
    assert not list(tt.directory.rglob(".tinytown-*")), "a draft is left"


@pytest.mark.parametrize(
    "name", ["", "My", "my_tool", "-x", "x-", "a--b", "a/b", "../x", "\u00fc", "1x", "x" * 41, "a b"]
)
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected a plugin's name"):
        check_plugin_name(name)


def test_a_refused_name_leaves_nothing(tt: Shell) -> None:
    assert "expected a plugin's name" in tt.error("plugin", "new", "../x", "--kind", "gate", code=2)["message"]
    assert list(tt.directory.iterdir()) == [tt.site]
    assert not (tt.directory.parent / "x").exists()


def test_a_name_does_not_say_tinytown_twice() -> None:
    with pytest.raises(UsageError, match="tinytown-tinytown-x"):
        check_plugin_name("tinytown-x")


def test_a_kind_that_does_not_exist_is_refused(tt: Shell) -> None:
    error = tt.error("plugin", "new", "mine", "--kind", "toaster", code=2)
    assert (
        "'backend', 'cli', 'acp', 'sink', 'converter', 'workspace', 'gate', 'service', 'command', 'prompt', 'chooser'"
        in error["message"]
    )


def test_every_kind_of_new_plugin_has_promises() -> None:
    assert {"backend" if kind in ("cli", "acp") else kind for kind in KINDS} <= set(PROMISES)
