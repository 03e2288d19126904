--[[
Events of one job, in order, in one step; each is all or nothing: law, number, state, history, time to live, index,
publish. Where somebody asked for the job to be cancelled, those after the first are left out.

KEYS  1 state (hash)  2 history (stream)  3 queue's index (zset)  4 queues (zset)  5 queue's live jobs (zset)
      6 queue's state (hash)         7 troubles (list)
ARGV  1 queue   2 job id   3 job's channel   4 queue's channel
      5 epoch for a new record, the job's or the queue's   6 born (ms, 0: not told)   7 ttl (ms)   8 history length
      9 name of a job's state, with %s for its id
      then for each event
      1 name    2 body: the event's JSON without "{"   3 attempt
      4 states it may follow ("a,b")   5 state it leads to   6 "1" when it ends the attempt
      7 "1" when it ends the job       8 writer or ""        9 the writer's count   10 event class
     11 how far the job is (hundredths of a percent) or ""
     12 "weight:parent" of a child or ""   13 "share:total:weight" of a parent's children or ""

Answers for each event {"ok" | "again", epoch, seq, cancel reason or "", parent whose numbers it changed or "",
share of the job's children or ""} or {"refused", reason, state}.
]]
local state_key, history_key, index_key, queues_key, live_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local queue_key = KEYS[6]
local queue, job_id, new_epoch = ARGV[1], ARGV[2], ARGV[5]
local born, ttl = tonumber(ARGV[6]), tonumber(ARGV[7])
local COMMON, EACH = 9, 13

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)

-- What belongs to the queue outlives every job in it: a short-lived job must not take a long-kept one off.
local function keep(key, until_ms)
  if redis.call('PTTL', key) < until_ms - now_ms then redis.call('PEXPIREAT', key, string.format('%d', until_ms)) end
end

-- The event's place among those of all jobs of the queue, in whose lists it stands by it.
local function count_in_queue(ends_job)
  local place = redis.call('HMGET', queue_key, 'epoch', 'kept')
  local queue_epoch, kept = place[1], tonumber(place[2] or '0')
  if not queue_epoch then
    queue_epoch, kept = new_epoch, 0
    redis.call('HSET', queue_key, 'epoch', queue_epoch)
    -- Listed by the numbers of a record that is gone, they would stand before or behind all that comes.
    redis.call('DEL', index_key, live_key)
  end
  local count = redis.call('HINCRBY', queue_key, 'seq', 1)
  local number = string.format('%d', count)
  redis.call('ZADD', index_key, number, job_id)
  local entered = 0
  if ends_job then redis.call('ZREM', live_key, job_id) else entered = redis.call('ZADD', live_key, number, job_id) end
  if kept < now_ms + ttl then
    -- A minute more than is needed, so that it costs once a minute and not with each event.
    kept = now_ms + ttl + 60000
    redis.call('HSET', queue_key, 'kept', string.format('%d', kept))
    keep(queue_key, kept)
    keep(index_key, kept)
    keep(live_key, kept)
  elseif entered == 1 then
    -- The last live job takes the list with it, and the next begins a new one.
    keep(live_key, kept)
  end
  if count % 64 == 0 then
    -- Evicted by itself it began anew without an end.
    keep(index_key, kept)
    redis.call('ZREMRANGEBYRANK', index_key, 0, -10001)
    redis.call('ZREMRANGEBYRANK', live_key, 0, -10001)
  end
  if redis.call('ZADD', queues_key, now_ms, queue) == 1 then redis.call('ZREMRANGEBYRANK', queues_key, 0, -1001) end
  return queue_epoch, number
end

local COUNTED = {active = 'active', stalled = 'active', completed = 'completed', failed = 'failed',
                 cancelled = 'cancelled'}
local OVER = {completed = true, failed = true, cancelled = true}

