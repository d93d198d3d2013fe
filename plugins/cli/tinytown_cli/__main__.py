"""The program ``tt``, which is ``python -m tinytown_cli`` too; ``python -m tinytown`` finds it by its entry point."""

from __future__ import annotations

import contextlib
import gc
import os
import sys


def main() -> None:
    """The console script ``tt``: do what the command line asks for, and exit."""
    gc.disable()  # while modules are imported there is no garbage to find; `command_table.load` switches it on again
    sys.exit(run_program(sys.argv[1:]))


def run_program(words: list[str]) -> int:
    """Do what the words ask for; the exit code. After a quick command this process ends here, without being torn down."""
    from tinytown_cli.deferred_modules import defer

    defer()
    from tinytown_cli.main import run  # late: with garbage collection off, and while modules are deferred

    code = run(words)
    if "trio" not in sys.modules:
        # A quick command leaves nothing to tear down, and taking the interpreter apart is a fifth of its time.
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream may be closed or absent
            sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    main()
