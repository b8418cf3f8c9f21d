-- ARGV goes on: first entry, number of entries. There is one log.

if fenced then
    return {'fenced'}
end
hold()
return {'done', redis.call('XRANGE', KEYS[4], ARGV[3], '+', 'COUNT', ARGV[4])}
