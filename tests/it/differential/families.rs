//! The random commands, one table a family, one line a command. A new family is a new table here and its name in `FAMILIES`.

use super::template::{Compare, Compare::*, Entry};

/// Every family: its name for `TUFF_DIFF_FAMILIES`, how often it is picked, its table.
pub const FAMILIES: &[(&str, u64, &[Entry])] = &[
    ("string", 30, STRINGS),
    ("hash", 40, HASHES),
    ("list", 12, LISTS),
    ("zset", 30, ZSETS),
    ("key", 25, KEYS),
    ("database", 3, DATABASES),
    ("transaction", 10, TRANSACTIONS),
];

const STRINGS: &[Entry] = &[
    (10, "GET {<str>|<num>}", Exact),
    (10, "SET <str> <value>", Exact),
    (3, "SET <num> <int>", Exact),
    (8, "SET {<str>|<num>} <value> [NX|XX] [GET] [EX <far>|PX <farms>|EXAT <at>|PXAT <atms>|KEEPTTL]", Exact),
    (1, "SET <str> <value> {EX|PX|EXAT|PXAT} <past>", Exact),
    (1, "SET <str> <value> [NX] [XX] [GET] [KEEPTTL] [EX <far>] [PX <farms>]", Exact),
    (2, "SETNX <str> <value>", Exact),
    (1, "SETEX <str> {<far>|<past>} <value>", Exact),
    (1, "PSETEX <str> {<farms>|<past>} <value>", Exact),
    (2, "GETSET <str> <value>", Exact),
    (2, "GETDEL <str>", Exact),
    (3, "GETEX <str> [EX <far>|PX <farms>|EXAT <at>|PXAT <atms>|PERSIST|PXAT 1]", Exact),
    (4, "MGET (<key>)+", Exact),
    (3, "MSET (<str> <value>)+", Exact),
    (2, "MSETNX (<str> <value>)+", Exact),
    (4, "APPEND <str> <value>", Exact),
    (3, "STRLEN <str>", Exact),
    (4, "{GETRANGE|SUBSTR} <str> <index> <index>", Exact),
    (4, "SETRANGE <str> <offset> <value>", Exact),
    (4, "{INCR|DECR} <num>", Exact),
    (4, "{INCRBY|DECRBY} <num> <int>", Exact),
    (3, "INCRBYFLOAT <num> <float>", Exact),
];

const HASHES: &[Entry] = &[
    (20, "HSET <hash> (<field> <value>)+", Exact),
    (
        1,
        "HSET <hash> (<field> <value>)+ (<field> <value>)+ (<field> <value>)+ (<field> <value>)+ (<field> <value>)+",
        Exact,
    ),
    (2, "HMSET <hash> (<field> <value>)+", Exact),
    (3, "HSETNX <hash> <field> <value>", Exact),
    (8, "HGET <hash> <field>", Exact),
    (5, "HMGET <hash> (<field>)+", Exact),
    (6, "HGETALL <hash>", Pairs),
    (12, "HDEL <hash> (<field>)+", Exact),
    (3, "HLEN <hash>", Exact),
    (2, "HSTRLEN <hash> <field>", Exact),
    (2, "HEXISTS <hash> <field>", Exact),
    (2, "HKEYS <hash>", Sorted),
    (2, "HVALS <hash>", Sorted),
    (4, "HINCRBY <hash> <field> <int>", Exact),
    (4, "HINCRBYFLOAT <hash> <field> <float>", Exact),
    (2, "HRANDFIELD <hash> [<count> [WITHVALUES]]", PickedFrom("HGETALL")),
    (1, "HRANDFIELD <hash> -3 [WITHVALUES]", PickedFrom("HGETALL")),
    (2, "HSCAN <hash> 0 [MATCH <pattern>] [COUNT <scancount>] [NOVALUES]", Scan),
    (3, "HGETDEL <hash> FIELDS 1 <field>", Exact),
    (1, "HGETDEL <hash> FIELDS {1|2} (<field>)+", Exact),
];

