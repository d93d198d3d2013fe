"""The manual's page of commands is what the commands say of themselves, so that it cannot fall behind.

``python tests/cli/test_commands_page.py`` writes the page anew, below its hand-written beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from tinytown_cli.command_table import SECTIONS
from tinytown_cli.framework import TownCommand, TownGroup, common_options, make_root

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"

#: Where the part of the page begins that is made from the commands.
BEGIN = "<!-- From here on: written by tests/cli/test_commands_page.py. -->\n"


def rendered() -> str:
    """The generated part of the page."""
    root = make_root()
    context = click.Context(root)
    parts = [BEGIN]
    for heading, entries in SECTIONS.items():
        parts.append(f"\n## {heading}\n")
        for name in entries:
            command = root.get_command(context, name)
            assert command is not None
            parts += _command(command, name)
    return "".join(parts)


def _command(command: click.Command, words: str) -> Iterator[str]:
    yield f"\n### tt {words}\n\n{_prose(command)}\n"
    if isinstance(command, TownGroup):
        for name, below in command.commands.items():
            yield from _command(below, f"{words} {name}")
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
    assert written[written.index(BEGIN) :] == rendered(), "write it anew: python tests/cli/test_commands_page.py"


def test_the_beginning_of_the_page_tells_of_every_common_option_and_exit_code() -> None:
    text = PAGE.read_text().partition(BEGIN)[0]
    for option in common_options():
        assert f"`{option.opts[-1]}" in text
    for code in (0, 1, 2, 3, 4, 5, 130):
        assert f"| {code} |" in text


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().partition(BEGIN)[0] + rendered())