-- Change a parent's numbers by what this child differs from how it was counted last: see shared/rollup.py. Answers how
-- it is counted now, or nothing where nothing changed. Of a parent that is over the numbers go on, for a child's end
-- may be told late, and nothing is told. One that is unknown, or whose record somebody garbled, must not keep its child
-- from being recorded.
local function count_for_parent(kin, state, done_now)
  local done, as, weight, parent = string.match(kin, '^(%d+):([%a-]+):(%d+):(.+)$')
  if not done then return end
  local parent_key, as_now = string.format(ARGV[9], parent), COUNTED[state] or 'waiting'
  done_now = done_now or tonumber(done)
  if as == as_now and done_now == tonumber(done) then return end
  local its = redis.pcall('HMGET', parent_key, 'share', 'state')
  if its.err or not its[1] then return end
  local function add(field, number)
    redis.pcall('HINCRBY', parent_key, 'children:' .. field, string.format('%.0f', number))
  end
  if as == '-' then
    add('known', 1)
    add('known-weight', tonumber(weight))
  end
  if as ~= as_now then
    if as ~= '-' and as ~= 'waiting' then add(as, -1) end
    if as_now ~= 'waiting' then add(as_now, 1) end
  end
  if done_now ~= tonumber(done) then add('sum', tonumber(weight) * (done_now - tonumber(done))) end
  add('changes', 1)
  return string.format('%d:%s:%s:%s', done_now, as_now, weight, parent), not OVER[its[2]] and parent or nil
end

