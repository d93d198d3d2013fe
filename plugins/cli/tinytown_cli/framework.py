"""What every command is built on: the common options, examples in the help, groups, and lazy loading.

Knows the table of commands, the index of those that plugins add, and click; nothing of what the commands do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource
from tinytown.errors import UsageError
from tinytown.model.text import shown

from tinytown_cli.command_table import ALIASES, COMMANDS, LAST_SECTION, SECTIONS, Entry, load
from tinytown_cli.context import CliContext, output

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from tinytown_cli.command_index import PluginCommand

_HELP = ["-h", "--help"]
_CONTEXT = {"help_option_names": _HELP, "max_content_width": 120}


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    # The root's options and the command's fill one record: whichever was given counts.
    if value:
        setattr(context.ensure_object(CliContext), str(parameter.name), value)


def common_options() -> list[click.Parameter]:
    """The options that may be given before or after the command's name."""

    def option(*names: str, **attributes: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=_remember, **attributes)

    return [
        option(
            "-t", "--town", metavar="PATH", help="The town's directory, or any below it.  [default: the current one]"
        ),
        option("--json", is_flag=True, help="Print JSON, errors included."),
        option("--debug", is_flag=True, help="Show the traceback of an error."),
        option("--no-plugins", is_flag=True, help="Load no plugin."),
        option("-v", "--verbose", is_flag=True, help="Print on stderr which town and server are used."),
        # click's own would import `gettext`'s languages for its help.
        click.Option(
            _HELP, is_flag=True, expose_value=False, is_eager=True, callback=_show_help, help="Show this text and exit."
        ),
    ]


