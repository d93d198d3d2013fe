"""``tt help``: the help of a command, or the commands about a topic."""

from __future__ import annotations

from collections.abc import Sequence

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
    """The commands of a section of the list, or those whose name or line of help has `topic` in it."""
    sections = root.sections(context)
    for heading, entries in sections.items():
        if heading.lower().removeprefix("the ") == topic.lower():
            return entries
    listed = [entry for entries in sections.values() for entry in entries]
    return [(name, text) for name, text in listed if topic.lower() in f"{name} {text}".lower()]
