"""Reads for lists: tasks page by page, in full or as rows for a board. Each is one read-only operation of bounded work.

A page begins behind the task that its cursor names, so that tasks that are added meanwhile move nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from tinytown.errors import NotFound
from tinytown.model.hash_codec import pairs
from tinytown.model.tasks import TASK_STATES, Task, read_task
from tinytown.model.text import check_one_of, shown
from tinytown.protocol import Keys, Operation, Reply

#: index ('tasks', 'tasks:state:x', 'tasks:tag:x', 'backlog'), 1 to begin with its first, cursor, limit, state, tag ('' = any)
#: -> cursor of the next page, and the fields of each task. At most ten times the limit is looked at.
_READ_PAGE = """
local base, index, ascending = KEYS[1], KEYS[1] .. ':' .. ARGV[1], ARGV[2] == '1'
local cursor, limit, state, tag = ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local start = 0
if cursor ~= '' then
  local rank = redis.call(ascending and 'ZRANK' or 'ZREVRANK', index, cursor)
  if not rank then return false end
  start = rank + 1
end
local found, last, more = {}, '', false
local ids = redis.call(ascending and 'ZRANGE' or 'ZREVRANGE', index, start, start + limit * 10)
for _, id in ipairs(ids) do
  if #found >= limit then more = true break end
  local key = base .. ':task:' .. id
  if (state == '' or redis.call('HGET', key, 'state') == state)
    and (tag == '' or redis.call('ZSCORE', base .. ':tasks:tag:' .. tag, id)) then
    local fields, open = redis.call('HGETALL', key), redis.call('SMEMBERS', key .. ':needs')
    table.sort(open)
    fields[#fields + 1], fields[#fields + 2] = 'open_needs', #open > 0 and cjson.encode(open) or '[]'
    found[#found + 1] = fields
  end
  last = id
end
return { (more or #ids > limit * 10) and last or '', found }
"""


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """A task as a board shows it: its texts shortened, without description and result."""

    id: str
    title: str
    state: str
    priority: str
    tags: Sequence[str]
    role: str | None
    agent: str | None
    needs: Sequence[str]
    open_needs: Sequence[str]
    parent: str | None
    held: str | None
    reason: str | None
    attempts: int
    since: str | None
    created_at: str | None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some tasks, and the cursor of those that follow."""

    tasks: tuple[Task, ...]
    next: str | None


def task_row(task: Task) -> TaskRow:
    """A task for a board."""
    return TaskRow(
        id=task.id,
        title=shown(task.headline, 160),
        state=task.state,
        priority=task.priority,
        tags=task.tags,
        role=task.role,
        agent=task.assigned_to,
        needs=task.needs,
        open_needs=task.open_needs,
        parent=task.parent,
        held=task.held and shown(task.held, 200),
        reason=task.reason and shown(task.reason, 200),
        attempts=task.attempts,
        since=task.since,
        created_at=task.created_at,
    )


def task_page(
    keys: Keys, *, state: str = "", agent_id: str = "", tag: str = "", cursor: str = "", limit: int = 50
) -> Operation[Page]:
    """Tasks that match all that is given, the newest first; with the state ``backlog`` those, in their order.

    Raises: NotFound for a cursor whose task has left the list.
    """
    if state:
        check_one_of("a state", state, (*TASK_STATES, "backlog"))
    if state == "backlog":
        index = "backlog"
    elif agent_id:
        index = f"tasks:agent:{agent_id}"
    elif tag:
        index = f"tasks:tag:{tag}"
    else:
        index = f"tasks:state:{state}" if state else "tasks"
    wanted = "" if state == "backlog" else state

    def read(reply: Reply) -> Page:
        if reply is None:
            raise NotFound("the cursor's task is not in this list any more", hint="begin with the first page")
        following, found = reply
        # A task that was deleted a moment ago has no fields.
        return Page(
            tasks=tuple(read_task(fields) for raw in found if (fields := pairs(raw)).get("id")),
            next=following.decode() or None,
        )

    backlog = "1" if index == "backlog" else "0"
    return Operation(("EVAL_RO", _READ_PAGE, 1, keys.base, index, backlog, cursor, limit, wanted, tag), read)
