"""``python -m tinytown``: the program of an installed command line, and without one the kernel of a town in the foreground.

A command line announces itself by an entry point of the group ``tinytown.programs``: a function from the words of the
command line to an exit code. Without words it is asked for ``start``. Without a command line:

    usage: python -m tinytown [--help | --version]

Run the kernel of the town that the current directory is in, until SIGTERM or Ctrl-C. A second signal ends its rounds at once.
TINYTOWN_TOWN names the directory of another town.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

PROGRAMS_GROUP = "tinytown.programs"


def main() -> None:
    """Do what the command line asks for, and exit."""
    gc.disable()  # while modules are imported there is no garbage to find; the program switches it on again
    from tinytown.entry_points import installed

    programs = installed(PROGRAMS_GROUP)
    if programs:
        program: Callable[[list[str]], int] = programs[0].load()
        sys.exit(program(sys.argv[1:] or ["start"]))
    gc.enable()
    from tinytown.errors import TinytownError

    try:
        _run(sys.argv[1:])
    except TinytownError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


def _run(words: list[str]) -> None:
    from tinytown import __version__
    from tinytown.errors import Refused, UsageError
    from tinytown.identity import inside_a_round
    from tinytown.packages import install_hint
    from tinytown.state import find_town

    hint = install_hint("parts", "commands")
    if words in (["--help"], ["-h"]):
        sys.stdout.write(f"{(__doc__ or '').partition('Without a command line:')[2].lstrip()}\nCommands: {hint}\n")
        return
    if words == ["--version"]:
        sys.stdout.write(f"tinytown {__version__}\n")
        return
    if words:
        raise UsageError(f"expected no arguments, got {' '.join(words)!r}", hint=f"for commands: {hint}")
    if inside_a_round():
        raise Refused("a kernel cannot run inside an agent's round: it would end with the round")
    from tinytown.kernel import run_kernel

    if run_kernel(find_town()):
        os.execv(sys.executable, sys.orig_argv)


if __name__ == "__main__":
    main()