local function append(at)
  local name, body, attempt = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local follows, leads_to, ends_attempt, ends_job = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6] == '1', ARGV[at + 7] == '1'
  local writer, count = ARGV[at + 8], tonumber(ARGV[at + 9])
  local writer_field = 'writer:' .. writer
  local queued = name == 'job-queued'

  local record = redis.call('HMGET', state_key, 'epoch', 'seq', 'attempt', 'state', 'queue', 'over', 'born',
                            'cancel', writer_field, 'kin', 'share')
  local epoch, seq, state = record[1], tonumber(record[2] or '0'), record[4]
  local at_attempt, over = tonumber(record[3] or '0'), tonumber(record[6] or '0')
  local cancel, kin, share = record[8] or '', record[10], record[11] or ''
  local terminal = state == 'completed' or state == 'failed' or state == 'cancelled'

  local function refuse(reason) return {'refused', reason, state} end

  local function begin()
    -- Redis refuses a script for want of memory only at its first write, and only if that one could grow: a DEL
    -- standing first would let every new job through, past maxmemory, until the machine ends the server.
    redis.call('HSET', state_key, 'epoch', new_epoch)
    -- What stands under these names belongs to a life that is over: its numbers must not be taken for ours.
    redis.call('DEL', state_key, history_key)
    epoch, seq, at_attempt, over, cancel, kin, share = new_epoch, 0, 0, 0, '', false, ''
    redis.call('HSET', state_key, 'epoch', epoch, 'queue', queue, 'born', ARGV[6])
  end

  if epoch then
    -- Before anything else: an id used again in another queue must not take the record from a job that still runs.
    if queue ~= record[5] and not terminal then return refuse('other-queue') end
    local same_life = not (queued and born > 0 and tonumber(record[7]) > 0 and born ~= tonumber(record[7]))
    if not same_life then
      if terminal or born > tonumber(record[7]) then begin() else return refuse('superseded') end
    else
      if queue ~= record[5] then return refuse('other-queue') end
      if record[9] then
        local seen_attempt, seen_count, seen_seq = string.match(record[9], '^(%d+):(%d+):(%d+)$')
        if tonumber(seen_attempt) == attempt and count <= tonumber(seen_count) then
          return {'again', epoch, tonumber(seen_seq), cancel, '', share}
        end
      end
      -- Queued twice is once; but what waited for its children, or out a delay, and does so no longer has moved on.
      local moved = queued and attempt == at_attempt and over ~= attempt
                    and string.find(',' .. follows .. ',', ',' .. state .. ',', 1, true)
      if queued and attempt <= at_attempt and not moved then return {'again', epoch, seq, cancel, '', share} end
      if attempt < at_attempt then return refuse('stale-attempt') end
      if attempt == at_attempt then
        if over == attempt then return refuse('closed') end
        if not string.find(',' .. follows .. ',', ',' .. state .. ',', 1, true) then
          return refuse('out-of-order')
        end
      end
    end
  else
    begin()
  end

  seq = seq + 1
  local seq_text = string.format('%d', seq)
  local payload = '{"seq":' .. seq_text .. ',"epoch":"' .. epoch .. '",' .. body
  local wire = '["' .. name .. '",' .. payload .. ']'
  local changes = {'seq', seq_text, 'attempt', attempt, 'state', leads_to, 'at', string.format('%d', now_ms)}
  if ARGV[at + 10] ~= 'log' then
    changes[#changes + 1] = 'event:' .. name
    changes[#changes + 1] = payload
  end
  if writer ~= '' then
    changes[#changes + 1] = writer_field
    changes[#changes + 1] = ARGV[at + 3] .. ':' .. ARGV[at + 9] .. ':' .. seq_text
  end
  if ends_attempt then
    changes[#changes + 1] = 'over'
    changes[#changes + 1] = attempt
  end
  if queued and ARGV[at + 13] ~= '' and share == '' then
    local given, total, weight = string.match(ARGV[at + 13], '^(%d+):(%d+):(%d*)$')
    share = given
    for _, each in ipairs({'share', share, 'children:total', total, 'children:weight', weight}) do
      changes[#changes + 1] = each
    end
  end
  local parent
  if not kin and ARGV[at + 12] ~= '' then
    kin = '0:-:' .. ARGV[at + 12]
    changes[#changes + 1] = 'kin'
    changes[#changes + 1] = kin
  end
  if kin then
    local anew = (attempt > at_attempt or ends_attempt) and 0 or nil
    local counted
    counted, parent = count_for_parent(kin, leads_to, ends_job and 10000 or tonumber(ARGV[at + 11]) or anew)
    if counted then
      changes[#changes + 1] = 'kin'
      changes[#changes + 1] = counted
    end
  end
  redis.call('HSET', state_key, unpack(changes))
  if attempt > at_attempt and at_attempt > 0 then
    for _, field in ipairs(redis.call('HKEYS', state_key)) do
      if string.sub(field, 1, 7) == 'writer:' and field ~= writer_field then redis.call('HDEL', state_key, field) end
    end
  end
  -- A request to cancel ends with the job, and a job queued anew starts without one; a retry in between keeps it.
  if (ends_job or (queued and attempt > at_attempt)) and cancel ~= '' then
    redis.call('HDEL', state_key, 'cancel')
    cancel = ''
  end
  local queue_epoch, number = count_in_queue(ends_job)
  redis.call('XADD', history_key, 'MAXLEN', '~', ARGV[8], seq_text .. '-0', 'e', wire, 'q', number)
  redis.call('PEXPIRE', state_key, ttl)
  redis.call('PEXPIRE', history_key, ttl)
  -- Owed an alert, whoever tells the event and whatever becomes of him. The oldest of 10,000 go: the first are known.
  if name == 'job-stalled' or (name == 'job-failed' and ends_job) then
    redis.call('RPUSH', KEYS[7], name .. ' ' .. queue .. ' ' .. ARGV[at + 3] .. ' ' .. ARGV[2])
    redis.call('LTRIM', KEYS[7], -10000, -1)
    keep(KEYS[7], now_ms + ttl)
  end
  redis.call('PUBLISH', ARGV[3], wire)
  -- Who watches the queue is told where in it the event stands; whoever lost some goes on from there.
  redis.call('PUBLISH', ARGV[4], '["' .. name .. '",{"queuePosition":{"seq":' .. number .. ',"epoch":"' .. queue_epoch
    .. '"},' .. string.sub(payload, 2) .. ']')
  return {'ok', epoch, seq, cancel, parent or '', share}
end

local answers = {}
for at = COMMON, #ARGV - 1, EACH do
  local answer = append(at)
  answers[#answers + 1] = answer
  if answer[1] ~= 'refused' and answer[4] ~= '' then break end
end
return answers
