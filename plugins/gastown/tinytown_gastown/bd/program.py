"""The program ``tt-bd``: its commands, and errors as bd prints them: one line, with --json on stdout, and exit code 1."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click
import msgspec
from tinytown.errors import TinytownError

from tinytown_gastown.bd.output import common_options

_MODULES: dict[str, tuple[str, ...]] = {
    "queries": ("list=list_", "show", "ready=ready_", "blocked=blocked_", "search", "stats", "status=stats", "count", "stale",
                "children=children_", "restore"),
    "query": ("query",),
    "create": ("create", "new=create", "q=quick"),
    "update": ("update", "assign", "tag", "note", "priority"),
    "labels": ("label", "state", "set-state=set_state"),
    "status": ("close", "done=close", "reopen", "defer", "undefer", "delete"),
    "comments": ("comment=comment_", "comments"),
    "dependencies": ("dep", "link", "relate", "duplicate", "supersede"),
    "epics": ("epic", "todo"),
    "molecules": ("mol", "cook", "pour", "wisp"),
    "gates": ("gate",),
    "slots": ("merge-slot=merge_slot",),
    "memory": ("remember", "recall", "memories", "forget", "kv"),
    "places": ("worktree",),
    "audit": ("audit",),
    "lint": ("lint",),
    "transfer": ("export", "import=import_"),
    "setup": ("prime", "version", "where", "info", "types", "statuses", "human", "config", "formula", "help=help_"),
}  # fmt: skip
#: Each command with the module and the name that it has there.
COMMANDS: dict[str, tuple[str, str]] = {
    word.partition("=")[0]: (module, word.partition("=")[2] or word)
    for module, words in _MODULES.items()
    for word in words
}


class Commands(click.Group):
    """``tt-bd`` itself. A command is imported when it is typed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from tinytown_gastown.bd.setup import WITHOUT_EFFECT

        return sorted([*COMMANDS, *WITHOUT_EFFECT])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, name = COMMANDS[cmd_name]
            command: click.Command = getattr(import_module(f"tinytown_gastown.bd.{module}"), name)
            return command
        from tinytown_gastown.bd.setup import WITHOUT_EFFECT, without_effect

        return without_effect(cmd_name) if cmd_name in WITHOUT_EFFECT else None


@click.command(cls=Commands, name="tt-bd", context_settings={"help_option_names": ["-h", "--help"]})
@common_options
def program() -> None:
    """The tasks of a town as issues, with the commands of bd."""


def main() -> None:
    """The entry point."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run a command line; the exit code."""
    as_json = "--json" in words
    try:
        ended: object = program.main(args=words, prog_name="tt-bd", standalone_mode=False)
    except click.NoSuchOption as error:
        context = error.ctx
        known = (
            [name for param in context.command.params for name in param.opts if name.startswith("--")]
            if context
            else []
        )
        command_name = context.command_path if context else "tt-bd"
        return _failed(f"unknown flag: {error.option_name}", f"{command_name} has: {', '.join(known)}", as_json)
    except click.ClickException as error:
        return _failed(error.format_message().rstrip("."), "", as_json)
    except click.Abort:
        return 130
    except TinytownError as error:
        return _failed(error.message, error.hint, as_json)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what is left in the buffer goes nowhere
        return 141
    return ended if isinstance(ended, int) else 0


def _failed(message: str, hint: str, as_json: bool) -> int:
    if as_json:
        line = {"error": message, **({"hint": hint} if hint else {}), "schema_version": 1}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()
    else:
        flat = " ".join(f"{message}{f' ({hint})' if hint else ''}".split())
        sys.stderr.write("Error: " + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in flat) + "\n")
    return 1
