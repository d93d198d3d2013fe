-- Accounts: what agents of one or more kinds share with their vendor. A throttled one is parked, on all hosts, until a time.
--
-- The time is the one that the vendor gave, or one that grows with each throttle in a row. The first call behind it that
-- asks finds the account free; the count of throttles ends with the first round that goes well, or when a user unparks it.

local FIRST_PARK_MS = 2000
local LONGEST_PARK_MS = 300000
local SHORTEST_NAMED_MS = 500
local LONGEST_NAMED_MS = 2678400000 -- a month: what a vendor names is not believed beyond these two

local function account_name(base, agent_id)
  local account, cli = unpack(redis.call('HMGET', base .. ':agent:' .. agent_id, 'account', 'cli'))
  if not account or account == '' then return cli or '' end
  return account
end

-- Why an agent may not use its account now, and until when.
local function parked(base, agent_id, now)
  if redis.call('EXISTS', base .. ':parked') == 0 then return nil end
  local account = account_name(base, agent_id)
  local until_ms = tonumber(redis.call('ZSCORE', base .. ':parked', account) or 0)
  if until_ms > now then
    return 'its account "' .. account .. '" is throttled until ' .. rfc3339(until_ms), until_ms
  end
  if redis.call('ZREM', base .. ':parked', account) == 1 then
    emit(base, 'account_unparked', 'account', account, 'reason', 'its time is over')
  end
  return nil
end

-- A round was throttled. The vendor named how long (ms), or it is -1 and grows; `jitter` is between 0 and 1.
local function park(base, agent_id, now, named_ms, jitter, reason)
  local account = account_name(base, agent_id)
  local before = tonumber(redis.call('ZSCORE', base .. ':parked', account) or 0)
  local throttles, until_ms = tonumber(redis.call('HGET', base .. ':throttles', account) or 0), before
  if named_ms >= SHORTEST_NAMED_MS then
    until_ms = math.max(before, now + math.min(named_ms, LONGEST_NAMED_MS))
  elseif before <= now then -- else it is the same throttle, reported by another round
    throttles = throttles + 1
    local longest = math.min(FIRST_PARK_MS * 2 ^ math.min(throttles - 1, 16), LONGEST_PARK_MS)
    until_ms = now + math.floor(longest * (1 + jitter) / 2)
  end
  if until_ms == before then return end
  redis.call('ZADD', base .. ':parked', integer_text(until_ms), account)
  redis.call('HSET', base .. ':throttles', account, throttles)
  emit(base, 'account_parked', 'account', account, 'until', rfc3339(until_ms), 'reason', reason)
end

-- A round went well: the next throttle is the first again.
local function unthrottle(base, agent_id)
  if redis.call('EXISTS', base .. ':throttles') == 1 then
    redis.call('HDEL', base .. ':throttles', account_name(base, agent_id))
  end
end
