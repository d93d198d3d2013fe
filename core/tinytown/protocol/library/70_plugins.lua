-- Data of plugins: for each a hash of JSON texts that only that plugin interprets.

local PLUGIN_FIELDS = 10000

-- plugin_set: op, plugin, field, JSON or '' to remove it, whether it matters what is there now (1 or 0), what that must be
-- ('' = nothing), then type and members of an event of the plugin's own if there is one -> 1, or 0 when something else was
-- there
register_once('plugin_set', function(base, a)
  local plugin, field, value = a[1], a[2], a[3]
  local key = base .. ':plugin:' .. plugin
  local old = redis.call('HGET', key, field) or ''
  if a[4] == '1' and old ~= a[5] then return 0 end
  if old == value then return 1 end
  local limit = setting(base, 'message_bytes', 1048576)
  if #value > limit then
    refuse('limit_reached', 'the data of plugin ' .. quoted(plugin) .. ' under ' .. quoted(field) .. ' has ' .. #value ..
      ' bytes, ' .. integer_text(limit) .. ' are allowed', 'limits.message_bytes', { limit = limit })
  elseif old == '' and redis.call('HLEN', key) >= PLUGIN_FIELDS then
    refuse('limit_reached', 'plugin ' .. quoted(plugin) .. ' keeps ' .. PLUGIN_FIELDS .. ' things in this town already',
      'remove some of them first', { limit = PLUGIN_FIELDS })
  elseif old == '' and redis.call('SCARD', base .. ':plugins') >= MAX_PER_CALL then
    refuse('limit_reached', MAX_PER_CALL .. ' plugins keep data in this town already', '', { limit = MAX_PER_CALL })
  end
  if value == '' then
    redis.call('HDEL', key, field)
    if redis.call('EXISTS', key) == 0 then redis.call('SREM', base .. ':plugins', plugin) end
  else
    redis.call('HSET', key, field, value)
    redis.call('SADD', base .. ':plugins', plugin)
  end
  emit(base, 'plugin_data_changed', 'plugin', plugin, 'field', field)
  if a[6] then emit(base, unpack(a, 6)) end
  return 1
end)
