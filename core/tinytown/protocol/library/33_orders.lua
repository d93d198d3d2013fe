-- Orders that went missing or died, and the tasks of rounds that ended without an outcome.

-- An assigned task whose order is in nobody's mailbox would wait for ever.
local function ensure_order(base, task, now)
  if task.state == 'assigned'
    and redis.call('HEXISTS', mailbox(base, task.agent_id) .. ':bodies', task.order) == 0 then
    deliver_task(base, task, now)
  end
end

fail_dead_order = function(base, task_id, reason, now)
  local task = read_task(base, task_id)
  move(base, task, 'failed', 'its order became a dead letter: ' .. reason, now)
end

-- A round that ended without an outcome leaves its task where it was before: with its agent, or blocked again. `lost` with its
-- host it is no attempt. After two such rounds kernels run a task alone; after as many as a message may be delivered it fails.
local function return_running_tasks(base, agent_id, now, reason, lost)
  for _, id in ipairs(redis.call('SMEMBERS', base .. ':agent:' .. agent_id .. ':open')) do
    local task = read_task(base, id)
    local rounds = lost and task.state == 'running' and redis.call('HINCRBY', task_key(base, id), 'lost', 1)
    if rounds then count_attempt(base, id, -1) end
    if rounds and rounds >= math.max(3, setting(base, 'max_deliveries', 5)) then
      move(base, task, 'failed', 'its kernel ended ' .. rounds .. ' times while it ran, in the end alone: ' .. reason, now)
    elseif task.state == 'running' then
      local blocked = redis.call('SCARD', task_key(base, id) .. ':needs') > 0
      move(base, task, blocked and 'blocked' or 'assigned', blocked and needs_reason(base, id) or reason, now)
      ensure_order(base, task, now)
    end
  end
end
