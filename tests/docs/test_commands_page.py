"""The manual's page of commands is what the commands say of themselves, so that it cannot fall behind.

It has the commands of the distributions that ``tinytown`` installs. ``python tests/docs/test_commands_page.py`` rewrites it,
below its hand-written beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from pathlib import Path

import click
from tinytown_cli.command_index import contributions
from tinytown_cli.command_table import COMMANDS
from tinytown_cli.framework import TownCommand, TownGroup, common_options, make_root

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "commands.md"

#: Where the part of the page begins that is made from the commands.
BEGIN = "<!-- From here on: written by tests/docs/test_commands_page.py. -->\n"


def rendered() -> str:
    """The generated part of the page."""
    installed = set(re.findall(r"tinytown-[a-z]+", (ROOT / "pyproject.toml").read_text().partition("dependencies")[2]))
    added = {each.name for each in contributions(()).commands if each.distribution in installed}
    root = make_root()
    context = click.Context(root, info_name="tt")
    parts = [BEGIN]
    for heading, entries in root.sections(context).items():
        names = [name for name, _ in entries if name in COMMANDS or name in added]
        parts += [f"\n## {heading}\n"] if names else []
        for name in names:
            parts += _command(root, context, name, name, added)
    return "".join(parts)


def _command(group: click.Group, context: click.Context, name: str, words: str, added: Set[str]) -> Iterator[str]:
    command = group.get_command(context, name)
    assert command is not None
    yield f"\n### tt {words}\n\n{_prose(command)}\n"
    if isinstance(command, TownGroup):
        below = click.Context(command, parent=context, info_name=name)
        for each in command.list_commands(below):
            if each in command.commands or f"{words} {each}" in added:
                yield from _command(command, below, each, f"{words} {each}", added)
        return
    assert isinstance(command, TownCommand)
    yield f"\n```text\ntt {words}{_usage(command)}\n```\n"
    common = {option.name for option in common_options()}
    own = [
        each
        for each in command.params
        if isinstance(each, click.Option) and not each.hidden and each.name not in common
    ]
    if own:
        yield "\n| option | |\n|---|---|\n"
        yield from (f"| {_spelling(option)} | {_meaning(option)} |\n" for option in own)
    yield "\n```console\n" + "".join(f"$ {line}\n" for line in command.examples) + "```\n"


def _prose(command: click.Command) -> str:
    paragraphs = (command.help or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _usage(command: click.Command) -> str:
    words = " [OPTIONS]"
    for each in command.params:
        if isinstance(each, click.Argument):
            name = each.metavar or (each.name or "").upper()
            words += f" {name}" if each.required or name.startswith("[") else f" [{name}]"
    return words


def _spelling(option: click.Option) -> str:
    value = ""
    if not option.is_flag:
        choices = "|".join(option.type.choices) if isinstance(option.type, click.Choice) else ""
        value = f" {option.metavar or choices or option.type.name.split()[0].upper()}"
    return ", ".join(f"`{name}{value}`" for name in option.opts).replace("|", "\\|")


def _meaning(option: click.Option) -> str:
    default = f"  [default: {option.default}]" if option.show_default else ""
    return ((option.help or "") + default).replace("|", "\\|")


def test_the_page_is_what_the_commands_say() -> None:
    written = PAGE.read_text()
    assert BEGIN in written
    assert written[written.index(BEGIN) :] == rendered(), "run python tests/docs/test_commands_page.py"


def test_the_beginning_of_the_page_tells_of_every_common_option_and_exit_code() -> None:
    text = PAGE.read_text().partition(BEGIN)[0]
    for option in common_options():
        assert f"`{option.opts[-1]}" in text
    for code in (0, 1, 2, 3, 4, 5, 130):
        assert f"| {code} |" in text


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().partition(BEGIN)[0] + rendered())
