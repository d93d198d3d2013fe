-- What every library builds on: time, refusals, records, events, and finding agents and tasks by what users type.
-- Every function gets one key, the town's base "tt:{town}", from which all others are derived, and text arguments.
-- A function checks everything before it writes anything: a refusal leaves no trace.

local SCORE_STEP = 1125899906842624 -- 2^50: rank * 2^50 + sequence fits a double exactly for the ranks 0 to 7
local RANKS = { urgent = 0, high = 1, normal = 2, low = 3 }
local SUPERVISOR_ID = '00000000-0000-0000-0000-000000000001'
local MAX_EVENTS = 100000
local EVENT_TEXT_BYTES = 4000
local OP_TTL_S = 300
local MAX_PER_CALL = 1000 -- how many members one call treats at most where a set has no bound of its own

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A whole number as text: exact beyond the 14 digits that Lua would write by itself, and several times quicker than %.0f.
local function integer_text(number)
  return string.format('%d', number)
end

-- Milliseconds since 1970 as RFC 3339 in UTC. The calendar of days: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
local function rfc3339(ms)
  local days, rest = math.floor(ms / 86400000), ms % 86400000
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', yoe + era * 400 + (month <= 2 and 1 or 0), month,
    doy - math.floor((153 * mp + 2) / 5) + 1, math.floor(rest / 3600000), math.floor(rest / 60000) % 60,
    math.floor(rest / 1000) % 60, rest % 1000)
end

-- At most so many bytes of a text, cut between two characters.
local function truncate(text, bytes)
  if #text <= bytes then return text end
  while bytes > 0 and math.floor(string.byte(text, bytes + 1) / 64) == 2 do bytes = bytes - 1 end
  return string.sub(text, 1, bytes) .. '…'
end

-- What a user typed, quoted for a message.
local function quoted(ref)
  return '"' .. string.gsub(truncate(ref, 80), '%c+', ' ') .. '"'
end

local function refuse(code, message, hint, fields)
  local detail = fields or {}
  detail.message, detail.hint = message, hint or ''
  error({ err = 'TT ' .. code .. ' ' .. cjson.encode(detail) })
end

