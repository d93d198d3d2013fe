-- The town as a whole: its settings, its status in one answer, events from outside, and retention.

-- town_setup: schema, then name and value of settings -> schema that the town's data has, after it was migrated from an older one;
-- refuses to migrate while a kernel of the older version runs
register('town_setup', function(base, a)
  local key, now = base .. ':meta', now_ms()
  redis.call('HSETNX', key, 'schema', a[1])
  redis.call('HSETNX', key, 'created_at', integer_text(now))
  if a[1] == '2' and redis.call('HGET', key, 'schema') == '1' then migrate_from_1(base, now) end
  local schema = redis.call('HGET', key, 'schema')
  if schema == a[1] and #a > 1 then redis.call('HSET', key, unpack(a, 2)) end
  return schema
end)

-- status: with agents (1 or 0) -> meta, counts of tasks by state (name, count, ...), backlog, dead letters, hosts, agents
register('status', function(base, a)
  local counts = {}
  for state in pairs(TASK_MOVES) do
    counts[#counts + 1] = state
    counts[#counts + 1] = redis.call('ZCARD', base .. ':tasks:state:' .. state)
  end
  local hosts, agents = {}, {}
  for i, host in ipairs(redis.call('ZRANGE', base .. ':hosts', integer_text(now_ms()), '+inf', 'BYSCORE')) do
    hosts[i] = redis.call('HGETALL', base .. ':host:' .. host)
  end
  if a[1] == '1' then
    for i, id in ipairs(redis.call('ZRANGE', base .. ':agents', 0, -1)) do agents[i] = agent_reply(base, id) end
  end
  return { redis.call('HGETALL', base .. ':meta'), counts, redis.call('ZCARD', base .. ':backlog'),
    redis.call('ZCARD', base .. ':dead'), hosts, agents, mail_counts(base, SUPERVISOR_ID) }
end)

-- town_freeze: op, reason -> 1 when it was not frozen before. Kernels see the event and freeze what runs; nothing
-- starts from now on.
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

-- host_report_frozen: op, host, how many commands it has frozen ('' = it has thawed them) -> 1
register_once('host_report_frozen', function(base, a)
  local key = base .. ':host:' .. a[1]
  if redis.call('EXISTS', key) == 0 then refuse('stale_lease', 'this kernel\'s lease has ended', '', { host = a[1] }) end
  redis.call('HSET', key, 'frozen', a[2])
  if a[2] ~= '' then emit(base, 'host_froze', 'host', redis.call('HGET', key, 'name') or a[1], 'commands', a[2]) end
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
  local gone, before = 0, now_ms() - tonumber(a[1])
  local excess = redis.call('ZCARD', base .. ':tasks:finished') - tonumber(a[2])
  local oldest = redis.call('ZRANGE', base .. ':tasks:finished', 0, MAX_PER_CALL - 1, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    local id, needed = oldest[i], false
    if gone >= MAX_DELETED_PER_CALL or (tonumber(oldest[i + 1]) > before and gone >= excess) then break end
    for _, dependant in ipairs(redis.call('SMEMBERS', task_key(base, id) .. ':dependants')) do
      needed = needed or not FINISHED[redis.call('HGET', task_key(base, dependant), 'state') or 'completed']
    end
    if not needed then
      delete_task(base, id)
      gone = gone + 1
    end
  end
  redis.call('XTRIM', base .. ':events', 'MAXLEN', '~', a[3])
  return gone
end)
