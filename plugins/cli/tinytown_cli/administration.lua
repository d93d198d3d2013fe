-- What users do to a town beyond the operations that kernels and programs need: dead letters and mail put back and removed,
-- tasks deleted, forgotten and linked, the history of messages and rounds, the whole town frozen; and what plugins keep beside tasks.

local function find_dead(base, ref)
  local found = {}
  for _, id in ipairs(redis.call('ZRANGE', base .. ':dead', 0, -1)) do
    if id == ref then return { id } end
    if ref == 'all' or (ref ~= '' and starts_with(id, ref)) then found[#found + 1] = id end
  end
  if ref == 'all' or unique_match(found, 'dead letter', ref) then return found end
  refuse('not_found', 'no dead letter ' .. quoted(ref), 'tt dead list shows them', { message = truncate(ref, 200) })
end

-- A redriven order is valid again when its task failed with it. -> was it
local function revive_order(base, letter, now)
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

-- dead_list: limit -> the fields of each dead letter with its id, newest first
register('dead_list', function(base, a)
  local reply = {}
  for _, id in ipairs(redis.call('ZRANGE', base .. ':dead', 0, tonumber(a[1]) - 1, 'REV')) do
    local letter = redis.call('HGETALL', base .. ':dead:' .. id)
    letter[#letter + 1], letter[#letter + 2] = 'id', id
    reply[#reply + 1] = letter
  end
  return reply
end)

-- redrive: op, id, a unique beginning of one, or "all" -> ids of the letters that are in their mailboxes again. The order
-- of a task that failed with it brings the task back; an order that has been replaced since just goes.
register_once('redrive', function(base, a)
  local now, letters, filled, bound = now_ms(), {}, {}, setting(base, 'mailbox_messages', 10000)
  for i, id in ipairs(find_dead(base, a[1])) do
    letters[i] = record(base .. ':dead:' .. id)
    letters[i].id = id
    if letters[i].agent_id ~= SUPERVISOR_ID and redis.call('EXISTS', base .. ':agent:' .. letters[i].agent_id) == 0 then
      refuse('refused', 'agent "' .. letters[i].agent .. '" of this letter is gone', 'tt dead drop ' .. id)
    end
    local box = mailbox(base, letters[i].agent_id)
    filled[box] = (filled[box] or redis.call('HLEN', box .. ':bodies')) + 1
    if filled[box] > bound then
      refuse('limit_reached', 'the mailbox of "' .. letters[i].agent .. '" would be full: it may hold ' .. bound,
        'tt inbox ' .. letters[i].agent .. ' shows them', { agent = letters[i].agent })
    end
  end
  local done = {}
  for i, letter in ipairs(letters) do
    local box = mailbox(base, letter.agent_id)
    redis.call('HSET', box .. ':bodies', letter.id, letter.body)
    redis.call('HSET', box .. ':state', letter.member, letter.score .. ' 0 -')
    redis.call('ZADD', box .. ':queue', letter.score, letter.member)
    redis.call('DEL', base .. ':dead:' .. letter.id)
    redis.call('ZREM', base .. ':dead', letter.id)
    trace(base, letter.id, now, 'redriven')
    emit(base, 'message_redriven', 'message', letter.id, 'agent', letter.agent)
    if order_validity(base, box, letter.member) == 'withdrawn' and not revive_order(base, letter, now) then
      redis.call('ZREM', box .. ':queue', letter.member)
      forget_mail(box, letter.member)
      trace(base, letter.id, now, 'withdrawn')
    end
    notify_mail(base, letter.agent_id, 'mail')
    done[i] = letter.id
  end
  return done
end)

-- drop: op, id, a unique beginning of one, or "all" -> ids of the dead letters that were deleted
register_once('drop', function(base, a)
  local ids = find_dead(base, a[1])
  for _, id in ipairs(ids) do
    redis.call('DEL', base .. ':dead:' .. id)
    redis.call('ZREM', base .. ':dead', id)
    trace(base, id, now_ms(), 'dropped')
  end
  return ids
end)

-- mailbox_message: agent, id of a message -> what the town's `peek` answers, with that message alone, or with none
register('mailbox_message', function(base, a)
  local agent_id, name = find_agent(base, a[1])
  local box = mailbox(base, agent_id)
  local body = redis.call('HGET', box .. ':bodies', a[2])
  for _, place in ipairs(body and PLACES or {}) do
    for letter in pairs(CLASS_NAMES) do
      local member = letter .. a[2]
      local score = redis.call('ZSCORE', box .. place[1], member)
      if score then
        local _, deliveries = mail_state(box, member)
        return { name, place[2], member, deliveries, body, integer_text(tonumber(score)) }
      end
    end
  end
  return { name }
end)

-- remove: op, agent, id of one of its messages that nobody has leased, or "all" -> ids of what was removed. The order of a
-- task stays: without it the task would wait for ever.
register_once('remove', function(base, a)
  local agent_id, name = find_agent(base, a[1])
  local box, found, near, ref, exact = mailbox(base, agent_id), {}, {}, a[2], nil
  for _, place in ipairs(PLACES) do
    for _, member in ipairs(redis.call('ZRANGE', box .. place[1], 0, -1)) do
      local item = { place[1], member, string.sub(member, 2) }
      if item[3] == ref then exact = item end
      if ref == 'all' or (ref ~= '' and starts_with(item[3], ref)) then found[#found + 1], near[#near + 1] = item, item[3] end
    end
  end
  if exact then found, near = { exact }, { ref } end
  if ref ~= 'all' then
    if #found == 0 then
      refuse('not_found', 'no message ' .. quoted(ref) .. ' in the mailbox of "' .. name .. '"',
        'tt inbox ' .. name .. ' shows what is there')
    end
    unique_match(near, 'message', ref)
    if found[1][1] == ':leases' then
      refuse('refused', 'the message is being worked on and cannot be removed', 'tt interrupt ' .. name)
    end
    local validity, task_id = order_validity(base, box, found[1][2])
    if validity == 'valid' then
      refuse('refused', 'the message is the order to work on task ' .. task_id, 'tt task cancel ' .. task_id ..
        ' calls the task off', { task = task_id })
    end
  end
  local ids = {}
  for _, item in ipairs(found) do
    if item[1] ~= ':leases' and order_validity(base, box, item[2]) ~= 'valid' then
      redis.call('ZREM', box .. item[1], item[2])
      forget_mail(box, item[2])
      trace(base, item[3], now_ms(), 'removed')
      ids[#ids + 1] = item[3]
    end
  end
  return ids
end)

-- trace: message id -> its history, a line "<ms> <what>" for each station
register('trace', function(base, a)
  local agents, members = redis.call('ZRANGE', base .. ':agents', 0, -1), {}
  agents[#agents + 1] = SUPERVISOR_ID
  for letter in pairs(CLASS_NAMES) do members[#members + 1] = letter .. a[1] end
  local history = redis.call('GET', base .. ':trace:' .. a[1]) or ''
  for _, agent_id in ipairs(agents) do
    for _, line in ipairs(redis.call('HMGET', mailbox(base, agent_id) .. ':state', unpack(members))) do
      history = history .. lease_line(select(2, parse_state(line)))
    end
  end
  return history
end)

-- Refuses a need of a task that itself needs this task, directly or through others.
local function check_acyclic(base, id, need)
  local stack, seen = { need }, {}
  while #stack > 0 do
    local reached = table.remove(stack)
    if reached == id then
      refuse('refused', 'task ' .. need .. ' already needs ' .. id .. '; this would be a dependency cycle',
        'tt task show ' .. need, { task = id, need = need })
    elseif not seen[reached] then
      seen[reached] = true
      for _, further in ipairs(cjson.decode(redis.call('HGET', task_key(base, reached), 'needs') or '[]')) do
        stack[#stack + 1] = further
      end
    end
  end
end

-- task_need: id, need -> fields; adds an edge to the graph, refusing one that would close a dependency cycle
register('task_need', function(base, a)
  local id, need, now = find_task(base, a[1]), find_task(base, a[2]), now_ms()
  local task = read_task(base, id)
  check_acyclic(base, id, need)
  check_not_started(task, 'takes no new need', 'tt task requeue ')
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
-- on it: a round has the old text in its prompt, and finished tasks are not edited.
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
  if not RANKS[changed.priority or task.priority] then
    refuse('usage', 'no priority ' .. quoted(changed.priority), 'urgent, high, normal or low')
  end
  check_not_started(task, 'stays as it is', 'tt task requeue ')
  local needs = changed.needs and cjson.decode(changed.needs) or {}
  for _, need in ipairs(needs) do check_acyclic(base, id, need) end
  if changed.needs then
    for _, need in ipairs(cjson.decode(task.needs)) do redis.call('SREM', task_key(base, need) .. ':dependants', id) end
    redis.call('DEL', key .. ':needs')
    for _, need in ipairs(needs) do link_need(base, id, need) end
  end
  if changed.tags then
    for _, tag in ipairs(cjson.decode(task.tags)) do redis.call('ZREM', base .. ':tasks:tag:' .. tag, id) end
    for _, tag in ipairs(cjson.decode(changed.tags)) do redis.call('ZADD', base .. ':tasks:tag:' .. tag, task.seq, id) end
  end
  if task.state == 'pending' then list_on_backlog(base, id) end -- by the words of old
  for name, value in pairs(changed) do task[name] = value end
  for name, value in pairs(changed) do redis.call('HSET', key, name, value) end
  redis.call('HSET', key, 'updated_at', integer_text(now))
  emit(base, 'task_updated', 'task', id, 'title', headline(task))
  if changed.needs and redis.call('SCARD', key .. ':needs') > 0 then
    move(base, task, 'blocked', blocked_by(base, task), now)
  elseif changed.needs and task.state == 'blocked' then
    route_task(base, task, 'all it needs is completed', now)
  elseif task.state == 'pending' then
    list_on_backlog(base, id, integer_text(RANKS[task.priority] * SCORE_STEP + tonumber(task.seq)))
    if changed.role or changed.tags then wake_agent_for(base, id, now) end -- it may be for others now
  elseif changed.priority and task.state == 'assigned'
    and redis.call('ZSCORE', mailbox(base, task.agent_id) .. ':queue', 't' .. task.order) then
    withdraw_order(base, task, now) -- its place in the mailbox is another one now
    deliver_task(base, task, now)
  end
  return task_reply(base, id)
end)

-- task_meta: id, name, JSON value -> fields; one plugin's table beside the task ('' removes it)
register('task_meta', function(base, a)
  local id = find_task(base, a[1])
  redis.call('HSET', task_key(base, id), 'meta:' .. a[2], a[3], 'updated_at', integer_text(now_ms()))
  if a[3] == '' then redis.call('HDEL', task_key(base, id), 'meta:' .. a[2]) end
  return task_reply(base, id)
end)

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
  redis.call('HDEL', task_key(base, id), 'lost')
  return { id, route_task(base, task, a[2], now) }
end, present_assigned)

-- task_requeue: op, id, reason -> fields; takes a task from its agent and puts it onto the backlog
register_once('task_requeue', function(base, a)
  local id, now = find_task(base, a[1]), now_ms()
  local task = read_task(base, id)
  if FINISHED[task.state] then
    refuse('refused', 'task ' .. id .. ' is ' .. task.state, 'tt task reopen ' .. id, { task = id, state = task.state })
  end
  if task.state == 'running' then
    stop_round_of(base, task)
    count_attempt(base, id, -1)
  end
  unassign(base, task, now)
  route_task(base, task, a[2], now)
  return id
end, task_reply)

-- task_hold: op, id, reason, until (ms, '' = until somebody releases it) -> fields. Until then it is not assigned; a round that
-- works on it is interrupted, which does not count as an attempt.
register_once('task_hold', function(base, a)
  local id, now = find_task(base, a[1]), now_ms()
  local task = read_task(base, id)
  if FINISHED[task.state] or task.state == 'verifying' then
    refuse('refused', 'task ' .. id .. ' is ' .. task.state .. ' and cannot be held',
      FINISHED[task.state] and 'tt task reopen ' .. id or 'wait for the verdict', { task = id, state = task.state })
  elseif a[3] ~= '' and tonumber(a[3]) <= now then
    refuse('usage', 'expected a moment to come, got one that is over', 'leave it out to hold the task until tt task release')
  end
  if task.state == 'running' then
    stop_round_of(base, task)
    count_attempt(base, id, -1)
  end
  set_hold(base, task, a[2], a[3])
  move(base, task, 'blocked', blocked_by(base, task), now)
  return id
end, task_reply)

-- task_release: op, id -> fields
register_once('task_release', function(base, a)
  local id = find_task(base, a[1])
  if (redis.call('HGET', task_key(base, id), 'held') or '') == '' then
    refuse('refused', 'task ' .. id .. ' is not held', 'tt task show ' .. id, { task = id })
  end
  release_hold(base, id, 'released', now_ms())
  return id
end, task_reply)

local function delete_task(base, id)
  local task = read_task(base, id)
  for _, dependant in ipairs(redis.call('SMEMBERS', task_key(base, id) .. ':dependants')) do
    redis.call('SREM', task_key(base, dependant) .. ':needs', id)
  end
  for _, tag in ipairs(cjson.decode(task.tags or '[]')) do redis.call('ZREM', base .. ':tasks:tag:' .. tag, id) end
  unassign(base, task, now_ms())
  for _, need in ipairs(cjson.decode(task.needs or '[]')) do
    redis.call('SREM', task_key(base, need) .. ':dependants', id)
  end
  list_on_backlog(base, id)
  for _, index in ipairs({ ':tasks', ':tasks:ids', ':tasks:finished', ':holds', ':tasks:state:' .. task.state }) do
    redis.call('ZREM', base .. index, id)
  end
  redis.call('HDEL', base .. ':lineages', id)
  redis.call('DEL', task_key(base, id), task_key(base, id) .. ':needs', task_key(base, id) .. ':dependants')
end

-- task_delete: op, id -> id; forgets a task that nobody works on and that no open task needs
register_once('task_delete', function(base, a)
  local id = find_task(base, a[1])
  local state = redis.call('HGET', task_key(base, id), 'state')
  if state == 'running' or state == 'verifying' then
    refuse('refused', 'task ' .. id .. ' is ' .. state, 'tt task cancel ' .. id .. ' first', { task = id, state = state })
  end
  for _, dependant in ipairs(redis.call('SMEMBERS', task_key(base, id) .. ':dependants')) do
    if not FINISHED[redis.call('HGET', task_key(base, dependant), 'state') or 'completed'] then
      refuse('refused', 'task ' .. dependant .. ' needs ' .. id, 'tt task cancel ' .. id .. ' keeps it as cancelled', { task = id })
    end
  end
  emit(base, 'task_deleted', 'task', id, 'title', headline(read_task(base, id)))
  delete_task(base, id)
  return id
end)

local MAX_DELETED_PER_CALL = 200

-- apply_retention: finished tasks older than so many ms or beyond so many go; events beyond so many go -> how many tasks went.
-- A few at a time: called again it continues, until there is nothing left to delete.
register('apply_retention', function(base, a)
  local gone, before, meta = 0, now_ms() - tonumber(a[1]), base .. ':meta'
  local from = tonumber(redis.call('HGET', meta, 'retained') or 0) -- so many of the oldest are needed by others: look behind them
  local excess = redis.call('ZCARD', base .. ':tasks:finished') - tonumber(a[2])
  local oldest = redis.call('ZRANGE', base .. ':tasks:finished', from, from + MAX_PER_CALL - 1, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    local id, needed = oldest[i], false
    local is_over = tonumber(oldest[i + 1]) > before and gone >= excess
    if is_over then from = 0 end
    if is_over or gone >= MAX_DELETED_PER_CALL then break end
    for _, dependant in ipairs(redis.call('SMEMBERS', task_key(base, id) .. ':dependants')) do
      needed = needed or not FINISHED[redis.call('HGET', task_key(base, dependant), 'state') or 'completed']
    end
    if needed then from = from + 1 else delete_task(base, id) end
    gone = gone + (needed and 0 or 1)
  end
  redis.call('HSET', meta, 'retained', #oldest < 2 * MAX_PER_CALL and 0 or from)
  redis.call('XTRIM', base .. ':events', 'MAXLEN', '~', a[3])
  return gone
end)

-- backlog_assign_all: op, agent -> ids of the tasks that were given to the agent (1,000 at most)
register_once('backlog_assign_all', function(base, a)
  local now, ids = now_ms(), redis.call('ZRANGE', base .. ':backlog', 0, MAX_PER_CALL - 1)
  local agent_id, name, retired = find_agent(base, a[1])
  check_takes_tasks(name, agent_id, retired)
  for _, id in ipairs(ids) do assign(base, read_task(base, id), agent_id, now) end
  return ids
end)

-- agent_remove: op, agent, force (1 or 0) -> name; its mail becomes dead letters and its open tasks go onto the backlog (with force)
register_once('agent_remove', function(base, a)
  local id, name = find_real_agent(base, a[1])
  local agent, now, force = record(agent_key(base, id)), now_ms(), a[2] == '1'
  if agent.host ~= '' then
    refuse('refused', 'agent "' .. name .. '" is ' .. agent.state, 'tt kill ' .. name .. ' first', { agent = name })
  end
  local counts = mail_counts(base, id)
  local open = redis.call('SMEMBERS', agent_key(base, id) .. ':open')
  if not force and (#open > 0 or counts[1] + counts[2] + counts[3] > 0) then
    refuse('refused', 'agent "' .. name .. '" has work: open tasks ' .. #open .. ', messages ' ..
      counts[1] + counts[2] + counts[3], 'move them, or use force: tasks go onto the backlog, mail to the dead letters', { agent = name })
  end
  redis.call('ZREM', base .. ':asleep', id) -- what goes onto the backlog now is to wake others
  pass_on_wakeup(base, id, now)
  for _, task_id in ipairs(open) do
    local task = read_task(base, task_id)
    unassign(base, task, now)
    route_task(base, task, 'agent ' .. name .. ' was removed', now)
  end
  local box = mailbox(base, id)
  for _, place in ipairs(PLACES) do
    for _, member in ipairs(redis.call('ZRANGE', box .. place[1], 0, -1)) do
      local score, deliveries = unleased_state(base, box, member)
      score = score or redis.call('ZSCORE', box .. ':queue', member) -- never leased: it is in the queue alone
      -- Orders to work on a task went with the task; only free mail is kept.
      if not order_validity(base, box, member) then
        dead_letter(base, id, member, score, deliveries, 'agent ' .. name .. ' was removed', now)
      end
    end
  end
  redis.call('DEL', agent_key(base, id), agent_key(base, id) .. ':open', agent_key(base, id) .. ':rounds',
    base .. ':tasks:agent:' .. id, box .. ':queue', box .. ':leases', box .. ':delayed', box .. ':bodies',
    box .. ':state')
  for _, index in ipairs({ ':agents', ':placement' }) do redis.call('ZREM', base .. index, id) end
  redis.call('HDEL', base .. ':names', string.lower(name))
  if agent.nickname and agent.nickname ~= '' then redis.call('HDEL', base .. ':nicknames', string.lower(agent.nickname)) end
  emit(base, 'agent_removed', 'agent', name)
  return name
end)

-- agent_reset_round_count: op, agent, how many rounds it may do ('' = as before) -> its name; its rounds count from 0 again
register_once('agent_reset_round_count', function(base, a)
  local id, name = find_real_agent(base, a[1])
  local host, state = unpack(redis.call('HMGET', agent_key(base, id), 'host', 'state'))
  if host ~= '' then refuse('refused', 'agent "' .. name .. '" is ' .. (state or 'gone'), 'tt kill ' .. name .. ' first', { agent = name }) end
  redis.call('HSET', agent_key(base, id), 'rounds_completed', 0)
  if a[2] ~= '' then redis.call('HSET', agent_key(base, id), 'max_rounds', a[2]) end
  return name
end)

-- rounds: limit, beginning of a task's id ('' = any), of a run's id ('' = any), agent (left out: all) -> records (JSON), newest first
register('rounds', function(base, a)
  local limit, is_any, heads, found, reply = tonumber(a[1]), a[2] == '' and a[3] == '', {}, {}, {}
  local function add(list, key, history)
    list[#list + 1] = { string.match(history, '"ended_at":"([^"]*)"') or '', #list, key, history }
  end
  local function later(one, other)
    return one[1] > other[1] or (one[1] == other[1] and one[2] < other[2])
  end
  for _, id in ipairs(a[4] and { (find_agent(base, a[4])) } or redis.call('ZRANGE', base .. ':agents', 0, -1)) do
    local key = agent_key(base, id) .. ':rounds'
    local head = redis.call('LINDEX', key, 0)
    if head then add(heads, key, head) end
  end
  table.sort(heads, later)
  -- Only an agent whose newest round is among the newest of all can have any of the newest.
  for i = 1, is_any and math.min(limit, #heads) or #heads do
    for _, history in ipairs(redis.call('LRANGE', heads[i][3], 0, is_any and limit - 1 or -1)) do
      -- In a text within JSON a quotation mark is escaped, so none can pass for a member.
      local tasks = string.match(history, '"tasks":%[[^%]]*') or ''
      if (a[2] == '' or string.find(history, '"task":"' .. a[2], 1, true) or string.find(tasks, '"' .. a[2], 8, true))
        and (a[3] == '' or string.find(history, '"round_id":"' .. a[3], 1, true)) then add(found, '', history) end
    end
  end
  table.sort(found, later)
  for i = 1, math.min(limit, #found) do reply[i] = found[i][4] end
  return reply
end)

-- account_unpark: op, account, reason -> 1 when it was parked
register_once('account_unpark', function(base, a)
  local until_ms = tonumber(redis.call('ZSCORE', base .. ':parked', a[1]) or 0)
  redis.call('ZREM', base .. ':parked', a[1])
  redis.call('HDEL', base .. ':throttles', a[1])
  if until_ms <= now_ms() then return 0 end
  emit(base, 'account_unparked', 'account', a[1], 'reason', a[2])
  return 1
end)

-- hosts_expire -> hosts that were lost; what a heartbeat does for others, for clients that are no kernel
register('hosts_expire', function(base)
  return expire_hosts(base, now_ms())
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

-- town_freeze: op, reason -> 1 when it was not frozen before. Kernels see the event, freeze what runs and start nothing.
register_once('town_freeze', function(base, a)
  if redis.call('HSETNX', base .. ':meta', 'frozen_at', integer_text(now_ms())) == 0 then return 0 end
  redis.call('HSET', base .. ':meta', 'frozen_why', a[1])
  emit(base, 'town_frozen', 'reason', a[1])
  return 1
end)

-- town_thaw: op, reason -> 1 when it was frozen before
register_once('town_thaw', function(base, a)
  if redis.call('HDEL', base .. ':meta', 'frozen_at', 'frozen_why') == 0 then return 0 end
  emit(base, 'town_thawed', 'reason', a[1])
  return 1
end)
