"""Prompts as kernels build them for each coding CLI, and what its model gets of them when the CLI is there to be run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import click
import msgspec
import trio
from tinytown.config import Config, RoundConfig
from tinytown.kernel import build_prompt
from tinytown.plugin import Plugins
from tinytown_adapters.backend import CliBackend
from tinytown_cli.framework import make_root
from tinytown_mcp.mail_tools import MAIL_TOOLS
from tinytown_mcp.task_tools import TASK_TOOLS
from tinytown_mcp.town_tools import TOWN_TOOLS
from tinytown_testing import ReportRecorder, Sandbox, open_sandbox
from tinytown_testing.models import ModelServer, Script
from tinytown_testing.models.answers import SHELL_TOOLS
from tinytown_testing.sandbox import changed_environment

from tests.evals.cases import CASES, Case
from tests.evals.score import Request, Round, Score, score
from tests.real_clis.clis import DIRECTORIES_VARIABLE, RealCli

_ROUND_S = 120.0
TOOLS = tuple(str(tool.name) for tool in (*MAIL_TOOLS, *TASK_TOOLS, *TOWN_TOOLS))


def is_there(cli: RealCli) -> bool:
    """Whether the CLI is in one of the directories that hold real ones."""
    return shutil.which(cli.kind, path=os.environ.get(DIRECTORIES_VARIABLE, "")) is not None


async def score_cli(cli: RealCli, report: Callable[[Case, Score], None], chosen: Callable[[Case], bool]) -> None:
    """Score each chosen case for one CLI, by what its model gets if it is there, else by the prompt alone."""
    path = cli.path() if is_there(cli) else None
    with ModelServer([{"text": "done"}]) as server:
        async with open_sandbox() as sandbox:
            with _logged_in(cli, server.url):
                prepared = _Prepared(cli, sandbox, server.url)
                towns = {case.name: prepared.plugins(case) for case in CASES if chosen(case)}
            for number, case in enumerate(filter(chosen, CASES)):
                plugins = towns[case.name]
                if plugins.backends[cli.kind].offers_town_tools is None and len(case.tasks) > 1:
                    continue  # who cannot report gets one task at a time
                prompt = build_prompt(plugins, case.parts(cli.kind))
                got = None
                if path is not None and not case.in_round:
                    got = await _received(cli, server, sandbox, plugins, f"ada{number}", prompt, path)
                report(case, _scored(cli, plugins, case, prompt, got))


class _Prepared:
    """The plugins of towns for one CLI, loaded once for each of their settings."""

    def __init__(self, cli: RealCli, sandbox: Sandbox, url: str) -> None:
        @cache
        def load(completion: Any, **settings: Any) -> Plugins:
            config = Config(name="word-tools", round=RoundConfig(completion=completion))
            return cli.plugins(sandbox.root, url, config, **settings)

        self._load = load
        backend = cast("CliBackend[Any]", load("auto").backends[cli.kind])
        self._offered = backend.adapter.permissions_offered

    def plugins(self, case: Case) -> Plugins:
        """Those for a case, with its permissions if the CLI can be called with them."""
        permissions = {"permissions": case.permissions} if case.permissions in self._offered else {}
        return self._load(case.completion, town_tools=case.town_tools, **permissions)


@contextmanager
def _logged_in(cli: RealCli, url: str) -> Generator[None]:
    """Which tools a backend offers depends on where its login comes from."""
    with changed_environment({name: cli.environment(url).get(name, "") for name in cli.keys}):
        yield


def _scored(cli: RealCli, plugins: Plugins, case: Case, prompt: str, got: Request | None) -> Score:
    form = plugins.backends[cli.kind].offers_town_tools
    runs_commands = form is not None
    if got is not None and not isinstance(form, str):
        runs_commands = bool(SHELL_TOOLS.keys() & set(got.tools))
    about = Round(
        texts=case.texts,
        has_task=bool(case.tasks),
        has_mail=bool(case.mail),
        in_round=case.in_round,
        runs_commands=runs_commands,
        can_report=runs_commands or isinstance(form, str),
    )
    named = {form.format(name) for name in TOOLS} if isinstance(form, str) else set[str]()
    return score(prompt, about, named, is_command, got)


async def _received(
    cli: RealCli, server: ModelServer, sandbox: Sandbox, plugins: Plugins, name: str, prompt: str, path: str
) -> Request:
    """What the model gets in a round of a new session. Raises: RuntimeError if it is asked nothing."""
    agent = sandbox.agent(name, cli=cli.kind)
    environment = {"PATH": path, **cli.environment(server.url)}
    seen, report = len(server.model_requests), ReportRecorder()
    server.script = Script([{"text": "done"}])
    with trio.fail_after(_ROUND_S):
        async with sandbox.open_town(), plugins.backends[cli.kind].open(sandbox.context(agent)) as session:
            work = sandbox.round(agent, prompt, environment=environment, timeout_s=_ROUND_S, grace_s=2.0)
            outcome = await session.run_round(work, report)
    heading = prompt.partition("\n")[0]
    asked = [each for each in server.model_requests[seen:] if heading in each["prompt"]]
    if not asked:
        raise RuntimeError(f"{cli.kind} asked its model nothing: {outcome}")
    whole = max(asked, key=lambda each: len(each["tools"]))  # the others are for titles and the like
    received = whole["prompt"].replace("\\@", "@") if cli.escapes_at else whole["prompt"]
    form = plugins.backends[cli.kind].offers_town_tools
    names = {*TOOLS, *(form.format(name) for name in TOOLS)} if isinstance(form, str) else set[str]()
    return Request(received, whole["tools"], sum(len(str(each)) for each in definitions(whole["body"], names)))


def definitions(body: object, names: Collection[str]) -> Iterator[Mapping[str, Any]]:
    """The definitions of tools with these names anywhere in a request."""
    if isinstance(body, list):
        for each in cast("list[object]", body):
            yield from definitions(each, names)
    elif isinstance(body, dict):
        members = cast("dict[str, Any]", body)
        if "description" in members and str(members.get("name")) in names:
            yield members
        else:
            for each in members.values():
                yield from definitions(each, names)


@cache
def is_command(words: str) -> bool:
    """Whether ``tt WORDS`` begins with a command that there is, and all its options are the command's."""
    command: click.Command | None = make_root()
    with click.Context(make_root(), info_name="tt") as context:
        for word in words.split():
            if not isinstance(command, click.Group):
                break
            command = command.get_command(context, word)
    if command is None or isinstance(command, click.Group):
        return False
    options = {option for parameter in command.params for option in parameter.opts}
    return {word for word in words.split() if word.startswith("--")} <= options


def repository() -> Path:
    return Path(__file__).resolve().parents[2]


def as_record(scores: Mapping[str, Score]) -> dict[str, Any]:
    """Scores by case as JSON."""
    return {
        name: msgspec.to_builtins({"figures": each.figures, "faults": each.faults}) for name, each in scores.items()
    }
