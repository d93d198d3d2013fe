-- Agents: their desired states, the states that their kernels report, and the end of a round.
--
-- An agent's lease is its host's: `host` names the kernel and `token` is the fencing token given out with the agent.
-- :placement holds the agents that want a host, by the moment from which one may take them.

local function agent_key(base, id)
  return base .. ':agent:' .. id
end

local function agent_reply(base, id)
  local flat = redis.call('HGETALL', agent_key(base, id))
  flat[#flat + 1], flat[#flat + 2] = 'open_tasks', redis.call('SCARD', agent_key(base, id) .. ':open')
  return { flat, mail_counts(base, id) }
end

-- All agents, oldest first, but those whose records were deleted outside the functions.
local function all_agents(base)
  local reply = {}
  for _, id in ipairs(redis.call('ZRANGE', base .. ':agents', 0, -1)) do
    if redis.call('EXISTS', agent_key(base, id)) == 1 then reply[#reply + 1] = agent_reply(base, id) end
  end
  return reply
end

-- Like `find_agent`, but refuses the human side.
local function find_real_agent(base, ref)
  local id, name = find_agent(base, ref)
  if id == SUPERVISOR_ID then
    refuse('refused', '"' .. name .. '" is the human side, not an agent', 'tt list shows the agents, tt inbox supervisor its mail')
  end
  return id, name
end

local function check_state_move(base, id, state)
  local name, old = unpack(redis.call('HMGET', agent_key(base, id), 'name', 'state'))
  if old ~= state and not AGENT_MOVES[old][state] then
    refuse('refused', 'agent "' .. name .. '" is ' .. old .. ' and cannot become ' .. state, '', { agent = name, state = old })
  end
end

local function report_state(base, id, state, reason, now)
  reason = truncate(reason, EVENT_TEXT_BYTES)
  local name, old, why, desired_state, task = unpack(redis.call('HMGET', agent_key(base, id), 'name', 'state', 'reason', 'desired_state', 'current_task'))
  if old == state and why == reason then return end
  check_state_move(base, id, state)
  redis.call('HSET', agent_key(base, id), 'state', state, 'reason', reason)
  if old ~= state then redis.call('HSET', agent_key(base, id), 'since', integer_text(now)) end
  emit(base, 'agent_state_changed', 'agent', name, 'old', old, 'new', state, 'desired_state', desired_state, 'reason', reason, 'task', task or '')
end

-- Submitted work is verified by the kernel that has the agent: an agent without a host that is to do nothing more is placed
-- once again for that.
local function place_unverified(base)
  for _, task_id in ipairs(redis.call('ZRANGE', base .. ':tasks:state:' .. 'verifying', 0, MAX_PER_CALL - 1)) do
    local id = redis.call('HGET', task_key(base, task_id), 'agent_id')
    if redis.call('HGET', agent_key(base, id), 'host') == '' then redis.call('ZADD', base .. ':placement', 'LT', 0, id) end
  end
end

local function flag_name(base, id, name, flag)
  redis.call('HSET', base .. ':names', string.lower(name), id .. ' ' .. name .. ' ' .. flag)
end

local function set_desired_state(base, id, name, desired_state, reason)
  local before = redis.call('HGET', agent_key(base, id), 'desired_state')
  redis.call('HSET', agent_key(base, id), 'desired_state', desired_state)
  flag_name(base, id, name, desired_state == 'stopped' and 'retired' or 'here')
  if desired_state ~= before then emit(base, 'agent_desired_state_changed', 'agent', name, 'desired_state', desired_state, 'reason', reason) end
end

-- Whatever an agent's host held of it goes back: mail to its place, running tasks to the agent. `lost`: the host itself has ended.
local function release_from_host(base, id, now, reason, lost)
  local host = redis.call('HGET', agent_key(base, id), 'host') or ''
  if host ~= '' then redis.call('SREM', base .. ':host:' .. host .. ':agents', id) end
  redis.call('HSET', agent_key(base, id), 'host', '', 'token', '', 'round_id', '')
  unreserve(base, id)
  return_all_leases(base, id, now, reason, lost)
  return_running_tasks(base, id, now, reason, lost)
end

-- agent_create: id, name, cli, role, nicknames to try (JSON list), insist on the first (1 or 0), parent, max_rounds, tags and
-- labels (JSON lists) -> the agent
register('agent_create', function(base, a)
  local id, name, cli, role, nicks, insist, parent, max_rounds, tags, labels = unpack(a)
  local lower = string.lower(name)
  local holder = redis.call('HGET', base .. ':names', lower)
  if holder then
    if starts_with(holder, id .. ' ') then return agent_reply(base, id) end
    refuse('exists', 'an agent called "' .. name .. '" lives in this town already', 'choose another name, or tt list', { agent = name })
  end
  -- A reference that finds an agent today finds the same one later.
  if redis.call('HEXISTS', base .. ':nicknames', lower) == 1 or redis.call('ZSCORE', base .. ':agents', lower) then
    refuse('exists', '"' .. name .. '" is another agent\'s nickname or id', 'choose another name, or tt list', { agent = name })
  end
  local bound = setting(base, 'max_agents', 1000)
  if redis.call('ZCARD', base .. ':agents') >= bound then
    refuse('limit_reached', 'this town has as many agents as it may have: ' .. bound, 'raise max_agents in tinytown.toml')
  end
  local parent_name = parent ~= '' and select(2, find_agent(base, parent)) or ''
  local nickname = ''
  for _, nick in ipairs(cjson.decode(nicks)) do
    local taken = redis.call('HEXISTS', base .. ':nicknames', string.lower(nick)) == 1
      or redis.call('HEXISTS', base .. ':names', string.lower(nick)) == 1
    if taken and insist == '1' then
      refuse('exists', 'the nickname "' .. nick .. '" is taken', 'choose another, or leave it out')
    end
    if not taken then
      nickname = nick
      break
    end
  end
  local now = now_ms()
  redis.call('HSET', agent_key(base, id), 'id', id, 'name', name, 'cli', cli, 'role', role, 'nickname', nickname,
    'parent', parent_name, 'tags', tags, 'labels', labels, 'max_rounds', max_rounds, 'desired_state', 'running', 'state', 'starting',
    'reason', 'waiting for a kernel', 'since', integer_text(now), 'created_at', integer_text(now),
    'host', '', 'token', '', 'rounds_completed', 0, 'tasks_completed', 0, 'failures', 0)
  redis.call('ZADD', base .. ':agents', redis.call('INCR', base .. ':seq'), id)
  flag_name(base, id, name, 'here')
  if nickname ~= '' then redis.call('HSET', base .. ':nicknames', string.lower(nickname), id) end
  redis.call('ZADD', base .. ':placement', 0, id)
  emit(base, 'agent_spawned', 'agent', name, 'cli', cli, 'role', role, 'parent', parent_name)
  redis.call('PUBLISH', base .. ':notify', 'placement')
  return agent_reply(base, id)
end)

-- agent_get: agent -> the agent
register('agent_get', function(base, a)
  return agent_reply(base, (find_real_agent(base, a[1])))
end)

-- agent_list -> the agents, oldest first
register('agent_list', all_agents)

-- agent_set_desired_state: agent, desired_state state, urgency ("now" or "soon"), reason -> the agent
register('agent_set_desired_state', function(base, a)
  local ref, desired_state, urgency, reason = unpack(a)
  local id, name = find_real_agent(base, ref)
  local key, now = agent_key(base, id), now_ms()
  local agent = record(key)
  set_desired_state(base, id, name, desired_state, reason)
  if agent.host == '' then redis.call('ZREM', base .. ':asleep', id) end
  if desired_state ~= 'running' and agent.desired_state == 'running' then pass_on_wakeup(base, id, now) end
  if agent.host ~= '' then
    stop_round(base, id, urgency == 'now' and agent.round_id, 'control ' .. urgency)
  elseif desired_state == 'stopped' then
    redis.call('ZREM', base .. ':placement', id)
    place_unverified(base)
    if agent.state ~= 'stopped' then report_state(base, id, 'stopped', reason, now) end
  else
    if desired_state == 'running' then
      redis.call('HSET', key, 'failures', 0)
      if agent.state == 'stopped' or agent.state == 'error' or agent.state == 'suspended' then
        report_state(base, id, 'starting', 'waiting for a kernel', now)
      end
    end
    redis.call('ZADD', base .. ':placement', 0, id)
    redis.call('PUBLISH', base .. ':notify', 'placement')
  end
  return agent_reply(base, id)
end)

-- agent_place: op, host, how many at most, then each backend it has and the account that uses -> in how many ms another may be
-- taken or a hold is over (-1 = nothing is known to come), then the agents that are now this host's
register_once('agent_place', function(base, a)
  local host, count, now, backends, reply = a[1], tonumber(a[2]), now_ms(), {}, {}
  if redis.call('EXISTS', base .. ':host:' .. host) == 0 then
    refuse('stale_lease', 'this kernel\'s lease has ended', '', { host = host })
  end
  for i = 3, #a, 2 do backends[a[i]] = a[i + 1] end
  release_due_holds(base, now)
  local hosts = hosts_for(base, host, backends, now)
  for _, id in ipairs(redis.call('ZRANGE', base .. ':placement', '-inf', integer_text(now), 'BYSCORE', 'LIMIT', 0, MAX_PER_CALL)) do
    if #reply >= count then break end
    local key = agent_key(base, id)
    local cli, state, labels, session, home = unpack(redis.call('HMGET', key, 'cli', 'state', 'labels', 'session_id', 'home'))
    local chosen, why
    if cli then
      labels = labels and labels ~= '' and cjson.decode(labels) or {}
      chosen, why = choose_host(hosts, cli, labels, session and session ~= '' and home)
    end
    if chosen then chosen.agents = chosen.agents + 1 end
    if not cli then
      redis.call('ZREM', base .. ':placement', id) -- its record was deleted outside the functions
    elseif why then
      report_state(base, id, state, why, now)
    elseif chosen.id == host then
      redis.call('ZREM', base .. ':placement', id)
      redis.call('ZREM', base .. ':asleep', id)
      release_from_host(base, id, now, 'moved to ' .. host)
      redis.call('HSET', key, 'host', host, 'home', chosen.home, 'account', backends[cli], 'token', redis.call('INCR', base .. ':tokens'))
      redis.call('SADD', base .. ':host:' .. host .. ':agents', id)
      if not AGENT_MOVES[state].starting and state ~= 'starting' then report_state(base, id, 'suspended', 'moving', now) end
      report_state(base, id, 'starting', '', now)
      reply[#reply + 1] = { id, redis.call('HGET', key, 'token') }
    end
  end
  return reply
end, function(base, placed)
  local now, reply = now_ms(), { -1 }
  for _, index in ipairs({ ':placement', ':holds' }) do
    local later = redis.call('ZRANGE', base .. index, '(' .. integer_text(now), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    local in_ms = later[2] and tonumber(later[2]) - now
    if in_ms and (reply[1] < 0 or in_ms < reply[1]) then reply[1] = in_ms end
  end
  for _, agent in ipairs(placed) do
    if redis.call('HGET', agent_key(base, agent[1]), 'token') == agent[2] then
      reply[#reply + 1] = agent_reply(base, agent[1])
    end
  end
  return reply
end)

-- agent_report_state: agent_id, fence, state, reason -> desired_state state
register('agent_report_state', function(base, a)
  check_fence(base, a[1], a[2])
  report_state(base, a[1], a[3], a[4], now_ms())
  if a[3] == 'paused' then unreserve(base, a[1]) end -- of a claim whose answer was lost: there is none after it for now
  return redis.call('HGET', agent_key(base, a[1]), 'desired_state')
end)

has_work = function(base, id)
  if redis.call('EXISTS', mailbox(base, id) .. ':queue') == 1 then return true end
  return redis.call('HGET', agent_key(base, id), 'desired_state') == 'running' and setting(base, 'auto_claim', 1) ~= 0
    and first_match(base, agent_words(base, id))
end

-- In how many ms there is something to do for an agent that nobody holds; -1 when nothing is known yet.
local function ms_until_work(base, id, desired_state, now)
  if desired_state ~= 'running' or has_work(base, id) then return 0 end
  local due = next_due(mailbox(base, id) .. ':delayed')
  return due and math.max(0, due - now) or -1
end

-- agent_release: op, agent_id, fence, state (suspended | stopped | error), reason, retry_ms (-1 = not to be placed again by itself), failed (1 or 0) -> failures so far
-- One that is released `suspended` with -1 sleeps until there is something to do for it.
register_once('agent_release', function(base, a)
  local id, now, retry_ms = a[1], now_ms(), tonumber(a[5])
  check_fence(base, id, a[2])
  local state, box, name, desired_state = a[3], mailbox(base, id), unpack(redis.call('HMGET', agent_key(base, id), 'name', 'desired_state'))
  if state ~= 'suspended' and state ~= 'stopped' and state ~= 'error' then
    refuse('usage', 'no kernel may leave an agent ' .. quoted(state), 'suspended, stopped or error')
  end
  -- Who is drained and has nothing left is done. What came in the last moment it still does.
  if state == 'stopped' and desired_state == 'drained' and redis.call('EXISTS', box .. ':queue') == 0 and not next_due(box .. ':delayed') then
    desired_state = 'stopped'
    set_desired_state(base, id, name, desired_state, 'drained')
  end
  -- The desired state may have changed since the kernel read it, and there is no holder that would read it again.
  if desired_state == 'stopped' then state = 'stopped' end
  if state == 'stopped' and desired_state ~= 'stopped' then state, retry_ms = 'suspended', 0 end
  check_state_move(base, id, state)
  release_from_host(base, id, now, a[4] ~= '' and a[4] or 'its kernel let go of it')
  report_state(base, id, state, a[4], now)
  if a[6] == '1' then redis.call('HINCRBY', agent_key(base, id), 'failures', 1) end
  if state == 'error' then pass_on_wakeup(base, id, now) end
  if state == 'suspended' and retry_ms < 0 then
    redis.call('ZADD', base .. ':asleep', integer_text(now), id)
    retry_ms = ms_until_work(base, id, desired_state, now)
  end
  if retry_ms >= 0 and desired_state ~= 'stopped' then
    redis.call('ZADD', base .. ':placement', integer_text(now + retry_ms), id)
    redis.call('PUBLISH', base .. ':notify', 'placement')
  end
  return tonumber(redis.call('HGET', agent_key(base, id), 'failures') or 0)
end)

-- round_start: agent_id, fence, round_id, id of the first task ('' = none) -> desired_state state
register('round_start', function(base, a)
  check_fence(base, a[1], a[2])
  check_state_move(base, a[1], 'working')
  local key = agent_key(base, a[1])
  if redis.call('HGET', key, 'round_id') ~= a[3] then
    redis.call('HSET', key, 'round_id', a[3])
    report_state(base, a[1], 'working', '', now_ms())
    emit(base, 'round_started', 'agent', redis.call('HGET', key, 'name'), 'round_id', a[3], 'task', a[4])
  end
  return redis.call('HGET', key, 'desired_state')
end)

-- round_settle: agent_id, fence, round_id, settlement (JSON), record (JSON), then member and token of each message -> states of the
-- tasks with blanks between them, desired state. The settlement has, by name:
--   outcome, reason, text, duration_ms, session_id
--   mail           ack, nack or return; delay_ms: for how long what goes back is delayed
--   task_ids       what the round had begun, and the fate of those that it has not settled: complete, fail or again; gated: false if no
--                  gate judges its only task
--   throttled_ms   only when the account was throttled: how long the vendor named, -1 = it did not; jitter: 0 to 1
--   charge         what it has cost, see `charge`
-- One step: the outcome is stored and the mail goes, or nothing happens. What becomes of the mail is said for all of it; but an
-- order goes when its task is settled and stays while it is not. A round that has settled some of its tasks and ended well costs
-- the others no attempt.
register('round_settle', function(base, a)
  local id, fence, round_id, settlement, history = a[1], a[2], a[3], cjson.decode(a[4]), a[5]
  local outcome, mail, reason, text = settlement.outcome, settlement.mail, settlement.reason, settlement.text
  local task_ids, fate, tasks, states, free = settlement.task_ids, settlement.fate, {}, {}, settlement.mail == 'return'
  local key, now = agent_key(base, id), now_ms()
  local name, desired_state, last, last_states = unpack(redis.call('HMGET', key, 'name', 'desired_state', 'last_round_id', 'last_task_state'))
  if last == round_id then return { last_states, desired_state } end
  check_fence(base, id, fence)
  for _, task_id in ipairs(task_ids) do
    local task = read_task(base, task_id)
    local settled = FINISHED[task.state] or task.state == 'verifying'
    -- Of one that was never begun, or taken away meanwhile, there is nothing to say.
    if task.round_id == round_id and not settled then tasks[#tasks + 1] = task end
    free = free or mail == 'ack' and task.round_id == round_id and settled
  end
  for _, task in ipairs(tasks) do
    if redis.call('SCARD', task_key(base, task.id) .. ':needs') > 0 then
      move(base, task, 'blocked', needs_reason(base, task.id), now)
    elseif fate ~= 'again' then
      local verb = fate == 'complete' and settlement.gated ~= false and 'submit' or fate
      conclude(base, task, state_after(base, verb), text, reason, now)
    else
      if free then count_attempt(base, task.id, -1) end
      move(base, task, 'assigned', reason ~= '' and reason or 'its last round ended without reporting on it', now)
    end
  end
  local box = mailbox(base, id)
  for i = 6, #a, 2 do
    local validity = order_validity(base, box, a[i])
    if validity == 'withdrawn' or (mail == 'ack' and not validity) then
      settle_mail(base, id, { a[i], a[i + 1] }, 1, now)
    elseif is_held(box, a[i], a[i + 1]) then
      return_mail(base, id, a[i], now, { counts = mail == 'nack', reason = reason ~= '' and reason or outcome, delay_ms = settlement.delay_ms })
    end
  end
  for i, task_id in ipairs(task_ids) do
    local task = read_task(base, task_id)
    if task.agent_id == id then ensure_order(base, task, now) end
    redis.call('HDEL', task_key(base, task_id), 'lost')
    states[i] = task.state or 'gone'
  end
  last_states = table.concat(states, ' ')
  redis.call('HSET', key, 'round_id', '', 'last_round_id', round_id, 'last_task_state', last_states)
  unreserve(base, id)
  charge(base, id, round_id, task_ids, settlement.charge, now)
  if settlement.throttled_ms then park(base, id, now, settlement.throttled_ms, settlement.jitter, reason) end
  if outcome == 'finished' then
    unthrottle(base, id)
    redis.call('HSET', key, 'failures', 0)
  end
  if mail ~= 'return' then redis.call('HINCRBY', key, 'rounds_completed', 1) end -- else it was cut off
  if settlement.session_id ~= '' then redis.call('HSET', key, 'session_id', settlement.session_id) end
  redis.call('LPUSH', key .. ':rounds', history)
  redis.call('LTRIM', key .. ':rounds', 0, math.max(setting(base, 'rounds_kept', 50), 1) - 1)
  emit(base, 'round_ended', 'agent', name, 'round_id', round_id, 'outcome', outcome, 'task', task_ids[1] or '', 'reason', reason,
    'duration_ms', settlement.duration_ms)
  return { last_states, desired_state }
end)

-- task_verdict: op, task, round_id that has submitted it ('' = whichever), what becomes of it (complete | fail | again), evidence
-- -> fields. With `again` it goes back to its agent with the evidence as reason. A verdict on an earlier round says nothing.
register_once('task_verdict', function(base, a)
  local task_id, now = find_task(base, a[1]), now_ms()
  local task = read_task(base, task_id)
  if task.state ~= 'verifying' or (a[2] ~= '' and a[2] ~= task.round_id) then return task_id end
  if a[3] == 'fail' then
    move(base, task, 'failed', a[4], now)
  elseif a[3] == 'complete' and redis.call('SCARD', task_key(base, task_id) .. ':needs') == 0 then
    conclude(base, task, 'completed', nil, '', now)
  else
    redis.call('HSET', task_key(base, task_id), 'rejection', a[4])
    route_task(base, task, a[4], now)
  end
  return task_id
end, task_reply)
