"""What is kept of a round: its record on the server, its transcript and its place in the log on the machine that did it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tinytown.contracts import Finished
from tinytown.kernel import log_path
from tinytown.process import older_log
from tinytown_cli import administration
from tinytown_ops.explain.round_files import has_ended, read_transcript, round_begin, transcripts_directory
from tinytown_ops.explain.transcripts import PROMPT_BYTES
from tinytown_testing.shell import Shell


def round_output(log: Path, round_id: str) -> list[bytes]:
    """What stands of a round in its agent's log, its marks included."""
    if (begin := round_begin(log, round_id)) is None:
        return []
    found: list[bytes] = []
    with open(begin[0], "rb") as file:
        file.seek(begin[1])
        while not found or not has_ended(found[-1], round_id):
            found.append(file.readline())
    return found


SHELL = 'default_cli = "shell"\n'


async def test_a_round_keeps_what_the_agent_was_told_and_what_it_said_last(town_dir) -> None:
    town_dir.configure(SHELL)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("echo one; printf two")).id)
        (record,) = await town.run(administration.rounds(town.operations.keys, "ada"))
        transcript = read_transcript(town_dir.root, "ada", record.round_id)
        assert transcript is not None
        assert "echo one; printf two" in transcript.prompt
        assert len(transcript.prompt.encode()) == transcript.prompt_bytes == record.prompt_bytes
        assert (transcript.tail, transcript.directory) == ("one\ntwo", str(town_dir.root))
        begin, *said, end = round_output(log_path(town_dir.root, "ada"), record.round_id)
        assert said == [b"one\n", b"two\n"]
        assert f"task {task.id}".encode() in begin
        assert end.endswith(b"finished ---\n")


async def test_of_a_long_prompt_the_head_is_kept_and_of_long_output_the_end(town_dir) -> None:
    town_dir.configure(SHELL)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.assign("seq 100000 # " + "é" * PROMPT_BYTES)
        await agent.wait_for_idle()
        # Reading so much takes a busy machine longer than a lease of a test: then the round is done again.
        record, *_ = await town.run(administration.rounds(town.operations.keys, "ada"))
        transcript = read_transcript(town_dir.root, "ada", record.round_id)
        assert transcript is not None
        assert PROMPT_BYTES - 1 <= len(transcript.prompt.encode()) <= PROMPT_BYTES < transcript.prompt_bytes
        assert len(transcript.tail) <= 16 * 1024
        assert transcript.tail.endswith("99999\n100000")


async def test_what_a_backend_without_processes_reports_stands_in_the_log(town_dir, scripted_backend) -> None:
    async def script(work, report) -> Finished:
        report.line("thinking")
        return Finished(text="done")

    scripted_backend.script = script
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.assign("do it")
        await agent.wait_for_idle()
        (record,) = await town.run(administration.rounds(town.operations.keys, "ada"))
        assert round_output(log_path(town_dir.root, "ada"), record.round_id)[1:-1] == [b"thinking\n"]


async def test_transcripts_and_records_of_the_latest_rounds_are_kept_and_older_ones_go(town_dir) -> None:
    town_dir.configure(SHELL + "[limits]\nrounds_kept = 3\nlog_bytes = 1\n")
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        for number in range(12):
            await agent.assign(f"echo {number}")
        await agent.wait_for_idle()
        records = await town.run(administration.rounds(town.operations.keys, "ada", limit=99))
        assert [each.text for each in records] == ["11", "10", "9"]
        kept = os.listdir(transcripts_directory(town_dir.root, "ada"))
        assert {f"{each.round_id}.jsonl" for each in records} <= set(kept)
        assert len(kept) <= 8
        # Of a log that is begun anew with every round, the one before is there too.
        found = [round_output(log_path(town_dir.root, "ada"), each.round_id)[1:-1] for each in records]
        assert found == [[b"11\n"], [b"10\n"], []]
        assert older_log(log_path(town_dir.root, "ada")).exists()


async def test_a_round_is_done_without_a_transcript_where_none_can_be_written(town_dir) -> None:
    town_dir.configure(SHELL)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.assign("echo first")
        await agent.wait_for_idle()
        directory = transcripts_directory(town_dir.root, "ada")
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
        directory.write_text("a file is in its place")
        assert (await town.wait_for_task((await agent.assign("echo second")).id)).result == "second"
        (record, _) = await town.run(administration.rounds(town.operations.keys, "ada"))
        assert read_transcript(town_dir.root, "ada", record.round_id) is None


async def test_rounds_are_found_by_agent_by_task_and_by_the_beginning_of_their_id(town_dir) -> None:
    town_dir.configure(SHELL)
    async with town_dir.open() as town:
        agents = [await town.spawn(name) for name in ("ada", "bob", "cleo")]
        tasks = [(await agent.assign(f"echo {agent.name} {number}")) for number in range(3) for agent in agents]
        for agent in agents:
            await agent.wait_for_idle()
        everything = await town.run(administration.rounds(town.operations.keys, limit=99))
        assert len(everything) == 9
        assert list(everything) == sorted(everything, key=lambda each: each.ended_at, reverse=True)
        assert await town.run(administration.rounds(town.operations.keys, limit=4)) == everything[:4]
        of_bob = await town.run(administration.rounds(town.operations.keys, "bob", limit=2))
        assert [each.text for each in of_bob] == ["bob 2", "bob 1"]
        (found,) = await town.run(administration.rounds(town.operations.keys, task=tasks[4].id[:12]))
        assert (found.task, found.agent) == (tasks[4].id, "bob")
        assert await town.run(administration.rounds(town.operations.keys, round_id=found.round_id[:12])) == (found,)
        assert await town.run(administration.rounds(town.operations.keys, "ada", round_id=found.round_id)) == ()
        assert await town.run(administration.rounds(town.operations.keys, task='"},"task":"')) == ()


def test_rounds_whose_kernel_was_killed_are_in_the_history_as_lost(tt: Shell) -> None:
    tt.variables.pop("TINYTOWN_NO_KERNEL")
    tt("init", "--name", "lost")
    (tt.directory / "tinytown.toml").write_text((tt.directory / "tinytown.toml").read_text() + "lease_s = 3.0\n")
    tt("spawn", "ada", "--cli", "shell")
    task = tt.json("assign", "ada", "[ -e again ] && echo done || { touch again; sleep 600; }")["task_id"]
    while not (tt.directory / "again").exists():
        time.sleep(0.02)
    assert tt.json("history")["rounds"] == []
    os.kill(tt.json("status")["kernel"]["pid"], signal.SIGKILL)
    tt("start", "--background")
    tt("wait", "--task", task, "--timeout", "30")
    lost, finished = tt.json("history")["rounds"]
    running = lost["round_id"]
    assert (lost["outcome"], lost["task"], lost["ended_at"]) == ("lost", task, "")
    assert (finished["outcome"], finished["task"]) == ("finished", task)
    assert [each["round_id"] for each in tt.json("history", "--task", task)["rounds"]] == [
        running,
        finished["round_id"],
    ]
    whole = tt.json("history", "--round", running[:8])
    assert "sleep 600" in whole["transcript"]["prompt"]
    assert "lost" in tt("history", "ada").out
