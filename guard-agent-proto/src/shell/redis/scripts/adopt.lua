-- ARGV goes on: how long the adoption is remembered, in milliseconds; most notes, most bytes of a note and of all.

-- A lease without an end is none.
local is_ours = holder == owner
if holder and not is_ours and redis.call('PTTL', KEYS[1]) >= 0 then
    return {'fenced'}
end
local lost = 0
for i = 1, 2 do
    -- A Redis stream that was emptied still exists: without one, the entries are lost.
    if not exists[i + 3] and redis.call('HEXISTS', KEYS[3], 'last:' .. i) == 1 then
        lost = lost + 1
    end
end

local count = redis.call('HLEN', KEYS[3])
if count > tonumber(ARGV[4]) then
    return redis.error_reply('WRONGTYPE ' .. KEYS[3] .. ' has ' .. count .. ' fields, more than any of ours')
end
local notes = {tostring(lost)}
local rest = tonumber(ARGV[6])
for _, name in ipairs(redis.call('HKEYS', KEYS[3])) do
    if string.sub(name, 1, 5) == 'note:' then
        local length = redis.call('HSTRLEN', KEYS[3], name)
        local value = ''
        -- What is left out counts as damaged.
        if #name <= 128 and length <= tonumber(ARGV[5]) and length <= rest then
            value = redis.call('HGET', KEYS[3], name)
        end
        rest = rest - #value
        notes[#notes + 1] = string.sub(name, 1, 128)
        notes[#notes + 1] = value
    end
end

hold()
if not is_ours then
    redis.call('SET', KEYS[2], owner, 'PX', ARGV[3])
end
return {'done', notes}
