"""The program ``tt-bd``: its commands, and errors as bd prints them: one line, and exit code 1."""

from __future__ import annotations

import os
import sys

import click
import msgspec
from tinytown.errors import TinytownError

from tinytown_gastown.bd.output import common_options


class Commands(click.Group):
    """``tt-bd`` itself. The commands are imported when one is typed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _commands().get(cmd_name)


def _commands() -> dict[str, click.Command]:
    from tinytown_gastown.bd import comments, create, dependencies, queries, status, transfer, update

    return {
        "list": queries.list_, "show": queries.show, "ready": queries.ready_, "blocked": queries.blocked_,
        "search": queries.search, "stats": queries.stats, "status": queries.stats, "count": queries.count,
        "create": create.create, "new": create.create, "q": create.quick,
        "update": update.update, "label": update.label,
        "close": status.close, "done": status.close, "reopen": status.reopen,
        "comment": comments.comment_, "comments": comments.comments,
        "dep": dependencies.dep, "export": transfer.export, "import": transfer.import_,
    }  # fmt: skip


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
        program.main(args=words, prog_name="tt-bd", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
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
    return 0


def _failed(message: str, hint: str, as_json: bool) -> int:
    if as_json:
        line = {"error": message, **({"hint": hint} if hint else {}), "schema_version": 1}
        sys.stderr.write(msgspec.json.encode(line).decode() + "\n")
    else:
        flat = " ".join(f"{message}{f' ({hint})' if hint else ''}".split())
        sys.stderr.write("Error: " + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in flat) + "\n")
    return 1