def _show_help(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(context.get_help(), output())
        context.exit()


#: No option takes a larger number: as seconds it is three hundred years.
LARGEST = 10_000_000_000


def _remember_remote(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value and context.get_parameter_source(str(parameter.name)) is ParameterSource.ENVIRONMENT:
        from tinytown.identity import inside_a_round  # late: only the variable needs it

        if inside_a_round():  # the variable is a person's, and a round has its town
            return
    _remember(context, parameter, value)


def remote_options() -> list[click.Parameter]:
    """The options of ``tt`` itself that name a townhall instead of a directory."""
    return [
        click.Option(
            ["--url"],
            metavar="URL",
            envvar="TINYTOWN_URL",
            expose_value=False,
            callback=_remember_remote,
            help="The townhall of a town on another machine: tt --url URL COMMAND.",
        ),
        click.Option(
            ["--key-file"],
            metavar="FILE",
            envvar="TINYTOWN_KEY_FILE",
            expose_value=False,
            callback=_remember_remote,
            help="The file with the API key for --url.",
        ),
    ]


class TownCommand(click.Command):
    """A command with the common options and with `examples` in its help, each a whole line as one would type it.

    With a `scope` (``town.read``, ``town.write``, ``agent.manage``, ``admin``) a townhall runs it for ``--url``, with a key of
    that scope. `option_scopes` has parameters that take another scope as well; `local_options` are those for the town's machine:
    they name files or follow what happens. Such a command prints by `CliContext.emit`, and reads standard input by `read_text`.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        scope: str = "",
        option_scopes: Mapping[str, str] | None = None,
        local_options: Sequence[str] = (),
        **attributes: Any,
    ) -> None:
        attributes.setdefault("context_settings", _CONTEXT)
        super().__init__(*args, **attributes)
        self.own_params = tuple(self.params)
        self.params += common_options()
        self.examples = tuple(examples)
        self.scope = scope
        self.option_scopes = option_scopes or {}
        self.local_options = frozenset(local_options)

    def invoke(self, ctx: click.Context) -> Any:
        if (context := ctx.find_object(CliContext)) and context.url:
            from tinytown_cli.remote import runs_here  # late, like the next: few lines are for another machine

            is_here = runs_here(command_path(ctx), self.scope)
            if context.town:
                raise UsageError("expected --url or --town, got both")
            if not is_here:
                from tinytown_cli.remote_command import run_at_townhall

                return run_at_townhall(context, command_path(ctx), ctx, self.own_params, self.local_options)
        return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        for param in self.params:
            value = ctx.params.get(param.name or "")
            if isinstance(value, int | float) and not abs(value) <= LARGEST:  # nan is not either
                expected = f"expected a number up to {LARGEST:,}, got {shown(str(value), 40)}"
                raise click.BadParameter(expected, ctx=ctx, param=param)
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)


class _ExtensibleGroup(click.Group):
    """A group that plugins may add commands to. They are listed from the index, and imported only when they are typed."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word in self._own_names(ctx) or word.startswith("-"):
            return super().resolve_command(ctx, args)
        try:
            command = find_added_command(ctx, word)
        except Exception:
            if not ctx.resilient_parsing:
                raise
            command = None
        if command or ctx.resilient_parsing:  # completion prints no error
            return word if command else None, command, args[1:]
        from tinytown_cli.plugin_commands import unknown_command

        raise unknown_command(ctx, f"{command_path(ctx)} {word}".strip(), self.list_commands(ctx))

    def _own_names(self, ctx: click.Context) -> list[str]:
        return super().list_commands(ctx)

    def _own_help(self, ctx: click.Context, name: str) -> str:
        command = super().get_command(ctx, name)
        return "" if command is None or command.hidden else command.get_short_help_str(200)

    def list_commands(self, ctx: click.Context) -> list[str]:
        own = self._own_names(ctx)
        return [*own, *(name for name in added_commands(ctx) if name not in own)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or find_added_command(ctx, cmd_name)

    def _listed(self, ctx: click.Context) -> dict[str, str]:
        """The commands by name, each with its line of help."""
        added = {name: command.help for name, command in added_commands(ctx).items()}
        return {**added, **{name: self._own_help(ctx, name) for name in self._own_names(ctx)}}

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        # click would import every command for its help.
        listed = sorted(self._listed(ctx).items())
        words = [CompletionItem(name, help=text) for name, text in listed if name.startswith(incomplete)]
        return words + click.Command.shell_complete(self, ctx, incomplete)


class TownGroup(_ExtensibleGroup):
    """A command with commands below it, such as ``tt task``; plugins may add to it (`Command`).

    Alone on the line, or with options only, it means its command `alone`; without one it is an error that lists the
    commands. Those of `elsewhere` are imported when they are typed.
    """

    command_class = TownCommand

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        alone: str = "",
        elsewhere: Mapping[str, Entry] | None = None,
        **attributes: Any,
    ) -> None:
        attributes.setdefault("context_settings", _CONTEXT)
        super().__init__(*args, **{"no_args_is_help": False, **attributes})
        self.params += common_options()
        self.examples = tuple(examples)
        self.alone = alone
        self.elsewhere = elsewhere or {}

    def _own_names(self, ctx: click.Context) -> list[str]:
        return sorted([*super()._own_names(ctx), *self.elsewhere])

    def _own_help(self, ctx: click.Context, name: str) -> str:
        return self.elsewhere[name].help if name in self.elsewhere else super()._own_help(ctx, name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.elsewhere:
            return cast(click.Command, load(self.elsewhere[cmd_name].target))
        return super().get_command(ctx, cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [word for before, word in zip(["", *args], args, strict=False) if before != "--town"]
        only_options = all(word.startswith("-") and word not in _HELP for word in words)
        if self.alone and (only_options or self._is_of_alone(ctx, args)):
            args = [self.alone, *args]
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing and not args:
            raise click.UsageError(f"expected one of {', '.join(self.list_commands(ctx))} after {ctx.info_name}", ctx)
        return rest

    def _is_of_alone(self, ctx: click.Context, args: list[str]) -> bool:
        """Whether the line begins with an option that the command `alone` has, and this group has not."""
        command = self.get_command(ctx, self.alone)
        if command is None or not args:
            return False
        names, own = ({name for each in params for name in each.opts} for params in (command.params, self.params))
        return args[0].partition("=")[0] in names - own

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            write_columns([(name, text) for name, text in sorted(self._listed(ctx).items()) if text], formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)


class RootGroup(_ExtensibleGroup):
    """``tt`` itself: knows the essential commands by the table, and imports a command when it is typed."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, self.meant(args))

    def meant(self, words: Sequence[str]) -> list[str]:
        """The words of a command line with the command in place of an alias."""
        return [*ALIASES.get(words[0], words[:1]), *words[1:]]

    def _own_names(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def _own_help(self, ctx: click.Context, name: str) -> str:
        return COMMANDS[name].help

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            return cast(click.Command, load(COMMANDS[cmd_name].target))
        return find_added_command(ctx, cmd_name)

    def sections(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """Heading -> name and help of its commands: the essential ones, then those of plugins."""
        listed = {heading: [(name, command.help) for name, command in own.items()] for heading, own in SECTIONS.items()}
        for name, command in added_commands(ctx).items():
            if name not in COMMANDS:
                listed.setdefault(command.section, []).append((name, command.help))
        last = listed.pop(LAST_SECTION)
        return {heading: own for heading, own in {**listed, LAST_SECTION: last}.items() if own}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, entries in self.sections(ctx).items():
            with formatter.section(heading):
                write_columns(entries, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write_text(
            "tt COMMAND --help describes a command, and names the package of one that is not installed."
        )


def command_path(ctx: click.Context) -> str:
    """The words of the command of `ctx`, without the program's name; empty for the root."""
    words: list[str] = []
    while ctx.parent is not None:
        words.insert(0, ctx.info_name or "")
        ctx = ctx.parent
    return " ".join(words)


def _is_in_tt(ctx: click.Context) -> bool:
    # A group that a test runs by itself has no path below `tt`.
    return isinstance(ctx.find_root().command, RootGroup)


def added_commands(ctx: click.Context) -> dict[str, PluginCommand]:
    """What plugins add below the command of `ctx`, by the last word; only ``TINYTOWN_BLOCK`` hides any."""
    if not _is_in_tt(ctx):
        return {}
    from tinytown_cli.command_index import blocked_by_environment, contributions

    return contributions(blocked_by_environment()).below(command_path(ctx))


def find_added_command(ctx: click.Context, word: str) -> click.Command | None:
    """What a plugin adds as `word` below the command of `ctx`; no other plugin is imported. Raises: PluginError."""
    if not _is_in_tt(ctx):
        return None
    from tinytown_cli.plugin_commands import load_command

    return load_command(ctx.ensure_object(CliContext), f"{command_path(ctx)} {word}".strip())


def write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    """The examples as a section of a help text."""
    if examples:
        with formatter.section("Examples"):
            for line in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def write_columns(entries: Sequence[tuple[str, str]], formatter: click.HelpFormatter) -> None:
    """Names and their lines of help, in two columns."""
    width = max(len(name) for name, _ in entries) + 2
    if all(formatter.current_indent + width + len(text) <= formatter.width for _, text in entries):
        for name, text in entries:  # click breaks every line into words first, which takes a tenth of `tt --help`
            formatter.write(f"{'':>{formatter.current_indent}}{name:<{width}}{text}\n")
    else:
        formatter.write_dl(entries)


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from tinytown import __version__

        click.echo(f"tinytown {__version__}", output())
        context.exit()


def make_root() -> RootGroup:
    """The command ``tt``."""

    def show_help(**_: Any) -> None:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            click.echo(context.get_help(), output())

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
        params=[*common_options(), *remote_options(), version],
        context_settings=_CONTEXT,
        help="A town of AI coding agents on one project.",
    )
