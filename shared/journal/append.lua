--[[
One event, all or nothing: law, number, state, history, time to live, index, publish.

KEYS  1 state (hash)  2 history (stream)  3 queue's index (zset)  4 queues (zset)  5 queue's live jobs (zset)
      6 queue's state (hash)         7 troubles (list)
ARGV  1 event name    2 body: the event's JSON without "{"   3 attempt   4 queue
      5 states it may follow ("a,b")   6 state it leads to   7 "1" when it ends the attempt
      8 "1" when it ends the job       9 writer or ""       10 the writer's count
     11 epoch for a new record, the job's or the queue's          12 born (ms, 0: not told)  13 ttl (ms)  14 history length
     15 job's channel                 16 queue's channel     17 job id        18 event class

Answers {"ok" | "again", epoch, seq, cancel reason or ""} or {"refused", reason, state}.
]]
local state_key, history_key, index_key, queues_key, live_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local queue_key = KEYS[6]
local name, body, attempt, queue = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local follows, leads_to, ends_attempt, ends_job = ARGV[5], ARGV[6], ARGV[7] == '1', ARGV[8] == '1'
local writer, count, born, ttl = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[12]), tonumber(ARGV[13])
local writer_field = 'writer:' .. writer
local queued = name == 'job-queued'

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)

local record = redis.call('HMGET', state_key, 'epoch', 'seq', 'attempt', 'state', 'queue', 'over', 'born',
                          'cancel', writer_field)
local epoch, seq, state = record[1], tonumber(record[2] or '0'), record[4]
local at_attempt, over = tonumber(record[3] or '0'), tonumber(record[6] or '0')
local cancel = record[8] or ''
local terminal = state == 'completed' or state == 'failed' or state == 'cancelled'

local function refuse(reason) return {'refused', reason, state} end

local function begin()
  -- Redis refuses a script for want of memory only at its first write, and only if that one could grow: a DEL
  -- standing first would let every new job through, past maxmemory, until the machine ends the server.
  redis.call('HSET', state_key, 'epoch', ARGV[11])
  -- What stands under these names belongs to a life that is over: its numbers must not be taken for ours.
  redis.call('DEL', state_key, history_key)
  epoch, seq, at_attempt, over, cancel = ARGV[11], 0, 0, 0, ''
  redis.call('HSET', state_key, 'epoch', epoch, 'queue', queue, 'born', ARGV[12])
end

-- What belongs to the queue outlives every job in it: a short-lived job must not take a long-kept one off.
local function keep(key)
  if redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, ttl) end
end

local function list(key, number)
  redis.call('ZADD', key, number, ARGV[17])
  redis.call('ZREMRANGEBYRANK', key, 0, -10001)
  keep(key)
end

-- The event's place among those of all jobs of the queue.
local function count_in_queue()
  local queue_epoch = redis.call('HGET', queue_key, 'epoch')
  if not queue_epoch then
    queue_epoch = ARGV[11]
    redis.call('HSET', queue_key, 'epoch', queue_epoch)
    -- Listed by the numbers of a record that is gone, they would stand before or behind all that comes.
    redis.call('DEL', index_key, live_key)
  end
  local number = string.format('%d', redis.call('HINCRBY', queue_key, 'seq', 1))
  keep(queue_key)
  return queue_epoch, number
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
        return {'again', epoch, tonumber(seen_seq), cancel}
      end
    end
    -- Queued twice is once; but what waited out a delay and does so no longer was moved up by hand.
    local promoted = queued and attempt == at_attempt and over ~= attempt and state == 'delayed' and leads_to == 'waiting'
    if queued and attempt <= at_attempt and not promoted then return {'again', epoch, seq, cancel} end
    if attempt < at_attempt then return refuse('stale-attempt') end
    if attempt == at_attempt and not promoted then
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
local payload = '{"seq":' .. string.format('%d', seq) .. ',"epoch":"' .. epoch .. '",' .. body
local wire = '["' .. name .. '",' .. payload .. ']'
local changes = {'seq', string.format('%d', seq), 'attempt', attempt, 'state', leads_to, 'at', string.format('%d', now_ms)}
if ARGV[18] ~= 'log' then
  changes[#changes + 1] = 'event:' .. name
  changes[#changes + 1] = payload
end
if writer ~= '' then
  changes[#changes + 1] = writer_field
  changes[#changes + 1] = ARGV[3] .. ':' .. ARGV[10] .. ':' .. string.format('%d', seq)
end
if ends_attempt then
  changes[#changes + 1] = 'over'
  changes[#changes + 1] = attempt
end
redis.call('HSET', state_key, unpack(changes))
if attempt > at_attempt then
  for _, field in ipairs(redis.call('HKEYS', state_key)) do
    if string.sub(field, 1, 7) == 'writer:' and field ~= writer_field then redis.call('HDEL', state_key, field) end
  end
end
-- A request to cancel ends with the job, and a job queued anew starts without one; a retry in between keeps it.
if ends_job or (queued and attempt > at_attempt) then
  redis.call('HDEL', state_key, 'cancel')
  cancel = ''
end
local queue_epoch, number = count_in_queue()
redis.call('XADD', history_key, 'MAXLEN', '~', ARGV[14], string.format('%d', seq) .. '-0', 'e', wire, 'q', number)
redis.call('PEXPIRE', state_key, ttl)
redis.call('PEXPIRE', history_key, ttl)
list(index_key, number)
if ends_job then redis.call('ZREM', live_key, ARGV[17]) else list(live_key, number) end
redis.call('ZADD', queues_key, now_ms, queue)
redis.call('ZREMRANGEBYRANK', queues_key, 0, -1001)
-- Owed an alert, whoever tells the event and whatever becomes of him. The oldest of 10,000 go: the first are known.
if name == 'job-stalled' or (name == 'job-failed' and ends_job) then
  redis.call('RPUSH', KEYS[7], name .. ' ' .. queue .. ' ' .. ARGV[3] .. ' ' .. ARGV[17])
  redis.call('LTRIM', KEYS[7], -10000, -1)
  keep(KEYS[7])
end
redis.call('PUBLISH', ARGV[15], wire)
-- Who watches the queue is told where in it the event stands; whoever lost some goes on from there.
redis.call('PUBLISH', ARGV[16], '["' .. name .. '",{"queuePosition":{"seq":' .. number .. ',"epoch":"' .. queue_epoch
  .. '"},' .. string.sub(payload, 2) .. ']')
return {'ok', epoch, seq, cancel}
