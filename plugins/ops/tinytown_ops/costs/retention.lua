-- The ledger forgets single days, and, with the last day that names them, the lines of agents and tasks that are gone. Totals stay.

-- The costs of a deleted agent or task are added to the unattributed ones (an empty name).
local function add_to_unattributed(base, what, name, row)
  local nobody = what .. ' '
  redis.call('HSET', base .. ':costs', nobody,
    costs_line(join_costs(read_costs(redis.call('HGET', base .. ':costs', nobody)), row)))
  redis.call('HDEL', base .. ':costs', nobody .. name)
end

-- Enters the lines of those that are gone, among `fields`, as nobody's, if no day after the number `last` names them.
local function close_lines(base, fields, last)
  for _, field in ipairs(fields) do
    local what, name = string.match(field, '^(%l+) (.+)$')
    local gone = what == 'agent' and redis.call('HEXISTS', base .. ':names', string.lower(name)) == 0
      or what == 'task' and redis.call('EXISTS', base .. ':task:' .. name) == 0
    local row = gone and read_costs(redis.call('HGET', base .. ':costs', field))
    if row and row[8] <= last then add_to_unattributed(base, what, name, row) end
  end
end

-- costs_apply_retention: how many days to keep -> 1 when a day went, 0 when there is nothing more to forget
register('costs_apply_retention', function(base, a)
  local days, first = base .. ':costs:days', math.floor(now_ms() / DAY_MS) - tonumber(a[1]) + 1
  local oldest = redis.call('ZRANGE', days, '-inf', '(' .. first, 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not oldest then
    local kept = redis.call('ZRANGE', days, 0, 0, 'WITHSCORES')[2]
    close_lines(base, redis.call('HKEYS', base .. ':costs'), (tonumber(kept) or first) - 1)
    return 0
  end
  local key = base .. ':costs:day:' .. oldest
  close_lines(base, redis.call('HKEYS', key), tonumber(redis.call('ZSCORE', days, oldest)))
  redis.call('UNLINK', key)
  redis.call('ZREM', days, oldest)
  return 1
end)
