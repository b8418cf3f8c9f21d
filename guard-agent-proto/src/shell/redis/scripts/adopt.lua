-- ARGV goes on: how long the adoption is remembered, in milliseconds.

-- A lease without an end is none.
local is_ours = holder == owner
if holder and not is_ours and redis.call('PTTL', KEYS[1]) >= 0 then
    return {'fenced'}
end
local lost = 0
for i = 1, 2 do
    -- A Redis stream that was emptied still exists: without one, the entries are lost.
    if not exists[i + 3] and redis.call('HGET', KEYS[3], 'last:' .. i) then
        lost = lost + 1
    end
end
local notes = redis.call('HGETALL', KEYS[3])
table.insert(notes, 1, tostring(lost))
hold()
if not is_ours then
    redis.call('SET', KEYS[2], owner, 'PX', ARGV[3])
end
return {'done', notes}
