-- The town as a whole: its settings, its status in one answer, events from outside, and retention.

-- town_setup: schema, then name and value of settings -> schema that the town's data has
register('town_setup', function(base, a)
  local key = base .. ':meta'
  redis.call('HSETNX', key, 'schema', a[1])
  local schema = redis.call('HGET', key, 'schema')
  if schema ~= a[1] then return schema end
  redis.call('HSETNX', key, 'created_at', integer_text(now_ms()))
  for _, id in ipairs(redis.call('EXISTS', base .. ':backlog:words') == 0 and redis.call('ZRANGE', base .. ':backlog', 0, -1) or {}) do
    list_on_backlog(base, id, redis.call('ZSCORE', base .. ':backlog', id)) -- of a version that had no such index
  end
  if #a > 1 then redis.call('HSET', key, unpack(a, 2)) end
  return schema
end)

-- status: with agents (1 or 0) -> meta, counts of tasks by state (name, count, ...), backlog, dead letters, hosts, agents
register('status', function(base, a)
  local counts, hosts, agents = {}, {}, a[1] == '1' and all_agents(base) or {}
  for state in pairs(TASK_MOVES) do
    counts[#counts + 1] = state
    counts[#counts + 1] = redis.call('ZCARD', base .. ':tasks:state:' .. state)
  end
  for i, host in ipairs(redis.call('ZRANGE', base .. ':hosts', integer_text(now_ms()), '+inf', 'BYSCORE')) do
    hosts[i] = redis.call('HGETALL', base .. ':host:' .. host)
  end
  return { redis.call('HGETALL', base .. ':meta'), counts, redis.call('ZCARD', base .. ':backlog'),
    redis.call('ZCARD', base .. ':dead'), hosts, agents, mail_counts(base, SUPERVISOR_ID) }
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

-- emit: op, type, then name and value of members -> 1
register_once('emit', function(base, a)
  emit(base, unpack(a))
  return 1
end)

local MAX_DELETED_PER_CALL = 200

-- apply_retention: finished tasks older than so many ms or beyond so many go; events beyond so many go -> how many tasks went.
-- A few at a time: called again it goes on, until there is nothing left to delete.
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
