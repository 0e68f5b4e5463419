//! The random commands, one table a family, one line a command. A new family is a new table here and its name in `FAMILIES`.

use super::template::{Compare, Compare::*, Entry};

/// Every family: its name for `TUFF_DIFF_FAMILIES`, how often it is picked, its table.
pub const FAMILIES: &[(&str, u64, &[Entry])] = &[
    ("string", 30, STRINGS),
    ("hash", 40, HASHES),
    ("list", 12, LISTS),
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
    // Elements from few, so that looking for one finds it.
    (8, "{LPUSH|RPUSH} <list> (<field>)+ (<field>)+", Exact),
    (6, "LINSERT <list> {BEFORE|AFTER} <field> {<field>|<value>}", Exact),
    (4, "LREM <list> {0|<index>} <field>", Exact),
    (4, "LSET <list> {0|1|2|3|-1|-2|-3|9|-9|20|x} {<field>|<value>}", Exact),
    (3, "LINDEX <list> <index>", Exact),
    (2, "LTRIM <list> {0|1|<index>} {-1|-2|-3|<index>}", Exact),
    (3, "LPOS <list> <field> [RANK <index>] [COUNT <count>] [MAXLEN <count>]", Exact),
    (4, "LMOVE <list> <list> {LEFT|RIGHT} {LEFT|RIGHT}", Exact),
    (2, "RPOPLPUSH <list> <list>", Exact),
    (2, "LMPOP {1|2} (<list>)+ {LEFT|RIGHT} [COUNT <count>]", Exact),
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
