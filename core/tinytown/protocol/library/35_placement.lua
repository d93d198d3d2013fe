-- Placement: which of the hosts that could take an agent does. It needs the agent's backend, all of its labels and room.
--
-- Of these it is the one on which the agent's session was, if it has one, else the least loaded. Each host asks for itself;
-- its answer follows from one picture of them all, so that agents that come at once are spread evenly over hosts that
-- are asked in any order. A host that has not renewed its lease for longer than it should have is not waited for.

local function words_in(text)
  local words = {}
  for word in string.gmatch(text or '', '%S+') do words[word] = true end
  return words
end

local function read_host(base, id)
  local backends, labels, capacity, name, root, lease_ms = unpack(redis.call('HMGET', base .. ':host:' .. id,
    'backends', 'labels', 'capacity', 'name', 'root', 'lease_ms'))
  return { id = id, backends = words_in(backends), labels = words_in(labels), capacity = tonumber(capacity or MAX_PER_CALL),
    home = (name or '') .. ' ' .. (root or ''), agents = redis.call('SCARD', base .. ':host:' .. id .. ':agents'),
    lease_ms = tonumber(lease_ms or 0) }
end

-- All hosts that may be counted on; first the one that asks, with the backends that it says it has. What the others are answered
-- of its load it must see as they do, or two would leave an agent to each other for ever.
local function hosts_for(base, asking, backends, now)
  local hosts = { read_host(base, asking) }
  hosts[1].backends = backends
  local flat = redis.call('ZRANGE', base .. ':hosts', integer_text(now), '+inf', 'BYSCORE', 'WITHSCORES')
  for i = 1, #flat, 2 do
    local host = flat[i] ~= asking and read_host(base, flat[i])
    if host and tonumber(flat[i + 1]) - now >= host.lease_ms / 2 then hosts[#hosts + 1] = host end
  end
  return hosts
end

local function fits(host, cli, labels)
  if not host.backends[cli] then return false end
  for _, label in ipairs(labels) do
    if not host.labels[label] then return false end
  end
  return true
end

live_hosts = function(base, now)
  local hosts = {}
  for i, id in ipairs(redis.call('ZRANGE', base .. ':hosts', integer_text(now), '+inf', 'BYSCORE')) do hosts[i] = read_host(base, id) end
  return hosts
end

fits_a_host = function(base, agent_id, hosts)
  local cli, labels = unpack(redis.call('HMGET', base .. ':agent:' .. agent_id, 'cli', 'labels'))
  labels = labels and labels ~= '' and cjson.decode(labels) or {}
  for _, host in ipairs(hosts) do
    if fits(host, cli, labels) then return true end
  end
  return false
end

-- The host that is to take an agent; nil and why when there is none.
local function choose_host(hosts, cli, labels, home)
  local best, full
  for _, host in ipairs(hosts) do
    if fits(host, cli, labels) then
      local has_room = host.agents < host.capacity
      full = full or not has_room
      if has_room and host.home == home then return host end
      if has_room and (not best or host.agents / host.capacity < best.agents / best.capacity) then best = host end
    end
  end
  if best then return best end
  if full then return nil, 'waiting for room: every kernel that could take it is full' end
  local wishes = { 'with the backend "' .. cli .. '"' }
  for _, label in ipairs(labels) do
    local name = string.match(label, '^host=(.+)$')
    wishes[#wishes + 1] = name and 'on host "' .. name .. '"' or 'with the label "' .. label .. '"'
  end
  return nil, 'waiting for a kernel ' .. table.concat(wishes, ', ')
end
