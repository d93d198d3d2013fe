-- What an agent has, given to another or put onto the backlog. What is in progress stays where it is.

local PRIORITY_OF = { [0] = 'urgent', 'high', 'normal', 'low' }

-- The free messages of a mailbox in the order of delivery: what nobody has leased, and no order to work on a task.
local function free_mail(base, agent_id)
  local box, found, taken = mailbox(base, agent_id), {}, 0
  for _, place in ipairs({ ':queue', ':delayed' }) do
    local flat = redis.call('ZRANGE', box .. place, 0, -1, 'WITHSCORES')
    for i = 1, #flat, 2 do
      if not order_validity(base, box, flat[i]) then
        local score = place == ':queue' and flat[i + 1] or (mail_state(box, flat[i]))
        found[#found + 1] = { place = place, member = flat[i], id = string.sub(flat[i], 2),
          priority = PRIORITY_OF[math.floor(tonumber(score) / SCORE_STEP)],
          due = place == ':delayed' and tonumber(flat[i + 1]) or 0,
          body = redis.call('HGET', box .. ':bodies', string.sub(flat[i], 2)) or '' }
      end
    end
  end
  return found
end

-- The text of an order that is no task yet; nil for any other message.
local function order_text(mail)
  if string.sub(mail.member, 1, 1) ~= 't' then return nil end
  local fine, body = pcall(cjson.decode, mail.body)
  return fine and type(body) == 'table' and body.type == 'task' and type(body.description) == 'string'
    and body.description ~= '' and body.description or nil
end

local function take_mail(base, agent_id, mail)
  local box = mailbox(base, agent_id)
  redis.call('ZREM', box .. mail.place, mail.member)
  forget_mail(box, mail.member)
end

-- agent_reclaim: op, agent, who gets its tasks ("" = they stay, "-" = the backlog, else an agent), who gets its mail ("" = it stays,
-- "-" = its orders become tasks of the backlog, else an agent) -> ids of the tasks, of the messages, of the tasks made of messages
register_once('agent_reclaim', function(base, a)
  local id, name = find_agent(base, a[1])
  local now, tasks, mail, made = now_ms(), {}, {}, {}
  local function receiver(ref)
    if ref == '' or ref == '-' then return nil end
    local to_id, to_name, retired = find_agent(base, ref)
    if to_id == id then
      refuse('usage', 'what "' .. name .. '" has is to go to another agent, not to itself', 'name another, or --to-backlog')
    elseif retired then
      refuse('refused', 'agent "' .. to_name .. '" is stopped and takes nothing', 'tt resume ' .. to_name .. ' brings it back',
        { agent = to_name })
    end
    return { id = to_id, name = to_name }
  end
  local for_tasks, for_mail = receiver(a[2]), receiver(a[3])
  local open = redis.call('SMEMBERS', agent_key(base, id) .. ':open')
  if for_tasks and #open > 0 then check_takes_tasks(for_tasks.name, for_tasks.id, false) end
  local free = a[3] ~= '' and free_mail(base, id) or {}
  if for_mail and redis.call('HLEN', mailbox(base, for_mail.id) .. ':bodies') + #free > setting(base, 'mailbox_messages', 10000) then
    refuse('limit_reached', 'the mailbox of "' .. for_mail.name .. '" would be full', 'tt inbox ' .. for_mail.name, { agent = for_mail.name })
  end
  local why = 'taken back from ' .. name
  for _, task_id in ipairs(a[2] ~= '' and open or {}) do
    local task = read_task(base, task_id)
    if task.state ~= 'running' and task.state ~= 'verifying' then
      unassign(base, task, now)
      if for_tasks then task.agent_id, task.assigned_to = for_tasks.id, for_tasks.name end
      route_task(base, task, why, now)
      tasks[#tasks + 1] = task_id
    end
  end
  for _, each in ipairs(free) do
    local text = not for_mail and order_text(each)
    if for_mail and redis.call('HEXISTS', mailbox(base, for_mail.id) .. ':bodies', each.id) == 0 then
      take_mail(base, id, each)
      -- The envelope begins as `send` has written it, and says who it is for.
      local body = string.gsub(each.body, '^({"id":"[^"]*","from":"[^"]*","to":")[^"]*"', '%1' .. for_mail.name .. '"')
      redis.call('HSET', mailbox(base, for_mail.id) .. ':bodies', each.id, body)
      queue_mail(base, for_mail.id, each.id, string.sub(each.member, 1, 1), each.priority, each.due)
      trace(base, each.id, now, 'moved from ' .. name .. ' to ' .. for_mail.name)
      mail[#mail + 1] = each.id
    elseif text and redis.call('EXISTS', task_key(base, each.id)) == 0 then
      take_mail(base, id, each)
      trace(base, each.id, now, 'became a task of this id')
      route_task(base, make_task(base, each.id, each.priority, {}, {}, { 'description', text }, now), why, now)
      made[#made + 1] = each.id
    end
  end
  if #tasks + #mail + #made > 0 then
    emit(base, 'agent_reclaimed', 'agent', name, 'tasks', #tasks + #made, 'messages', #mail,
      'receiver', for_tasks and for_tasks.name or for_mail and for_mail.name or '')
  end
  return { tasks, mail, made }
end)
