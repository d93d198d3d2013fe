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
  redis.call('HSET', mailbox(base, task.agent_id) .. ':bodies', message_id, body)
  queue_mail(base, task.agent_id, message_id, 't', task.priority, 0)
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

-- A task, the one that it is part of, and so on up: as a list that is a set as well. -> it, and the topmost
local function line_of(base, id)
  local line = { id, [id] = true }
  while #line < MAX_PER_CALL do
    local parent = redis.call('HGET', task_key(base, line[#line]), 'parent') or ''
    if line[parent] or redis.call('EXISTS', task_key(base, parent)) == 0 then break end
    line[#line + 1], line[parent] = parent, true
  end
  return line, line[#line]
end

-- The task whose waiting makes its parts wait, or nil: one above that needs something other than its parts, or the parent put
-- off to a time. What is finished makes nothing wait.
local function waits_above(base, id)
  local line = line_of(base, id)
  for level = 2, #line do
    local above, state, until_ms = line[level], unpack(redis.call('HMGET', task_key(base, line[level]), 'state', 'held_until'))
    if FINISHED[state] then return nil end
    if level == 2 and until_ms then return above end
    for _, need in ipairs(redis.call('SMEMBERS', task_key(base, above) .. ':needs')) do
      if not line_of(base, need)[above] then return above end
    end
  end
end

-- The words by which a task of the backlog and an agent that takes it know each other: role and tags; without any, the empty one.
local function words_of(base, key)
  local role, tags = unpack(redis.call('HMGET', key, 'role', 'tags'))
  local words = {}
  for _, word in ipairs(cjson.decode(tags or '[]')) do words[word] = true end
  if role and role ~= '' then words[role] = true end
  if not next(words) then words[''] = true end
  return words
end

-- Those of an agent: work without role and tags is for those without either, unless auto_claim is "tagged".
local function agent_words(base, agent_id)
  local words = words_of(base, base .. ':agent:' .. agent_id)
  if setting(base, 'auto_claim', 1) ~= 1 then words[''] = nil end
  return words
end

local function matches_any(base, id, words)
  for word in pairs(words_of(base, task_key(base, id))) do
    if words[word] then return not waits_above(base, id) end
  end
end

-- Puts a task onto the backlog, or, without a rank, takes it off. In :backlog:words stands "<word>:<rank>:<id>" for each word, which
-- may have blanks in it, but no colon.
local function list_on_backlog(base, id, rank)
  local before = redis.call('ZSCORE', base .. ':backlog', id)
  for word in pairs(words_of(base, task_key(base, id))) do
    if before then redis.call('ZREM', base .. ':backlog:words', string.format('%s:%016d:%s', word, tonumber(before), id)) end
    if rank then redis.call('ZADD', base .. ':backlog:words', 0, string.format('%s:%016d:%s', word, tonumber(rank), id)) end
  end
  if rank then redis.call('ZADD', base .. ':backlog', rank, id) else redis.call('ZREM', base .. ':backlog', id) end
end

-- The first task of the backlog that bears one of the words, and does not wait with the whole that it is part of; or nil.
local function first_match(base, words)
  local first, rank
  for word in pairs(words) do
    local after = '[' .. word .. ':'
    repeat
      local places, done = redis.call('ZRANGE', base .. ':backlog:words', after, '(' .. word .. ';', 'BYLEX', 'LIMIT', 0, 100), false
      for _, place in ipairs(places) do
        local its_rank, id = string.match(place, '^[^:]*:(%d+):(.+)$')
        done = rank ~= nil and its_rank >= rank
        if not done and not waits_above(base, id) then first, rank, done = id, its_rank, true end
        if done then break end
        after = '(' .. place
      end
    until done or #places < 100
  end
  return first
end

-- Defined with placement: the hosts that are there, and whether one of them could take an agent.
local live_hosts, fits_a_host

-- A task that comes onto the backlog wakes the agent that has slept longest among those it is for; that one claims it by
-- itself. One that could not begin now is woken only when all of them could not.
local function wake_agent_for(base, id, now)
  if setting(base, 'auto_claim', 1) == 0 then return end
  local first, hosts
  for _, agent_id in ipairs(redis.call('ZRANGE', base .. ':asleep', 0, -1)) do
    if matches_any(base, id, agent_words(base, agent_id)) then
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
  local id = first_match(base, agent_words(base, agent_id))
  if id then wake_agent_for(base, id, now) end
end

local function check_move(task, to)
  local from = task.state
  if from ~= to and not TASK_MOVES[from][to] then
    refuse('refused', 'task ' .. task.id .. ' is ' .. from .. ' and cannot become ' .. to,
      'tt task show ' .. task.id .. ' shows more', { task = task.id, state = from })
  end
end

-- Another task that the round of this one still has, or nil.
local function other_in_round(base, task)
  for id in string.gmatch(redis.call('HGET', base .. ':agent:' .. task.agent_id, 'round_tasks') or '', '%S+') do
    local state, round_id = unpack(redis.call('HMGET', task_key(base, id), 'state', 'round_id'))
    if id ~= task.id and state == 'running' and round_id == task.round_id then return id end
  end
end

-- Its agent works on it no more.
local function clear_current_task(base, task)
  local key = base .. ':agent:' .. task.agent_id
  if redis.call('HGET', key, 'current_task') == task.id then
    redis.call('HSET', key, 'current_task', other_in_round(base, task) or '')
  end
end

-- Ends the round that has a task, unless it has others, too.
local function stop_round_of(base, task)
  if task.agent_id ~= '' and not other_in_round(base, task) then
    stop_round(base, task.agent_id, task.round_id, 'stop-round ' .. task.round_id)
  end
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
    list_on_backlog(base, task.id, integer_text(RANKS[task.priority] * SCORE_STEP + tonumber(task.seq)))
    wake_agent_for(base, task.id, now)
  elseif from == 'pending' then
    list_on_backlog(base, task.id)
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
    return ''
  end
  -- Its parts on the backlog need not wait for it any more.
  local asleep = redis.call('EXISTS', base .. ':asleep') == 1
  for _, part in ipairs(asleep and redis.call('ZRANGE', base .. ':backlog', 0, MAX_PER_CALL - 1) or {}) do
    if redis.call('HGET', task_key(base, part), 'parent') == task.id then wake_agent_for(base, part, now) end
  end
  if desired_state and desired_state ~= 'stopped' then
    move(base, task, 'assigned', reason, now)
    return deliver_task(base, task, now)
  end
  unassign(base, task, now)
  move(base, task, 'pending', reason, now)
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
