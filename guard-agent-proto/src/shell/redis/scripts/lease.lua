-- Begins every script. KEYS: lease, mark of an adoption, notes, logs. ARGV: owner, lease in milliseconds, and more.
--
-- Everything is read before anything is written, so that a key of another type leaves nothing half done. A
-- script that has written is not stopped any more: where memory may be out, what must be refused comes first
-- with a command that needs memory, and what must succeed with one that needs none.

local types = {'string', 'string', 'hash', 'stream', 'stream'}
local exists = {}
for i, key in ipairs(KEYS) do
    local found = redis.call('TYPE', key).ok
    if found ~= 'none' and found ~= types[i] then
        return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found)
    end
    exists[i] = found ~= 'none'
end

-- What is longer than ours is somebody else's, and is neither read nor sent.
local function field(name, longest)
    return redis.call('HSTRLEN', KEYS[3], name) > longest and '?' or redis.call('HGET', KEYS[3], name)
end

local owner = ARGV[1]
local holder = exists[1] and redis.call('GETRANGE', KEYS[1], 0, 31)
local adopter = exists[2] and redis.call('GETRANGE', KEYS[2], 0, 31)
local noted = field('owner', 31)

-- The stream is another's, its lease running or not. An adoption says so beside the lease: a lease alone that is another's
-- was written by none of ours, and is written over.
local fenced = (adopter or noted or owner) ~= owner

local function hold()
    redis.call('HDEL', KEYS[3], 'released')
    if noted ~= owner then
        redis.call('HSET', KEYS[3], 'owner', owner)
    end
    redis.call('SET', KEYS[1], owner, 'PX', ARGV[2])
end
