-- Reading tasks, and the tables that plugins keep beside them.

-- task_list: state, agent, tag ('' = any), limit -> the fields of each, newest first; the backlog (state "backlog") in its order
register('task_list', function(base, a)
  local state, tag, limit, reply = a[1], a[3], tonumber(a[4]), {}
  local agent_id = a[2] ~= '' and find_agent(base, a[2]) or ''
  local index = base .. ':tasks'
  -- Few tasks are being verified, and an agent may have had many.
  if agent_id ~= '' and state ~= 'verifying' then index = base .. ':tasks:agent:' .. agent_id
  elseif tag ~= '' then index = base .. ':tasks:tag:' .. tag
  elseif state ~= '' and state ~= 'backlog' then index = base .. ':tasks:state:' .. state end
  local start, step = 0, 200
  while #reply < limit do
    local ids
    if state == 'backlog' then
      ids = redis.call('ZRANGE', base .. ':backlog', start, start + step - 1)
    else
      ids = redis.call('ZRANGE', index, start, start + step - 1, 'REV')
    end
    if #ids == 0 then break end
    for _, id in ipairs(ids) do
      if #reply >= limit then break end
      local fits = true
      if state ~= '' and state ~= 'backlog' then fits = redis.call('HGET', task_key(base, id), 'state') == state end
      if fits and tag ~= '' then fits = redis.call('ZSCORE', base .. ':tasks:tag:' .. tag, id) ~= false end
      if fits and agent_id ~= '' then fits = redis.call('HGET', task_key(base, id), 'agent_id') == agent_id end
      if fits then reply[#reply + 1] = task_reply(base, id) end
    end
    start = start + step
  end
  return reply
end)

-- task_current: agent -> fields of the task that it works on, or of its only open one; nothing when there is none
register('task_current', function(base, a)
  local agent_id = find_agent(base, a[1])
  local id = redis.call('HGET', base .. ':agent:' .. agent_id, 'current_task') or ''
  if id == '' then
    local open = redis.call('SMEMBERS', base .. ':agent:' .. agent_id .. ':open')
    if #open == 1 then id = open[1] end
  end
  return id == '' and {} or task_reply(base, id)
end)

-- task_meta: id, name, JSON value -> fields; one plugin's table beside the task ('' removes it)
register('task_meta', function(base, a)
  local id = find_task(base, a[1])
  if a[3] == '' then
    redis.call('HDEL', task_key(base, id), 'meta:' .. a[2])
  else
    redis.call('HSET', task_key(base, id), 'meta:' .. a[2], a[3])
  end
  redis.call('HSET', task_key(base, id), 'updated_at', integer_text(now_ms()))
  return task_reply(base, id)
end)