-- The only one of `matches`, ids or names that begin with `ref`; nil if there is none. Refuses several.
local function unique_match(matches, things, ref)
  if #matches < 2 then return matches[1] end
  local some = { unpack(matches, 1, math.min(#matches, 8)) }
  table.sort(some)
  refuse('ambiguous', 'more than one ' .. things .. ' begins with ' .. quoted(ref) .. ': ' .. table.concat(some, ', '),
    'write more of it', { candidates = some })
end

local function setting(base, name, default)
  return tonumber(redis.call('HGET', base .. ':meta', name) or default)
end

-- The members of a sorted set whose score has come, at most so many as one call treats.
local function due_members(key, now)
  return redis.call('ZRANGE', key, '-inf', integer_text(now), 'BYSCORE', 'LIMIT', 0, MAX_PER_CALL)
end

local function record(key)
  local flat, fields = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields, #flat > 0
end

local function json_list(items)
  if #items == 0 then return '[]' end
  return cjson.encode(items)
end

local function emit_words(base, ...)
  return redis.call('XADD', base .. ':events', 'MAXLEN', '~', MAX_EVENTS, '*', 'type', ...)
end

-- The same with words from outside. Events are for screens and sinks: a long text in one is cut, the whole of it is in
-- the record.
local function emit(base, ...)
  local members = { ... }
  for i, member in ipairs(members) do members[i] = truncate(tostring(member), EVENT_TEXT_BYTES) end
  emit_words(base, unpack(members))
end

-- Tells the host of an agent, if it has one.
local function notify(base, agent_id, what)
  local host = redis.call('HGET', base .. ':agent:' .. agent_id, 'host') or ''
  redis.call('PUBLISH', base .. ':notify:' .. (host ~= '' and host or agent_id), agent_id .. ' ' .. what)
end

-- Ends the round of an agent. Kept in its record for the next heartbeat, should its host not hear of it.
local function stop_round(base, agent_id, round_id, what)
  if round_id and round_id ~= '' then redis.call('HSET', base .. ':agent:' .. agent_id, 'stop', round_id .. ' ' .. what) end
  notify(base, agent_id, what)
end

-- Lines of the history of a message. The key is made by `send` with a time to live and kept short-lived here.
local function trace_lines(base, id, lines)
  local key = base .. ':trace:' .. id
  if redis.call('APPEND', key, lines) == #lines then
    redis.call('EXPIRE', key, setting(base, 'trace_ttl_s', 3600))
  end
end

-- One line, of words that may come from outside.
local function trace(base, id, now, what)
  trace_lines(base, id, integer_text(now) .. ' ' .. string.gsub(truncate(what, 500), '%c+', ' ') .. '\n')
end

local function starts_with(text, prefix)
  return string.sub(text, 1, #prefix) == prefix
end

-- An agent that sleeps has no host.
local function sleeps(desired_state, state, host)
  return state == 'suspended' and host == '' and desired_state ~= 'stopped'
end

local function agent_by_id(base, id)
  local name, desired_state, state, host = unpack(redis.call('HMGET', base .. ':agent:' .. id, 'name', 'desired_state', 'state', 'host'))
  return id, name, desired_state == 'stopped', sleeps(desired_state, state, host)
end

-- The id and name of the agent that `ref` means, whether it is retired, and whether it sleeps (nil: not checked); refuses
-- what is unknown or ambiguous.
-- Tried in this order: id, name, nickname, label "Nick [role]", then a unique beginning of a name, nickname or id.
local function find_agent(base, ref)
  if ref == 'supervisor' then return SUPERVISOR_ID, ref, false end
  local lower = string.lower(ref)
  if lower == 'supervisor' or lower == 'conductor' or lower == SUPERVISOR_ID then
    return SUPERVISOR_ID, 'supervisor', false
  end
  if #lower == #SUPERVISOR_ID and redis.call('ZSCORE', base .. ':agents', lower) then return agent_by_id(base, lower) end
  local entry = redis.call('HGET', base .. ':names', lower)
  if entry then
    local id, name, flag = string.match(entry, '^(%S+) (%S+) (%S+)$')
    return id, name, flag == 'retired'
  end
  local unlabelled = string.gsub(lower, '%s*%[.*%]$', '')
  local nick = redis.call('HGET', base .. ':nicknames', lower) or redis.call('HGET', base .. ':nicknames', unlabelled)
  if nick then return agent_by_id(base, nick) end
  entry = redis.call('HGET', base .. ':names', unlabelled)
  if entry then return agent_by_id(base, (string.match(entry, '^%S+'))) end
  local found, names, seen = {}, {}, {}
  for _, index in ipairs(lower ~= '' and { ':names', ':nicknames' } or {}) do
    for name, holder in pairs(record(base .. index)) do
      local id = string.match(holder, '^%S+')
      if not seen[id] and (starts_with(name, lower) or starts_with(id, lower)) then
        seen[id], found[#found + 1] = true, id
      end
    end
  end
  for i = 1, math.min(#found, 8) do names[i] = redis.call('HGET', base .. ':agent:' .. found[i], 'name') end
  if unique_match(names, 'agent', ref) then return agent_by_id(base, found[1]) end
  refuse('not_found', 'no agent called ' .. quoted(ref) .. ' in this town', 'tt list shows the agents', { agent = truncate(ref, 200) })
end

-- The id of the task that `ref` means: a whole id or a unique beginning of one.
local function find_task(base, ref)
  if ref ~= '' then
    if redis.call('ZSCORE', base .. ':tasks:ids', ref) then return ref end
    local near = redis.call('ZRANGE', base .. ':tasks:ids', '[' .. ref, '[' .. ref .. '\255', 'BYLEX', 'LIMIT', 0, 9)
    if unique_match(near, 'task', ref) then return near[1] end
  end
  refuse('not_found', 'no task ' .. quoted(ref) .. ' in this town', 'tt task list shows the tasks', { task = truncate(ref, 200) })
end

-- The holder of an agent's lease proves itself by its token; whoever lost the lease is refused. An empty fence
-- opens only mailboxes that no kernel holds, above all the human side's.
local function check_fence(base, agent_id, fence, empty_is_fine)
  local token = redis.call('HGET', base .. ':agent:' .. agent_id, 'token') or ''
  if token ~= fence or (fence == '' and not empty_is_fine) then
    refuse('stale_lease', 'the lease on this agent has passed to another kernel', '', { agent_id = agent_id })
  end
end

-- A library that extends the town's has its functions as locals, and registers only its own.
local function register(name, body)
  if EXTENDED then return end
  redis.register_function(PREFIX .. name, function(keys, args)
    local fine, reply = pcall(body, keys[1], args)
    if fine then return reply end
    -- What pcall caught is a table on Redis and a string on Valkey; only an error of ours or of a command begins with a code.
    local text = type(reply) == 'table' and reply.err or tostring(reply)
    return redis.error_reply(string.match(text, '^%u+ ') and text or 'ERR ' .. text)
  end)
end

-- A client whose connection broke sends its call again. Where that would do more, or be answered otherwise, than once, the
-- call has an `op`, an id of its own, as its first argument: what `work` returned is kept under it for a while, and
-- `present` makes the answer of it, the first time and every time after.
local function register_once(name, work, present)
  register(name, function(base, args)
    local key = base .. ':op:' .. table.remove(args, 1)
    local kept = redis.call('GET', key)
    local result = kept and cjson.decode(kept)[1]
    if not kept then
      result = work(base, args)
      redis.call('SET', key, cjson.encode({ result }), 'EX', OP_TTL_S)
    end
    if present then return present(base, result) end
    return result
  end)
end
