#!/usr/bin/env bash
# redis-cli's reports on a server (--bigkeys, --memkeys, --hotkeys, --scan, --stat, --latency) and all default tests of redis-benchmark
# run against the server at TUFF_PORT without an error, and say what is so.
set -euo pipefail
port=${TUFF_PORT:?the port of the server}
cli() { redis-cli -e -h 127.0.0.1 -p "$port" "$@"; }
fail() { echo "  FAILED  $*"; exit 1; }
ok() { echo "  ok      $*"; }

has() { # has LINE TEXT: the text has such a line
    grep -qF -- "$1" <<<"$2" || fail "no '$1' in: $2"
}

report() { # report OPTION...: what redis-cli says, without an error or a warning
    local said
    said=$(cli "$@" 2>&1) || fail "redis-cli $*: $said"
    grep -qiE '^(error|warning)|ERR |WRONGTYPE|NOPERM' <<<"$said" && fail "redis-cli $*: $said"
    echo "$said"
}

# One key of each type is by far the biggest of its kind.
fill() {
    local i
    for i in {1..300}; do
        echo "SET small:$i value"
        echo "HSET big:hash field:$i value:$i"
        echo "RPUSH big:list element:$i"
        echo "SADD big:set member:$i"
        echo "ZADD big:zset $i member:$i"
    done
    echo "SET big:string $(printf 'x%.0s' {1..5000})"
    printf '%s\n' "RPUSH list a" "HSET hash a 1" "SADD set a" "ZADD zset 1 a"
}
loaded=$(fill | cli --pipe 2>&1) || fail "--pipe: $loaded"
has "errors: 0, replies: 1505" "$loaded"

said=$(report --bigkeys)
has "Sampled 309 keys in the keyspace!" "$said"
has "Biggest string found '\"big:string\"' has 5000 bytes" "$said"
has "Biggest   list found '\"big:list\"' has 300 items" "$said"
has "Biggest    set found '\"big:set\"' has 300 members" "$said"
has "Biggest   zset found '\"big:zset\"' has 300 members" "$said"
has "Biggest   hash found '\"big:hash\"' has 300 fields" "$said"
has "301 strings with 6500 bytes" "$said"
ok "redis-cli --bigkeys finds the biggest key of each type"

for options in "" "--memkeys-samples 0"; do
    # shellcheck disable=SC2086
    said=$(report --memkeys $options)
    has "Sampled 309 keys in the keyspace!" "$said"
    for type in string list set zset hash; do
        grep -qE "^Biggest +$type found '\"big:$type\"' has [0-9]{4,5} bytes" <<<"$said" || fail "--memkeys, $type: $said"
    done
done
ok "redis-cli --memkeys finds the heaviest key of each type"

policy=$(cli CONFIG GET maxmemory-policy | tail -1)
said=$(cli --hotkeys 2>&1 || true)
has "ERR An LFU maxmemory policy is not selected" "$said"
report CONFIG SET maxmemory-policy allkeys-lfu >/dev/null
for _ in {1..3000}; do echo "GET small:7"; done | cli --pipe >/dev/null
said=$(report --hotkeys)
has "Sampled 309 keys in the keyspace!" "$said"
grep -qE '^hot key found with counter: [0-9]+	keyname: "small:7"$' <<<"$said" || fail "--hotkeys: $said"
report CONFIG SET maxmemory-policy "$policy" >/dev/null
ok "redis-cli --hotkeys finds the key in use, under an lfu policy"

scanned() { cli --scan "$@" | sort | xargs; }
[ "$(scanned --pattern 'big:*')" = "big:hash big:list big:set big:string big:zset" ] || fail "--scan: $(scanned --pattern 'big:*')"
[ "$(scanned --pattern '[hlsz]*t')" = "list set zset" ] || fail "--scan with a class: $(scanned --pattern '[hlsz]*t')"
[ "$(scanned | wc -w)" = 309 ] || fail "--scan misses keys"
ok "redis-cli --scan lists what matches"

# It goes on until its reader is gone.
said=$( (cli -i 0.05 --stat 2>&1 || true) | head -4)
grep -qE '^309 +[0-9.]+[KM] +[0-9]+ +0 +[0-9]+ \(\+[0-9]+\) +[0-9]+' <<<"$said" || fail "--stat: $said"
ok "redis-cli --stat shows keys, memory, clients, requests"

said=$(report -i 0.2 --latency)
grep -qE '^[0-9]+ [0-9]+ [0-9.]+ [0-9]+$' <<<"$said" || fail "--latency: $said"
ok "redis-cli --latency measures"

for options in "-P 1 -n 2000 -c 10" "-P 16 -n 20000 -r 1000" "-P 16 -n 20000 -r 1000 -3"; do
    report FLUSHALL >/dev/null
    # shellcheck disable=SC2086
    output=$(redis-benchmark -h 127.0.0.1 -p "$port" --csv $options 2>&1) || fail "redis-benchmark $options: $output"
    grep -qiE 'error|warn' <<<"$output" && fail "redis-benchmark $options: $output"
    for name in PING_INLINE PING_MBULK SET GET INCR LPUSH RPUSH LPOP RPOP SADD HSET SPOP ZADD ZPOPMIN \
        'LPUSH (needed to benchmark LRANGE)' 'LRANGE_100 (first 100 elements)' 'LRANGE_300 (first 300 elements)' \
        'LRANGE_500 (first 500 elements)' 'LRANGE_600 (first 600 elements)' 'MSET (10 keys)'; do
        has "\"$name\"," "$output"
    done
    ok "all default tests of redis-benchmark $options"
done
