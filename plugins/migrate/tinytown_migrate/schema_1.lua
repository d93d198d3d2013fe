-- From the data of schema 1 to that of schema 2, once, in one step.
--
-- Schema 2 renames: `wanted` of an agent is `desired_state`, its state `cold` is `suspended`, `run_id` of agents and tasks is
-- `round_id`, `last_run` is `last_round_id`, and `run` of a round's record is `round_id`. Events say the same in the same words.

local function rename_fields(key, names)
  for old, new in pairs(names) do
    local value = redis.call('HGET', key, old)
    if value then
      redis.call('HSET', key, new, value)
      redis.call('HDEL', key, old)
    end
  end
end

local EVENT_MEMBERS = { run = 'round_id', wanted = 'desired_state' }
local EVENTS = { agent_wanted = 'agent_desired_state_changed', agent_state_changed = 'agent_state_changed',
  agent_reported = 'agent_reported', round_started = 'round_started', round_ended = 'round_ended' }

local function renamed_event(fields)
  local words, type_ = {}, nil
  for i = 1, #fields, 2 do
    if fields[i] == 'type' then type_ = fields[i + 1] end
  end
  if not EVENTS[type_] then return fields end
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    if name == 'type' then value = EVENTS[type_] end
    if type_ == 'agent_state_changed' and (name == 'old' or name == 'new') and value == 'cold' then value = 'suspended' end
    words[i], words[i + 1] = EVENT_MEMBERS[name] or name, value
  end
  return words
end

-- The stream with the same ids, so that readers continue where they stopped.
local function rename_events(key)
  local entries = redis.call('XRANGE', key, '-', '+')
  if #entries == 0 then return end
  local info, last = redis.call('XINFO', 'STREAM', key), nil
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
  redis.call('DEL', key)
  for _, entry in ipairs(entries) do redis.call('XADD', key, entry[1], unpack(renamed_event(entry[2]))) end
  redis.call('XSETID', key, last)
end

-- data_migrate -> 1 when the data was of schema 1, else 0; refuses while a kernel of the older version runs
register('data_migrate', function(base)
  local now = now_ms()
  if redis.call('HGET', base .. ':meta', 'schema') ~= '1' then return 0 end
  local live = redis.call('ZRANGE', base .. ':hosts', integer_text(now), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  if live[1] then
    refuse('refused', 'a kernel of an older version runs this town: its lease ends at ' .. rfc3339(tonumber(live[2])),
      'stop it with the version of Tinytown that it has, then try again', { host = live[1] })
  end
  for _, id in ipairs(redis.call('ZRANGE', base .. ':agents', 0, -1)) do
    local key = base .. ':agent:' .. id
    rename_fields(key, { wanted = 'desired_state', run_id = 'round_id', last_run = 'last_round_id' })
    if redis.call('HGET', key, 'state') == 'cold' then redis.call('HSET', key, 'state', 'suspended') end
    for i, record_text in ipairs(redis.call('LRANGE', key .. ':rounds', 0, -1)) do
      local renamed, count = string.gsub(record_text, '^{"run":', '{"round_id":')
      if count > 0 then redis.call('LSET', key .. ':rounds', i - 1, renamed) end
    end
  end
  for _, id in ipairs(redis.call('ZRANGE', base .. ':tasks', 0, -1)) do
    rename_fields(base .. ':task:' .. id, { run_id = 'round_id' })
  end
  for _, id in ipairs(redis.call('ZRANGE', base .. ':backlog', 0, -1)) do
    list_on_backlog(base, id, redis.call('ZSCORE', base .. ':backlog', id)) -- schema 1 had no index by words
  end
  rename_events(base .. ':events')
  redis.call('HSET', base .. ':meta', 'schema', '2')
  return 1
end)
