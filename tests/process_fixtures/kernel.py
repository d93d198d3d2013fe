"""`kernel.py RUN_DIR MARKER N`: runs N commands that never end, each with a daemon; prints `ready` when all are up."""

import os
import sys
from pathlib import Path

import trio
from tinytown.processes import Line, open_keeper

DAEMON = Path(__file__).with_name("daemon.py")


async def main() -> None:
    run_dir, marker, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    script = f'"{sys.executable}" -S "{DAEMON}" {marker}; echo up; while :; do sleep 1000; done # {marker}'
    up = trio.Semaphore(0)

    def on_line(line: Line) -> None:
        up.release()

    async with open_keeper(run_dir=run_dir) as keeper, trio.open_nursery() as nursery:

        async def run(number: int) -> None:
            env = {
                "PATH": os.environ["PATH"],
                "TINYTOWN_TOWN": str(run_dir.parent),
                "TINYTOWN_RUN_ID": f"{marker}-{number}",
            }
            await keeper.run(["sh", "-c", script], cwd=run_dir, env=env, on_line=on_line, grace_s=0.2)

        for number in range(count):
            nursery.start_soon(run, number)
        for _ in range(count):
            await up.acquire()
        print("ready", flush=True)
        await trio.sleep_forever()


trio.run(main)
