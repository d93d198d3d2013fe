-- Tasks: one record each, indexes by state, agent and tag, the graph of needs, holds, the backlog. All state is written by `move`.
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
  return brief(string.match(task.description or '', '[^\n]*'), 120)
end

local function rank_by_priority(task)
  return whole(RANKS[task.priority] * SCORE_STEP + tonumber(task.seq))
end

-- Puts the order to work on a task into its agent's mailbox and returns the message's id.
local function deliver_task(base, task, now, due)
  local message_id
  repeat message_id = task.id .. '.' .. redis.call('HINCRBY', task_key(base, task.id), 'orders', 1)
  until redis.call('HEXISTS', mailbox(base, task.agent_id) .. ':bodies', message_id) == 0 -- whoever sends may choose ids
  local body = cjson.encode({ id = message_id, from = 'supervisor', to = task.assigned_to, type = 'task_assign',
    task_id = task.id, priority = task.priority, created_at = rfc3339(now) })
  redis.call('SET', base .. ':trace:' .. message_id, whole(now) .. ' queued for ' .. task.assigned_to .. ' by assignment\n',
    'EX', setting(base, 'trace_ttl_s', 3600))
  redis.call('HSET', task_key(base, task.id), 'order', message_id)
  task.order = message_id
  put_mail(base, task.agent_id, message_id, 't', task.priority, body, 0)
  return message_id
end

-- Takes a task's order back. One that a kernel has leased goes when it gives it back, see `order_standing`.
local function call_off(base, task, now)
  if task.order == '' then return end
  local box, member = mailbox(base, task.agent_id), 't' .. task.order
  if redis.call('ZREM', box .. ':queue', member) + redis.call('ZREM', box .. ':delayed', member) > 0 then
    forget_mail(box, member)
    trace(base, task.order, now, 'called off')
  end
  redis.call('HSET', task_key(base, task.id), 'order', '')
  task.order = ''
end

order_standing = function(base, box, member)
  if string.sub(member, 1, 1) ~= 't' then return nil end
  local id = string.sub(member, 2)
  local task_id = string.match(id, '^(.+)%.%d+$')
  if not task_id then return nil end
  -- Inside a text the quotes would be escaped.
  local body = redis.call('HGET', box .. ':bodies', id) or ''
  if not string.find(body, '"type":"task_assign"', 1, true) then return nil end
  local order, state = unpack(redis.call('HMGET', task_key(base, task_id), 'order', 'state'))
  local valid = order == id and (state == 'assigned' or state == 'running')
  return valid and 'valid' or 'called off', task_id, state
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
    redis.call('PUBLISH', base .. ':bell', 'placement') -- whoever waits for the next moment waits for this one
  end
end

local free_dependants, block_dependants

-- An agent's role and tags: a task of the backlog that bears one of them is for it.
local function words_of(base, agent_id)
  local role, tags = unpack(redis.call('HMGET', base .. ':agent:' .. agent_id, 'role', 'tags'))
  local words = {}
  for _, word in ipairs(cjson.decode(tags or '[]')) do words[word] = true end
  if role and role ~= '' then words[role] = true end
  return words
end

local function bears_one_of(base, id, words)
  local role, tags = unpack(redis.call('HMGET', task_key(base, id), 'role', 'tags'))
  local fits = words[role or '']
  for _, tag in ipairs(cjson.decode(tags or '[]')) do fits = fits or words[tag] end
  return fits
end

-- The first task of the backlog that bears one of the words, or nil.
local function first_for(base, words)
  if not next(words) then return nil end
  for _, id in ipairs(redis.call('ZRANGE', base .. ':backlog', 0, MANY - 1)) do
    if bears_one_of(base, id, words) then return id end
  end
end

-- Defined with placement: the hosts that are there, and whether one of them could take an agent.
local hosts_here, could_be_taken

