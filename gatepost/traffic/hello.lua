-- A node begins on a new connection.
--
-- KEYS[1]  its hash, see counters.lua.
-- ARGV     seconds, or empty; prefix; a name for an era, should none have begun; the node.
--
-- An era ends when this server loses its data; then each node counts in anew what it had counted.
-- Returns epoch, seq, reply, era, and how many nodes are alive.

local now = tonumber(ARGV[1])
if not now then
  now = tonumber(redis.call('TIME')[1])
end
local prefix = ARGV[2]
redis.call('SET', prefix .. 'era', ARGV[3], 'NX', 'EX', 2800000)
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('EXPIRE', KEYS[1], 86400)
redis.call('ZADD', prefix .. 'nodes', now, ARGV[4])
local last = redis.call('HMGET', KEYS[1], 'seq', 'reply')
return { tostring(epoch), last[1] or '', last[2] or '', redis.call('GET', prefix .. 'era'),
         redis.call('ZCOUNT', prefix .. 'nodes', now - 10, '+inf') }
