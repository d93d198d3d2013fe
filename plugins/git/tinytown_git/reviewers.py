"""Reviews by agents: asks an agent with the role of a reviewer, and takes its verdict.

An agent says it by an event, in which the town itself names who sends it: the record of the work is out of its reach.
"""

from __future__ import annotations

import logging
import time
from contextlib import aclosing, suppress

import msgspec
from tinytown.errors import NotFound, Refused
from tinytown.model.agents import Agent
from tinytown.model.events import AgentSpawned, Event, OtherEvent
from tinytown.town import Town
from tinytown_sinks import events_from

from tinytown_git.review import with_review
from tinytown_git.settings import Settings
from tinytown_git.work import Records, Review, Work

_log = logging.getLogger("tinytown.git")

#: What `tt approve` and `tt reject` emit for an agent, with the members task, commit, approved (yes or no) and reason.
REVIEWED = "git_reviewed"

_TASK = """\
Review the work of {agent} on the task "{title}" ({task}). It is the commit {commit}; you see it with

    tt review {task}
    git diff {base}...{commit}

Judge whether it does what the task asks, correctly and completely, and whether it breaks anything. Change nothing.
Then say your verdict, one of

    tt approve {task}
    tt reject {task} --reason "what has to change, file by file"
"""


class Reviewers:
    """Follows the events of the town, from where the last one stopped."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def run(self, town: Town) -> None:
        """Ask and listen until cancelled."""
        async with aclosing(events_from(town, "git-reviews", self._concerns)) as events:
            async for event in events:
                with suppress(NotFound, Refused):
                    await self._handle(town, event)

    def _concerns(self, event: Event) -> bool:
        if isinstance(event, AgentSpawned):
            return event.role == self._settings.reviewer_role
        return isinstance(event, OtherEvent) and event.type in (REVIEWED, "git_submitted")

    async def _handle(self, town: Town, event: Event) -> None:
        records = Records(town.operations, town.run)
        if isinstance(event, OtherEvent) and event.type == REVIEWED:
            await self._take(town, records, event)
        elif self._settings.review in ("agent", "either"):
            works, _ = await records.all()
            for work in works:
                if work.stage == "review" and not work.review_task:
                    await self._ask(town, records, work)

    async def _ask(self, town: Town, records: Records, work: Work) -> None:
        """Give the review to a reviewer that is not the author; the least busy one."""
        able = [agent for agent in await town.agents() if self._reviews(agent) and agent.name != work.agent]
        if not able:
            reason = (
                f"no other agent has the role {self._settings.reviewer_role!r}: spawn one, or tt approve {work.task}"
            )
            await records.change(work, msgspec.structs.replace(work, reason=reason))
            return
        reviewer = min(able, key=lambda agent: (agent.open_tasks, agent.name))
        review_task = f"review-{work.round_id}"
        with suppress(Refused):  # it is there already
            await town.add_task(
                _TASK.format(
                    agent=work.agent, title=work.title, task=work.task, commit=work.commit[:12], base=work.base[:12]
                ),
                agent=reviewer.id,
                title=f"Review: {work.title}"[:200],
                priority=work.priority,
                task_id=review_task,
            )
        asked = msgspec.structs.replace(work, review_task=review_task, reason=f"{reviewer.name} reviews it")
        await records.change(work, asked)

    async def _take(self, town: Town, records: Records, event: OtherEvent) -> None:
        """Take the verdict of an agent, if it may give one."""
        said = event.fields
        work = await records.read(said.get("task", ""))
        reviewer = await town.run(town.operations.agent(said.get("agent", "")))
        if work is None or not self._reviews(reviewer):
            _log.warning(
                "agent %s is no reviewer of task %s: its verdict does not count", said.get("agent"), said.get("task")
            )
            return
        review = Review(
            by=reviewer.name,
            at=event.at,
            approved=said.get("approved") == "yes",
            commit=said.get("commit", ""),
            reason=said.get("reason", ""),
        )
        await records.change(work, with_review(work, review, self._settings, int(time.time() * 1000)))

    def _reviews(self, agent: Agent) -> bool:
        return self._settings.review in ("agent", "either") and agent.role == self._settings.reviewer_role
