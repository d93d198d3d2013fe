"""``tt version`` and ``tt completion``."""

from __future__ import annotations

import sys

import click
from tinytown import __version__

from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand, make_root


@click.command(cls=TownCommand, examples=["tt version", "tt version --json"])
@pass_cli_context
def version(context: CliContext) -> None:
    """Print the version; with --json also the versions of Python and of the server-side functions."""
    python = ".".join(map(str, sys.version_info[:3]))
    shape = {"version": __version__, "python": python}
    if context.json:
        from tinytown.protocol import TOWN_LIBRARY

        shape["library"] = TOWN_LIBRARY.digest
    context.emit(shape, f"tinytown {__version__}, Python {python}")


#: click's own script cuts a word and its description at the first comma.
_FISH = """\
function %(complete_func)s
    set -l answer (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) %(prog_name)s)
    for line in $answer
        set -l parts (string split --max 1 "," -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


@click.command(
    cls=TownCommand,
    examples=[
        'eval "$(tt completion bash)"   # in ~/.bashrc',
        "tt completion fish > ~/.config/fish/completions/tt.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_cli_context
def completion(context: CliContext, shell: str) -> None:
    """Print the completion script for SHELL: commands, options, agents, tasks and more."""
    from click.shell_completion import FishComplete, get_completion_class

    class _Fish(FishComplete):
        source_template = _FISH

    kind = _Fish if shell == "fish" else get_completion_class(shell)
    assert kind is not None  # click has these three
    script = kind(make_root(), {}, "tt", "_TT_COMPLETE").source()
    context.emit({"shell": shell, "script": script}, script)