const LISTS: &[Entry] = &[
    (8, "{LPUSH|RPUSH} <list> (<value>)+", Exact),
    (2, "{LPUSHX|RPUSHX} <list> (<value>)+", Exact),
    (6, "{LPOP|RPOP} <list>", Exact),
    (3, "{LPOP|RPOP} <list> <count>", Exact),
    (3, "LLEN <list>", Exact),
    (6, "LRANGE <list> <index> <index>", Exact),
    (2, "LRANGE <list> 0 -1", Exact),
];

const ZSETS: &[Entry] = &[
    (20, "ZADD <zset> [NX|XX] [GT|LT] [CH] (<score> <member>)+", Exact),
    (
        3,
        "ZADD <zset> [XX] (<score> <member>)+ (<score> <member>)+ (<score> <member>)+ (<score> <member>)+",
        Exact,
    ),
    (4, "ZADD <zset> [NX|XX] [GT|LT] [CH] INCR <score> <member>", Exact),
    (1, "ZADD <zset> [NX] [XX] [GT] [LT] [CH] [INCR] (<score> <member>)+", Exact),
    (5, "ZINCRBY <zset> <score> <member>", Exact),
    (8, "ZREM <zset> (<member>)+", Exact),
    (5, "ZSCORE <zset> <member>", Exact),
    (3, "ZMSCORE <zset> (<member>)+", Exact),
    (3, "ZCARD <zset>", Exact),
    (5, "{ZRANK|ZREVRANK} <zset> <member> [WITHSCORE]", Exact),
    (6, "ZRANGE <zset> 0 -1 [REV] WITHSCORES", Exact),
    (5, "ZRANGE <zset> <index> <index> [REV] [WITHSCORES] [LIMIT 0 -1]", Exact),
    (5, "ZRANGE <zset> <bound> <bound> BYSCORE [REV] [WITHSCORES] [LIMIT <index> <index>]", Exact),
    (3, "ZREVRANGE <zset> <index> <index> [WITHSCORES]", Exact),
    (
        5,
        "{ZRANGEBYSCORE|ZREVRANGEBYSCORE} <zset> <bound> <bound> [WITHSCORES] [LIMIT <index> <index>]",
        Exact,
    ),
    (5, "ZCOUNT <zset> <bound> <bound>", Exact),
    (2, "ZRANGESTORE <zset> <zset> <index> <index> [REV]", Exact),
    (2, "ZRANGESTORE <zset> <zset> <bound> <bound> BYSCORE [REV] [LIMIT <count> <count>]", Exact),
    (3, "ZREMRANGEBYSCORE <zset> <bound> <bound>", Exact),
    (3, "ZREMRANGEBYRANK <zset> <index> <index>", Exact),
    (6, "{ZPOPMIN|ZPOPMAX} <zset> [<count>]", Exact),
    (3, "ZMPOP {1 <zset>|2 <zset> <zset>} {MIN|MAX} [COUNT <count>]", Exact),
    (2, "ZRANDMEMBER <zset> [<count> [WITHSCORES]]", PickedFrom("ZRANGE ? 0 -1 WITHSCORES")),
    (1, "ZRANDMEMBER <zset> -3 [WITHSCORES]", PickedFrom("ZRANGE ? 0 -1 WITHSCORES")),
    (3, "ZSCAN <zset> 0 [MATCH <pattern>] [COUNT <scancount>]", Scan),
    (
        3,
        "{ZUNION|ZINTER} 2 <zset> <zset> [WEIGHTS <score> <score>] [AGGREGATE {SUM|MIN|MAX}] [WITHSCORES]",
        Exact,
    ),
    (1, "{ZUNION|ZINTER|ZDIFF} 3 <zset> <zset> <zset> WITHSCORES", Exact),
    (2, "ZDIFF 2 <zset> <zset> [WITHSCORES]", Exact),
    (
        2,
        "{ZUNIONSTORE|ZINTERSTORE} <zset> 2 <zset> <zset> [WEIGHTS <score> <score>] [AGGREGATE {SUM|MIN|MAX}]",
        Exact,
    ),
    (1, "ZDIFFSTORE <zset> 2 <zset> <zset>", Exact),
    (2, "ZINTERCARD 2 <zset> <zset> [LIMIT <count>]", Exact),
    (1, "{BZPOPMIN|BZPOPMAX} <zset> <zset> 0.001", Exact),
    (1, "BZMPOP 0.001 2 <zset> <zset> {MIN|MAX} [COUNT <count>]", Exact),
    (4, "OBJECT ENCODING <zset>", Exact),
    // Names are told apart only where all scores are equal; what Redis does elsewhere is chance.
    (10, "ZADD <lex> (0 <member>)+", Exact),
    (2, "ZREM <lex> (<member>)+", Exact),
    (4, "{ZRANGEBYLEX|ZREVRANGEBYLEX} <lex> <lexbound> <lexbound> [LIMIT <index> <index>]", Exact),
    (3, "ZRANGE <lex> <lexbound> <lexbound> BYLEX [REV] [LIMIT <index> <index>]", Exact),
    (3, "ZLEXCOUNT <lex> <lexbound> <lexbound>", Exact),
    (2, "ZREMRANGEBYLEX <lex> <lexbound> <lexbound>", Exact),
    (1, "ZRANGESTORE <zset> <lex> <lexbound> <lexbound> BYLEX [REV]", Exact),
];

