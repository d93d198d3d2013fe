"""The program: ``tt``, and ``python -m tinytown``, which without arguments runs the kernel of the town it is in."""

from __future__ import annotations

import contextlib
import gc
import os
import sys


def main() -> None:
    """The console script ``tt``."""
    _run_and_end(sys.argv[1:])


def _run_and_end(words: list[str]) -> None:
    gc.disable()  # while modules are imported there is no garbage worth a search; `cli.commands.load` switches it on again
    from tinytown_cli.main import run

    code = run(words)
    if "trio" not in sys.modules:
        # A quick command leaves nothing to tear down, and taking the interpreter apart is a fifth of its time.
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream may be closed or absent
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _run_and_end(sys.argv[1:] or ["start"])