-- A task that comes onto the backlog wakes the agent that has slept longest among those it is for; that one claims it by
-- itself. One that could not begin now is woken only when all of them could not.
local function wake_for(base, id, now)
  if setting(base, 'auto_claim', 1) == 0 then return end
  local first, hosts
  for _, agent_id in ipairs(redis.call('ZRANGE', base .. ':asleep', 0, MANY - 1)) do
    if bears_one_of(base, id, words_of(base, agent_id)) then
      hosts = hosts or hosts_here(base, now)
      local can_begin = could_be_taken(base, agent_id, hosts) and not may_begin(base, agent_id, now)
      if can_begin or not first then first = agent_id end
      if can_begin then break end
    end
  end
  if not first then return end
  redis.call('ZREM', base .. ':asleep', first)
  redis.call('ZADD', base .. ':placement', whole(now), first)
  redis.call('PUBLISH', base .. ':bell', 'placement')
end

-- An agent takes nothing more: what it may have been woken for wakes another.
local function pass_on_waking(base, agent_id, now)
  if redis.call('EXISTS', base .. ':asleep') == 0 then return end
  local id = first_for(base, words_of(base, agent_id))
  if id then wake_for(base, id, now) end
end

local function check_move(task, to)
  local from = task.state
  if from ~= to and not TASK_MOVES[from][to] then
    refuse('refused', 'task ' .. task.id .. ' is ' .. from .. ' and cannot become ' .. to,
      'tt task show ' .. task.id .. ' tells more', { task = task.id, state = from })
  end
end

-- Its agent works on it no more.
local function drop_current(base, task)
  local key = base .. ':agent:' .. task.agent_id
  if redis.call('HGET', key, 'current_task') == task.id then redis.call('HSET', key, 'current_task', '') end
end

local function move(base, task, to, reason, now)
  local from, key = task.state, task_key(base, task.id)
  check_move(task, to)
  task.state, task.reason = to, reason
  if to ~= 'assigned' and to ~= 'running' then call_off(base, task, now) end
  redis.call('HSET', key, 'state', to, 'reason', reason, 'since', whole(now), 'updated_at', whole(now),
    'assigned_to', task.assigned_to, 'agent_id', task.agent_id)
  if to == 'pending' or to == 'blocked' or to == 'assigned' then redis.call('HDEL', key, 'token', 'round_id') end -- no round has it
  redis.call('ZREM', base .. ':tasks:state:' .. from, task.id)
  redis.call('ZADD', base .. ':tasks:state:' .. to, task.seq, task.id)
  if to == 'pending' then
    redis.call('ZADD', base .. ':backlog', rank_by_priority(task), task.id)
    wake_for(base, task.id, now)
  else
    redis.call('ZREM', base .. ':backlog', task.id)
  end
  if task.agent_id ~= '' then
    redis.call('ZADD', base .. ':tasks:agent:' .. task.agent_id, task.seq, task.id)
    redis.call(FINISHED[to] and 'SREM' or 'SADD', base .. ':agent:' .. task.agent_id .. ':open', task.id)
  end
  if to ~= 'running' and to ~= 'verifying' and task.agent_id ~= '' then drop_current(base, task) end
  emit(base, 'task_state_changed', 'task', task.id, 'old', from, 'new', to, 'agent', task.assigned_to,
    'reason', reason, 'title', headline(task))
  if FINISHED[to] then
    if task.held ~= '' then set_hold(base, task, '', '') end
    redis.call('ZADD', base .. ':tasks:finished', whole(now), task.id)
    redis.call('HSET', key, 'completed_at', whole(now))
    free_dependants(base, task, now)
  elseif FINISHED[from] then
    redis.call('ZREM', base .. ':tasks:finished', task.id)
    redis.call('HDEL', key, 'completed_at')
    block_dependants(base, task, now)
  end
end

local function leave_agent(base, task, now)
  if task.agent_id ~= '' then
    call_off(base, task, now)
    redis.call('SREM', base .. ':agent:' .. task.agent_id .. ':open', task.id)
    redis.call('ZREM', base .. ':tasks:agent:' .. task.agent_id, task.id)
    drop_current(base, task)
  end
  task.agent_id, task.assigned_to = '', ''