const KEYS: &[Entry] = &[
    (6, "{DEL|UNLINK} (<key>)+", Exact),
    (4, "{EXISTS|TOUCH} (<key>)+", Exact),
    (4, "TYPE <key>", Exact),
    (4, "EXPIRE <key> <far> [NX|XX|GT|LT]", Exact),
    (3, "PEXPIRE <key> <farms> [NX|XX|GT|LT]", Exact),
    (3, "EXPIREAT <key> <at> [NX|XX|GT|LT]", Exact),
    (3, "PEXPIREAT <key> <atms> [NX] [XX] [GT] [LT]", Exact),
    (2, "{EXPIRE|PEXPIRE} <key> {-1|-1000|0|x}", Exact),
    (1, "{EXPIREAT|PEXPIREAT} <key> {-1|1|0|x} [GT|LT]", Exact),
    (4, "TTL <key>", Near(5)),
    (4, "PTTL <key>", Near(5000)),
    (3, "EXPIRETIME <key>", Near(5)),
    (3, "PEXPIRETIME <key>", Near(5000)),
    (3, "PERSIST <key>", Exact),
    (3, "RENAME <key> <key>", Exact),
    (3, "RENAMENX <key> <key>", Exact),
    (4, "COPY <key> <key> [DB <db>] [REPLACE]", Exact),
    (1, "RANDOMKEY", PickedFrom("KEYS *")),
    (2, "KEYS <pattern>", Sorted),
    (2, "SCAN 0 [MATCH <pattern>] [COUNT <scancount>] [TYPE <type>]", Scan),
    (5, "OBJECT ENCODING <key>", Compare::Encoding),
    (1, "OBJECT REFCOUNT <key>", SHARED),
    (1, "OBJECT FREQ <key>", Exact),
    (4, "DBSIZE", Exact),
];

/// OBJECT REFCOUNT counts sharers inside Redis, which is nothing a client may rely on: only "there or not" is compared.
const SHARED: Compare = Near(i64::MAX);

const DATABASES: &[Entry] = &[
    (20, "SELECT <db>", Exact),
    (10, "MOVE <key> <db>", Exact),
    (3, "SWAPDB <db> <db>", Exact),
    (1, "FLUSHDB [ASYNC|SYNC]", Exact),
    (1, "PING [hello]", Exact),
    (1, "ECHO <value>", Exact),
    (1, "NOSUCH <key> <value>", Exact),
];

const TRANSACTIONS: &[Entry] = &[
    (6, "MULTI", Exact),
    (10, "EXEC", Exact),
    (1, "DISCARD", Exact),
    (6, "WATCH (<key>)+", Exact),
    (1, "UNWATCH", Exact),
];
