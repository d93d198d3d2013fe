"""Recording what a command does, and playing it again: the same lines, streams, tools, signals and end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tinytown_testing.recording_cli import TOOL_FILE
from tinytown_testing.recordings import ANSWER, Scrubber, install_fake_cli, record

TIMEOUT_S = 20.0
ID = "3f2b8c1a-1111-4222-8333-444455556666"


def written(directory: Path, *events: dict[str, Any], name: str = "answer") -> Path:
    directory.mkdir(exist_ok=True)
    lines = [{"cli": "tool", "version": "1.2"}, *events]
    (directory / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


def start(fake: Path, prompt: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [fake, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin
    process.stdin.write(prompt)
    process.stdin.close()
    process.stdin = None
    return process


def play(fake: Path, prompt: str, *arguments: str) -> tuple[str, str, int]:
    with start(fake, prompt, *arguments) as process:
        out, err = process.communicate(timeout=TIMEOUT_S)
    return out, err, process.returncode


def test_what_was_recorded_is_played_with_the_word_of_the_prompt(tmp_path: Path) -> None:
    script = f"import sys; print('{ANSWER} in', sys.argv[1]); print('{ID} {ID}', file=sys.stderr); sys.exit(3)"
    events = record(
        [sys.executable, "-c", script, str(tmp_path)],
        tmp_path / "recordings" / "answer.jsonl",
        about={"cli": "tool", "version": "1.2"},
        cwd=tmp_path,
        env=dict(os.environ),
        scrubber=Scrubber({str(tmp_path): "/place"}),
    )
    assert next(each for each in events if "out" in each)["out"] == "{answer} in /place"
    fake = install_fake_cli(tmp_path / "bin", "tool", tmp_path / "recordings")
    place_id = "00000000-0000-4000-8000-000000000001"
    assert play(fake, "say something") == ("something in /place\n", f"{place_id} {place_id}\n", 3)
    assert play(fake, "", "--version") == ("1.2\n", "", 0)


def test_a_tool_that_was_at_work_and_a_signal_are_recorded_and_played(tmp_path: Path) -> None:
    script = (
        "import signal, subprocess, sys\n"
        "tool = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        f"open('{TOOL_FILE}', 'w').write(str(tool.pid))\n"
        "def end(*_): tool.kill(); print('ended', flush=True); sys.exit(7)\n"
        "signal.signal(signal.SIGINT, end)\n"
        "tool.wait()\n"
    )
    events = record(
        [sys.executable, "-c", script],
        tmp_path / "recordings" / "interrupted.jsonl",
        about={"cli": "tool", "version": "1.2"},
        cwd=tmp_path,
        env=dict(os.environ),
        scrubber=Scrubber(),
        interrupt=signal.SIGINT,
        limit_s=TIMEOUT_S,
    )
    seen = [{key: value for key, value in each.items() if key != "t"} for each in events]
    assert seen[:2] == [{"tool": "started"}, {"signalled": "SIGINT"}]
    assert {"out": "ended"} in seen
    assert {"tool": "ended"} in seen
    assert seen[-1] == {"status": 7}
    fake = install_fake_cli(tmp_path / "bin", "tool", tmp_path / "recordings")
    with start(fake, '<fake>{"play": "interrupted"}</fake>') as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (found := children.read_text().split()):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=TIMEOUT_S)[0] == "ended\n"
    assert process.returncode == 7
    assert not Path(f"/proc/{found[0]}").exists()


@pytest.mark.parametrize(("event", "expected"), [({"status": 0}, 0), ({"signal": 9}, -9), ({"signal": 2}, -2)])
def test_it_ends_as_the_real_one_did(tmp_path: Path, event: dict[str, int], expected: int) -> None:
    fake = install_fake_cli(tmp_path / "bin", "tool", written(tmp_path / "t", {"out": "x"}, event))
    assert play(fake, "") == ("x\n", "", expected)


def test_a_prompt_comes_from_a_file_too(tmp_path: Path) -> None:
    fake = install_fake_cli(tmp_path / "bin", "tool", written(tmp_path / "t", {"out": "{answer}"}, {"status": 0}))
    (tmp_path / "prompt").write_text('a "quoted\\word"')
    assert play(fake, "", "--message-file", str(tmp_path / "prompt"))[0] == '\\"quoted\\\\word\\"\n'
