-- The mailbox: strict priority, first-in first-out inside one, leases with tokens, delayed mail, dead letters.
--
-- A member is a letter for the kind of message and its id ("t" orders, "q" questions, "i" news, "c" receipts, "o" other),
-- so that mail can be counted by kind without reading bodies. Beside its body each message that was ever leased or
-- delayed has a line "score deliveries token" in :state, from which it returns to its old place. While it is leased the
-- line ends with the moment of the claim; the line about the lease is added to the message's history only when the lease ends.
-- What starts no round by itself is in :delayed as well, due at a moment behind WITH_NEXT: the next round takes it along.

local CLASS_NAMES = { t = 'task', q = 'query', i = 'informational', c = 'confirmation', o = 'other' }
local WITH_NEXT, CHATTER = 200000000000000, 'chatter' -- in the year 8307; the plugin that notes who talks on and on

local function mailbox(base, agent_id)
  return base .. ':mail:' .. agent_id
end

local function parse_state(line)
  local first = line and string.find(line, ' ', 1, true)
  local second = first and string.find(line, ' ', first + 1, true)
  if not second then return nil, 0, '-', '' end
  local third = string.find(line, ' ', second + 1, true) or #line + 1
  return string.sub(line, 1, first - 1), tonumber(string.sub(line, first + 1, second - 1)) or 0,
    string.sub(line, second + 1, third - 1), string.sub(line, third + 1)
end

local function lease_line(deliveries, token, since)
  if since == '' then return '' end
  return since .. ' leased ' .. token .. ' delivery ' .. deliveries .. '\n'
end

local function mail_state(box, member)
  return parse_state(redis.call('HGET', box .. ':state', member))
end

-- While a message is leased, and only then, its line names the token of the claim.
local function is_held(box, member, token)
  return token ~= '-' and token == select(3, mail_state(box, member))
end

-- The state of one whose lease, if it has one, ends now without an acknowledgement.
local function unleased_state(base, box, member)
  local score, deliveries, token, since = mail_state(box, member)
  if since ~= '' then trace_lines(base, string.sub(member, 2), lease_line(deliveries, token, since)) end
  return score, deliveries
end

-- Notifies the host of an agent of its mail. One that sleeps (nil: to be checked) wants a host from the moment on at which
-- the mail is due (nil: at once).
local function notify_mail(base, agent_id, what, asleep, due)
  notify(base, agent_id, what)
  if asleep == nil then asleep = sleeps(unpack(redis.call('HMGET', base .. ':agent:' .. agent_id, 'desired_state', 'state', 'host'))) end
  if asleep then
    redis.call('ZADD', base .. ':placement', 'LT', due or now_ms(), agent_id)
    redis.call('PUBLISH', base .. ':notify', 'placement')
  end
end

