-- Tasks: one record each, indexes by state, agent and tag, the graph of needs, holds, the backlog. `move` writes every state.
--
-- A task that is assigned has exactly one valid order in its agent's mailbox; `order` in the record is that message's id.
-- Whatever takes the task elsewhere calls the order off. An order that dies fails its task, so that none waits for ever.

local FINISHED = { completed = true, failed = true, cancelled = true }

local function task_key(base, id)
  return base .. ':task:' .. id
end

-- The fields of a task with its open needs, as every function answers them. The tables that plugins keep beside it, in
-- fields "meta:<name>" as they came, become one: decoding and encoding them here would turn empty lists into tables.
local function task_reply(base, id)
  local flat = redis.call('HGETALL', task_key(base, id))
  if #flat == 0 then return {} end
  local reply, tables = {}, {}
  for i = 1, #flat, 2 do
    if starts_with(flat[i], 'meta:') then
      tables[#tables + 1] = cjson.encode(string.sub(flat[i], 6)) .. ':' .. flat[i + 1]
    else
      reply[#reply + 1], reply[#reply + 2] = flat[i], flat[i + 1]
    end
  end
  local open = redis.call('SMEMBERS', task_key(base, id) .. ':needs')
  table.sort(open)
  table.sort(tables)
  reply[#reply + 1], reply[#reply + 2] = 'open_needs', json_list(open)
  reply[#reply + 1], reply[#reply + 2] = 'meta', '{' .. table.concat(tables, ',') .. '}'
  return reply
end

local function present_task(base, id)
  return task_reply(base, id)
end

-- What a function that may give an order keeps, { task, message }, as its answer.
local function present_assigned(base, kept)
  if not kept[1] then return {} end
  return { task_reply(base, kept[1]), kept[2] }
end

local function read_task(base, id)
  local task = record(task_key(base, id))
  for _, name in ipairs({ 'agent_id', 'assigned_to', 'token', 'round_id', 'reason', 'order', 'title', 'held' }) do
    task[name] = task[name] or ''
  end
  return task
end

local function headline(task)
  if task.title ~= '' then return task.title end
  return truncate(string.match(task.description or '', '[^\n]*'), 120)
end

local function rank_by_priority(task)
  return integer_text(RANKS[task.priority] * SCORE_STEP + tonumber(task.seq))
end

-- Puts the order to work on a task into its agent's mailbox and returns the message's id.
local function deliver_task(base, task, now, due)
  local message_id
  repeat message_id = task.id .. '.' .. redis.call('HINCRBY', task_key(base, task.id), 'orders', 1)
  until redis.call('HEXISTS', mailbox(base, task.agent_id) .. ':bodies', message_id) == 0 -- whoever sends may choose ids
  local body = cjson.encode({ id = message_id, from = 'supervisor', to = task.assigned_to, type = 'task_assign',
    task_id = task.id, priority = task.priority, created_at = rfc3339(now) })
  redis.call('SET', base .. ':trace:' .. message_id, integer_text(now) .. ' queued for ' .. task.assigned_to .. ' by assignment\n',
    'EX', setting(base, 'trace_ttl_s', 3600))
  redis.call('HSET', task_key(base, task.id), 'order', message_id)
  task.order = message_id
  put_mail(base, task.agent_id, message_id, 't', task.priority, body, 0)
  return message_id
end

-- Takes a task's order back. One that a kernel has leased goes when it gives it back, see `order_validity`.
local function withdraw_order(base, task, now)
  if task.order == '' then return end
  local box, member = mailbox(base, task.agent_id), 't' .. task.order
  if redis.call('ZREM', box .. ':queue', member) + redis.call('ZREM', box .. ':delayed', member) > 0 then
    forget_mail(box, member)
    trace(base, task.order, now, 'withdrawn')
  end
  redis.call('HSET', task_key(base, task.id), 'order', '')
  task.order = ''
end

order_validity = function(base, box, member)
  if string.sub(member, 1, 1) ~= 't' then return nil end
  local id = string.sub(member, 2)
  local task_id = string.match(id, '^(.+)%.%d+$')
  if not task_id then return nil end
  -- Inside a text the quotes would be escaped.
  local body = redis.call('HGET', box .. ':bodies', id) or ''
  if not string.find(body, '"type":"task_assign"', 1, true) then return nil end
  local order, state = unpack(redis.call('HMGET', task_key(base, task_id), 'order', 'state'))
  local valid = order == id and (state == 'assigned' or state == 'running')
  return valid and 'valid' or 'withdrawn', task_id, state
end

local function needs_reason(base, id)
  local names = {}
  for _, need in ipairs(redis.call('SMEMBERS', task_key(base, id) .. ':needs')) do
    local state = redis.call('HGET', task_key(base, need), 'state')
    names[#names + 1] = need .. ' (' .. (state or 'gone') .. ')'
  end
  table.sort(names)
  return 'needs ' .. table.concat(names, ', ')
end

-- Why nobody may work on a task, or nil: somebody holds it, or something that it needs is not completed.
local function blocked_by(base, task)
  if task.held ~= '' then return 'held: ' .. task.held end
  return redis.call('SCARD', task_key(base, task.id) .. ':needs') > 0 and needs_reason(base, task.id) or nil
end

-- With an empty reason: nobody holds it any more.
local function set_hold(base, task, reason, until_ms)
  task.held = reason
  redis.call('HDEL', task_key(base, task.id), 'held', 'held_until')
  redis.call('ZREM', base .. ':holds', task.id)
  if reason ~= '' then redis.call('HSET', task_key(base, task.id), 'held', reason) end
  if reason ~= '' and until_ms ~= '' then
    redis.call('HSET', task_key(base, task.id), 'held_until', until_ms)
    redis.call('ZADD', base .. ':holds', until_ms, task.id)
    redis.call('PUBLISH', base .. ':notify', 'placement') -- whoever waits for the next moment waits for this one
  end
end

local free_dependants, block_dependants

-- An agent's role and tags: a task of the backlog that bears one of them is for it.
local function role_and_tags(base, agent_id)
  local role, tags = unpack(redis.call('HMGET', base .. ':agent:' .. agent_id, 'role', 'tags'))
  local words = {}
  for _, word in ipairs(cjson.decode(tags or '[]')) do words[word] = true end
  if role and role ~= '' then words[role] = true end
  return words
end

local function matches_any(base, id, words)
  local role, tags = unpack(redis.call('HMGET', task_key(base, id), 'role', 'tags'))
  local fits = words[role or '']
  for _, tag in ipairs(cjson.decode(tags or '[]')) do fits = fits or words[tag] end
  return fits
end

-- The first task of the backlog that bears one of the words, or nil.
local function first_match(base, words)
  if not next(words) then return nil end
  for _, id in ipairs(redis.call('ZRANGE', base .. ':backlog', 0, MAX_PER_CALL - 1)) do
    if matches_any(base, id, words) then return id end
  end
end

-- Defined with placement: the hosts that are there, and whether one of them could take an agent.
local live_hosts, fits_a_host

-- A task that comes onto the backlog wakes the agent that has slept longest among those it is for; that one claims it by
-- itself. One that could not begin now is woken only when all of them could not.
local function wake_agent_for(base, id, now)
  if setting(base, 'auto_claim', 1) == 0 then return end
  local first, hosts
  for _, agent_id in ipairs(redis.call('ZRANGE', base .. ':asleep', 0, MAX_PER_CALL - 1)) do
    if matches_any(base, id, role_and_tags(base, agent_id)) then
      hosts = hosts or live_hosts(base, now)
      local can_begin = fits_a_host(base, agent_id, hosts) and not start_blocker(base, agent_id, now)
      if can_begin or not first then first = agent_id end
      if can_begin then break end
    end
  end
  if not first then return end
  redis.call('ZREM', base .. ':asleep', first)
  redis.call('ZADD', base .. ':placement', integer_text(now), first)
  redis.call('PUBLISH', base .. ':notify', 'placement')
end

-- An agent takes nothing more: what it may have been woken for wakes another.
local function pass_on_wakeup(base, agent_id, now)
  if redis.call('EXISTS', base .. ':asleep') == 0 then return end
  local id = first_match(base, role_and_tags(base, agent_id))
  if id then wake_agent_for(base, id, now) end
end

local function check_move(task, to)
  local from = task.state
  if from ~= to and not TASK_MOVES[from][to] then
    refuse('refused', 'task ' .. task.id .. ' is ' .. from .. ' and cannot become ' .. to,
      'tt task show ' .. task.id .. ' shows more', { task = task.id, state = from })
  end
end

-- Its agent works on it no more.
local function clear_current_task(base, task)
  local key = base .. ':agent:' .. task.agent_id
  if redis.call('HGET', key, 'current_task') == task.id then redis.call('HSET', key, 'current_task', '') end
end

local function move(base, task, to, reason, now)
  local from, key = task.state, task_key(base, task.id)
  check_move(task, to)
  task.state, task.reason = to, reason
  if to ~= 'assigned' and to ~= 'running' then withdraw_order(base, task, now) end
  redis.call('HSET', key, 'state', to, 'reason', reason, 'since', integer_text(now), 'updated_at', integer_text(now),
    'assigned_to', task.assigned_to, 'agent_id', task.agent_id)
  if to == 'pending' or to == 'blocked' or to == 'assigned' then redis.call('HDEL', key, 'token', 'round_id') end -- no round has it
  redis.call('ZREM', base .. ':tasks:state:' .. from, task.id)
  redis.call('ZADD', base .. ':tasks:state:' .. to, task.seq, task.id)
  if to == 'pending' then
    redis.call('ZADD', base .. ':backlog', rank_by_priority(task), task.id)
    wake_agent_for(base, task.id, now)
  else
    redis.call('ZREM', base .. ':backlog', task.id)
  end
  if task.agent_id ~= '' then
    redis.call('ZADD', base .. ':tasks:agent:' .. task.agent_id, task.seq, task.id)
    redis.call(FINISHED[to] and 'SREM' or 'SADD', base .. ':agent:' .. task.agent_id .. ':open', task.id)
  end
  if to ~= 'running' and to ~= 'verifying' and task.agent_id ~= '' then clear_current_task(base, task) end
  emit(base, 'task_state_changed', 'task', task.id, 'old', from, 'new', to, 'agent', task.assigned_to,
    'reason', reason, 'title', headline(task))
  if FINISHED[to] then
    if task.held ~= '' then set_hold(base, task, '', '') end
    redis.call('ZADD', base .. ':tasks:finished', integer_text(now), task.id)
    redis.call('HSET', key, 'completed_at', integer_text(now))
    free_dependants(base, task, now)
  elseif FINISHED[from] then
    redis.call('ZREM', base .. ':tasks:finished', task.id)
    redis.call('HDEL', key, 'completed_at')
    block_dependants(base, task, now)
  end
end

local function unassign(base, task, now)
  if task.agent_id ~= '' then
    withdraw_order(base, task, now)
    redis.call('SREM', base .. ':agent:' .. task.agent_id .. ':open', task.id)
    redis.call('ZREM', base .. ':tasks:agent:' .. task.agent_id, task.id)
    clear_current_task(base, task)
  end
  task.agent_id, task.assigned_to = '', ''
end

-- Where a task that may be worked on goes: to its agent, or, without one, onto the backlog. -> the order's id or ''
local function route_task(base, task, reason, now)
  local desired_state = task.agent_id ~= '' and redis.call('HGET', base .. ':agent:' .. task.agent_id, 'desired_state')
  if not desired_state then unassign(base, task, now) end
  local why = blocked_by(base, task)
  if why then
    move(base, task, 'blocked', why, now)
  elseif desired_state and desired_state ~= 'stopped' then
    move(base, task, 'assigned', reason, now)
    return deliver_task(base, task, now)
  else
    unassign(base, task, now)
    move(base, task, 'pending', reason, now)
  end
  return ''
end

free_dependants = function(base, task, now)
  for _, id in ipairs(redis.call('SMEMBERS', task_key(base, task.id) .. ':dependants')) do
    local dependant = read_task(base, id)
    if task.state == 'completed' then redis.call('SREM', task_key(base, id) .. ':needs', task.id) end
    if dependant.state == 'blocked' then
      local why = blocked_by(base, dependant)
      if why then
        redis.call('HSET', task_key(base, id), 'reason', why)
      else
        route_task(base, dependant, 'all it needs is completed', now)
      end
    end
  end
end

block_dependants = function(base, task, now)
  for _, id in ipairs(redis.call('SMEMBERS', task_key(base, task.id) .. ':dependants')) do
    local dependant = read_task(base, id)
    if not FINISHED[dependant.state] then
      redis.call('SADD', task_key(base, id) .. ':needs', task.id)
      if dependant.state == 'pending' or dependant.state == 'assigned' then
        move(base, dependant, 'blocked', needs_reason(base, id), now)
      elseif dependant.state == 'blocked' then
        redis.call('HSET', task_key(base, id), 'reason', blocked_by(base, dependant))
      end
    end
  end
end

-- Does `from` need `goal`, directly or through others?
local function reaches(base, from, goal)
  local stack, seen = { from }, {}
  while #stack > 0 do
    local id = table.remove(stack)
    if id == goal then return true end
    if not seen[id] then
      seen[id] = true
      for _, need in ipairs(cjson.decode(redis.call('HGET', task_key(base, id), 'needs') or '[]')) do
        stack[#stack + 1] = need
      end
    end
  end
  return false
end

-- A need that was forgotten after it had finished holds nobody up.
local function link_need(base, id, need)
  local state = redis.call('HGET', task_key(base, need), 'state')
  if not state then return end
  redis.call('SADD', task_key(base, need) .. ':dependants', id)
  if state ~= 'completed' then
    redis.call('SADD', task_key(base, id) .. ':needs', need)
  end
end

-- The ids of the tasks that `refs` mean, each once.
local function find_needs(base, refs)
  local needed, seen = {}, {}
  for _, ref in ipairs(refs) do
    local need = find_task(base, ref)
    if not seen[need] then needed[#needed + 1] = need end
    seen[need] = true
  end
  return needed
end

local function check_priority(priority)
  if not RANKS[priority] then refuse('usage', 'no priority ' .. quoted(priority), 'urgent, high, normal or low') end
end

local function check_acyclic(base, id, need)
  if reaches(base, need, id) then
    refuse('refused', 'task ' .. need .. ' already needs ' .. id .. '; this would be a dependency cycle',
      'tt task show ' .. need, { task = id, need = need })
  end
end

-- Refuses what only fits a task that nobody works on and that is not finished; `hint` begins the way out.
local function check_not_started(task, so, hint)
  if task.state ~= 'running' and task.state ~= 'verifying' and not FINISHED[task.state] then return end
  refuse('refused', 'task ' .. task.id .. ' is ' .. task.state .. ' and ' .. so,
    (FINISHED[task.state] and 'tt task reopen ' or hint) .. task.id, { task = task.id, state = task.state })
end

local function check_takes_tasks(name, agent_id, retired)
  if agent_id == SUPERVISOR_ID then
    refuse('refused', '"' .. name .. '" is the human side and takes no tasks', 'tt send ' .. name, { agent = name })
  elseif retired then
    refuse('refused', 'agent "' .. name .. '" is stopped and takes no tasks', 'tt resume ' .. name .. ' brings it back',
      { agent = name })
  end
end

-- Writes the record of a new task with its other `fields` (names and values), which nobody has yet, and its indexes. -> the task
local function make_task(base, id, priority, needed, tags, fields, now)
  local key, seq = task_key(base, id), redis.call('INCR', base .. ':seq')
  redis.call('HSET', key, 'id', id, 'seq', seq, 'state', 'pending', 'priority', priority,
    'created_at', integer_text(now), 'updated_at', integer_text(now), 'attempts', 0, 'needs', json_list(needed), 'tags', json_list(tags))
  if #fields > 0 then redis.call('HSET', key, unpack(fields)) end
  redis.call('ZADD', base .. ':tasks:ids', 0, id)
  redis.call('ZADD', base .. ':tasks', seq, id)
  for _, tag in ipairs(tags) do redis.call('ZADD', base .. ':tasks:tag:' .. tag, seq, id) end
  for _, need in ipairs(needed) do link_need(base, id, need) end
  local task = read_task(base, id)
  emit(base, 'task_added', 'task', id, 'state', 'pending', 'title', headline(task), 'agent', task.assigned_to)
  return task
end