end

-- Where a task that may be worked on goes: to its agent, or, without one, onto the backlog. -> the order's id or ''
local function set_going(base, task, reason, now)
  local desired_state = task.agent_id ~= '' and redis.call('HGET', base .. ':agent:' .. task.agent_id, 'desired_state')
  if not desired_state then leave_agent(base, task, now) end
  local why = blocked_by(base, task)
  if why then
    move(base, task, 'blocked', why, now)
  elseif desired_state and desired_state ~= 'stopped' then
    move(base, task, 'assigned', reason, now)
    return deliver_task(base, task, now)
  else
    leave_agent(base, task, now)
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
        set_going(base, dependant, 'all it needs is completed', now)
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

local function check_no_circle(base, id, need)
  if reaches(base, need, id) then
    refuse('refused', 'task ' .. need .. ' already needs ' .. id .. '; the other way round would be a circle',
      'tt task show ' .. need, { task = id, need = need })
  end
end

-- Refuses what only fits a task that nobody works on and that is not finished; `hint` begins the way out.
local function check_untouched(task, so, hint)
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
    'created_at', whole(now), 'updated_at', whole(now), 'attempts', 0, 'needs', json_list(needed), 'tags', json_list(tags))
  if #fields > 0 then redis.call('HSET', key, unpack(fields)) end
  redis.call('ZADD', base .. ':tasks:ids', 0, id)
  redis.call('ZADD', base .. ':tasks', seq, id)
  for _, tag in ipairs(tags) do redis.call('ZADD', base .. ':tasks:tag:' .. tag, seq, id) end
  for _, need in ipairs(needed) do link_need(base, id, need) end
  local task = read_task(base, id)
  emit(base, 'task_added', 'task', id, 'state', 'pending', 'title', headline(task), 'agent', task.assigned_to)
  return task
end

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
  check_priority(priority)
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
  return { id, set_going(base, task, '', now) }
end, present_assigned)

-- task_get: id -> fields
register('task_get', function(base, a)
  return task_reply(base, find_task(base, a[1]))
end)

local function assign(base, task, agent, now)
  local agent_id, name, retired = find_agent(base, agent)
  check_takes_tasks(name, agent_id, retired)
  check_untouched(task, 'cannot be assigned', 'tt task cancel ')
  leave_agent(base, task, now)
  task.agent_id, task.assigned_to = agent_id, name
  return { task.id, set_going(base, task, '', now) }
end

-- task_assign: op, id, agent -> fields, id of the message
register_once('task_assign', function(base, a)
  return assign(base, read_task(base, find_task(base, a[1])), a[2], now_ms())
end, present_assigned)

-- backlog_claim: op, id, agent -> fields, id of the message; refuses a task that is not on the backlog
register_once('backlog_claim', function(base, a)
  local id = find_task(base, a[1])
  local task = read_task(base, id)
  if task.state ~= 'pending' then
    refuse('refused', 'task ' .. id .. ' is not on the backlog: it is ' .. task.state, 'tt backlog list shows what is',
      { task = id, state = task.state })
  end
  return assign(base, task, a[2], now_ms())
end, present_assigned)

-- backlog_claim_matching: op, agent_id, fence, then words (role and tags) -> fields and message id, or nothing.
-- A task matches when its role or one of its tags is one of the words.
register_once('backlog_claim_matching', function(base, a)
  check_fence(base, a[1], a[2])
  local words = {}
  for i = 3, #a do words[a[i]] = true end
  local id = first_for(base, words)
  return id and assign(base, read_task(base, id), a[1], now_ms()) or {}
end, present_assigned)

-- backlog_assign_all: op, agent -> ids of the tasks that were given to the agent (1,000 at most)
register_once('backlog_assign_all', function(base, a)
  local now, ids = now_ms(), redis.call('ZRANGE', base .. ':backlog', 0, MANY - 1)
  local agent_id, name, retired = find_agent(base, a[1])
  check_takes_tasks(name, agent_id, retired)
  for _, id in ipairs(ids) do assign(base, read_task(base, id), agent_id, now) end
  return ids
end)

