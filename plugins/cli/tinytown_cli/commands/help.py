"""``tt help``: the help of a command, or the commands about a topic."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import click
from tinytown.errors import UsageError
from tinytown.model.text import shown

from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import RootGroup, TownCommand, make_root
from tinytown_cli.suggestions import did_you_mean


@click.command("help", cls=TownCommand, examples=["tt help", "tt help task why", "tt help mail"])
@click.argument("topic", nargs=-1, metavar="[TOPIC...]")
@pass_cli_context
def help_(context: CliContext, topic: tuple[str, ...]) -> None:
    """Show the help of a command (tt help task why), or the commands about any other TOPIC (tt help mail)."""
    root = make_root()
    with click.Context(root, info_name="tt", obj=context) as base:
        if text := _help_of(root, base, topic):
            context.emit({"topic": " ".join(topic), "help": text, "commands": []}, text)
            return
        found = _about(root, base, " ".join(topic))
        if not found:
            names = [name for entries in root.sections(base).values() for name, _ in entries]
            word = " ".join(topic)
            raise UsageError(
                f"no command, and nothing in the help of one, is about {shown(word)!r}",
                hint=did_you_mean(word, [*names, *root.sections(base)], "tt help lists the commands"),
            )
    rows = [(f"tt {name}", text) for name, text in found]
    commands = [{"name": name, "help": text} for name, text in found]
    context.emit({"topic": " ".join(topic), "help": None, "commands": commands}, table(("command", "help"), rows))


#: What people call things, and the commands that are meant.
_OTHER_WORDS: Mapping[str, Sequence[str]] = {
    "backup": ("save", "restore"),
    "delete": ("remove", "task cancel", "prune", "uninstall"),
    "container": ("start",),
    "docker": ("start",),
    "key": ("auth key", "config set"),
    "money": ("costs", "budget"),
    "permission": ("spawn", "approve", "answer", "doctor"),
    "sandbox": ("spawn", "doctor"),
    "setting": ("config",),
    "transcript": ("logs", "history"),
    "undo": ("task reopen", "task requeue", "restore"),
    "upgrade": ("reload", "version", "plugins install"),
    "webhook": ("notify",),
}


def _help_of(root: RootGroup, context: click.Context, words: Sequence[str]) -> str:
    """The help of the command with these words; empty if there is none."""
    command: click.Command = root
    for word in root.meant(words) if words else ():
        below = command.get_command(context, word) if isinstance(command, click.Group) else None
        if below is None:
            return ""
        command, context = below, click.Context(below, info_name=word, parent=context)
    return command.get_help(context).strip("\n")


def _about(root: RootGroup, context: click.Context, topic: str) -> list[tuple[str, str]]:
    """The commands of a section of the list, else those about `topic`: by name or line of help, or else by all of their help."""
    sections = root.sections(context)
    for heading, entries in sections.items():
        if heading.lower().removeprefix("the ") == topic.lower():
            return entries
    word = topic.lower()
    pattern = re.compile(rf"\b{re.escape(word.removesuffix('s') if len(word) > 3 else word)}")
    meant = _OTHER_WORDS.get(word.removesuffix("s"), ())
    commands = dict(_all_commands(root, context, ""))
    lines = {name: command.get_short_help_str(200) for name, command in commands.items()}
    found = [name for name in lines if name in meant or pattern.search(f"{name} {lines[name]}".lower())]
    found = found or [name for name, command in commands.items() if pattern.search((command.help or "").lower())]
    return [(name, lines[name]) for name in found]


def _all_commands(group: click.Group, context: click.Context, prefix: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below `group` with its words."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield f"{prefix}{name}", command
            if isinstance(command, click.Group):
                below = click.Context(command, info_name=name, parent=context)
                yield from _all_commands(command, below, f"{prefix}{name} ")
