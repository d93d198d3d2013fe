"""Reviews by people and by agents, and the commands of a reviewer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio
from tinytown.contracts import Finished, Outcome, Report, Round
from tinytown.errors import Refused
from tinytown_git.review import on_timeout, with_review
from tinytown_git.settings import Settings
from tinytown_git.work import Records, Review, Work
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.shell import Shell
from tinytown_testing.towns import TownDirectory

from .conftest import DEADLINE_S, Project, run_in_round
from .test_workspace import opened, project_of, town

__all__ = ["town"]

pytestmark = pytest.mark.usefixtures("deadline")

WORK = Work(
    task="t1", title="a title", agent="ada", agent_id="1", round_id="r1", commit="c" * 40, base="b" * 40,
    branch="refs/heads/tt/ada/t1", target="refs/heads/main", stage="review", since_ms=1000,
)  # fmt: skip


def said(by: str, *, approved: bool = True, commit: str = "c" * 40, reason: str = "") -> Review:
    return Review(by=by, at="2026-01-31T09:30:00Z", approved=approved, commit=commit, reason=reason)


@pytest.mark.parametrize(
    ("review", "by", "stage"),
    [
        ("person", "supervisor", "queued"),
        ("person", "rita", "review"),
        ("agent", "rita", "queued"),
        ("agent", "supervisor", "queued"),
        ("either", "rita", "queued"),
    ],
)
def test_who_may_approve_is_as_the_settings_say(review: str, by: str, stage: str) -> None:
    settings = msgspec.convert({"review": review}, Settings)
    after = with_review(WORK, said(by), settings, 2000)
    assert after.stage == stage
    assert after.reviews == (said(by),)


def test_the_queue_goes_by_priority_and_age_so_that_the_oldest_does_not_starve() -> None:
    hour = 3_600_000
    low, urgent, normal = (
        msgspec.structs.replace(WORK, priority=priority, at_ms=at_ms)
        for priority, at_ms in (("low", 0), ("urgent", 2 * hour), ("normal", 2 * hour))
    )
    order = sorted((low, urgent, normal), key=lambda work: -work.score(2 * hour))
    assert [work.priority for work in order] == ["urgent", "low", "normal"]
    assert low.score(5 * hour) < msgspec.structs.replace(urgent, at_ms=2 * hour + 1).score(5 * hour)
    newer = msgspec.structs.replace(urgent, at_ms=4 * hour)
    assert low.score(5 * hour) > newer.score(5 * hour)  # after four hours nothing that is new comes before it


def test_without_a_queue_approved_work_is_accepted() -> None:
    assert with_review(WORK, said("supervisor"), Settings(review="person", merge="branch"), 2000).stage == "accepted"


def test_a_rejection_is_final_and_has_its_reason() -> None:
    after = with_review(WORK, said("rita", approved=False, reason="no test"), Settings(review="agent"), 2000)
    assert (after.stage, after.reason) == ("refused", "rejected by rita: no test")


def test_what_cannot_count_is_refused() -> None:
    settings = Settings(review="either")
    with pytest.raises(Refused, match="cannot approve its own work"):
        with_review(WORK, said("ada"), settings, 2000)
    with pytest.raises(Refused, match="has changed since"):
        with_review(WORK, said("rita", commit="d" * 40), settings, 2000)
    with pytest.raises(Refused, match="does not wait for a review: it is queued"):
        with_review(msgspec.structs.replace(WORK, stage="queued"), said("rita"), settings, 2000)


def test_a_review_that_does_not_come_is_refused_or_approved_by_policy() -> None:
    assert on_timeout(WORK, Settings(review="person"), 10**12) is None
    settings = Settings(review="person", review_timeout_s=60)
    assert on_timeout(WORK, settings, 60_999) is None
    late = on_timeout(WORK, settings, 61_000)
    assert late is not None
    assert (late.stage, late.reason) == ("refused", "no review within 60 s")
    late = on_timeout(WORK, Settings(review="person", review_timeout_s=60, review_timeout="approve"), 61_000)
    assert late is not None
    assert late.stage == "queued"


async def test_a_reviewer_sends_work_back_and_approves_the_second_version(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    town.configure('[plugins.git]\nfetch = false\nreview = "agent"')
    seen: list[str] = []

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        if round_.task.headline.startswith("Review: "):
            task = round_.prompt.split("tt approve ")[1].split()[0]
            verdict = f"tt reject {task} --reason 'no test'" if not seen else f"tt approve {task}"
            seen.append(await trio.to_thread.run_sync(run_in_round, f"tt review {task}; {verdict}", round_))
        else:
            if seen:
                assert "rejected by rita: no test" in round_.prompt
            commit = f"echo {len(seen)} > work; git add -A; git commit -qm 'version {len(seen)}'"
            script = f"{commit}; tt approve {round_.task.id} || true"  # which does not count
            await trio.to_thread.run_sync(run_in_round, script, round_)
        return Finished(text="done")

    scripted_backend.script = work
    project = project_of(town)
    async with opened(town) as living:
        ada = await living.spawn("ada", role="reviewer")
        task = await ada.assign("work")
        records = Records(living.operations, living.run)
        waiting = await living.wait_until(lambda: records.read(task.id), lambda found: bool(found and found.reason))
        assert waiting is not None
        assert "no other agent has the role 'reviewer'" in waiting.reason
        await living.spawn("rita", role="reviewer")
        done = await living.wait_for_task(task.id)
        found = await records.read(task.id)
    assert done.state == "completed"
    assert found is not None
    assert [(review.by, review.approved) for review in found.reviews] == [("rita", True)]
    assert "+0" in seen[0]
    assert "+1" in seen[1]
    assert (project.root / "work").read_text() == "1\n"


async def test_a_stranger_cannot_approve(town: TownDirectory, scripted_backend: ScriptedBackend) -> None:
    town.configure('[plugins.git]\nfetch = false\nreview = "either"', max_attempts=1)
    tried = trio.Event()

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        if round_.task.description == "approve":
            records = Records(living.operations, living.run)
            (waiting,) = (await records.all())[0]
            said = await trio.to_thread.run_sync(run_in_round, f"tt approve {waiting.task} 2>&1 || true", round_)
            assert "approved" in said  # the queue, which knows who says it, does not count it
            tried.set()
        else:
            await trio.to_thread.run_sync(run_in_round, "echo x > work", round_)
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada, ben = [await living.spawn(name) for name in ("ada", "ben")]
        records = Records(living.operations, living.run)
        task = await ada.assign("work")
        await living.wait_until(lambda: records.read(task.id), lambda found: found is not None)
        await ben.assign("approve")
        await tried.wait()
        await ben.wait_for_idle()
        work_now = await records.read(task.id)
        assert work_now is not None
        assert (work_now.stage, work_now.reviews) == ("review", ())
        assert (await living.task(task.id)).state == "verifying"
        assert (await living.agent("ada")) is not None
        assert (await ada.info()).state == "idle"  # its agent is free meanwhile


# -- as a person types it ----------------------------------------------------------------------------------


@pytest.fixture
def shop(tt: Shell) -> Project:
    """A repository with a town, whose work a person reviews, and an agent that runs commands."""
    project = Project(tt.directory, Path())
    project.git("init", "-q", "-b", "main")
    project.git("config", "user.name", "Ann")
    project.git("config", "user.email", "ann@example.org")
    tt("init", "--name", "shop")
    with (project.root / "tinytown.toml").open("a") as file:
        file.write('\n[plugins.git]\nreview = "person"\n')
    project.commit({"README": "hello\n"}, "first")
    tt("start", "--background")
    tt("spawn", "ada", "--cli", "shell")
    return project


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_person_sees_the_work_and_decides(shop: Project, tt: Shell) -> None:
    task = tt(
        "assign", "ada", "echo two >> README; echo x > 'a file'; git add -A; git commit -qm 'add a file'", "--json"
    ).json
    task_id = task["task_id"]
    assert (
        "has no worktree"
        in tt("diff", tt("backlog", "add", "later", "--tags", "nobody", "--json").json["task_id"], code=4).err
    )
    wait_until(lambda: [work["stage"] for work in tt("merge", "--json").json["work"]] == ["review"])
    shown = tt("review", task_id, "--json").json
    assert [each["subject"] for each in shown["commits"]] == ["add a file"]
    assert {each["path"]: each["added"] for each in shown["files"]} == {"README": 1, "a file": 1}
    assert "+two" in tt("diff", task_id).out
    assert "a file" in tt("diff", task_id, "--stat").out
    said = tt("review", task_id).out
    assert f"tt approve {task_id[:8]}" in said
    assert "waits for" not in tt("merge", "show", task_id).out
    assert "was not refused" in tt("merge", "retry", task_id, code=4).err
    tt("approve", task_id, "--reason", "good")
    assert tt("wait", "--task", task_id, "--json").json
    assert tt("merge", "list", "--json").json["work"][0]["stage"] == "merged"
    assert "does not wait for a review" in tt("approve", task_id, code=4).err
    assert (shop.root / "a file").exists()
    assert "nothing was submitted" in tt("approve", tt("backlog", "add", "x", "--json").json["task_id"], code=3).err


def test_a_person_steers_the_queue(shop: Project, tt: Shell) -> None:
    assert tt("merge").out == "nothing waits to be merged\n"
    tt("merge", "pause", "--reason", "release day")
    assert "paused by supervisor: release day" in tt("merge").out
    task_id = tt("assign", "ada", "echo x > work", "--json").json["task_id"]
    wait_until(lambda: [work["stage"] for work in tt("merge", "--json").json["work"]] == ["review"])
    tt("approve", task_id)
    assert tt("merge", "show", task_id, "--json").json["stage"] == "queued"
    tt("merge", "reject", task_id, "--reason", "not like this")
    wait_until(lambda: tt("task", "show", task_id, "--json").json["rejection"] is not None)
    assert "rejected by supervisor: not like this" in tt("task", "show", task_id).out
    assert tt("merge", "resume", "--json").json["paused"] is None
