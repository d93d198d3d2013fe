-- Hosts: kernels that run agents. One lease for each host, renewed by its heartbeat; it covers all agents of the host.

local function remove_host(base, host, now, reason)
  for _, id in ipairs(redis.call('SMEMBERS', base .. ':host:' .. host .. ':agents')) do
    local desired_state, state = unpack(redis.call('HMGET', agent_key(base, id), 'desired_state', 'state'))
    unreserve(base, id)
    if state then -- else its record was deleted outside the functions, which must not keep the host from being lost
      release_from_host(base, id, now, reason, true)
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

-- The states of agents without a round that do what they are to do, or are about to.
local IN_STATE = { running = { starting = true, idle = true }, drained = { starting = true, draining = true }, paused = { paused = true } }

-- What was due after a while is due after the same while, though the server's clock was set. It was when a host, whose own counter
-- `boot_ms` nobody sets, sees it jump between two heartbeats, or the first one of a host is earlier than the latest of any.
local function follow_clock(base, host, now, boot_ms, lease_ms)
  local meta, key = base .. ':meta', base .. ':host:' .. host
  local before, latest, offset = redis.call('HGET', key, 'clock'), unpack(redis.call('HMGET', meta, 'clock_at', 'clock_offset'))
  local ahead = now - boot_ms - (offset or 0)
  local step = before and ahead - before or math.min(0, now - (latest or now))
  if math.abs(step) < 5000 then step = 0 end -- a heartbeat that took longer hastens what is due by as much
  redis.call('HSET', meta, 'clock_at', integer_text(now), 'clock_offset', integer_text((offset or 0) + step))
  redis.call('HSET', key, 'clock', integer_text(ahead - step))
  local places = step ~= 0 and { ':hosts', ':placement', ':parked', ':holds', ':mail:' .. SUPERVISOR_ID .. ':delayed' } or {}
  for _, id in ipairs(step ~= 0 and redis.call('ZRANGE', base .. ':agents', 0, -1) or {}) do
    places[#places + 1], places[#places + 2] = ':mail:' .. id .. ':delayed', ':mail:' .. id .. ':leases'
  end
  for _, place in ipairs(places) do -- what is delayed to the next round is at no moment
    local flat = redis.call('ZRANGE', base .. place, '(0', integer_text(WITH_NEXT), 'BYSCORE', 'WITHSCORES')
    for i = 1, #flat, 2 do
      -- What is due sooner than a step back was, or soon after one forward, was written since. Hosts have a lease to report in.
      local left = flat[i + 1] - now
      local is_older = step < 0 and left > -step - lease_ms or step > 0 and (left <= 0 or left > LONGEST_PARK_MS)
      local by = (is_older and step or 0) + (place == ':hosts' and lease_ms or 0)
      if by ~= 0 then
        redis.call('ZINCRBY', base .. place, integer_text(by), flat[i])
        if place == ':holds' then redis.call('HINCRBY', task_key(base, flat[i]), 'held_until', integer_text(by)) end
      end
    end
  end
end

-- host_heartbeat: host, lease_ms, how many agents it takes at most from now on ('' = as before), why it begins no rounds ('' = it
-- does), how many commands it has frozen ('' = they run), ms since its machine was started or '' -> frozen or thawed, as the town
-- is, then what its agents were sent and may not have received, as it is published on its channel; refuses a host whose lease has ended
register('host_heartbeat', function(base, a)
  local host, now = a[1], now_ms()
  local deadline = redis.call('ZSCORE', base .. ':hosts', host)
  if not deadline then refuse('stale_lease', 'this kernel\'s lease has ended', '', { host = host }) end
  if a[6] ~= '' then follow_clock(base, host, now, a[6], a[2]) end
  redis.call('ZADD', base .. ':hosts', integer_text(now + tonumber(a[2])), host)
  local key = base .. ':host:' .. host
  if a[3] ~= '' then
    redis.call('HSET', key, 'capacity', a[3])
    redis.call('PUBLISH', base .. ':notify', 'placement')
  end
  local name, frozen = unpack(redis.call('HMGET', key, 'name', 'frozen'))
  if a[5] ~= '' and a[5] ~= frozen then emit(base, 'host_froze', 'host', name or host, 'commands', a[5]) end
  redis.call('HSET', key, 'trouble', a[4], 'frozen', a[5])
  expire_hosts(base, now)
  local reply = { redis.call('HEXISTS', base .. ':meta', 'frozen_at') == 1 and 'frozen' or 'thawed' }
  for _, id in ipairs(redis.call('SMEMBERS', base .. ':host:' .. host .. ':agents')) do
    local box, state, desired_state, round_id, stop = mailbox(base, id),
      unpack(redis.call('HMGET', agent_key(base, id), 'state', 'desired_state', 'round_id', 'stop'))
    local stopped_round, sent = string.match(stop or '', '^(%S+) (.+)$')
    if stopped_round and stopped_round == round_id then
      reply[#reply + 1] = id .. ' ' .. sent
    elseif round_id == '' and not (IN_STATE[desired_state] or {})[state] then
      reply[#reply + 1] = id .. ' control soon'
    elseif redis.call('EXISTS', box .. ':queue') == 1
      or redis.call('ZCOUNT', box .. ':delayed', '-inf', integer_text(now)) > 0
      or redis.call('ZCOUNT', box .. ':leases', '-inf', integer_text(now)) > 0 then
      reply[#reply + 1] = id .. ' mail'
    end
  end
  return reply
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
  -- One that has longer to go than any is taken for was left behind by a clock that was set back.
  if holder and holder ~= a[2] and redis.call('PTTL', key) < 10 * a[3] then return 0 end
  redis.call('SET', key, a[2], 'PX', a[3])
  return 1
end)

-- lease_release: op, name, holder -> 1 when it was the holder's
register_once('lease_release', function(base, a)
  local key = base .. ':lease:' .. a[1]
  if redis.call('GET', key) ~= a[2] then return 0 end
  return redis.call('DEL', key)
end)
