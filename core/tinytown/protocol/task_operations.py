"""Operations on tasks and the backlog. Pure, no IO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Unpack

from tinytown.model.details import TaskChanges, TaskDetails, check_keywords
from tinytown.model.ids import check_id, check_task_id, check_word, new_id
from tinytown.model.messages import PRIORITIES
from tinytown.model.results import Assigned, Started
from tinytown.model.tasks import FINISHED, Fate, Task, TaskState
from tinytown.model.text import check_one_of, check_text
from tinytown.model.time import check_moment
from tinytown.protocol import decoders
from tinytown.protocol.operation import Operation
from tinytown.protocol.operation_base import OperationBase, flat, json_text


def task_fields(given: Mapping[str, Any], message_limit_bytes: int) -> dict[str, str]:
    """Those of the fields of `TaskChanges` that are given, checked, as the server keeps them. Raises: UsageError."""
    fields = {name: value for name in TaskChanges.__annotations__ if (value := given.get(name)) is not None}
    if "description" in fields:
        check_text("a task", fields["description"], message_limit_bytes)
    if "priority" in fields:
        check_one_of("a priority", fields["priority"], PRIORITIES)
    if fields.get("title"):
        check_text("a title", fields["title"], 1000)
    if fields.get("role"):
        check_word("role", fields["role"])
    if fields.get("parent"):
        check_task_id(fields["parent"])
    for tag in fields.get("tags", ()):
        check_word("tag", tag)
    return {name: value if isinstance(value, str) else json_text(list(value)) for name, value in fields.items()}


class TaskOperations(OperationBase):
    """Making, changing, assigning and settling tasks."""

    def add_task(self, description: str, *, agent: str = "", **details: Unpack[TaskDetails]) -> Operation[Assigned]:
        """Make a task: blocked while a need is open, else assigned to `agent`, else on the backlog. See `TaskDetails`."""
        check_keywords("TownOperations.add_task", TaskDetails, details)
        fields = task_fields(
            {"description": description, "priority": "normal", "needs": (), "tags": (), **details},
            self.message_limit_bytes,
        )
        lists = [fields.pop(name) for name in ("priority", "needs", "tags")]
        fields = {name: text for name, text in fields.items() if text}
        held, until = details.get("held", ""), details.get("held_until", "")
        if held or until:
            fields["held"] = check_text("a reason", held, 10_000)
            fields["held_until"] = str(check_moment(until)) if until else ""
        if finished := details.get("finished"):
            fields["state"] = check_one_of("an outcome", finished, sorted(FINISHED))
        if origin := details.get("origin"):
            fields["origin"] = json_text(origin)
        for name, table in (details.get("meta") or {}).items():
            fields[f"meta:{check_word('table name', name)}"] = json_text(table)
        task_id = check_task_id(details.get("task_id") or new_id())
        return self._once("task_add", decoders.to_assigned, task_id, agent, *lists, *flat(fields))

    def task(self, task: str) -> Operation[Task]:
        """One task."""
        return self._call("task_get", decoders.to_task, task)

    def tasks(
        self, *, state: TaskState | Literal["backlog", ""] = "", agent: str = "", tag: str = "", limit: int = 50
    ) -> Operation[tuple[Task, ...]]:
        """Tasks, newest first, that match all that is given; with the state ``backlog`` the backlog in its order."""
        return self._call("task_list", decoders.to_tasks, state, agent, tag, limit)

    def assign_task(self, task: str, agent: str) -> Operation[Assigned]:
        """Assign a task that is not in progress to an agent."""
        return self._once("task_assign", decoders.to_assigned, task, agent)

    def start_task(self, agent_id: str, fence: str, task: str, round_id: str) -> Operation[Started]:
        """Begin to work on a task; the kernel's own."""
        return self._call("task_start", decoders.to_started, agent_id, fence, task, check_id("a round id", round_id))

    def settle_task(
        self,
        verb: Literal["complete", "submit", "fail", "cancel"],
        task: str,
        *,
        text: str = "",
        by: str = "",
        token: str = "",
    ) -> Operation[Task]:
        """Complete, submit (report as done), fail or cancel a task. An agent gives its id (`by`) and its round's task token."""
        if text:
            check_text("a text", text, self.message_limit_bytes)
        check_one_of("a verb", verb, ("complete", "submit", "fail", "cancel"))
        return self._once("task_settle", decoders.to_task, verb, task, by, token, text)

    def record_verdict(self, task: str, fate: Fate, *, round_id: str = "", evidence: str = "") -> Operation[Task]:
        """The gates' verdict on what the round `round_id` has submitted ('': whichever); with `again` the task goes back to its
        agent with the evidence."""
        return self._once("task_verdict", decoders.to_task, task, round_id, fate, evidence)

    def claim_from_backlog(self, task: str, agent: str) -> Operation[Assigned]:
        """Give a task that is on the backlog to an agent."""
        return self._once("backlog_claim", decoders.to_assigned, task, agent)

    def claim_matching(self, agent_id: str, fence: str) -> Operation[Assigned | None]:
        """Give an idle agent the first task of the backlog that has its role or one of its tags, or like it neither."""
        return self._once("backlog_claim_matching", decoders.to_optional_assigned, agent_id, fence)
