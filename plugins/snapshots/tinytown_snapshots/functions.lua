-- Whole towns, in and out: reading one page by page, writing one page by page and listing it in one step, taking one away.
--
-- What is put here page by page is unlisted: its records are there, but no index names them, so nobody finds them. The
-- entries of the indexes wait below :unlisted:<index>, their names in :unlisted, until `restore_list` joins all of
-- them to the town's own at once. What a reset takes away becomes unlisted at once, and is then swept page by page.

local FINISHED = { completed = true, failed = true, cancelled = true }
local PAGE = 2000
local MOVING_MS = 60000
local PLACES = { 'queue', 'leases', 'delayed', 'bodies', 'state' }
-- Events that tell of nothing that a merge looks at.
local HARMLESS = { agent_activity = true, agent_reported = true, agent_state_changed = true, plugin_reported = true,
  sink_gap = true, round_started = true,
  host_joined = true, host_left = true, account_parked = true, account_unparked = true,
  budget_spent = true, budgets_changed = true }

local function last_event(base)
  local newest = redis.call('XREVRANGE', base .. ':events', '+', '-', 'COUNT', 1)[1]
  return newest and newest[1] or '0-0'
end

local function read_mailbox(base, id)
  local box = base .. ':mail:' .. id
  return { 'mailbox', id, redis.call('ZRANGE', box .. ':queue', 0, -1, 'WITHSCORES'),
    redis.call('ZRANGE', box .. ':leases', 0, -1), redis.call('ZRANGE', box .. ':delayed', 0, -1, 'WITHSCORES'),
    redis.call('HGETALL', box .. ':bodies'), redis.call('HGETALL', box .. ':state') }
end

