"""What a repository, or an agent's worktree, configures to be run is not run by the town's own git."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from tinytown.contracts import Finished, Outcome, Report, Round
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.towns import TownDirectory

from .conftest import run_in_round
from .test_workspace import opened, project_of, town

__all__ = ["town"]

pytestmark = pytest.mark.usefixtures("deadline")

#: Settings that name a program, and others that it needs to be run.
TRAPS = (
    "core.alternateRefsCommand",
    "core.askPass",
    "core.editor",
    "core.fsmonitor",
    "core.gitProxy",
    "core.pager",
    "core.sshCommand",
    "diff.external",
    "diff.trap.command",
    "diff.trap.textconv",
    "gpg.program",
    "gpg.ssh.program",
    "pager.diff",
    "pager.show",
    "remote.origin.uploadpack",
    "sequence.editor",
)
ALSO = {
    "commit.gpgSign": "true",
    "tag.gpgSign": "true",
    "log.showSignature": "true",
    "merge.verifySignatures": "true",
}
#: What only a worktree's own configuration has here: a person's filters run, see the manual.
OF_A_WORKTREE = ("filter.trap.clean", "filter.trap.smudge", "filter.trap.process", "merge.trap.driver", *TRAPS)


def trap(place: Path, name: str) -> Path:
    """A program that leaves a mark of its name, and then fails."""
    program = place / name
    program.write_text(f"#!/bin/sh\ntouch {place}/{name}.ran\nexit 1\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("where", ["config", "include", "worktree"])
async def test_no_program_of_the_configuration_is_run(
    town: TownDirectory, scripted_backend: ScriptedBackend, tmp_path: Path, where: str
) -> None:
    town.configure("[plugins.git]")
    project, origin = project_of(town), tmp_path / "origin"
    project.commit({".gitattributes": "* diff=trap filter=trap merge=trap\n"}, "settings")
    project.git("clone", "-q", str(project.root), str(origin))
    project.git("remote", "add", "origin", str(origin))
    project.git("fetch", "-q")
    project.git("branch", "-q", "-u", "origin/main")
    project.commit({"theirs": "1"}, "theirs", cwd=origin)
    places = {"config": [], "include": ["--file", str(project.root / ".included")], "worktree": []}[where]
    names = OF_A_WORKTREE if where == "worktree" else TRAPS
    settings = [(name, str(trap(tmp_path, name))) for name in names] + list(ALSO.items())
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-checkout", "post-index-change", "pre-commit", "reference-transaction", "post-merge"):
        trap(tmp_path, hook).rename(hooks / hook)
    settings.append(("core.hooksPath", str(hooks)))
    if where != "worktree":
        for key, value in settings:
            project.git("config", *places, key, value)
    if where == "include":
        project.git("config", "include.path", "../.included")

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        name = round_.task.description
        quiet = " ".join(
            f"-c {key}=" for key in ("core.fsmonitor", "core.hooksPath", "diff.external", "commit.gpgSign")
        )
        script = f"echo {name} > {name}; git {quiet} add -A; git {quiet} commit -qm {name}; echo more >> {name}"
        await trio.to_thread.run_sync(run_in_round, script, round_)
        if where == "worktree":
            lines = [f"git config --worktree {key} '{value}'" for key, value in settings]
            script = "\n".join(["git config extensions.worktreeConfig true", *lines])
            await trio.to_thread.run_sync(run_in_round, script, round_)
        for mark in tmp_path.glob("*.ran"):  # by the agent's own git
            mark.unlink()
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        for name in ("one", "two"):
            task = await living.wait_for_task((await ada.assign(name)).id)
            assert task.state == "completed", task.reason
    assert [mark.name for mark in tmp_path.glob("*.ran")] == []
    assert (project.root / "two").read_text() == "two\nmore\n"
