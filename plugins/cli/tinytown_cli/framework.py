"""The frame that commands hang in: options that all of them take, examples in every help, groups, and lazy loading.

Knows the table of commands and click; knows nothing of what the commands do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import click

from tinytown_cli.command_table import COMMANDS, SECTIONS, load
from tinytown_cli.context import CliContext

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_HELP = ["-h", "--help"]
_CONTEXT = {"help_option_names": _HELP, "max_content_width": 120}


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    # The root's options and the command's fill one record: whichever was given counts.
    if value:
        setattr(context.ensure_object(CliContext), str(parameter.name), value)


def common_options() -> list[click.Parameter]:
    """The options that may stand before or after the command's name."""

    def option(*names: str, **attributes: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=_remember, **attributes)

    return [
        option(
            "-t", "--town", metavar="PATH", help="The town's directory, or any below it.  [default: the current one]"
        ),
        option("--json", is_flag=True, help="Answer in JSON, errors included."),
        option("--debug", is_flag=True, help="Show the traceback of an error."),
        option("-v", "--verbose", is_flag=True, help="Say on stderr which town and server are used."),
    ]


class TownCommand(click.Command):
    """A command with the common options and with `examples` in its help, each a whole line as one would type it."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        attributes.setdefault("context_settings", _CONTEXT)
        super().__init__(*args, **attributes)
        self.params += common_options()
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)


class TownGroup(click.Group):
    """A command with commands below it, such as ``tt task``.

    Alone on the line, or with options only, it means its command `alone`; without one it is a mistake, and says what is
    below.
    """

    command_class = TownCommand

    def __init__(self, *args: Any, examples: Sequence[str] = (), alone: str = "", **attributes: Any) -> None:
        attributes.setdefault("context_settings", _CONTEXT)
        super().__init__(*args, **{"no_args_is_help": False, **attributes})
        self.params += common_options()
        self.examples = tuple(examples)
        self.alone = alone

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [word for before, word in zip(["", *args], args, strict=False) if before != "--town"]
        if self.alone and all(word.startswith("-") and word not in _HELP for word in words):
            args = [self.alone, *args]
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing and not args:
            raise click.UsageError(f"expected one of {', '.join(self.commands)} after {ctx.info_name}", ctx)
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)


class RootGroup(click.Group):
    """``tt`` itself: knows its commands by the table and imports one when it is typed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return cast(click.Command, load(COMMANDS[cmd_name].target)) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word in COMMANDS or word.startswith("-"):
            return super().resolve_command(ctx, args)
        from tinytown_cli.plugin_commands import (
            plugin_command,  # late: plugins are loaded for a word that we do not know
        )

        try:
            return word, plugin_command(ctx.ensure_object(CliContext), word), args[1:]
        except Exception:
            if ctx.resilient_parsing:  # the shell completes the line: nobody is to be told what is wrong with it
                return None, None, []
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, entries in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, entry.help) for name, entry in entries.items()], col_max=14)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write_text("tt COMMAND --help tells more and has examples. Plugins may add commands: see tt plugins.")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        # click would import every command for its help.
        words = [CompletionItem(name, help=COMMANDS[name].help) for name in COMMANDS if name.startswith(incomplete)]
        if not words and incomplete and not incomplete.startswith("-"):
            words = _plugin_words(ctx, incomplete)
        return words + click.Command.shell_complete(self, ctx, incomplete)


def _plugin_words(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Commands that plugins add. Only asked for when no command of ours begins like this: plugins have to be imported."""
    from click.shell_completion import CompletionItem

    from tinytown_cli.plugin_commands import survey

    with contextlib.suppress(Exception):
        commands = survey(ctx.ensure_object(CliContext)).commands.values()
        return [CompletionItem(each.name, help=each.help) for each in commands if each.name.startswith(incomplete)]
    return []


def write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    """The examples as a section of a help text."""
    if examples:
        with formatter.section("Examples"):
            for line in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from tinytown import __version__

        click.echo(f"tinytown {__version__}")
        context.exit()


def make_root() -> RootGroup:
    """The command ``tt``."""

    def show_help(**_: Any) -> None:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            click.echo(context.get_help())

    version = click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_show_version,
        help="Print the version.",
    )
    return RootGroup(
        "tt",
        callback=show_help,
        invoke_without_command=True,
        params=[*common_options(), version],
        context_settings=_CONTEXT,
        help="A town of AI coding agents on one project.",
    )
