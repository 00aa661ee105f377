#!lua flags=allow-oom
-- Take away mirrors that are wrong, each as long as it is what was found wrong.
--
-- KEYS[1…n]  mirrors (STRING)
-- ARGV[1…n]  what each was found to hold
--
-- Returns how many were taken away. Who looks next fills them anew from PostgreSQL.
local dropped = 0
for i = 1, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[i] then
    dropped = dropped + redis.call('DEL', KEYS[i])
  end
end
return dropped
