-- The town as a whole: its settings, its status in one answer, and events from outside.

-- town_setup: schema, then name and value of settings -> schema that the town's data has
register('town_setup', function(base, a)
  local key = base .. ':meta'
  redis.call('HSETNX', key, 'schema', a[1])
  local schema = redis.call('HGET', key, 'schema')
  if schema ~= a[1] then return schema end
  redis.call('HSETNX', key, 'created_at', integer_text(now_ms()))
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

-- emit: op, type, then name and value of members -> 1
register_once('emit', function(base, a)
  emit(base, unpack(a))
  return 1
end)
