-- Dead letters: listed, put back into their mailboxes, dropped.

-- dead_list: limit -> the fields of each dead letter with its id, newest first
register('dead_list', function(base, a)
  local reply = {}
  for _, id in ipairs(redis.call('ZRANGE', base .. ':dead', 0, tonumber(a[1]) - 1, 'REV')) do
    local letter = redis.call('HGETALL', base .. ':dead:' .. id)
    letter[#letter + 1], letter[#letter + 2] = 'id', id
    reply[#reply + 1] = letter
  end
  return reply
end)

local function find_dead(base, ref)
  local found = {}
  for _, id in ipairs(redis.call('ZRANGE', base .. ':dead', 0, -1)) do
    if id == ref then return { id } end
    if ref == 'all' or (ref ~= '' and starts_with(id, ref)) then found[#found + 1] = id end
  end
  if ref == 'all' or unique_match(found, 'dead letter', ref) then return found end
  refuse('not_found', 'no dead letter ' .. quoted(ref), 'tt dead list shows them', { message = truncate(ref, 200) })
end

-- redrive: op, id, a unique beginning of one, or "all" -> ids of the letters that are in their mailboxes again. The order
-- of a task that failed with it brings the task back; an order that has been replaced since just goes.
register_once('redrive', function(base, a)
  local now, letters, filled, bound = now_ms(), {}, {}, setting(base, 'mailbox_messages', 10000)
  for i, id in ipairs(find_dead(base, a[1])) do
    letters[i] = record(base .. ':dead:' .. id)
    letters[i].id = id
    if letters[i].agent_id ~= SUPERVISOR_ID and redis.call('EXISTS', base .. ':agent:' .. letters[i].agent_id) == 0 then
      refuse('refused', 'agent "' .. letters[i].agent .. '" of this letter is gone', 'tt dead drop ' .. id)
    end
    local box = mailbox(base, letters[i].agent_id)
    filled[box] = (filled[box] or redis.call('HLEN', box .. ':bodies')) + 1
    if filled[box] > bound then
      refuse('limit_reached', 'the mailbox of "' .. letters[i].agent .. '" would be full: it may hold ' .. bound,
        'tt inbox ' .. letters[i].agent .. ' shows them', { agent = letters[i].agent })
    end
  end
  local done = {}
  for i, letter in ipairs(letters) do
    local box = mailbox(base, letter.agent_id)
    redis.call('HSET', box .. ':bodies', letter.id, letter.body)
    redis.call('HSET', box .. ':state', letter.member, letter.score .. ' 0 -')
    redis.call('ZADD', box .. ':queue', letter.score, letter.member)
    redis.call('DEL', base .. ':dead:' .. letter.id)
    redis.call('ZREM', base .. ':dead', letter.id)
    trace(base, letter.id, now, 'redriven')
    emit(base, 'message_redriven', 'message', letter.id, 'agent', letter.agent)
    if order_validity(base, box, letter.member) == 'withdrawn' and not revive_order(base, letter, now) then
      redis.call('ZREM', box .. ':queue', letter.member)
      forget_mail(box, letter.member)
      trace(base, letter.id, now, 'withdrawn')
    end
    notify_mail(base, letter.agent_id, 'mail')
    done[i] = letter.id
  end
  return done
end)

-- drop: op, id, a unique beginning of one, or "all" -> ids of the dead letters that were deleted
register_once('drop', function(base, a)
  local ids = find_dead(base, a[1])
  for _, id in ipairs(ids) do
    redis.call('DEL', base .. ':dead:' .. id)
    redis.call('ZREM', base .. ':dead', id)
    trace(base, id, now_ms(), 'dropped')
  end
  return ids
end)
