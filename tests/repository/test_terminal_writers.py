"""What of the plugins writes to the terminal past the one place that escapes it. Reads sources as text."""

from __future__ import annotations

import re
from pathlib import Path

#: What writes to the terminal by itself, and why that is safe. Everything else goes through `CliContext`, which escapes.
WRITERS = {
    "cli/tinytown_cli/context.py": "escapes what it writes",
    "cli/tinytown_cli/main.py": "escapes errors and warnings",
    "cli/tinytown_cli/framework.py": "the help of commands, and the version",
    "cli/tinytown_cli/progress.py": "words of the command's own, and names of agents",
    "cli/tinytown_cli/commands/import_export.py": "a document, as it is, for a file or a pipe",
    "cli/tinytown_cli/commands/plugins.py": "what the installer prints",
    "demo/tinytown_demo/command.py": "a report of the demo's own texts",
    "demo/tinytown_demo/live_view.py": "escapes what is of the town",
    "demo/tinytown_demo/scripted_agent.py": "goes into the log of a round",
    "demo/tinytown_demo/views.py": "escapes what it writes",
    "demo/tinytown_demo/wordcount.py": "a program of the demo, for its own files",
    "gastown/tinytown_gastown/bd/answers.py": "prints a table for the manual",
    "gastown/tinytown_gastown/bd/create.py": "an id",
    "gastown/tinytown_gastown/bd/output.py": "escapes what it writes",
    "gastown/tinytown_gastown/bd/program.py": "escapes what it writes",
    "gastown/tinytown_gastown/bd/setup.py": "words of its own",
    "gastown/tinytown_gastown/bd/transfer.py": "a document, as it is, for a file or a pipe",
    "mcp/tinytown_mcp/mcp_server.py": "goes into the log of a round",
    "ops/tinytown_ops/explain/logs_command.py": "with --raw a log as it is",
    "results/tinytown_results/check.py": "goes to the gate that has started it",
    "snapshots/tinytown_snapshots/cli_commands.py": "a snapshot, as it is, for a pipe",
    "townhall/tinytown_townhall/extensions.py": "an error, whose texts are escaped",
    "townhall/tinytown_townhall/hall.py": "an error, whose texts are escaped",
}
_WRITES = re.compile(r"\bclick\.s?echo\(|\bprint\(|sys\.std(?:out|err)(?:\.buffer)?\.write\(")


def test_nothing_else_writes_to_the_terminal_by_itself() -> None:
    plugins = Path(__file__).parents[2] / "plugins"
    sources = [path for path in plugins.glob("*/tinytown_*/**/*.py") if "tinytown_testing" not in path.parts]
    writers = {path.relative_to(plugins).as_posix() for path in sources if _WRITES.search(path.read_text())}
    assert writers == WRITERS.keys()
