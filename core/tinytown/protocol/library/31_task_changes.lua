-- What people, agents and kernels do to a task: each function checks the request, then lets `move` and `route_task` do it.

-- task_add: op, id, agent ('' = nobody), priority, needs, tags (JSON lists), then name and value of other fields; among
-- these may be the state of a task that was finished elsewhere -> fields, id of the message to the agent ('' = none)
register_once('task_add', function(base, a)
  local id, agent, priority, needs, tags = a[1], a[2], a[3], cjson.decode(a[4]), cjson.decode(a[5])
  local outcome, fields = nil, {}
  for i = 6, #a, 2 do
    if a[i] == 'state' then
      outcome = a[i + 1]
    else
      fields[#fields + 1], fields[#fields + 2] = a[i], a[i + 1]
    end
  end
  if redis.call('EXISTS', task_key(base, id)) == 1 then
    refuse('exists', 'a task ' .. id .. ' exists already', 'tt task show ' .. id, { task = id })
  end
  if not RANKS[priority] then refuse('usage', 'no priority ' .. quoted(priority), 'urgent, high, normal or low') end
  if outcome and not FINISHED[outcome] then
    refuse('usage', 'no outcome ' .. quoted(outcome), 'completed, failed or cancelled')
  end
  local agent_id, name = '', ''
  if agent ~= '' then
    local retired
    agent_id, name, retired = find_agent(base, agent)
    check_takes_tasks(name, agent_id, retired)
  end
  local needed = find_needs(base, needs)
  local now = now_ms()
  fields[#fields + 1], fields[#fields + 2] = 'assigned_to', name
  local task = make_task(base, id, priority, needed, tags, fields, now)
  task.agent_id = agent_id
  if outcome then
    move(base, task, outcome, '', now)
    return { id, '' }
  elseif task.held ~= '' then
    set_hold(base, task, task.held, task.held_until or '')
  end
  return { id, route_task(base, task, '', now) }
end, present_assigned)

-- task_get: id -> fields
register('task_get', function(base, a)
  return task_reply(base, find_task(base, a[1]))
end)

local function assign(base, task, agent, now)
  local agent_id, name, retired = find_agent(base, agent)
  check_takes_tasks(name, agent_id, retired)
  check_not_started(task, 'cannot be assigned', 'tt task cancel ')
  unassign(base, task, now)
  task.agent_id, task.assigned_to = agent_id, name
  return { task.id, route_task(base, task, '', now) }
end

-- task_assign: op, id, agent -> fields, id of the message
register_once('task_assign', function(base, a)
  return assign(base, read_task(base, find_task(base, a[1])), a[2], now_ms())
end, present_assigned)

-- backlog_claim: op, id, agent -> fields, id of the message; refuses a task that is not on the backlog
register_once('backlog_claim', function(base, a)
  local id = find_task(base, a[1])
  local task, above = read_task(base, id), waits_above(base, id)
  if task.state ~= 'pending' or above then
    local why = task.state ~= 'pending' and 'it is ' .. task.state or 'it is part of ' .. above .. ', which waits'
    refuse('refused', 'task ' .. id .. ' is not on the backlog: ' .. why, 'tt backlog list shows what is',
      { task = id, state = task.state })
  end
  return assign(base, task, a[2], now_ms())
end, present_assigned)

-- backlog_claim_matching: op, agent_id, fence -> fields and message id of the first task for it, or nothing.
-- A task is for an agent when it has its role or one of its tags, or neither has any.
register_once('backlog_claim_matching', function(base, a)
  check_fence(base, a[1], a[2])
  local id = first_match(base, agent_words(base, a[1]))
  return id and assign(base, read_task(base, id), a[1], now_ms()) or {}
end, present_assigned)

-- All that was made of one task, parent by parent, shares one budget of attempts.
local function count_attempt(base, id, by)
  redis.call('HINCRBY', task_key(base, id), 'attempts', by)
  if setting(base, 'lineage_attempts', 0) > 0 then redis.call('HINCRBY', base .. ':lineages', (select(2, line_of(base, id))), by) end
end

-- Why no attempt is left for a task, or nil.
local function exhausted_lineage(base, id)
  local limit = setting(base, 'lineage_attempts', 0)
  local root = limit > 0 and select(2, line_of(base, id))
  if not root or tonumber(redis.call('HGET', base .. ':lineages', root) or 0) < limit then return nil end
  return 'all attempts (' .. limit .. ') of ' .. (root == id and 'this task' or 'task ' .. root .. ' and all that was made of it') ..
    ' are spent (round.lineage_attempts)'
end

-- task_start: agent_id, fence, id, round_id -> 'started' and the fields; 'stale' and the fields when there is nothing to do;
-- 'held' and the fields when its budget is spent, which then is its reason. All tasks of a round have one token.
register('task_start', function(base, a)
  local agent_id, fence, id, round_id = a[1], a[2], a[3], a[4]
  check_fence(base, agent_id, fence)
  if redis.call('EXISTS', task_key(base, id)) == 0 then return { 'stale', {} } end
  local task, now = read_task(base, id), now_ms()
  if task.state == 'running' and task.round_id == round_id then return { 'started', task_reply(base, id) } end
  if task.agent_id ~= agent_id or (task.state ~= 'assigned' and task.state ~= 'running') then
    return { 'stale', task_reply(base, id) }
  end
  if redis.call('SCARD', task_key(base, id) .. ':needs') > 0 then
    move(base, task, 'blocked', needs_reason(base, id), now)
    return { 'stale', task_reply(base, id) }
  end
  local held = task_over_budget(base, id, now)
  if held then
    if task.state ~= 'assigned' or task.reason ~= held then move(base, task, 'assigned', held, now) end
    return { 'held', task_reply(base, id) }
  end
  local spent = exhausted_lineage(base, id)
  if spent then
    move(base, task, 'failed', spent, now)
    notify_supervisor(base, 'news', 'task ' .. id .. ' (' .. headline(task) .. ') failed: ' .. spent, now)
    return { 'stale', task_reply(base, id) }
  end
  local agent = base .. ':agent:' .. agent_id
  local begun = redis.call('HGET', agent, 'round_tasks') or ''
  if not starts_with(begun, round_id .. ' ') then begun = round_id .. ' ' .. redis.call('INCR', base .. ':tokens') end
  redis.call('HSET', task_key(base, id), 'round_id', round_id, 'token', string.match(begun, '^%S+ (%S+)'),
    'started_at', integer_text(now))
  -- Begun before, without a round that began: nobody heard of it, and tried nothing.
  if task.state ~= 'running' or redis.call('HGET', agent, 'round_id') == task.round_id then
    count_attempt(base, id, 1)
  end
  -- Why the task is here (rejected, cut off, freed) is what its agent has to know now.
  move(base, task, 'running', task.reason, now)
  redis.call('HSET', agent, 'round_tasks', begun .. ' ' .. id, 'current_task', string.match(begun .. ' ' .. id, '^%S+ %S+ (%S+)'))
  return { 'started', task_reply(base, id) }
end)

-- An agent may only settle the task that it holds, with the token of the round it holds it by. Calling off is less: any
-- agent may cancel what nobody's round has, or another's; but who names a token must still hold it.
local function check_holder(task, verb, by, token)
  if by == '' then return end
  if verb == 'cancel' and token == '' and (task.agent_id ~= by or task.token == '') then return end
  if task.agent_id ~= by then
    refuse('refused', 'task ' .. task.id .. ' belongs to ' .. (task.assigned_to ~= '' and task.assigned_to or 'nobody') ..
      ', not to you', 'tt send ' .. (task.assigned_to ~= '' and task.assigned_to or 'supervisor'), { task = task.id })
  end
  if task.token ~= token or token == '' then
    refuse('stale_lease', 'your lease on task ' .. task.id .. ' has ended', 'tt task show ' .. task.id, { task = task.id })
  end
end

local TERMINAL_OF = { complete = 'completed', fail = 'failed', cancel = 'cancelled' }

-- What becomes of a task by a verb. `submit` is what its agent calls done: with gates it is verified first.
local function state_after(base, verb)
  if verb == 'submit' and setting(base, 'gates', 0) > 0 then return 'verifying' end
  return TERMINAL_OF[verb] or 'completed'
end

-- Ends the work on a task, with a `result`, unless it has that, and, if it is not done, the reason.
local function conclude(base, task, to, result, reason, now)
  move(base, task, to, (to == 'failed' or to == 'cancelled') and reason or '', now)
  if result and to ~= 'cancelled' then redis.call('HSET', task_key(base, task.id), 'result', result) end
  if to == 'completed' and redis.call('ZSCORE', base .. ':agents', task.agent_id) then
    redis.call('HINCRBY', base .. ':agent:' .. task.agent_id, 'tasks_completed', 1)
  end
end

-- task_settle: op, complete | submit | fail | cancel, id, agent_id of the caller ('' = a person), token, text -> fields.
register_once('task_settle', function(base, a)
  local verb, by, token, text = a[1], a[3], a[4], a[5]
  local id = find_task(base, a[2])
  local task, now, to = read_task(base, id), now_ms(), state_after(base, verb)
  check_holder(task, verb, by, token)
  -- A repetition by the same holder changes nothing.
  if by ~= '' and task.state == to then return id end
  if to ~= 'cancelled' and to ~= 'failed' and by ~= '' and redis.call('SCARD', task_key(base, id) .. ':needs') > 0 then
    refuse('refused', 'task ' .. id .. ' ' .. needs_reason(base, id), 'end your round; it is offered again when they are completed',
      { task = id })
  end
  if task.state == to or (FINISHED[task.state] and FINISHED[to]) then
    refuse('refused', 'task ' .. id .. ' is already ' .. task.state, 'tt task reopen ' .. id .. ' opens it again',
      { task = id, state = task.state })
  end
  local was = task.state
  conclude(base, task, to, text, text, now)
  if by == '' and (was == 'running' or was == 'verifying') then stop_round_of(base, task) end
  return id
end, task_reply)

local function release_hold(base, id, reason, now)
  local task = read_task(base, id)
  set_hold(base, task, '', '')
  route_task(base, task, reason, now)
end

local function release_due_holds(base, now)
  for _, id in ipairs(redis.call('ZRANGE', base .. ':holds', '-inf', integer_text(now), 'BYSCORE', 'LIMIT', 0, MAX_PER_CALL)) do
    release_hold(base, id, 'its hold is over', now)
  end
end
