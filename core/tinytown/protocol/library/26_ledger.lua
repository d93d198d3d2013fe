-- The ledger: what rounds have cost, what is left of the budgets, and what rounds in progress have reserved of it.
--
-- :costs holds one line of numbers for the town and for each agent, task, kind and account (field "<what> <name>"),
-- :costs:day:<day> the same of one day (UTC). Money is in millionths of a dollar: whole numbers add up exactly. A line is
-- "rounds input output cached money unpriced unmeasured last-day"; unpriced rounds reported tokens without a price,
-- unmeasured ones reported nothing. Agents are entered by name: a name that is taken again continues its budget.

local UNITS = { 'usd', 'tokens' }
local DAY_MS = 86400000

local function day_of(now)
  return string.sub(rfc3339(now), 1, 10)
end

local function read_costs(line)
  local row = {}
  for number in string.gmatch(line or '0 0 0 0 0 0 0 0', '%d+') do row[#row + 1] = tonumber(number) end
  return row
end

local function costs_line(row)
  local words = {}
  for i, number in ipairs(row) do words[i] = integer_text(number) end
  return table.concat(words, ' ')
end

local function join_costs(row, other)
  for i = 1, 7 do row[i] = row[i] + other[i] end
  row[8] = math.max(row[8], other[8])
  return row
end

-- What of a line counts against a budget: money, or tokens without those that came from the vendor's cache.
local function in_unit(row, unit)
  return unit == 'usd' and row[5] or row[2] - row[4] + row[3]
end

local function amount(number, unit)
  if unit == 'tokens' then return integer_text(number) .. ' tokens' end
  return string.format(number > 0 and number < 1000000 and '$%.4f' or '$%.2f', number / 1000000)
end

local function limit_of(budgets, scope, unit, name)
  local own = scope == 'agent' and budgets['agent_' .. unit .. ' ' .. string.lower(name)]
  return tonumber(own or budgets[scope .. '_' .. unit])
end

local function spent_line(base, scope, name, now)
  if scope == 'day' then return read_costs(redis.call('HGET', base .. ':costs:day:' .. day_of(now), 'town')) end
  return read_costs(redis.call('HGET', base .. ':costs', scope == 'town' and 'town' or scope .. ' ' .. name))
end

local function spent_words(scope, unit, spent, limit)
  return 'budget ' .. scope .. '_' .. unit .. ' is spent: ' .. amount(spent, unit) .. ' of ' .. amount(limit, unit)
end

-- What all rounds in progress have reserved, but that of one agent.
local function reserved_by_others(base, agent_id)
  local sum, flat = { usd = 0, tokens = 0 }, redis.call('HGETALL', base .. ':reserved')
  for i = 1, #flat, 2 do
    if flat[i] ~= agent_id then
      local usd, tokens = string.match(flat[i + 1], '^(%d+) (%d+)$')
      sum.usd, sum.tokens = sum.usd + usd, sum.tokens + tokens
    end
  end
  return sum
end

-- Why nothing may be spent now by `name` (an agent or a task, or nobody in particular), and until when.
local function over_budget(base, budgets, scope, name, now)
  for _, unit in ipairs(UNITS) do
    local limit = limit_of(budgets, scope, unit, name)
    local spent = limit and in_unit(spent_line(base, scope, name, now), unit)
    if limit and spent >= limit then
      return spent_words(scope, unit, spent, limit), scope == 'day' and (math.floor(now / DAY_MS) + 1) * DAY_MS or nil
    end
  end
end

-- The same for what is left when the rounds in progress have had theirs. The last of a budget is for one round at a time,
-- so that it can be used up, and not for all at once.
local function reserved_away(base, budgets, agent_id, now)
  local others = reserved_by_others(base, agent_id)
  for _, scope in ipairs({ 'town', 'day' }) do
    for _, unit in ipairs(UNITS) do
      local limit, reserved = limit_of(budgets, scope, unit, ''), others[unit]
      local spent = limit and reserved > 0 and in_unit(spent_line(base, scope, '', now), unit)
      if spent and spent + reserved + tonumber(budgets['reserve_' .. unit] or 0) > limit then
        return 'what is left of budget ' .. scope .. '_' .. unit .. ' is reserved for rounds in progress: ' .. amount(spent, unit) ..
          ' of ' .. amount(limit, unit) .. ' is spent, ' .. amount(reserved, unit) .. ' reserved'
      end
    end
  end
end

start_blocker = function(base, agent_id, now, unbound)
  if agent_id == SUPERVISOR_ID then return nil end
  if redis.call('HEXISTS', base .. ':meta', 'frozen_at') == 1 then return 'the town is frozen: tt thaw resumes it' end
  if unbound then return nil end
  local why, until_ms = parked(base, agent_id, now)
  if why or redis.call('EXISTS', base .. ':budgets') == 0 then return why, until_ms end
  local budgets, name = record(base .. ':budgets'), redis.call('HGET', base .. ':agent:' .. agent_id, 'name') or ''
  for _, scope in ipairs({ 'town', 'day', 'agent' }) do
    why, until_ms = over_budget(base, budgets, scope, name, now)
    if why then return why, until_ms end
  end
  return reserved_away(base, budgets, agent_id, now)
end

-- Why no round may begin on a task.
task_over_budget = function(base, task_id, now)
  if redis.call('EXISTS', base .. ':budgets') == 0 then return nil end
  return (over_budget(base, record(base .. ':budgets'), 'task', task_id, now))
end

-- A round is about to begin; `unreserve` when it has ended, or nothing has come of it.
reserve = function(base, agent_id)
  if agent_id == SUPERVISOR_ID or redis.call('EXISTS', base .. ':budgets') == 0 then return end
  local usd, tokens = unpack(redis.call('HMGET', base .. ':budgets', 'reserve_usd', 'reserve_tokens'))
  redis.call('HSET', base .. ':reserved', agent_id, (usd or 0) .. ' ' .. (tokens or 0))
end

unreserve = function(base, agent_id)
  redis.call('HDEL', base .. ':reserved', agent_id)
end

-- A message to the human side from the town itself, unless its mailbox is full. The id begins with `about`.
local function notify_supervisor(base, about, text, now)
  if redis.call('HLEN', mailbox(base, SUPERVISOR_ID) .. ':bodies') >= setting(base, 'mailbox_messages', 10000) then return end
  local id = about .. '.' .. integer_text(redis.call('INCR', base .. ':seq'))
  post(base, SUPERVISOR_ID, 'supervisor', 'supervisor', id, 'i', 'high', cjson.encode({ id = id, from = 'supervisor', to = 'supervisor',
    type = 'informational', summary = text, priority = 'high', created_at = rfc3339(now) }), 0, false, setting(base, 'trace_ttl_s', 3600))
end

-- A budget has just been used up: an event, and mail for the human side.
local function report_spent(base, scope, unit, name, spent, limit, now)
  local budget, divisor = scope .. '_' .. unit, unit == 'usd' and 1000000 or 1
  emit(base, 'budget_spent', 'budget', budget, 'spent', spent / divisor, 'limit', limit / divisor,
    'agent', scope == 'agent' and name or '', 'task', scope == 'task' and name or '')
  local whose = { town = 'No round begins', day = 'No round begins before tomorrow (UTC)',
    agent = 'Agent ' .. name .. ' begins no round', task = 'No round begins on task ' .. name }
  local text = spent_words(scope, unit, spent, limit) .. '. ' .. whose[scope] .. ' unless budgets.' .. budget .. ' is raised'
  notify_supervisor(base, 'budget.' .. budget, text, now)
end

-- Enters what a round has cost, once: "<input> <output> <cached> <money>" (money -1: not known), or "-" when nothing was reported.
-- Several tasks share it.
charge = function(base, agent_id, round_id, task_ids, usage, now)
  if usage == '' or redis.call('EXISTS', base .. ':agent:' .. agent_id) == 0 then return end
  if not redis.call('SET', base .. ':op:paid.' .. round_id, '[1]', 'NX', 'EX', OP_TTL_S) then return end
  local input, output, cached, money = string.match(usage, '^(%d+) (%d+) (%d+) (%-?%d+)$')
  local day_number = math.floor(now / DAY_MS)
  local round = { 1, tonumber(input or 0), tonumber(output or 0), tonumber(cached or 0), math.max(0, tonumber(money or 0)),
    money == '-1' and 1 or 0, input and 0 or 1, day_number }
  local name, kind = unpack(redis.call('HMGET', base .. ':agent:' .. agent_id, 'name', 'cli'))
  local day, lines = day_of(now), { { 'day', '', round }, { 'town', '', round }, { 'agent', name, round }, { 'kind', kind, round },
    { 'account', account_name(base, agent_id), round } }
  local sharers = #task_ids > 0 and task_ids or { '' }
  for i, task_id in ipairs(sharers) do
    local share = { unpack(round) }
    for n = 2, 5 do share[n] = math.floor(round[n] / #sharers) + (i <= round[n] % #sharers and 1 or 0) end
    lines[#lines + 1] = { 'task', task_id, share }
  end
  redis.call('ZADD', base .. ':costs:days', day_number, day)
  local budgets = record(base .. ':budgets')
  for _, line in ipairs(lines) do
    local scope, subject, row = unpack(line)
    local before, field = spent_line(base, scope, subject, now), scope == 'town' and scope or scope .. ' ' .. subject
    for _, key in ipairs(scope ~= 'day' and { base .. ':costs', base .. ':costs:day:' .. day } or {}) do
      redis.call('HSET', key, field, costs_line(join_costs(read_costs(redis.call('HGET', key, field)), row)))
    end
    for _, unit in ipairs(UNITS) do
      local limit, spent = limit_of(budgets, scope, unit, subject), in_unit(before, unit)
      if limit and spent < limit and spent + in_unit(row, unit) >= limit and field ~= 'task ' then
        report_spent(base, scope, unit, subject, spent + in_unit(row, unit), limit, now)
      end
    end
  end
end

-- round_charge: agent_id, round_id, what it has cost, ids of its tasks -> 1. For a round that was paid for, but whose outcome
-- came too late to count: another host has the agent now. What `round_settle` has entered is not entered again.
register('round_charge', function(base, a)
  charge(base, a[1], a[2], { unpack(a, 4) }, a[3], now_ms())
  return 1
end)

-- budgets_set: op, name and number of each budget, of what an agent has of its own ("agent_usd <name>") and of what a round
-- reserves -> names that have changed. All others there were are gone.
register_once('budgets_set', function(base, a)
  local key, changed, new = base .. ':budgets', {}, {}
  local old = record(key)
  for i = 1, #a, 2 do new[a[i]] = a[i + 1] end
  for name, number in pairs(new) do
    if old[name] ~= number then changed[#changed + 1] = name end
  end
  for name in pairs(old) do
    if not new[name] then changed[#changed + 1] = name end
  end
  if #changed == 0 then return {} end
  table.sort(changed)
  redis.call('DEL', key)
  if #a > 0 then redis.call('HSET', key, unpack(a)) end
  emit(base, 'budgets_changed', 'changed', table.concat(changed, ', '))
  return changed
end)
