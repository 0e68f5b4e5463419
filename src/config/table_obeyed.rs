//! The directives that Tuff obeys or maps to something of its own, and those that only Tuff has.
//!
//! Names, defaults and ranges are those of Redis 8.2 unless the standing says otherwise. A new directive is one entry here; a
//! getter for it goes into `getters`, a line about it into conf/tuff.conf (tests insist on both ends agreeing).

use super::directive::*;
use super::lists::*;

const MAX: i64 = i64::MAX;
const MB: i64 = 1 << 20;

/// The directives with an effect.
pub const OBEYED: &[Directive] = &[
    // Connections.
    // Redis without a file listens everywhere; its redis.conf says this.
    list("bind", "127.0.0.1 -::1", read_addresses)
        .at_restart()
        .doc("Addresses to listen on; one that begins with - may be missing on this machine."),
    int_to("port", 6379, 0, 65535).at_restart().doc("The TCP port; 0 picks a free one."),
    yes_no("protected-mode", true).doc("Without a password, accept clients of this machine only."),
    int("tcp-backlog", 511, 0).at_start().doc("Connections the system may keep waiting to be accepted."),
    int("timeout", 0, 0).doc("Seconds after which an idle client is disconnected; 0: never."),
    int("tcp-keepalive", 300, 0).doc("Seconds between keepalive probes to quiet clients; 0: none."),
    unsigned("maxclients", 10000, 1, u32::MAX as i64).doc("Connections at the same time."),
    text("requirepass", "").doc("The password that clients must give with AUTH; empty: none."),
    memory("client-query-buffer-limit", 1 << 30, MB).doc("Bytes of requests a client may have unanswered."),
    list_in_lines(
        "client-output-buffer-limit",
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        read_output_limits,
        false,
        4,
    )
    .doc("For each class of clients: bytes of replies at most, bytes for at most so many seconds; 0: no limit."),
    signed_memory("proto-max-bulk-len", 512 * MB, MB).doc("Bytes in one argument, and in a string."),
    // Data.
    int("databases", 16, 1).at_start().doc("How many databases SELECT can choose from."),
    checked_text("dir", "./data", read_dir).protected().mapped(
        "the folder of the database (db) and of the checkpoints; made at the start, and fixed from then on",
    )
    .doc("The data folder."),
    choice("supervised", &["upstart", "systemd", "auto", "no"], 3)
        .at_start()
        .mapped("systemd is told when the server is ready and when it ends; auto: if there is a NOTIFY_SOCKET")
        .doc("The service manager to talk to."),
    yes_no("appendonly", true)
        .mapped("the log is always written; how often it reaches the disk is appendfsync's affair")
        .doc("Whether every change is logged."),
    choice("appendfsync", &["everysec", "always", "no"], 0)
        .doc("When the log is forced to the disk: each second, before each reply, or when the system likes."),
    // Memory.
    memory("maxmemory", 1 << 30, 0)
        .mapped("bounds the whole process, not the data; 0 is three quarters of the machine or the container, less than 64mb is 64mb")
        .doc("Memory for everything: hot keys, caches, write buffers and clients."),
    choice(
        "maxmemory-policy",
        &[
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "noeviction",
        ],
        7,
    )
    .mapped("no policy deletes keys; with hot-tier-policy auto an lfu policy keeps the often used in memory")
    .doc("Which keys leave memory first."),
    int("lfu-log-factor", 10, 0).doc("The larger, the more uses it takes to count as often used."),
    int("lfu-decay-time", 1, 0).doc("Minutes without use that cost a key one point of its counter; 0: it never falls."),
    // Encodings.
    unsigned("hash-max-listpack-entries", 512, 0, MAX)
        .or(&["hash-max-ziplist-entries"])
        .doc("Fields up to which OBJECT ENCODING calls a hash a listpack."),
    memory("hash-max-listpack-value", 64, 0)
        .or(&["hash-max-ziplist-value"])
        .doc("The longest field or value of a hash that is a listpack."),
    signed("list-max-listpack-size", -2, i32::MIN as i64, i32::MAX as i64)
        .or(&["list-max-ziplist-size"])
        .doc("Elements up to which a list is a listpack, or a size class from -1 (4kb) to -5 (64kb)."),
    unsigned("set-max-intset-entries", 512, 0, MAX).doc("Members up to which a set of integers is an intset."),
    unsigned("set-max-listpack-entries", 128, 0, MAX).doc("Members up to which a set is a listpack."),
    unsigned("set-max-listpack-value", 64, 0, MAX).doc("The longest member of a set that is a listpack."),
    unsigned("zset-max-listpack-entries", 128, 0, MAX)
        .or(&["zset-max-ziplist-entries"])
        .doc("Members up to which a sorted set is a listpack."),
    memory("zset-max-listpack-value", 64, 0)
        .or(&["zset-max-ziplist-value"])
        .doc("The longest member of a sorted set that is a listpack."),
    memory("stream-node-max-bytes", 4096, 0)
        .doc("Bytes of entries that an approximate trim of a stream takes or leaves together; 0: no bound."),
    signed("stream-node-max-entries", 100, 0, MAX)
        .doc("Entries that an approximate trim of a stream takes or leaves together; 0: no bound."),
    // Running.
    choice("loglevel", &["debug", "verbose", "notice", "warning", "nothing"], 2)
        .doc("How much is logged."),
    text("logfile", "").at_start().doc("The log's file; empty: standard output."),
    text("pidfile", "").at_start().doc("A file for the process id; empty: none."),
    yes_no("latency-tracking", true).doc("Whether INFO latencystats knows the commands' percentiles."),
    list("latency-tracking-info-percentiles", "50 99 99.9", read_percentiles)
        .doc("The percentiles that INFO latencystats shows."),
    signed("busy-reply-threshold", 5000, 0, MAX)
        .or(&["lua-time-limit"])
        .doc("Milliseconds after which what a script keeps from running is answered BUSY; 0: it waits."),
    signed("slowlog-log-slower-than", 10000, -1, MAX)
        .doc("Microseconds from which a command is in the slow log; -1: none is."),
    signed("slowlog-max-len", 128, 0, MAX).doc("Entries of the slow log."),
    checked_text("notify-keyspace-events", "", read_events).doc("Classes of keyspace events to publish."),
    unsigned("tracking-table-max-keys", 1_000_000, 0, MAX)
        .doc("Keys tracked for clients' caches; 0: no bound."),
    choice("enable-debug-command", NO_YES_LOCAL, 0).at_start().doc("Who may use DEBUG."),
    choice("enable-protected-configs", NO_YES_LOCAL, 0)
        .at_start()
        .mapped("local counts as yes")
        .doc("Whether CONFIG SET may change protected directives."),
    // Tuff's own.
    int_to("workers", 0, 0, 255).at_start().doc("Threads that run commands; 0: as many as the load needs, one for each core at most."),
    int_to("pool-threads", 16, 1, 1024).at_start().doc("Threads that read from the disk."),
    choice("hot-tier-policy", &["auto", "lru", "lfu"], 0)
        .doc("What stays in memory: the recently used, the often used, or as maxmemory-policy has it."),
    int_to("hot-tier-percent", 50, 1, 90).doc("The part of maxmemory for hot keys."),
    int_to("block-cache-percent", 25, 1, 90).doc("The part of maxmemory for blocks read from the disk."),
    int_to("write-buffer-percent", 15, 1, 90).doc("The part of maxmemory for changes not yet in sorted files."),
    yes_no("packing", true).doc("Whether small collections are stored as one value."),
    memory_to("packed-max-bytes", 1024, 64, MB).doc("Bytes up to which a collection is small."),
    memory_to("max-total-wal-size", 256 * MB, MB, 1 << 40)
        .at_start()
        .doc("Bytes of log at most; they are read again at a start after a crash."),
    int("checkpoint-keep", 1, 1).doc("Checkpoints that SAVE and BGSAVE leave in <dir>/checkpoints."),
    int_to("metrics-port", 0, 0, 65535).at_start().doc("The port of the Prometheus page; 0: there is none."),
    text("metrics-bind", "127.0.0.1").at_start().doc("The address of the Prometheus page."),
];

/// The words of directives that open something to nobody, to all, or to this machine.
pub const NO_YES_LOCAL: &[&str] = &["no", "yes", "local"];
