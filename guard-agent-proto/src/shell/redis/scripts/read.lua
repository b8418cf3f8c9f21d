-- ARGV goes on: first entry; most blocks; most bytes of a block, and bytes that are enough. There is one log.
--
-- Entries are looked at one by one: another program may have put there what fits no memory. One that is too large is
-- the last of its call.

if fenced then
    return {'fenced'}
end
hold()

local most, largest, enough = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
-- Entries that are looked at in one call.
local looks = 1000
local highest = '18446744073709551615'

-- The decimal number above one that may exceed what Lua can count.
local function above(number)
    local head, nines = string.match(number, '^(.-)(9*)$')
    local digit = (tonumber(string.sub(head, -1)) or 0) + 1
    return string.sub(head, 1, -2) .. digit .. string.rep('0', #nines)
end

-- The content of a block or nothing, and how many bytes the entry has.
local function content(fields)
    local block
    local bytes = 0
    for i = 1, #fields, 2 do
        bytes = bytes + #fields[i] + #fields[i + 1]
        if not block and fields[i] == 'b' then
            block = fields[i + 1]
        end
    end
    return bytes <= largest and block, bytes
end

local blocks = {}
-- What has a place behind the last block is met again by whoever reads on from there.
local skipped, since, bytes = 0, 0, 0
local last
local at = ARGV[3]
for _ = 1, looks do
    if at == '' or #blocks >= 2 * most or bytes >= enough then
        break
    end
    local entry = redis.call('XRANGE', KEYS[4], at, '+', 'COUNT', 1)[1]
    if not entry then
        at = ''
        break
    end
    local id, part = string.match(entry[1], '^(%d+)-(%d+)$')
    local block, length = content(entry[2])
    bytes = bytes + length
    if block and part == '0' then
        blocks[#blocks + 1] = id
        blocks[#blocks + 1] = block
        last = id
        skipped = skipped + since
        since = 0
    elseif id == last then
        skipped = skipped + 1
    else
        since = since + 1
    end
    if part ~= highest then
        at = id .. '-' .. above(part)
    elseif id ~= highest then
        at = above(id) .. '-0'
    else
        at = ''
    end
end
if #blocks == 0 then
    skipped = since
end
return {'done', {at, tostring(skipped), blocks}}
