-- What waits to be delivered, channel by channel, and what could not be. Ids are those of events, padded so that their order
-- as texts is the order of the events: a redelivered one goes before all that came later.

local KEPT_S = 30 * 86400

local function own(base, what, channel)
  return base .. ':plugin:notify:' .. what .. ':' .. channel
end

local function keep(base, channel)
  for _, what in ipairs({ 'queue', 'items', 'dead', 'why', 'state' }) do
    redis.call('EXPIRE', own(base, what, channel), KEPT_S)
  end
  redis.call('EXPIRE', base .. ':plugin:notify:channels', KEPT_S)
end

-- Keep what `tt status` shows of the plugin: how many could not be delivered, those included that are no longer kept.
local function keep_notice(base)
  local dead, dropped = 0, 0
  for _, channel in ipairs(redis.call('SMEMBERS', base .. ':plugin:notify:channels')) do
    dead = dead + redis.call('ZCARD', own(base, 'dead', channel))
    dropped = dropped + tonumber(redis.call('HGET', own(base, 'state', channel), 'dropped') or 0)
  end
  if dead + dropped == 0 then
    redis.call('HDEL', base .. ':plugin:notify', 'notice')
    if redis.call('EXISTS', base .. ':plugin:notify') == 0 then redis.call('SREM', base .. ':plugins', 'notify') end
    return
  end
  local text = 'not delivered: ' .. integer_text(dead + dropped)
  if dropped > 0 then text = text .. ' (' .. integer_text(dropped) .. ' of them dropped)' end
  redis.call('HSET', base .. ':plugin:notify', 'notice', cjson.encode(text .. '; see: tt notify dead'))
  redis.call('SADD', base .. ':plugins', 'notify')
end

