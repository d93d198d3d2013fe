-- A task that its agent cannot do, given to another one.

-- task_hand_over: op, id, agent_id that has it, its round ('' = it waits), agent_id that gets it, reason, what `ops` keeps beside the
-- task (JSON, '' = as it is) -> 1, or 0 if it is no longer so. The round counts as no attempt. One who is gone by now gets nothing:
-- the task goes onto the backlog.
register_once('task_hand_over', function(base, a)
  local id, from, round_id, to, reason, kept = unpack(a)
  local task, now = read_task(base, id), now_ms()
  local open = task.state == 'assigned' or task.state == 'running'
  if not open or task.agent_id ~= from or task.round_id ~= round_id then return 0 end
  local name = task.assigned_to
  if kept ~= '' then redis.call('HSET', task_key(base, id), 'meta:ops', kept) end
  if round_id ~= '' then count_attempt(base, id, -1) end
  unassign(base, task, now)
  task.agent_id, task.assigned_to = to, redis.call('HGET', agent_key(base, to), 'name') or ''
  route_task(base, task, 'taken over from ' .. name, now)
  emit(base, 'task_fell_back', 'task', id, 'from', name, 'to', task.assigned_to, 'reason', reason)
  return 1
end)
