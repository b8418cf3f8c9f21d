-- ARGV goes on: how long an adoption is remembered, in milliseconds; `keep` or `delete`.

if fenced then
    return {'fenced'}
end
redis.call('DEL', KEYS[1])
if ARGV[4] == 'delete' then
    redis.call('UNLINK', KEYS[3], KEYS[4], KEYS[5])
elseif holder or exists[3] or exists[4] or exists[5] then
    redis.call('HSET', KEYS[3], 'released', '1')
end
if adopter then
    redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
return {'done'}