-- The first of the tasks that a task was made of, parent by parent: all that come from it share one budget of attempts.
local function lineage_of(base, id)
  for _ = 1, MANY do
    local parent = redis.call('HGET', task_key(base, id), 'parent') or ''
    if parent == '' or redis.call('EXISTS', task_key(base, parent)) == 0 then return id end
    id = parent
  end
  return id -- they are each other's parents
end

local function count_attempt(base, id, by)
  redis.call('HINCRBY', task_key(base, id), 'attempts', by)
  if setting(base, 'lineage_attempts', 0) > 0 then redis.call('HINCRBY', base .. ':lineages', lineage_of(base, id), by) end
end

-- Why no attempt is left for a task, or nil.
local function lineage_spent(base, id)
  local limit = setting(base, 'lineage_attempts', 0)
  local root = limit > 0 and lineage_of(base, id)
  if not root or tonumber(redis.call('HGET', base .. ':lineages', root) or 0) < limit then return nil end
  return 'all attempts (' .. limit .. ') of ' .. (root == id and 'this task' or 'task ' .. root .. ' and all that was made of it') ..
    ' are spent (round.lineage_attempts)'
end

-- task_start: agent_id, fence, id, round_id -> 'started' and the fields; 'stale' and the fields when there is nothing to do;
-- 'held' and the fields when its budget is spent, which then is its reason
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
  local spent = lineage_spent(base, id)
  if spent then
    move(base, task, 'failed', spent, now)
    tell_supervisor(base, 'news', 'task ' .. id .. ' (' .. headline(task) .. ') failed: ' .. spent, now)
    return { 'stale', task_reply(base, id) }
  end
  redis.call('HSET', task_key(base, id), 'round_id', round_id, 'token', redis.call('INCR', base .. ':tokens'),
    'started_at', whole(now))
  -- Begun before, without a round that began: nobody heard of it, and tried nothing.
  if task.state ~= 'running' or redis.call('HGET', base .. ':agent:' .. agent_id, 'round_id') == task.round_id then
    count_attempt(base, id, 1)
  end
  -- Why the task is here (rejected, cut off, freed) is what its agent has to be told now.
  move(base, task, 'running', task.reason, now)
  redis.call('HSET', base .. ':agent:' .. agent_id, 'current_task', id)
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

local function count_completion(base, task)
  if redis.call('ZSCORE', base .. ':agents', task.agent_id) then
    redis.call('HINCRBY', base .. ':agent:' .. task.agent_id, 'tasks_completed', 1)
  end
end

local TERMINAL_OF = { complete = 'completed', fail = 'failed', cancel = 'cancelled' }

-- task_settle: op, complete | submit | fail | cancel, id, agent_id of the caller ('' = a person), token, text -> fields.
-- `submit` says done; with gates the task is verified first, without them it is completed at once.
register_once('task_settle', function(base, a)
  local verb, by, token, text = a[1], a[3], a[4], a[5]
  local id = find_task(base, a[2])
  local task, now = read_task(base, id), now_ms()
  check_holder(task, verb, by, token)
  local gated = verb == 'submit' and tonumber(redis.call('HGET', base .. ':meta', 'gates') or 0) > 0
  local to = gated and 'verifying' or TERMINAL_OF[verb] or 'completed'
  -- Said twice by the same holder is said once.
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
  local reason = (to == 'completed' or to == 'verifying') and '' or text
  check_move(task, to)
  if to == 'completed' or to == 'verifying' or to == 'failed' then redis.call('HSET', task_key(base, id), 'result', text) end
  move(base, task, to, reason, now)
  if to == 'completed' then count_completion(base, task) end
  if by == '' and (was == 'running' or was == 'verifying') and task.agent_id ~= '' then
    ring(base, task.agent_id, 'stop-round ' .. task.round_id)
  end
  return id
end, present_task)