-- The first moment at which a member of a set falls due, or nil.
local function next_due(key)
  return tonumber(redis.call('ZRANGE', key, '-inf', integer_text(WITH_NEXT), 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')[2])
end

-- Does a message start a round? `rules` are those of `Config.wake`; without any all mail does, and all that is for the human side.
-- Where an agent talks on and on, mail of other agents does not.
local NEEDS, ALLOWED = { t = 0, o = 0, q = 1, i = 2, c = 3 }, { never = 0, work = 1, always = 2 }
local function starts_round(base, agent_id, class, sender, urgent, rules)
  if not rules or agent_id == SUPERVISOR_ID then return true end
  local by, role, kind = cjson.decode(rules), unpack(redis.call('HMGET', base .. ':agent:' .. agent_id, 'role', 'cli'))
  local allowed = ALLOWED[by.senders[sender] or by.roles[role or ''] or by.kinds[kind or ''] or 'work']
  if urgent and allowed == 1 then allowed = 2 end
  return NEEDS[class] <= allowed and (sender == 'supervisor' or redis.call('HEXISTS', base .. ':plugin:' .. CHATTER, agent_id) == 0)
end

-- Puts a message where it waits: in the queue, or, when it is `due` later, or starts no round, among what is delayed.
local function place_mail(box, member, score, due, starts)
  if not starts then due = WITH_NEXT + (1 + math.floor(score / SCORE_STEP)) * 1000000000000 + score % SCORE_STEP end
  redis.call('ZADD', box .. (due and ':delayed' or ':queue'), due or score, member)
end

-- Defined with accounts and ledger. `start_blocker`: why an agent may not begin a round (nil: it may), and the moment at which
-- that ends by itself (nil: it does not); `unbound`: no account is parked and there is no budget.
local start_blocker, task_over_budget, reserve, unreserve, charge

-- Defined with agents: is there something that an agent could begin at once?
local has_work

-- Gives a message whose body is in the mailbox its place there, from the moment `due` on (0: at once; behind WITH_NEXT: with a round).
local function queue_mail(base, agent_id, id, class, priority, due, asleep)
  local box, member = mailbox(base, agent_id), class .. id
  local score = RANKS[priority] * SCORE_STEP + redis.call('INCR', base .. ':seq')
  if due > 0 and due > now_ms() then
    redis.call('HSET', box .. ':state', member, integer_text(score) .. ' 0 -')
    place_mail(box, member, score, due, due < WITH_NEXT)
    return due < WITH_NEXT and notify_mail(base, agent_id, 'mail', asleep, due)
  end
  place_mail(box, member, score, nil, true)
  -- A busy mailbox needs no second notification: its owner claims until it is empty. Urgent mail may interrupt a round, but not
  -- one after which none may begin: it would be interrupted for nothing.
  if priority == 'urgent' and not start_blocker(base, agent_id, now_ms()) then
    notify_mail(base, agent_id, 'urgent', asleep)
  elseif priority == 'urgent' or redis.call('ZCARD', box .. ':queue') == 1 then
    notify_mail(base, agent_id, 'mail', asleep)
  end
end

-- Puts a message into a mailbox, with event and history; one with an id that is there already changes nothing, and the answer is false.
local function post(base, agent_id, name, sender, id, class, priority, body, due, asleep, trace_ttl_s)
  if redis.call('HSETNX', mailbox(base, agent_id) .. ':bodies', id, body) == 0 then return false end
  queue_mail(base, agent_id, id, class, priority, due, asleep)
  local event = emit_words(base, 'message_sent', 'message', id, 'sender', sender, 'recipient', name,
    'category', CLASS_NAMES[class] or class, 'priority', priority)
  -- The id of an event begins with the time.
  redis.call('SET', base .. ':trace:' .. id, string.match(event, '%d+') .. ' queued for ' .. name .. ' from ' .. sender .. '\n', 'EX', trace_ttl_s)
  return true
end

local function forget_mail(box, member)
  redis.call('HDEL', box .. ':state', member)
  redis.call('HDEL', box .. ':bodies', string.sub(member, 2))
end

-- Defined with the tasks: is this message the one valid order of a task, one that was taken back meanwhile, or no order
-- at all (nil)? And what becomes of the task whose order is given up.
local order_validity, fail_dead_order

local function dead_letter(base, agent_id, member, score, deliveries, reason, now)
  local box, id = mailbox(base, agent_id), string.sub(member, 2)
  local validity, task_id = order_validity(base, box, member)
  reason = truncate(reason, EVENT_TEXT_BYTES)
  redis.call('HSET', base .. ':dead:' .. id, 'agent_id', agent_id, 'member', member, 'score', score,
    'deliveries', deliveries, 'reason', reason, 'at', integer_text(now),
    'agent', redis.call('HGET', base .. ':agent:' .. agent_id, 'name') or 'supervisor',
    'body', redis.call('HGET', box .. ':bodies', id) or '')
  redis.call('ZADD', base .. ':dead', integer_text(now), id)
  forget_mail(box, member)
  trace(base, id, now, 'dead ' .. reason)
  emit(base, 'message_dead', 'message', id, 'agent', redis.call('HGET', base .. ':dead:' .. id, 'agent'), 'reason', reason)
  local excess = redis.call('ZCARD', base .. ':dead') - setting(base, 'dead_letters', 1000)
  if excess > 0 then
    local oldest = redis.call('ZPOPMIN', base .. ':dead', excess)
    for i = 1, #oldest, 2 do redis.call('DEL', base .. ':dead:' .. oldest[i]) end
  end
  if validity == 'valid' then fail_dead_order(base, task_id, reason, now) end
end

-- A leased message goes back to its old place, or, delivered too often, to the dead letters. An order that was called off
-- while somebody had it just goes.
local function return_mail(base, agent_id, member, now, how)
  local box = mailbox(base, agent_id)
  local score, deliveries = unleased_state(base, box, member)
  redis.call('ZREM', box .. ':leases', member)
  if order_validity(base, box, member) == 'withdrawn' then
    forget_mail(box, member)
    trace(base, string.sub(member, 2), now, 'withdrawn')
    return 'stale'
  end
  if not how.counts then deliveries = math.max(0, deliveries - 1) end
  if how.delay_ms == -1 or (how.counts and deliveries >= setting(base, 'max_deliveries', 5)) then
    dead_letter(base, agent_id, member, score, deliveries, how.reason, now)
    return 'dead'
  end
  redis.call('HSET', box .. ':state', member, score .. ' ' .. deliveries .. ' -')
  local sender = string.match(redis.call('HGET', box .. ':bodies', string.sub(member, 2)) or '', '"from":"([^"]*)"')
  place_mail(box, member, tonumber(score), (how.delay_ms or 0) > 0 and now + how.delay_ms or nil, starts_round(base, agent_id,
    string.sub(member, 1, 1), sender, tonumber(score) < SCORE_STEP, redis.call('HGET', base .. ':meta', 'wake')))
  trace(base, string.sub(member, 2), now, 'returned ' .. how.reason)
  return 'queued'
end

-- Takes messages out for good, given as member and token in `words` from `first` on; but the order of a task that nobody
-- has begun goes back -> for each 1 (out) or 0.
local function settle_mail(base, agent_id, words, first, now)
  local box, reply = mailbox(base, agent_id), {}
  for i = first, #words, 2 do
    local member, n = words[i], #reply + 1
    local _, deliveries, held, since = mail_state(box, member)
    reply[n] = held == words[i + 1] and held ~= '-' and 1 or 0
    local validity, _, state = order_validity(base, box, member)
    if reply[n] == 1 and validity == 'valid' and state == 'assigned' then
      return_mail(base, agent_id, member, now, { counts = false, reason = 'its task is still to be done' })
      reply[n] = 0
    elseif reply[n] == 1 then
      trace_lines(base, string.sub(member, 2), lease_line(deliveries, held, since) .. integer_text(now) .. ' acked\n')
      redis.call('ZREM', box .. ':leases', member)
      forget_mail(box, member)
    end
  end
  return reply
end

-- With its host `lost`, the order of a task is not counted as delivered: `return_running_tasks` counts the task.
local function return_all_leases(base, agent_id, now, reason, lost)
  for _, member in ipairs(redis.call('ZRANGE', mailbox(base, agent_id) .. ':leases', 0, -1)) do
    return_mail(base, agent_id, member, now, { counts = not lost or not order_validity(base, mailbox(base, agent_id), member), reason = reason })
  end
end

-- send: to, from, id, class, priority, not_before_ms (0 = now), bytes of its text, body without id/from/to
-- -> state, id and name of the recipient, in one text
register('send', function(base, a)
  local to, from, id, class, priority, not_before, size, body = unpack(a)
  local agent_id, name, retired, asleep = find_agent(base, to)
  if retired then
    refuse('refused', 'agent "' .. name .. '" is stopped and takes no mail', 'tt resume ' .. name .. ' brings it back',
      { agent = name })
  end
  local _, sender = find_agent(base, from)
  local box, sent_before = mailbox(base, agent_id), 'duplicate ' .. agent_id .. ' ' .. name
  if redis.call('EXISTS', base .. ':trace:' .. id, base .. ':dead:' .. id) > 0 then return sent_before end
  local settings = redis.call('HMGET', base .. ':meta', 'message_bytes', 'mailbox_messages', 'trace_ttl_s', 'wake')
  local limit, bound = tonumber(settings[1] or 1048576), tonumber(settings[2] or 10000)
  -- In JSON a text of quotes and newlines is twice as long.
  if #body > limit and (tonumber(size) > limit or #body > 2 * limit + 4096) then
    refuse('limit_reached', 'expected a message of at most ' .. limit .. ' bytes, got ' .. math.max(size, #body - 4096),
      'put it into a file and name the file')
  end
  if redis.call('HLEN', box .. ':bodies') >= bound then
    if redis.call('HEXISTS', box .. ':bodies', id) == 1 then return sent_before end
    refuse('limit_reached', 'the mailbox of "' .. name .. '" is full: it may hold ' .. bound,
      'tt inbox ' .. name .. ' shows them', { agent = name })
  end
  local head, due = '{"id":"' .. id .. '","from":"' .. sender .. '","to":"' .. name .. '",', tonumber(not_before)
  if due == 0 and not starts_round(base, agent_id, class, sender, priority == 'urgent', settings[4]) then due = WITH_NEXT end
  local is_new = post(base, agent_id, name, sender, id, class, priority, head .. string.sub(body, 2), due, asleep, settings[3] or 3600)
  return is_new and 'queued ' .. agent_id .. ' ' .. name or sent_before
end)

-- What the claim `token` still holds, in the order of delivery: the same claim again (its answer was lost with a
-- connection) gets the same messages.
local function leased_by_token(box, token)
  local found, leased = {}, redis.call('ZRANGE', box .. ':leases', 0, -1)
  if #leased == 0 then return found end
  for i, line in ipairs(redis.call('HMGET', box .. ':state', unpack(leased, 1, math.min(#leased, MAX_PER_CALL)))) do
    local score, deliveries, held = parse_state(line)
    if held == token then found[#found + 1] = { member = leased[i], score = tonumber(score), deliveries = deliveries } end
  end
  table.sort(found, function(one, other) return one.score < other.score end)
  return found
end

local function take_up(box, delayed)
  for _, member in ipairs(delayed) do
    redis.call('ZREM', box .. ':delayed', member)
    redis.call('ZADD', box .. ':queue', (mail_state(box, member)), member)
  end
end

-- claim: agent_id, fence, claim_token, count (below 0: urgent mail, in a round), most orders, lease_ms, member and token of acks
-- -> now, next moment at which something falls due (-1 = none), why nothing may be begun now ('' = it may), then member,
-- deliveries, body for each message, or, when nothing may be begun, 1 when there is something that could be, else 0
register('claim', function(base, a)
  local agent_id, fence, token, count, lease_ms = a[1], a[2], a[3], math.min(math.abs(a[4]), MAX_PER_CALL), tonumber(a[6])
  local in_round = tonumber(a[4]) < 0
  check_fence(base, agent_id, fence, true)
  local box, now = mailbox(base, agent_id), now_ms()
  settle_mail(base, agent_id, a, 7, now)
  local reply = { now, -1, '' }
  -- Where the owner keeps up and nothing binds the town there is a queue and nothing else to be looked at.
  local plain = redis.call('EXISTS', box .. ':leases', box .. ':delayed', box .. ':state', base .. ':parked', base .. ':budgets',
    base .. ':reserved') == 0
  if not plain then
    for _, mail in ipairs(leased_by_token(box, token)) do
      reply[#reply + 1], reply[#reply + 2] = mail.member, mail.deliveries
      reply[#reply + 1] = redis.call('HGET', box .. ':bodies', string.sub(mail.member, 2)) or ''
    end
    if #reply > 3 then return reply end
    for _, member in ipairs(due_members(box .. ':leases', now)) do
      return_mail(base, agent_id, member, now, { counts = true, reason = 'its lease ran out' })
    end
    take_up(box, due_members(box .. ':delayed', now))
  end
  local held, held_until = start_blocker(base, agent_id, now, plain)
  -- Who only has to finish what it has may do so when that is nothing.
  if held and not in_round and (redis.call('EXISTS', box .. ':queue') == 1 or next_due(box .. ':delayed')
    or redis.call('HGET', base .. ':agent:' .. agent_id, 'desired_state') ~= 'drained') then
    unreserve(base, agent_id)
    return { now, held_until or -1, held, has_work(base, agent_id) and 1 or 0 }
  end
  local room = (plain or in_round) and 0 or count - redis.call('ZCARD', box .. ':queue')
  if room > 0 and room < count then
    take_up(box, redis.call('ZRANGE', box .. ':delayed', integer_text(WITH_NEXT), '+inf', 'BYSCORE', 'LIMIT', 0, room))
  end
  local front = redis.call('ZPOPMIN', box .. ':queue', count)
  local ids, taken, leases, lines, rest, orders = {}, {}, {}, {}, {}, 0
  for i = 1, #front, 2 do
    local member, n = front[i], #taken + 1
    -- What stands behind an order that is too many waits with it, so that nothing is overtaken.
    if string.sub(member, 1, 1) == 't' then orders = orders + 1 end
    if orders > tonumber(a[5]) or in_round and tonumber(front[i + 1]) >= SCORE_STEP then
      rest[#rest + 1], rest[#rest + 2] = front[i + 1], member
    else
      taken[n], ids[n], leases[2 * n - 1], leases[2 * n] = member, string.sub(member, 2), now + lease_ms, member
    end
  end
  if #rest > 0 then redis.call('ZADD', box .. ':queue', unpack(rest)) end
  if #taken > 0 then
    local states = plain and {} or redis.call('HMGET', box .. ':state', unpack(taken))
    local bodies, tail = redis.call('HMGET', box .. ':bodies', unpack(ids)), ' ' .. token .. ' ' .. integer_text(now)
    for i, member in ipairs(taken) do
      local _, before = parse_state(states[i])
      -- Servers write scores exactly below 2^53, some of them with an exponent where many digits are zeros.
      local score = string.find(front[2 * i], 'e', 1, true) and integer_text(tonumber(front[2 * i])) or front[2 * i]
      lines[2 * i - 1], lines[2 * i] = member, score .. ' ' .. before + 1 .. tail
      reply[3 * i + 1], reply[3 * i + 2], reply[3 * i + 3] = member, before + 1, bodies[i] or ''
    end
    redis.call('ZADD', box .. ':leases', unpack(leases))
    redis.call('HSET', box .. ':state', unpack(lines))
    if not plain and not in_round then reserve(base, agent_id) end
    return reply
  end
  if plain or in_round then return reply end
  unreserve(base, agent_id)
  for _, place in ipairs({ ':delayed', ':leases' }) do
    local due = next_due(box .. place)
    if due and (reply[2] == -1 or due < reply[2]) then reply[2] = due end
  end
  return reply
end)

-- ack: op, agent_id, then member and token of each -> for each 1 (removed) or 0 (the lease was no longer this one)
register_once('ack', function(base, a)
  return settle_mail(base, a[1], a, 2, now_ms())
end)

-- renew: agent_id, lease_ms, then member and token of each -> for each 1 (renewed) or 0 (lost)
register('renew', function(base, a)
  local box, until_ms, reply = mailbox(base, a[1]), now_ms() + a[2], {}
  for i = 3, #a, 2 do
    local held = is_held(box, a[i], a[i + 1])
    if held then redis.call('ZADD', box .. ':leases', until_ms, a[i]) end
    reply[#reply + 1] = held and 1 or 0
  end
  return reply
end)

-- nack: op, agent_id, delay_ms (-1: dead letters), counts (1 or 0), reason, then member and token of each -> for each queued, dead or stale
register_once('nack', function(base, a)
  local box, now, reply = mailbox(base, a[1]), now_ms(), {}
  for i = 5, #a, 2 do
    local how = { counts = a[3] == '1', reason = a[4], delay_ms = tonumber(a[2]) }
    reply[#reply + 1] = is_held(box, a[i], a[i + 1]) and return_mail(base, a[1], a[i], now, how) or 'stale'
  end
  notify(base, a[1], 'mail')
  return reply
end)

local PLACES = { { ':leases', 'leased' }, { ':queue', 'queued' }, { ':delayed', 'delayed' } }

-- peek: agent, limit -> name, then place, member, deliveries, body and score of each message in the order of delivery. The
-- score of a delayed one is the moment at which it is due, of a leased one that at which its lease ends.
register('peek', function(base, a)
  local agent_id, name = find_agent(base, a[1])
  local box, limit, reply = mailbox(base, agent_id), tonumber(a[2]), { name }
  for _, place in ipairs(PLACES) do
    local flat = redis.call('ZRANGE', box .. place[1], 0, limit - 1, 'WITHSCORES')
    for i = 1, #flat, 2 do
      if (#reply - 1) / 5 >= limit then break end
      local _, deliveries = mail_state(box, flat[i])
      local n, body = #reply, redis.call('HGET', box .. ':bodies', string.sub(flat[i], 2)) or ''
      reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4], reply[n + 5] = place[2], flat[i], deliveries, body, integer_text(tonumber(flat[i + 1]))
    end
  end
  return reply
end)

local COUNTED = { t = 5, q = 6, i = 7, c = 8 }

-- queued, leased, delayed, urgent, orders, questions, news, receipts, and how many of them wait for the next round
local function mail_counts(base, agent_id)
  local box = mailbox(base, agent_id)
  local counts = { 0, 0, 0, 0, 0, 0, 0, 0, redis.call('ZCOUNT', box .. ':delayed', integer_text(WITH_NEXT), '+inf') }
  for i, place in ipairs({ ':queue', ':leases', ':delayed' }) do
    local members = redis.call('ZRANGE', box .. place, 0, -1)
    counts[i] = #members
    for _, member in ipairs(members) do
      local slot = COUNTED[string.sub(member, 1, 1)]
      if slot then counts[slot] = counts[slot] + 1 end
      if place ~= ':queue' and tonumber((mail_state(box, member))) < SCORE_STEP then counts[4] = counts[4] + 1 end
    end
  end
  counts[4] = counts[4] + redis.call('ZCOUNT', box .. ':queue', '-inf', '(' .. integer_text(SCORE_STEP))
  return counts
end