-- The dead letters that `ref` means: an id, a unique beginning of one, or "all".
local function find_letters(base, channel, ref)
  local found = {}
  for _, id in ipairs(redis.call('ZRANGE', own(base, 'dead', channel), 0, -1)) do
    if id == ref then return { id } end
    if ref == 'all' or (ref ~= '' and starts_with(id, ref)) then found[#found + 1] = id end
  end
  if ref == 'all' or unique_match(found, 'dead letter', ref) then return found end
  refuse('not_found', 'no dead letter ' .. quoted(ref) .. ' of the channel ' .. quoted(channel), 'tt notify dead shows them')
end

-- notify_put: channel, how many may wait, then ids and items -> 1, or 0 when there is no room for all of them. What is not
-- newer than the last one was put before.
register('notify_put', function(base, a)
  local channel, queue = a[1], own(base, 'queue', a[1])
  if redis.call('ZCARD', queue) + (#a - 2) / 2 > tonumber(a[2]) then return 0 end
  local last = redis.call('HGET', own(base, 'state', channel), 'last') or ''
  for i = 3, #a, 2 do
    if a[i] > last then
      redis.call('ZADD', queue, 0, a[i])
      redis.call('HSET', own(base, 'items', channel), a[i], a[i + 1])
      last = a[i]
    end
  end
  redis.call('HSET', own(base, 'state', channel), 'last', last)
  redis.call('SADD', base .. ':plugin:notify:channels', channel)
  keep(base, channel)
  return 1
end)

-- notify_take: channel, how many at most -> when the last delivery was (ms, 0: never), then ids and items, oldest first
register('notify_take', function(base, a)
  local channel = a[1]
  local reply = { tonumber(redis.call('HGET', own(base, 'state', channel), 'delivered_at') or 0) }
  for _, id in ipairs(redis.call('ZRANGE', own(base, 'queue', channel), 0, tonumber(a[2]) - 1)) do
    reply[#reply + 1], reply[#reply + 2] = id, redis.call('HGET', own(base, 'items', channel), id) or ''
  end
  return reply
end)

-- notify_settle: op, channel, how many dead letters are kept, why delivering fails at present ('' = it does not), how many
-- were delivered, their ids, then ids that are given up and why each
register_once('notify_settle', function(base, a)
  local channel, bound, failure, count = a[1], tonumber(a[2]), a[3], tonumber(a[4])
  local queue, dead, items, state = own(base, 'queue', channel), own(base, 'dead', channel), own(base, 'items', channel), own(base, 'state', channel)
  for i = 5, 4 + count do
    redis.call('HINCRBY', state, 'delivered', redis.call('ZREM', queue, a[i]))
    redis.call('HDEL', items, a[i])
  end
  for i = 5 + count, #a, 2 do
    if redis.call('ZREM', queue, a[i]) == 1 then
      redis.call('ZADD', dead, 0, a[i])
      redis.call('HSET', own(base, 'why', channel), a[i], a[i + 1])
    end
  end
  for _ = bound + 1, redis.call('ZCARD', dead) do
    local id = redis.call('ZPOPMIN', dead)[1]
    redis.call('HDEL', items, id)
    redis.call('HDEL', own(base, 'why', channel), id)
    redis.call('HINCRBY', state, 'dropped', 1)
  end
  if count > 0 then redis.call('HSET', state, 'delivered_at', integer_text(now_ms())) end
  if failure == '' then
    redis.call('HDEL', state, 'failure', 'failing_since')
  else
    redis.call('HSET', state, 'failure', failure)
    redis.call('HSETNX', state, 'failing_since', integer_text(now_ms()))
  end
  redis.call('SADD', base .. ':plugin:notify:channels', channel)
  keep(base, channel)
  if #a > 4 + count then keep_notice(base) end
  return 1
end)

-- notify_dead: channel, how many at most -> id, item and reason of each dead letter, oldest first
register('notify_dead', function(base, a)
  local channel, reply = a[1], {}
  for _, id in ipairs(redis.call('ZRANGE', own(base, 'dead', channel), 0, tonumber(a[2]) - 1)) do
    local n = #reply
    reply[n + 1], reply[n + 2] = id, redis.call('HGET', own(base, 'items', channel), id) or ''
    reply[n + 3] = redis.call('HGET', own(base, 'why', channel), id) or ''
  end
  return reply
end)

-- notify_redeliver: op, channel, id of a dead letter, a unique beginning of one, or "all" -> ids that wait again
register_once('notify_redeliver', function(base, a)
  local channel = a[1]
  local ids = find_letters(base, channel, a[2])
  for _, id in ipairs(ids) do
    redis.call('ZREM', own(base, 'dead', channel), id)
    redis.call('HDEL', own(base, 'why', channel), id)
    redis.call('ZADD', own(base, 'queue', channel), 0, id)
  end
  if #ids > 0 then emit(base, 'notifications_redelivered', 'channel', channel, 'count', #ids) end
  keep_notice(base)
  return ids
end)

-- notify_drop: op, channel, id of a dead letter, a unique beginning of one, or "all" -> ids that are deleted
register_once('notify_drop', function(base, a)
  local channel = a[1]
  local ids = find_letters(base, channel, a[2])
  for _, id in ipairs(ids) do
    redis.call('ZREM', own(base, 'dead', channel), id)
    redis.call('HDEL', own(base, 'why', channel), id)
    redis.call('HDEL', own(base, 'items', channel), id)
  end
  if #ids > 0 then redis.call('HDEL', own(base, 'state', channel), 'dropped') end
  keep_notice(base)
  return ids
end)

-- notify_status: -> of each channel its name, how many wait, how many are dead, and its state as a flat list
register('notify_status', function(base)
  local reply, names = {}, redis.call('SMEMBERS', base .. ':plugin:notify:channels')
  table.sort(names)
  for i, channel in ipairs(names) do
    reply[i] = { channel, redis.call('ZCARD', own(base, 'queue', channel)), redis.call('ZCARD', own(base, 'dead', channel)),
      redis.call('HGETALL', own(base, 'state', channel)) }
  end
  return reply
end)
