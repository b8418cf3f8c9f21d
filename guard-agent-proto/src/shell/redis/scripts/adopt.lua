-- ARGV goes on: how long the adoption is remembered, in milliseconds.

if holder and holder ~= owner then
    return {'fenced'}
end
local notes = redis.call('HGETALL', KEYS[3])
hold()
if not holder then
    redis.call('SET', KEYS[2], owner, 'PX', ARGV[3])
end
return {'done', notes}
