-- Reading tasks.

-- task_list: state, agent, tag ('' = any), limit -> the fields of each, newest first; the backlog (state "backlog") in its order
register('task_list', function(base, a)
  local state, tag, limit, reply = a[1], a[3], tonumber(a[4]), {}
  local backlog = state == 'backlog'
  local agent_id = a[2] ~= '' and find_agent(base, a[2]) or ''
  local index = base .. ':tasks'
  -- Few tasks are being verified, and an agent may have had many.
  if backlog then index = base .. ':backlog'
  elseif agent_id ~= '' and state ~= 'verifying' then index = base .. ':tasks:agent:' .. agent_id
  elseif tag ~= '' then index = base .. ':tasks:tag:' .. tag
  elseif state ~= '' then index = base .. ':tasks:state:' .. state end
  local command, step, ids = backlog and 'ZRANGE' or 'ZREVRANGE', 200, {}
  for start = 0, math.huge, step do
    ids = redis.call(command, index, start, start + step - 1)
    for _, id in ipairs(ids) do
      if #reply >= limit then return reply end
      local its_state, its_agent = unpack(redis.call('HMGET', task_key(base, id), 'state', 'agent_id'))
      -- One whose record was deleted outside the functions has no state.
      if its_state and (state == '' or its_state == state or backlog and not waits_above(base, id)) and (agent_id == '' or its_agent == agent_id)
        and (tag == '' or redis.call('ZSCORE', base .. ':tasks:tag:' .. tag, id)) then
        reply[#reply + 1] = task_reply(base, id)
      end
    end
    if #ids < step then return reply end
  end
end)