-- snapshot: cursor ('' = from the beginning), how much one page holds -> the next cursor ('' = that was all), id of the
-- newest event, then records: town, plugin, dead, mailbox, agent, task. An agent and its mailbox are on one page.
register('snapshot', function(base, a)
  local section, from = string.match(a[1], '^(%l)(%d+)$')
  local left, reply = tonumber(a[2]), { '', last_event(base) }
  local function add(weight, item)
    left = left - weight
    reply[#reply + 1] = item
  end
  local function add_mailbox(id)
    local item = read_mailbox(base, id)
    if #item[6] > 0 then add(#item[6] / 2, item) end
  end
  -- The members of `index` behind the place where the page before ended; false when this page is full.
  local function walk(name, index, visit)
    while section == name do
      local ids = redis.call('ZRANGE', base .. index, '(' .. from, '+inf', 'BYSCORE', 'LIMIT', 0, 100, 'WITHSCORES')
      if #ids == 0 then return true end
      for i = 1, #ids, 2 do
        if left <= 0 then return false end
        from = integer_text(tonumber(ids[i + 1]))
        visit(ids[i])
      end
    end
    return true
  end
  if not section then
    section, from = 'a', '0'
    add(1, { 'town', redis.call('HGETALL', base .. ':meta'), redis.call('GET', base .. ':seq') or '0' })
    local plugins = redis.call('SMEMBERS', base .. ':plugins')
    table.sort(plugins)
    for _, plugin in ipairs(plugins) do
      local data = redis.call('HGETALL', base .. ':plugin:' .. plugin)
      add(#data / 2, { 'plugin', plugin, data })
    end
    for _, id in ipairs(redis.call('ZRANGE', base .. ':dead', 0, -1)) do
      add(1, { 'dead', id, redis.call('HGETALL', base .. ':dead:' .. id) })
    end
    add_mailbox(SUPERVISOR_ID)
  end
  local done = walk('a', ':agents', function(id)
    local placed = redis.call('ZSCORE', base .. ':placement', id) and '1' or '0'
    add(1, { 'agent', from, redis.call('HGETALL', base .. ':agent:' .. id), placed })
    add_mailbox(id)
  end)
  if done and section == 'a' then section, from = 't', '0' end
  done = done and walk('t', ':tasks', function(id)
    add(1, { 'task', redis.call('HGETALL', base .. ':task:' .. id), redis.call('SMEMBERS', base .. ':task:' .. id .. ':needs'),
      redis.call('HGET', base .. ':lineages', id) or '' })
  end)
  if not done then reply[1] = section .. from end
  return reply
end)

-- Only one command at a time moves a town; see `lease_take`.
local function check_mover(base, holder)
  if redis.call('GET', base .. ':lease:moving') ~= holder then
    refuse('stale_lease', 'another command restores or resets this town', 'wait for it, then try again')
  end
  redis.call('PEXPIRE', base .. ':lease:moving', MOVING_MS)
end

-- Calls the command with all the values, as many at a time as Lua can pass on.
local function call_in_pages(command, key, values)
  for i = 1, #values, PAGE do redis.call(command, key, unpack(values, i, math.min(i + PAGE - 1, #values))) end
end

local function put(base, command, index, ...)
  redis.call('SADD', base .. ':unlisted', index)
  redis.call(command, base .. ':unlisted:' .. index, ...)
end

local function put_record(base, key, fields)
  local flat = {}
  for name, value in pairs(fields) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('HSET', base .. ':' .. key, unpack(flat))
end

local function check_new(base, index, id)
  if redis.call('ZSCORE', base .. index, id) then
    refuse('exists', 'there is ' .. quoted(id) .. ' in this town meanwhile', 'try again', { id = truncate(id, 200) })
  end
end

local PUT = {}

-- seq, fields, does it want a host
function PUT.agent(base, _, seq, fields, placed)
  local id = fields.id
  check_new(base, ':agents', id)
  put_record(base, 'agent:' .. id, fields)
  put(base, 'ZADD', 'agents', seq, id)
  put(base, 'HSET', 'names', string.lower(fields.name),
    id .. ' ' .. fields.name .. ' ' .. (fields.desired_state == 'stopped' and 'retired' or 'here'))
  if fields.nickname ~= '' then put(base, 'HSET', 'nicknames', string.lower(fields.nickname), id) end
  if placed then
    put(base, 'ZADD', 'placement', 0, id)
  elseif fields.state == 'suspended' then
    put(base, 'ZADD', 'asleep', fields.since, id)
  end
end

-- fields, open needs, rank on the backlog or '', is its agent in this town, attempts of its lineage or ''
function PUT.task(base, _, fields, open, rank, agent_here, lineage_attempts)
  local id, seq = fields.id, fields.seq
  check_new(base, ':tasks:ids', id)
  put_record(base, 'task:' .. id, fields)
  call_in_pages('SADD', base .. ':task:' .. id .. ':needs', open)
  put(base, 'ZADD', 'tasks', seq, id)
  put(base, 'ZADD', 'tasks:ids', 0, id)
  put(base, 'ZADD', 'tasks:state:' .. fields.state, seq, id)
  for _, tag in ipairs(cjson.decode(fields.tags)) do put(base, 'ZADD', 'tasks:tag:' .. tag, seq, id) end
  if FINISHED[fields.state] then put(base, 'ZADD', 'tasks:finished', fields.completed_at, id) end
  if rank ~= '' then
    put(base, 'ZADD', 'backlog', rank, id)
    local words = cjson.decode(fields.tags)
    if fields.role and fields.role ~= '' then words[#words + 1] = fields.role end
    for _, word in ipairs(#words > 0 and words or { '' }) do
      put(base, 'ZADD', 'backlog:words', 0, string.format('%s:%016d:%s', word, tonumber(rank), id))
    end
  end
  if fields.held_until then put(base, 'ZADD', 'holds', fields.held_until, id) end
  if lineage_attempts ~= '' then put(base, 'HSET', 'lineages', id, lineage_attempts) end
  if agent_here then
    put(base, 'ZADD', 'tasks:agent:' .. fields.agent_id, seq, id)
    if not FINISHED[fields.state] then put(base, 'SADD', 'agent:' .. fields.agent_id .. ':open', id) end
  end
end

-- id of a task, tasks that need it
function PUT.dependants(base, _, id, ids)
  local index = 'task:' .. id .. ':dependants'
  redis.call('SADD', base .. ':unlisted', index)
  call_in_pages('SADD', base .. ':unlisted:' .. index, ids)
end

-- agent id, member, score, deliveries, due or '', story, how long it is known (s)
function PUT.message(base, body, agent_id, member, score, deliveries, due, history, trace_ttl_s)
  local box, id = 'mail:' .. agent_id .. ':', string.sub(member, 2)
  put(base, 'HSET', box .. 'bodies', id, body)
  if due ~= '' or deliveries ~= '0' then
    put(base, 'HSET', box .. 'state', member, score .. ' ' .. deliveries .. ' -')
  end
  if due ~= '' then
    put(base, 'ZADD', box .. 'delayed', due, member)
  else
    put(base, 'ZADD', box .. 'queue', score, member)
  end
  if history ~= '' then redis.call('HSET', base .. ':unlisted:traces', id, trace_ttl_s .. ' ' .. history) end
end

-- id, fields
function PUT.dead(base, body, id, fields)
  check_new(base, ':dead', id)
  fields.body = body
  put_record(base, 'dead:' .. id, fields)
  put(base, 'ZADD', 'dead', fields.at, id)
end

-- plugin, field
function PUT.plugin_data(base, body, plugin, field)
  put(base, 'SADD', 'plugins', plugin)
  put(base, 'HSET', 'plugin:' .. plugin, field, body)
end

-- restore_put: holder, then two for each record: a list in MessagePack that begins with its kind, and the body of a message or
-- what a plugin keeps, which may be any bytes -> how many records
register('restore_put', function(base, a)
  check_mover(base, a[1])
  for i = 2, #a, 2 do
    local item = cmsgpack.unpack(a[i])
    PUT[item[1]](base, a[i + 1], unpack(item, 2))
  end
  return (#a - 1) / 2
end)

local function check_empty(base)
  local found = redis.call('ZCARD', base .. ':agents') + redis.call('ZCARD', base .. ':tasks') +
    redis.call('ZCARD', base .. ':dead') + redis.call('HLEN', base .. ':mail:' .. SUPERVISOR_ID .. ':bodies') +
    redis.call('SCARD', base .. ':plugins')
  if found > 0 then
    refuse('refused', 'there is something in this town meanwhile', 'try again')
  end
end

local function check_unchanged(base, event)
  for i, entry in ipairs(redis.call('XRANGE', base .. ':events', '(' .. event, '+', 'COUNT', MAX_PER_CALL)) do
    if i == MAX_PER_CALL or not HARMLESS[entry[2][2]] then
      refuse('refused', 'the town has changed meanwhile', 'try again, or tt stop first')
    end
  end
end

local UNION = {
  zset = function(to, from) redis.call('ZUNIONSTORE', to, 2, to, from, 'AGGREGATE', 'MIN') end,
  set = function(to, from) redis.call('SUNIONSTORE', to, to, from) end,
  hash = function(to, from) call_in_pages('HSET', to, redis.call('HGETALL', from)) end,
}

-- restore_list: op, holder, id of the newest event that was seen ('' = the town must be empty), highest place, settings
-- (MessagePack, a map) -> 1. All that was put is in the town from now on.
register_once('restore_list', function(base, a)
  local holder, event, seq, now = a[1], a[2], a[3], now_ms()
  check_mover(base, holder)
  if event == '' then check_empty(base) else check_unchanged(base, event) end
  local settings = cmsgpack.unpack(a[4])
  if next(settings) then put_record(base, 'meta', settings) end
  local boxes, agents, tasks = {}, redis.call('ZCARD', base .. ':unlisted:agents'), redis.call('ZCARD', base .. ':unlisted:tasks')
  for _, index in ipairs(redis.call('SMEMBERS', base .. ':unlisted')) do
    local from, to = base .. ':unlisted:' .. index, base .. ':' .. index
    if redis.call('EXISTS', to) == 0 then
      redis.call('RENAME', from, to)
    else
      UNION[redis.call('TYPE', from).ok](to, from)
      redis.call('UNLINK', from)
    end
    boxes[#boxes + 1] = string.match(index, '^mail:(.+):queue$')
  end
  -- In a town that was empty everybody sleeps as in the one that was saved; here there may be something new to do for some.
  for _, id in ipairs(event ~= '' and redis.call('ZRANGE', base .. ':asleep', 0, -1) or {}) do
    if redis.call('EXISTS', base .. ':backlog', base .. ':mail:' .. id .. ':bodies') > 0 then
      redis.call('ZADD', base .. ':placement', 0, id)
    end
  end
  local histories = redis.call('HGETALL', base .. ':unlisted:traces')
  for i = 1, #histories, 2 do
    local trace_ttl_s, history = string.match(histories[i + 1], '^(%d+) (.*)$')
    redis.call('SET', base .. ':trace:' .. histories[i], integer_text(now) .. ' ' .. history .. '\n', 'EX', trace_ttl_s)
  end
  redis.call('UNLINK', base .. ':unlisted', base .. ':unlisted:traces')
  if tonumber(seq) > tonumber(redis.call('GET', base .. ':seq') or 0) then redis.call('SET', base .. ':seq', seq) end
  emit(base, 'town_restored', 'agents', agents, 'tasks', tasks)
  for _, id in ipairs(boxes) do notify(base, id, 'mail') end
  redis.call('PUBLISH', base .. ':notify', 'placement')
  return 1
end)

-- sweep: holder -> whether something unlisted is left (1 or 0); removes a page of it
register('sweep', function(base, a)
  check_mover(base, a[1])
  for _, kind in ipairs({ 'agent', 'dead', 'task' }) do
    local index = kind == 'dead' and 'dead' or kind .. 's'
    local ids = redis.call('ZRANGE', base .. ':unlisted:' .. index, 0, PAGE - 1)
    for _, id in ipairs(ids) do
      local key = base .. ':' .. kind .. ':' .. id
      -- What has come into the town by another way since stays.
      if not redis.call('ZSCORE', base .. ':' .. index, id) then
        for _, tag in ipairs(cjson.decode(kind == 'task' and redis.call('HGET', key, 'tags') or '[]')) do
          redis.call('ZREM', base .. ':tasks:tag:' .. tag, id)
        end
        redis.call('UNLINK', key, key .. ':needs', key .. ':dependants')
      end
    end
    if #ids > 0 then
      redis.call('ZREMRANGEBYRANK', base .. ':unlisted:' .. index, 0, #ids - 1)
      return 1
    end
  end
  local names = redis.call('SPOP', base .. ':unlisted', PAGE)
  for _, name in ipairs(names) do redis.call('UNLINK', base .. ':unlisted:' .. name) end
  redis.call('UNLINK', base .. ':unlisted:traces')
  return #names > 0 and 1 or 0
end)

local function forget_mailbox(base, id)
  local box = base .. ':mail:' .. id .. ':'
  for _, message in ipairs(redis.call('HKEYS', box .. 'bodies')) do redis.call('UNLINK', base .. ':trace:' .. message) end
  for _, place in ipairs(PLACES) do redis.call('UNLINK', box .. place) end
end

-- reset: op, holder -> agents, tasks, messages, dead letters, data of plugins that are no longer in the town. Refused while a kernel takes part.
-- The counters stay, so that no token and no place is given out twice, and the settings.
register_once('reset', function(base, a)
  check_mover(base, a[1])
  if redis.call('ZCOUNT', base .. ':hosts', '(' .. integer_text(now_ms()), '+inf') > 0 then
    refuse('refused', 'a kernel runs this town', 'tt stop ends it', { hosts = redis.call('ZRANGE', base .. ':hosts', 0, 9) })
  end
  local agents, messages = redis.call('ZRANGE', base .. ':agents', 0, -1), 0
  local dead = redis.call('ZRANGE', base .. ':dead', 0, -1)
  local tasks = redis.call('ZCARD', base .. ':tasks')
  for _, id in ipairs(agents) do
    messages = messages + redis.call('HLEN', base .. ':mail:' .. id .. ':bodies')
    forget_mailbox(base, id)
    local key = base .. ':agent:' .. id
    redis.call('UNLINK', key, key .. ':open', key .. ':rounds', base .. ':tasks:agent:' .. id)
  end
  messages = messages + redis.call('HLEN', base .. ':mail:' .. SUPERVISOR_ID .. ':bodies')
  forget_mailbox(base, SUPERVISOR_ID)
  for _, id in ipairs(dead) do redis.call('UNLINK', base .. ':dead:' .. id, base .. ':trace:' .. id) end
  for _, id in ipairs(redis.call('ZRANGE', base .. ':hosts', 0, -1)) do
    redis.call('UNLINK', base .. ':host:' .. id, base .. ':host:' .. id .. ':agents')
  end
  local plugin_data = 0
  for _, plugin in ipairs(redis.call('SMEMBERS', base .. ':plugins')) do
    plugin_data = plugin_data + redis.call('HLEN', base .. ':plugin:' .. plugin)
    redis.call('UNLINK', base .. ':plugin:' .. plugin)
  end
  if tasks > 0 then put(base, 'ZUNIONSTORE', 'tasks', 2, base .. ':unlisted:tasks', base .. ':tasks') end
  for state in pairs(TASK_MOVES) do redis.call('UNLINK', base .. ':tasks:state:' .. state) end
  for _, index in ipairs({ 'agents', 'names', 'nicknames', 'placement', 'asleep', 'hosts', 'dead', 'tasks', 'tasks:ids', 'tasks:finished', 'backlog', 'backlog:words', 'holds', 'lineages', 'plugins', 'reserved' }) do
    redis.call('UNLINK', base .. ':' .. index)
  end
  redis.call('XTRIM', base .. ':events', 'MAXLEN', 0)
  emit(base, 'town_reset', 'agents', #agents, 'tasks', tasks)
  return { #agents, tasks, messages, #dead, plugin_data }
end)