-- task_reopen: op, id, reason -> fields, id of the message
register_once('task_reopen', function(base, a)
  local id, now = find_task(base, a[1]), now_ms()
  local task = read_task(base, id)
  if not FINISHED[task.state] then
    refuse('refused', 'task ' .. id .. ' is ' .. task.state .. '; only a finished task can be opened again',
      'tt task show ' .. id, { task = id, state = task.state })
  end
  for _, need in ipairs(cjson.decode(task.needs or '[]')) do link_need(base, id, need) end
  redis.call('HSET', task_key(base, id), 'attempts', 0, 'rejection', a[2])
  return { id, set_going(base, task, a[2], now) }
end, present_assigned)

-- People take a task away from the round that works on it, if one does: that was no attempt.
local function take_from_round(base, task)
  if task.state ~= 'running' then return end
  ring(base, task.agent_id, 'stop-round ' .. task.round_id)
  count_attempt(base, task.id, -1)
end

-- task_requeue: op, id, reason -> fields; takes a task from its agent and puts it onto the backlog
register_once('task_requeue', function(base, a)
  local id, now = find_task(base, a[1]), now_ms()
  local task = read_task(base, id)
  if FINISHED[task.state] then
    refuse('refused', 'task ' .. id .. ' is ' .. task.state, 'tt task reopen ' .. id, { task = id, state = task.state })
  end
  take_from_round(base, task)
  leave_agent(base, task, now)
  set_going(base, task, a[2], now)
  return id
end, present_task)

-- task_hold: op, id, reason, until (ms, '' = until somebody releases it) -> fields. Until then nobody is given it; a round that
-- works on it is ended.
register_once('task_hold', function(base, a)
  local id, now = find_task(base, a[1]), now_ms()
  local task = read_task(base, id)
  if FINISHED[task.state] or task.state == 'verifying' then
    refuse('refused', 'task ' .. id .. ' is ' .. task.state .. ' and cannot be held',
      FINISHED[task.state] and 'tt task reopen ' .. id or 'wait for the verdict', { task = id, state = task.state })
  elseif a[3] ~= '' and tonumber(a[3]) <= now then
    refuse('usage', 'expected a moment to come, got one that is over', 'leave it out to hold the task until tt task release')
  end
  take_from_round(base, task)
  set_hold(base, task, a[2], a[3])
  move(base, task, 'blocked', blocked_by(base, task), now)
  return id
end, present_task)

local function release_hold(base, id, reason, now)
  local task = read_task(base, id)
  set_hold(base, task, '', '')
  set_going(base, task, reason, now)
end

-- task_release: op, id -> fields
register_once('task_release', function(base, a)
  local id = find_task(base, a[1])
  if (redis.call('HGET', task_key(base, id), 'held') or '') == '' then
    refuse('refused', 'task ' .. id .. ' is not held', 'tt task show ' .. id, { task = id })
  end
  release_hold(base, id, 'released', now_ms())
  return id
end, present_task)

