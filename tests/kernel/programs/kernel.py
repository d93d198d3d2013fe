"""`kernel.py ROOT`: a kernel as a process of its own, to be killed and frozen; prints `ready` once it runs."""

import os
import sys
import threading
from pathlib import Path

from tinytown.kernel import run_kernel

reading, writing = os.pipe()


def announce() -> None:
    if os.read(reading, 1) == b"1":
        print("ready", flush=True)


threading.Thread(target=announce, daemon=True).start()
run_kernel(Path(sys.argv[1]), ready_fd=writing, quiet=True)
