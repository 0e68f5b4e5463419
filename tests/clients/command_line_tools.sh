#!/usr/bin/env bash
# redis-cli and redis-benchmark work against the server at TUFF_PORT, in both protocols, without an error or a warning.
set -euo pipefail
port=${TUFF_PORT:?the port of the server}
cli() { redis-cli -e -h 127.0.0.1 -p "$port" "$@"; }
fail() { echo "  FAILED  $*"; exit 1; }
ok() { echo "  ok      $*"; }

expect() { # expect TEXT COMMAND...
    local wanted=$1 got; shift
    got=$("$@" 2>&1) || fail "$*: $got"
    [ "$got" = "$wanted" ] || fail "$*: '$got' instead of '$wanted'"
}

expect PONG cli PING
expect OK cli SET tools:text "some text"
expect "some text" cli GET tools:text
expect 2 cli HSET tools:hash a 1 b 2
expect $'a\n1\nb\n2' cli HGETALL tools:hash
expect '1# "a" => "1"
2# "b" => "2"' cli -3 --no-raw HGETALL tools:hash
expect 3 cli RPUSH tools:list x y z
expect $'x\ny\nz' cli LRANGE tools:list 0 -1
sorted_scan() { cli --scan --pattern 'tools:*' | sort; }
expect $'tools:hash\ntools:list\ntools:text' sorted_scan
set_from_stdin() { printf 'from standard input' | cli -x SET tools:text; }
expect OK set_from_stdin
expect "from standard input" cli GET tools:text
ok "redis-cli runs commands, in RESP2 and RESP3"

loaded=$(printf 'SET tools:mass:%s value\r\n' {1..1000} | cli --pipe 2>&1) || fail "--pipe: $loaded"
grep -q 'errors: 0, replies: 1000' <<<"$loaded" || fail "--pipe: $loaded"
ok "redis-cli --pipe loads"

info=$(cli INFO)
grep -q '^redis_version:8\.2' <<<"$info" || fail "INFO names no redis_version 8.2"
grep -q '^db0:keys=' <<<"$info" || fail "INFO names no db0"
ok "redis-cli INFO shows version and keyspace"

tests=get,set,incr,hset,mset,lpush,rpush,lpop,rpop
for options in "-P 1 -n 20000" "-P 16 -n 100000" "-P 16 -n 50000 -c 1"; do
    # shellcheck disable=SC2086
    output=$(redis-benchmark -h 127.0.0.1 -p "$port" -t "$tests" -r 10000 -d 64 --csv $options 2>&1) ||
        fail "redis-benchmark $options: $output"
    grep -qiE 'error|warn' <<<"$output" && fail "redis-benchmark $options: $output"
    for name in SET GET INCR HSET 'MSET (10 keys)' LPUSH RPUSH LPOP RPOP; do
        grep -q "^\"$name\"," <<<"$output" || fail "redis-benchmark $options has no line for $name: $output"
    done
    ok "redis-benchmark $options"
done
