-- Hosts: kernels that run agents. One lease for each host, renewed by its heartbeat; it covers all agents of the host.

local function remove_host(base, host, now, reason)
  for _, id in ipairs(redis.call('SMEMBERS', base .. ':host:' .. host .. ':agents')) do
    local desired_state, state = unpack(redis.call('HMGET', agent_key(base, id), 'desired_state', 'state'))
    unreserve(base, id)
    if state then -- else its record was deleted outside the functions, which must not keep the host from being lost
      release_from_host(base, id, now, reason)
      if desired_state == 'stopped' then
        if state ~= 'stopped' then report_state(base, id, 'stopped', reason, now) end
      else
        if state ~= 'suspended' and state ~= 'stopped' then report_state(base, id, 'suspended', reason, now) end
        redis.call('ZADD', base .. ':placement', 0, id)
      end
    end
  end
  local name = redis.call('HGET', base .. ':host:' .. host, 'name') or host
  redis.call('DEL', base .. ':host:' .. host, base .. ':host:' .. host .. ':agents')
  redis.call('ZREM', base .. ':hosts', host)
  place_unverified(base)
  emit(base, 'host_left', 'host', name, 'reason', reason)
  redis.call('PUBLISH', base .. ':notify', 'placement')
end

local function expire_hosts(base, now)
  local lost = redis.call('ZRANGE', base .. ':hosts', '-inf', integer_text(now), 'BYSCORE')
  for _, host in ipairs(lost) do remove_host(base, host, now, 'its kernel\'s lease ran out') end
  release_due_holds(base, now)
  return lost
end

-- host_register: op, host, lease_ms, then name and value of its details -> hosts whose leases had expired
register_once('host_register', function(base, a)
  local host, now = a[1], now_ms()
  local lost = expire_hosts(base, now)
  local known = redis.call('EXISTS', base .. ':host:' .. host) == 1
  redis.call('HSETNX', base .. ':host:' .. host, 'joined_at', integer_text(now))
  redis.call('HSET', base .. ':host:' .. host, 'id', host, 'lease_ms', a[2], unpack(a, 3))
  redis.call('ZADD', base .. ':hosts', integer_text(now + tonumber(a[2])), host)
  place_unverified(base)
  if not known then emit(base, 'host_joined', 'host', redis.call('HGET', base .. ':host:' .. host, 'name') or host) end
  return lost
end)

-- host_heartbeat: host, lease_ms, how many agents it takes at most from now on ('' = as before) -> ids of its agents that have mail
-- to claim; refuses a host whose lease has ended
register('host_heartbeat', function(base, a)
  local host, now = a[1], now_ms()
  local deadline = redis.call('ZSCORE', base .. ':hosts', host)
  if not deadline then refuse('stale_lease', 'this kernel\'s lease has ended', '', { host = host }) end
  redis.call('ZADD', base .. ':hosts', integer_text(now + tonumber(a[2])), host)
  if a[3] ~= '' then
    redis.call('HSET', base .. ':host:' .. host, 'capacity', a[3])
    redis.call('PUBLISH', base .. ':notify', 'placement')
  end
  expire_hosts(base, now)
  local ready = {}
  for _, id in ipairs(redis.call('SMEMBERS', base .. ':host:' .. host .. ':agents')) do
    local box = mailbox(base, id)
    if redis.call('EXISTS', box .. ':queue') == 1
      or redis.call('ZCOUNT', box .. ':delayed', '-inf', integer_text(now)) > 0
      or redis.call('ZCOUNT', box .. ':leases', '-inf', integer_text(now)) > 0 then
      ready[#ready + 1] = id
    end
  end
  return ready
end)

-- host_deregister: host, reason -> 1; its agents are free for others at once
register('host_deregister', function(base, a)
  if redis.call('EXISTS', base .. ':host:' .. a[1]) == 1 then remove_host(base, a[1], now_ms(), a[2]) end
  return 1
end)

-- hosts -> fields of each with its deadline and the number of its agents
register('hosts', function(base)
  local flat, reply = redis.call('ZRANGE', base .. ':hosts', 0, -1, 'WITHSCORES'), {}
  for i = 1, #flat, 2 do
    local fields = redis.call('HGETALL', base .. ':host:' .. flat[i])
    fields[#fields + 1], fields[#fields + 2] = 'deadline', integer_text(tonumber(flat[i + 1]))
    fields[#fields + 1], fields[#fields + 2] = 'agents', redis.call('SCARD', base .. ':host:' .. flat[i] .. ':agents')
    reply[#reply + 1] = fields
  end
  return reply
end)

-- lease_acquire: name, holder, lease_ms -> 1 when the holder has it now, else 0
register('lease_acquire', function(base, a)
  local key = base .. ':lease:' .. a[1]
  local holder = redis.call('GET', key)
  if holder and holder ~= a[2] then return 0 end
  redis.call('SET', key, a[2], 'PX', a[3])
  return 1
end)

-- lease_release: op, name, holder -> 1 when it was the holder's
register_once('lease_release', function(base, a)
  local key = base .. ':lease:' .. a[1]
  if redis.call('GET', key) ~= a[2] then return 0 end
  return redis.call('DEL', key)
end)
