-- From the data of schema 1 to that of schema 2, once, in one step. Events stay as they were written: readers know the old words.
--
-- Schema 2 renames: `wanted` of an agent is `desired_state`, its state `cold` is `suspended`, `run_id` of agents and tasks is
-- `round_id`, `last_run` is `last_round_id`, and `run` of a round's record is `round_id`.

local function rename_fields(key, names)
  for old, new in pairs(names) do
    local value = redis.call('HGET', key, old)
    if value then
      redis.call('HSET', key, new, value)
      redis.call('HDEL', key, old)
    end
  end
end

local function migrate_from_1(base, now)
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
  redis.call('HSET', base .. ':meta', 'schema', '2')
end
