-- ARGV goes on, for each log: expected id or nothing, number of blocks, (id, bytes)..., number of entries to
-- remove, entries...; then number of notes to set, (field, value)..., number of notes to delete, fields...

if fenced then
    return {'fenced'}
end

local at = 2

-- First and last index of the next list.
local function list(width)
    local first = at + 2
    at = at + 1 + width * tonumber(ARGV[at + 1])
    return first, at
end

-- Whether one decimal number, which may exceed what Lua can count, is lower than another.
local function lower(a, b)
    return #a < #b or (#a == #b and a < b)
end

local logs = {}
local diverged = false
local appends = false
for i = 1, 2 do
    local log = {key = KEYS[i + 3], field = 'last:' .. i}
    -- A Redis stream that was emptied still exists: without one, the entries are lost.
    local ours = exists[i + 3] and field(log.field, 20) or '0'
    -- Above ours is what somebody else wrote.
    local above = redis.call('XREVRANGE', log.key, '+', ours .. '-1', 'COUNT', 1)
    log.last = above[1] and string.match(above[1][1], '^%d+') or ours
    at = at + 1
    local expected = ARGV[at]
    log.first, log.stop = list(2)
    log.first_removed, log.last_removed = list(1)
    if log.first < log.stop and ARGV[log.stop - 1] == ours then
        -- This very operation was made before.
        log.stop = log.first - 1
    else
        diverged = diverged or (expected ~= '' and expected ~= log.last)
        local previous = log.last
        for j = log.first, log.stop, 2 do
            diverged = diverged or not lower(previous, ARGV[j])
            previous = ARGV[j]
        end
    end
    appends = appends or log.first < log.stop
    logs[i] = log
end
if diverged then
    hold()
    return {'diverged', logs[1].last, logs[2].last}
end

-- Lua takes some thousand arguments at once.
local function call_with(command, key, first, last)
    for i = first, last, 1000 do
        redis.call(command, key, unpack(ARGV, i, math.min(i + 999, last)))
    end
end

-- Without blocks it is refused nothing.
if not appends then
    hold()
end
for _, log in ipairs(logs) do
    for i = log.first, log.stop, 2 do
        redis.call('XADD', log.key, ARGV[i] .. '-0', 'b', ARGV[i + 1])
    end
    if log.first < log.stop then
        redis.call('HSET', KEYS[3], log.field, ARGV[log.stop - 1])
    end
end
call_with('HSET', KEYS[3], list(2))
for _, log in ipairs(logs) do
    call_with('XDEL', log.key, log.first_removed, log.last_removed)
end
call_with('HDEL', KEYS[3], list(1))
if appends then
    hold()
end
return {'done'}