local function release_due(base, now)
  for _, id in ipairs(redis.call('ZRANGE', base .. ':holds', '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, MANY)) do
    release_hold(base, id, 'its hold is over', now)
  end
end

-- task_need: id, need -> fields; adds an edge to the graph, refusing one that would close a circle
register('task_need', function(base, a)
  local id, need, now = find_task(base, a[1]), find_task(base, a[2]), now_ms()
  local task = read_task(base, id)
  check_no_circle(base, id, need)
  check_untouched(task, 'takes no new need', 'tt task requeue ')
  local needs = cjson.decode(task.needs or '[]')
  for _, known in ipairs(needs) do if known == need then return task_reply(base, id) end end
  needs[#needs + 1] = need
  redis.call('HSET', task_key(base, id), 'needs', json_list(needs))
  link_need(base, id, need)
  if redis.call('SCARD', task_key(base, id) .. ':needs') > 0 then
    move(base, task, 'blocked', blocked_by(base, task), now)
  end
  return task_reply(base, id)
end)

-- task_update: id, then names and new values of fields (needs and tags are JSON lists) -> fields. Only while nobody works
-- on it: a round has been told the old text, and what is finished is history.
register('task_update', function(base, a)
  local id, now, changed = find_task(base, a[1]), now_ms(), {}
  local task, key = read_task(base, id), task_key(base, id)
  for i = 2, #a, 2 do
    local name, value = a[i], a[i + 1]
    if name == 'needs' then value = json_list(find_needs(base, cjson.decode(value))) end
    if name == 'tags' then value = json_list(cjson.decode(value)) end
    if (task[name] or '') ~= value then changed[name] = value end
  end
  if not next(changed) then return task_reply(base, id) end
  check_priority(changed.priority or task.priority)
  check_untouched(task, 'stays as it is', 'tt task requeue ')
  local needs = changed.needs and cjson.decode(changed.needs) or {}
  for _, need in ipairs(needs) do check_no_circle(base, id, need) end
  if changed.needs then
    for _, need in ipairs(cjson.decode(task.needs)) do redis.call('SREM', task_key(base, need) .. ':dependants', id) end
    redis.call('DEL', key .. ':needs')
    for _, need in ipairs(needs) do link_need(base, id, need) end
  end
  if changed.tags then
    for _, tag in ipairs(cjson.decode(task.tags)) do redis.call('ZREM', base .. ':tasks:tag:' .. tag, id) end
    for _, tag in ipairs(cjson.decode(changed.tags)) do redis.call('ZADD', base .. ':tasks:tag:' .. tag, task.seq, id) end
  end
  for name, value in pairs(changed) do task[name] = value end
  for name, value in pairs(changed) do redis.call('HSET', key, name, value) end
  redis.call('HSET', key, 'updated_at', whole(now))
  emit(base, 'task_updated', 'task', id, 'title', headline(task))
  if changed.needs and redis.call('SCARD', key .. ':needs') > 0 then
    move(base, task, 'blocked', blocked_by(base, task), now)
  elseif changed.needs and task.state == 'blocked' then
    set_going(base, task, 'all it needs is completed', now)
  elseif task.state == 'pending' then
    redis.call('ZADD', base .. ':backlog', rank_by_priority(task), id)
    if changed.role or changed.tags then wake_for(base, id, now) end -- it may be for others now
  elseif changed.priority and task.state == 'assigned'
    and redis.call('ZSCORE', mailbox(base, task.agent_id) .. ':queue', 't' .. task.order) then
    call_off(base, task, now) -- its place in the mailbox is another one now
    deliver_task(base, task, now)
  end
  return task_reply(base, id)
end)

-- task_list: state, agent, tag ('' = any), limit -> the fields of each, newest first; the backlog (state "backlog") in its order
register('task_list', function(base, a)
  local state, tag, limit, reply = a[1], a[3], tonumber(a[4]), {}
  local agent_id = a[2] ~= '' and find_agent(base, a[2]) or ''
  local index = base .. ':tasks'
  -- Few tasks are being verified, and an agent may have had many.
  if agent_id ~= '' and state ~= 'verifying' then index = base .. ':tasks:agent:' .. agent_id
  elseif tag ~= '' then index = base .. ':tasks:tag:' .. tag
  elseif state ~= '' and state ~= 'backlog' then index = base .. ':tasks:state:' .. state end
  local start, step = 0, 200
  while #reply < limit do
    local ids
    if state == 'backlog' then
      ids = redis.call('ZRANGE', base .. ':backlog', start, start + step - 1)
    else
      ids = redis.call('ZRANGE', index, start, start + step - 1, 'REV')
    end
    if #ids == 0 then break end
    for _, id in ipairs(ids) do
      if #reply >= limit then break end
      local fits = true
      if state ~= '' and state ~= 'backlog' then fits = redis.call('HGET', task_key(base, id), 'state') == state end
      if fits and tag ~= '' then fits = redis.call('ZSCORE', base .. ':tasks:tag:' .. tag, id) ~= false end
      if fits and agent_id ~= '' then fits = redis.call('HGET', task_key(base, id), 'agent_id') == agent_id end
      if fits then reply[#reply + 1] = task_reply(base, id) end
    end
    start = start + step
  end
  return reply
end)

-- task_current: agent -> fields of the task that it works on, or of its only open one; nothing when there is none
register('task_current', function(base, a)
  local agent_id = find_agent(base, a[1])
  local id = redis.call('HGET', base .. ':agent:' .. agent_id, 'current_task') or ''
  if id == '' then
    local open = redis.call('SMEMBERS', base .. ':agent:' .. agent_id .. ':open')
    if #open == 1 then id = open[1] end
  end
  return id == '' and {} or task_reply(base, id)
end)

-- task_meta: id, name, JSON value -> fields; one plugin's table beside the task ('' removes it)
register('task_meta', function(base, a)
  local id = find_task(base, a[1])
  if a[3] == '' then
    redis.call('HDEL', task_key(base, id), 'meta:' .. a[2])
  else
    redis.call('HSET', task_key(base, id), 'meta:' .. a[2], a[3])
  end
  redis.call('HSET', task_key(base, id), 'updated_at', whole(now_ms()))
  return task_reply(base, id)
end)

-- An assigned task whose order is in nobody's mailbox would wait for ever.
local function ensure_order(base, task, now)
  if task.state == 'assigned'
    and redis.call('HEXISTS', mailbox(base, task.agent_id) .. ':bodies', task.order) == 0 then
    deliver_task(base, task, now)
  end
end

order_died = function(base, task_id, reason, now)
  local task = read_task(base, task_id)
  move(base, task, 'failed', 'its order was given up: ' .. reason, now)
end

-- A redriven order is valid again when its task failed with it. -> was it
revive_order = function(base, letter, now)
  local task_id = string.match(letter.id, '^(.+)%.%d+$')
  local task = read_task(base, task_id)
  if task.state ~= 'failed' or task.agent_id ~= letter.agent_id or letter.id ~= task_id .. '.' .. (task.orders or '')
    or redis.call('SCARD', task_key(base, task_id) .. ':needs') > 0 then
    return false
  end
  redis.call('HSET', task_key(base, task_id), 'order', letter.id, 'attempts', 0)
  task.order = letter.id
  move(base, task, 'assigned', 'its order was redriven', now)
  return true
end

-- A round that ended without an outcome leaves its task where it was before: with its agent, or blocked again.
local function take_back_running(base, agent_id, now, reason)
  for _, id in ipairs(redis.call('SMEMBERS', base .. ':agent:' .. agent_id .. ':open')) do
    local task = read_task(base, id)
    if task.state == 'running' then
      local blocked = redis.call('SCARD', task_key(base, id) .. ':needs') > 0
      move(base, task, blocked and 'blocked' or 'assigned', blocked and needs_reason(base, id) or reason, now)
      ensure_order(base, task, now)
    end
  end
end

local function delete_task(base, id)
  local task = read_task(base, id)
  for _, dependant in ipairs(redis.call('SMEMBERS', task_key(base, id) .. ':dependants')) do
    redis.call('SREM', task_key(base, dependant) .. ':needs', id)
  end
  for _, tag in ipairs(cjson.decode(task.tags or '[]')) do redis.call('ZREM', base .. ':tasks:tag:' .. tag, id) end
  leave_agent(base, task, now_ms())
  for _, need in ipairs(cjson.decode(task.needs or '[]')) do
    redis.call('SREM', task_key(base, need) .. ':dependants', id)
  end
  for _, index in ipairs({ ':tasks', ':tasks:ids', ':tasks:finished', ':backlog', ':holds', ':tasks:state:' .. task.state }) do
    redis.call('ZREM', base .. index, id)
  end
  redis.call('HDEL', base .. ':lineages', id)
  close_line(base, 'task', id)
  redis.call('DEL', task_key(base, id), task_key(base, id) .. ':needs', task_key(base, id) .. ':dependants')
end
