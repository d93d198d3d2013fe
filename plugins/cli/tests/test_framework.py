from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tinytown import __version__
from tinytown_cli.command_table import COMMANDS
from tinytown_cli.framework import TownCommand, TownGroup, make_root
from tinytown_testing.shell import Shell

HEAVY = {
    "trio",
    "redis",
    "pluggy",
    "asyncio",
    "importlib.metadata",
    "tinytown.contracts",
    "tinytown.kernel.kernel",
    "tinytown.town",
    "tinytown.plugin.loader",
    "tinytown.plugin.manager",
}

#: Runs command lines in one process and says after each which of the heavy modules it has brought in.
LIGHT = """
import contextlib, io, json, sys
from tinytown_cli.main import run
heavy = set(json.loads(sys.argv[1]))
for words in json.loads(sys.argv[2]):
    sys.stdout = io.TextIOWrapper(io.BytesIO())
    sys.stderr = io.StringIO()
    try:
        code = run(words)
        said = sys.stderr.getvalue()
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    print(json.dumps([words, code, said, sorted(heavy & set(sys.modules))]))
"""


def leaves(
    command: click.Command, words: tuple[str, ...] = (), parent: click.Context | None = None
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command without commands below it, with the words to type for it."""
    if isinstance(command, click.Group):
        context = click.Context(command, parent=parent, info_name=words[-1] if words else "tt")
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from leaves(below, (*words, name), context)
    else:
        yield words, command


@pytest.mark.parametrize(
    ("words", "command"),
    list(leaves(make_root())),
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_each_command_has_a_help_text_and_examples(words: tuple[str, ...], command: click.Command) -> None:
    assert isinstance(command, TownCommand)
    assert command.examples
    names = [other for other, same in leaves(make_root()) if same.callback is command.callback]  # it may have two
    known = [*(" ".join(("tt", *name)) for name in names), "python -m tinytown"]
    assert all(any(words in line for words in known) for line in command.examples)
    assert command.help
    assert len(command.help.split("\n")[0]) > 10
    undescribed = [
        param.name
        for param in command.params
        if isinstance(param, click.Option) and not param.hidden and not param.help
    ]
    assert undescribed == []
    assert {"town", "json", "debug", "verbose"} <= {param.name for param in command.params}
    context = click.Context(command, info_name="tt " + " ".join(words))
    assert command.examples[0] in command.get_help(context)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_matches_the_commands(name: str) -> None:
    context = click.Context(make_root())
    command = make_root().get_command(context, name)
    assert command is not None
    assert command.name == name
    assert isinstance(command, TownCommand | TownGroup)


@pytest.fixture
def own_cache(tmp_path: Path) -> dict[str, str]:
    """An environment with a cache that no other test fills or empties meanwhile."""
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_help_lists_every_command_and_imports_none(tt: Shell, own_cache: dict[str, str]) -> None:
    shown = tt("--help", env=own_cache).out
    assert all(f"  {name} " in shown for name in COMMANDS)
    script = (
        "import sys; from tinytown_cli.main import run; run(['--help'])\n"
        "print([name for name in sys.modules if name.startswith('tinytown_cli.')], file=sys.stderr)\n"
        "print([name for name in ('msgspec', 'hiredis', 'socket') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=tt.variables | own_cache, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    modules, others = map(eval, done.stderr.splitlines())
    quick = ("cache", "main", "framework", "command_table", "command_index", "context")
    assert set(modules) == {f"tinytown_cli.{name}" for name in quick}
    assert others == []


def test_quick_commands_import_nothing_heavy(in_town: Shell, own_cache: dict[str, str]) -> None:
    in_town("spawn", "light", env=own_cache)
    in_town("--help", env=own_cache)
    task = in_town("assign", "light", "work", "--json").json["task_id"]
    commands = [
        ["version", "--json"],
        ["--help"],
        ["status"],
        ["list"],
        ["send", "light", "hello"],
        ["send", "light", "hello", "--delay", "60"],
        ["inbox", "light"],
        ["inbox", "--all", "--json"],
        ["assign", "light", "more"],
        ["task", "list"],
        ["task", "show", task],
        ["task", "current", "light"],
        ["task", "complete", task, "--result", "fine"],
        ["task", "reopen", task],
        ["task", "requeue", task],
        ["task", "fail", task],
        ["backlog", "add", "later"],
        ["backlog", "list"],
        ["backlog", "assign-all", "light"],
        ["dead", "list"],
        ["events"],
        ["events", "--agent", "light", "--json"],
        ["interrupt", "light"],
        ["resume", "light"],
        ["close", "light"],
        ["kill", "light"],
        ["wait", "light", "--for", "stopped"],
        ["wait", "--task", task, "--timeout", "1"],
        ["remove", "light", "--force"],
        ["completion", "zsh"],
        ["stop", "--keep-server"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps(sorted(HEAVY)), json.dumps(commands)],
        cwd=in_town.directory, env=in_town.variables | own_cache, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(commands)
    failed_task = ["wait", "--task", task, "--timeout", "1"]
    for words, code, output, heavy in results:
        assert heavy == [], words
        assert code == (1 if words == failed_task else 0), (words, output)


def test_without_a_command_tt_shows_its_help_and_python_m_tinytown_runs_the_kernel(tt: Shell) -> None:
    program = [sys.executable, "-c", "from tinytown_cli.__main__ import main; main()"]
    done = subprocess.run(program, env=tt.variables, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("Usage: tt")
    assert "no town in" in tt(code=3).err


def test_common_options_are_accepted_before_and_after_the_command(in_town: Shell) -> None:
    elsewhere = in_town.directory.parent
    before = in_town("--json", "--town", str(in_town.directory), "status", cwd=elsewhere).json
    after = in_town("status", "--json", "-t", str(in_town.directory), cwd=elsewhere).json
    assert before == after
    below = in_town.directory / "src" / "deep"
    below.mkdir(parents=True)
    assert in_town("status", "--json", cwd=below).json == before
    named = {"TINYTOWN_TOWN": str(in_town.directory)}
    assert in_town("status", "--json", cwd=elsewhere, env=named).json == before
    assert "server unix://" in in_town("list", "-v").err


def test_the_version_is_the_distributions(tt: Shell) -> None:
    assert tt("--version").out == f"tinytown {__version__}\n"
    answer = tt("version", "--json").json
    assert answer["version"] == __version__
    assert len(answer["library"]) == 8


def test_an_error_is_one_line_and_with_json_an_object(in_town: Shell) -> None:
    plain = in_town("task", "show", "none-such", code=3).err
    assert plain == 'error: no task "none-such" in this town; tt task list shows the tasks\n'
    result = in_town("--json", "task", "show", "none-such", code=3)
    assert result.out == ""
    assert result.error == {
        "code": "not_found",
        "message": 'no task "none-such" in this town',
        "hint": "tt task list shows the tasks",
    }
    assert in_town("task", "show", "--json", code=2).error["code"] == "usage"
    assert in_town("--json", "nonsense", code=2).error["code"] == "usage"
    assert "did you mean status or" in in_town("statsu", code=2).err


def test_a_traceback_is_shown_with_debug_only(in_town: Shell) -> None:
    words = in_town.argv("task", "show", "none-such", "--debug")
    done = subprocess.run(
        words, cwd=in_town.directory, env=in_town.variables, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 3
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("tt task list shows the tasks\n")


def test_texts_of_agents_cannot_send_escape_sequences_to_the_terminal(in_town: Shell) -> None:
    in_town("spawn", "escape")
    for word in ("\x1b[2Jred", "a\x07b", "\u202egnp"):
        in_town("send", "escape", word)
    assert not {"\x1b", "\x07", "\u202e"} & {*in_town("inbox", "escape", "--full").out}
    in_town("send", "supervisor", "two\nlines", "--info")
    assert "two lines" in in_town("inbox").out
    assert "two\nlines" in in_town("inbox", "--full").out
    assert "two\nlines" in [message.get("summary") for message in in_town("inbox", "--json").json["messages"]]


def test_a_closed_pipe_is_not_an_error(in_town: Shell) -> None:
    command = f'"{sys.executable}" -m tinytown status --json | head -c 1 >/dev/null; echo "${{PIPESTATUS[0]}}"'
    result = subprocess.run(
        ["bash", "-c", f"exec 2>&1; {command}"], cwd=in_town.directory, env=in_town.variables, capture_output=True,
        text=True, timeout=30, check=True,
    )  # fmt: skip
    assert result.stdout.strip() in ("0", "141")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_closed_standard_stream_causes_no_traceback(in_town: Shell, closed: str) -> None:
    command = f'"{sys.executable}" -m tinytown list {closed}'
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=in_town.directory,
        env=in_town.variables,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_with_130(in_town: Shell) -> None:
    in_town("spawn", "heard-of")
    with in_town.start("events", "--follow", "--count", "1") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, stderr) == (130, "")


def test_completion_offers_commands_options_and_agents(in_town: Shell) -> None:
    in_town("spawn", "complete-me")

    def completed(line: str) -> set[str]:
        words = line.split(" ")
        env = {"_TT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        return {word.rpartition(",")[2] for word in in_town(env=env).out.split()}

    assert completed("tt sta") == {"start", "status"}
    assert "--deep" in completed("tt status --d")
    assert "show" in completed("tt task s")
    assert completed("tt send compl") == {"complete-me"}
    assert completed("tt spawn rita --role re") == {"reviewer", "researcher"}
    assert "_TT_COMPLETE" in in_town("completion", "bash").out


def test_an_unreadable_working_directory_is_reported(tt: Shell) -> None:
    gone = tt.directory / "gone"
    gone.mkdir()
    command = f'rmdir "{gone}"; exec "{sys.executable}" -m tinytown status'
    done = subprocess.run(
        ["bash", "-c", command], cwd=gone, env=tt.variables, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert os.path.exists(tt.directory)
