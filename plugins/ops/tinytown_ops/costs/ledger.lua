-- Reads of the ledger and of accounts: what commands show of them. Nothing is written.

-- costs: first day (its number, or '' for all time), 1 to group by day -> today (its number), the totals of all time, budgets,
-- reservations, then days: name, 1 if it was asked for (else it is today), and its totals or only that of the town
register('costs', function(base, a)
  local since, today = tonumber(a[1]), math.floor(redis.call('TIME')[1] / 86400)
  local reply = { today, redis.call('HGETALL', base .. ':costs'), redis.call('HGETALL', base .. ':budgets'),
    redis.call('HVALS', base .. ':reserved') }
  local days = redis.call('ZRANGE', base .. ':costs:days', 0, -1, 'WITHSCORES')
  for i = 1, #days, 2 do
    local key, number = base .. ':costs:day:' .. days[i], tonumber(days[i + 1])
    local asked = (since or a[2] == '1') and number >= (since or 0)
    if asked and a[2] ~= '1' then
      reply[#reply + 1] = { days[i], 1, redis.call('HGETALL', key) }
    elseif asked or number == today then
      reply[#reply + 1] = { days[i], asked and 1 or 0, { 'town', redis.call('HGET', key, 'town') or '' } }
    end
  end
  return reply
end)

-- titles: ids of tasks -> for each its title, else the first line of its description
register('titles', function(base, ids)
  local titles = {}
  for i, id in ipairs(ids) do
    local title, text = unpack(redis.call('HMGET', base .. ':task:' .. id, 'title', 'description'))
    titles[i] = title and title ~= '' and title or string.match(text or '', '[^\n]*')
  end
  return titles
end)

-- accounts -> now (s), account and kind of each agent, the parked ones with the moment at which that ends, throttles in a row
register('accounts', function(base)
  local agents, t = {}, redis.call('TIME')
  for i, id in ipairs(redis.call('ZRANGE', base .. ':agents', 0, -1)) do
    local account, cli = unpack(redis.call('HMGET', base .. ':agent:' .. id, 'account', 'cli'))
    agents[i] = { account or '', cli or '' }
  end
  local parked = {}
  for i, name in ipairs(redis.call('ZRANGE', base .. ':parked', 0, -1)) do
    parked[i] = { name, redis.call('ZSCORE', base .. ':parked', name) }
  end
  return { t[1] .. '', agents, parked, redis.call('HGETALL', base .. ':throttles') }
end)
