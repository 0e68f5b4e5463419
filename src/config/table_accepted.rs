//! The directives of Redis that Tuff accepts and does nothing about, each with the reason, and the lines that are no settings.
//!
//! They are here so that a configuration made for Redis loads, CONFIG SET answers as Redis does, and CONFIG GET gives back
//! what was set. Who gives one a value other than its default is told that it has no effect.

use super::directive::*;
use super::lists::*;
use super::table_obeyed::NO_YES_LOCAL;

const MAX: i64 = i64::MAX;

const NO_REPLICATION: &str = "there is no replication yet: this server is always a primary";
const NO_CLUSTER: &str = "there is no cluster mode yet";
const NO_TLS: &str = "there is no TLS yet: put a TLS proxy in front";
const NO_UNIX_SOCKET: &str = "there are no unix sockets yet";
const NO_USERS: &str = "there are no ACL users yet, only requirepass";
const NO_RDB: &str = "no RDB files are written: SAVE and BGSAVE make checkpoints";
const NO_AOF: &str = "there is no append-only file: the log is RocksDB's, which prunes itself";
const NO_DEFRAG: &str = "memory is not defragmented: most data is on disk";
const NO_PINNING: &str = "threads are not pinned: use taskset or the service manager";
const NO_SYSLOG: &str = "there is no syslog: the service manager can forward the log";
const NO_SERVICE: &str = "it stays in the foreground: use a service manager";
const NO_TITLE: &str = "the process title stays as it is";
const NO_CRASH_REPORT: &str = "a crash is reported by the system";
const NO_OOM_SCORE: &str = "the OOM score is the service manager's affair";
const NO_MODULES: &str = "there are no modules";
const NO_EVICTION: &str = "keys are not evicted; what leaves memory stays on disk";
const NO_TICKS: &str = "there is no periodic tick to tune";
const NO_TABLES: &str = "there are no big hash tables to rehash";
const ALWAYS_LAZY: &str = "deleting is always lazy";
const OTHER_FORM: &str = "the form on disk is another";
const NO_LATENCY: &str = "there is no LATENCY command yet; INFO latencystats and the metrics page have times";
const NO_DEBUGGING: &str = "it exists for Redis' own tests";

/// The directives without an effect, and the lines that are no settings.
pub const ACCEPTED: &[Directive] = &[
    line("include", Line::Include).doc("Reads another file, or all that a pattern matches."),
    line("rename-command", Line::RenameCommand).doc("Gives a command another name, or takes it away."),
    line("loadmodule", Line::LoadModule).ignored(NO_MODULES).doc("Loads a module: an error here."),
    line("user", Line::User)
        .mapped("of the default user the password counts; other users are left out")
        .doc("Declares a user."),
    line("sentinel", Line::Sentinel).doc("Belongs to Sentinel: an error, as in Redis."),
    line("list-max-ziplist-entries", Line::Retired).doc("Old."),
    line("list-max-ziplist-value", Line::Retired).doc("Old."),
    line("lua-replicate-commands", Line::Retired).doc("Old."),
    line("io-threads-do-reads", Line::Retired).doc("Old."),
    // Sockets and TLS.
    text("unixsocket", "").at_start().ignored(NO_UNIX_SOCKET).doc("A unix socket to listen on."),
    octal("unixsocketperm", 0).at_start().ignored(NO_UNIX_SOCKET).doc("The permissions of the unix socket."),
    text("bind-source-addr", "").ignored(NO_REPLICATION).doc("The address outgoing connections come from."),
    unsigned("socket-mark-id", 0, 0, u32::MAX as i64)
        .at_start()
        .ignored("sockets are not marked")
        .doc("A mark for sockets."),
    unsigned("max-new-connections-per-cycle", 10, 1, 1000)
        .ignored("connections are accepted as they come")
        .doc("Connections accepted at once."),
    unsigned("max-new-tls-connections-per-cycle", 1, 1, 1000)
        .ignored(NO_TLS)
        .doc("TLS connections accepted at once."),
    int_to("tls-port", 0, 0, 65535).ignored(NO_TLS).doc("The port for TLS."),
    text("tls-cert-file", "").ignored(NO_TLS).doc("The server's certificate."),
    text("tls-key-file", "").ignored(NO_TLS).doc("The server's key."),
    text("tls-key-file-pass", "").ignored(NO_TLS).doc("The password of the server's key."),
    text("tls-client-cert-file", "").ignored(NO_TLS).doc("The certificate for outgoing connections."),
    text("tls-client-key-file", "").ignored(NO_TLS).doc("The key for outgoing connections."),
    text("tls-client-key-file-pass", "")
        .ignored(NO_TLS)
        .doc("The password of the key for outgoing connections."),
    text("tls-dh-params-file", "").ignored(NO_TLS).doc("Diffie-Hellman parameters."),
    text("tls-ca-cert-file", "").ignored(NO_TLS).doc("Certificates to trust."),
    text("tls-ca-cert-dir", "").ignored(NO_TLS).doc("A folder of certificates to trust."),
    choice("tls-auth-clients", &["no", "yes", "optional"], 1)
        .ignored(NO_TLS)
        .doc("Whether clients show certificates."),
    yes_no("tls-replication", false).ignored(NO_TLS).doc("TLS between primary and replicas."),
    yes_no("tls-cluster", false).ignored(NO_TLS).doc("TLS between the nodes of a cluster."),
    text("tls-protocols", "").ignored(NO_TLS).doc("Versions of TLS."),
    text("tls-ciphers", "").ignored(NO_TLS).doc("Ciphers up to TLS 1.2."),
    text("tls-ciphersuites", "").ignored(NO_TLS).doc("Ciphers of TLS 1.3."),
    yes_no("tls-prefer-server-ciphers", false).ignored(NO_TLS).doc("Whose order of ciphers counts."),
    yes_no("tls-session-caching", true).ignored(NO_TLS).doc("Whether TLS sessions are kept."),
    int("tls-session-cache-size", 20480, 0).ignored(NO_TLS).doc("TLS sessions kept."),
    int("tls-session-cache-timeout", 300, 0).ignored(NO_TLS).doc("Seconds a TLS session is kept."),
    // The process.
    yes_no("daemonize", false).at_start().ignored(NO_SERVICE).doc("Whether to run in the background."),
    yes_no("syslog-enabled", false).at_start().ignored(NO_SYSLOG).doc("Whether to log to syslog."),
    text("syslog-ident", "redis").at_start().ignored(NO_SYSLOG).doc("The name in syslog."),
    choice(
        "syslog-facility",
        &["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"],
        1,
    )
    .at_start()
    .ignored(NO_SYSLOG)
    .doc("The facility in syslog."),
    yes_no("crash-log-enabled", true).ignored(NO_CRASH_REPORT).doc("Whether a crash is reported in the log."),
    yes_no("crash-memcheck-enabled", true)
        .ignored(NO_CRASH_REPORT)
        .doc("Whether memory is tested after a crash."),
    yes_no("use-exit-on-panic", false)
        .unlisted()
        .ignored(NO_DEBUGGING)
        .doc("How a failed assertion ends the process."),
    yes_no("always-show-logo", false)
        .at_start()
        .ignored("there is no logo")
        .doc("Whether a start shows the logo."),
    yes_no("set-proc-title", true).at_start().ignored(NO_TITLE).doc("Whether the process gets a title."),
    checked_text("proc-title-template", "{title} {listen-addr} {server-mode}", read_title)
        .ignored(NO_TITLE)
        .doc("The process's title."),
    text("locale-collate", "")
        .ignored("text is compared by its bytes")
        .doc("The locale SORT compares text by."),
    text("ignore-warnings", "")
        .ignored("there are no such warnings")
        .doc("Warnings of the start to leave out."),
    choice("oom-score-adj", &["no", "yes", "relative", "absolute"], 0)
        .ignored(NO_OOM_SCORE)
        .doc("Whether to tell the system which process to end first."),
    list("oom-score-adj-values", "0 200 800", read_oom_scores)
        .ignored(NO_OOM_SCORE)
        .doc("The scores for that."),
    yes_no("disable-thp", true)
        .at_start()
        .ignored("there is no fork that huge pages could slow down")
        .doc("Whether to do without huge pages."),
    list("shutdown-on-sigint", "default", read_shutdown_flags)
        .ignored("a signal ends the server as SHUTDOWN does")
        .doc("How SIGINT ends the server."),
    list("shutdown-on-sigterm", "default", read_shutdown_flags)
        .ignored("a signal ends the server as SHUTDOWN does")
        .doc("How SIGTERM ends the server."),
    int_to("io-threads", 1, 1, 128)
        .at_start()
        .ignored("every worker reads and writes its own connections: see workers")
        .doc("Threads for sockets."),
    int("prefetch-batch-max-size", 16, 0).unlisted().ignored(OTHER_FORM).doc("Keys fetched ahead at once."),
    text("server-cpulist", "")
        .or(&["server_cpulist"])
        .at_start()
        .ignored(NO_PINNING)
        .doc("Processors for the server."),
    text("bio-cpulist", "")
        .or(&["bio_cpulist"])
        .at_start()
        .ignored(NO_PINNING)
        .doc("Processors for background threads."),
    text("aof-rewrite-cpulist", "")
        .or(&["aof_rewrite_cpulist"])
        .at_start()
        .ignored(NO_PINNING)
        .doc("Processors for rewriting."),
    text("bgsave-cpulist", "")
        .or(&["bgsave_cpulist"])
        .at_start()
        .ignored(NO_PINNING)
        .doc("Processors for saving."),
    int("hz", 10, 0).clamped(1, 500).ignored(NO_TICKS).doc("Ticks in a second."),
    yes_no("dynamic-hz", true).ignored(NO_TICKS).doc("Whether many clients mean more ticks."),
    int("watchdog-period", 0, 0)
        .unlisted()
        .ignored(NO_DEBUGGING)
        .doc("Milliseconds a command may take before it is reported."),
    yes_no("hide-user-data-from-log", false)
        .ignored("the log never holds users' data")
        .doc("Whether the log leaves data out."),
    // Saving and logging.
    list_in_lines("save", "", read_save, true, 2)
        .ignored("nothing is saved at intervals: every change is logged")
        .doc("When to save by itself."),
    yes_no("stop-writes-on-bgsave-error", true)
        .ignored(NO_RDB)
        .doc("Whether writes fail after a failed save."),
    yes_no("rdbcompression", true).ignored(NO_RDB).doc("Whether RDB files are compressed."),
    yes_no("rdbchecksum", true).at_start().ignored(NO_RDB).doc("Whether RDB files end with a checksum."),
    choice("sanitize-dump-payload", &["no", "yes", "clients"], 0)
        .ignored("RESTORE always checks what it is given")
        .doc("Whether RESTORE checks what it is given."),
    checked_text("dbfilename", "dump.rdb", read_dbfilename).protected().ignored(NO_RDB).doc("The RDB file."),
    yes_no("rdb-del-sync-files", false).ignored(NO_RDB).doc("Whether RDB files of replication are removed."),
    yes_no("rdb-save-incremental-fsync", true).ignored(NO_RDB).doc("Whether saving syncs little by little."),
    int("rdb-key-save-delay", 0, i32::MIN as i64)
        .unlisted()
        .ignored(NO_DEBUGGING)
        .doc("Microseconds to wait at each key saved."),
    int("key-load-delay", 0, i32::MIN as i64)
        .unlisted()
        .ignored(NO_DEBUGGING)
        .doc("Microseconds to wait at each key loaded."),
    int("loading-process-events-interval-bytes", 524288, 1024)
        .unlisted()
        .ignored(NO_DEBUGGING)
        .doc("Bytes loaded between looks at clients."),
    checked_text("appendfilename", "appendonly.aof", read_appendfilename)
        .at_start()
        .ignored(NO_AOF)
        .doc("The append-only file."),
    checked_text("appenddirname", "appendonlydir", read_appenddirname)
        .at_start()
        .ignored(NO_AOF)
        .doc("The folder of append-only files."),
    yes_no("no-appendfsync-on-rewrite", false).ignored(NO_AOF).doc("Whether rewriting suspends syncing."),
    int("auto-aof-rewrite-percentage", 100, 0).ignored(NO_AOF).doc("Growth after which to rewrite."),
    signed_memory("auto-aof-rewrite-min-size", 64 << 20, 0)
        .ignored(NO_AOF)
        .doc("The smallest file to rewrite."),
    yes_no("aof-load-truncated", true).ignored(NO_AOF).doc("Whether a torn file loads."),
    yes_no("aof-use-rdb-preamble", true).ignored(NO_AOF).doc("Whether files begin as RDB files."),
    yes_no("aof-timestamp-enabled", false).ignored(NO_AOF).doc("Whether files hold times."),
    yes_no("aof-rewrite-incremental-fsync", true)
        .ignored(NO_AOF)
        .doc("Whether rewriting syncs little by little."),
    yes_no("aof-disable-auto-gc", false).unlisted().ignored(NO_DEBUGGING).doc("Whether old files stay."),
    // Memory.
    int_to("maxmemory-samples", 5, 1, 64)
        .ignored("the hot tier keeps an exact order and takes no samples")
        .doc("Keys looked at before one is evicted."),
    int_to("maxmemory-eviction-tenacity", 10, 0, 100).ignored(NO_EVICTION).doc("How hard to try to evict."),
    memory_or_percent("maxmemory-clients", 0)
        .ignored("each client has its own limits")
        .doc("Memory of all clients together."),
    int_to("active-expire-effort", 1, 1, 10)
        .ignored("expired keys are found in order of time")
        .doc("How hard to look for expired keys."),
    yes_no("lazyexpire-nested-arbitrary-keys", true)
        .unlisted()
        .ignored(NO_DEBUGGING)
        .doc("Whether scripts expire keys."),
    yes_no("lazyfree-lazy-eviction", false).ignored(ALWAYS_LAZY).doc("Whether eviction is lazy."),
    yes_no("lazyfree-lazy-expire", false).ignored(ALWAYS_LAZY).doc("Whether expiry is lazy."),
    yes_no("lazyfree-lazy-server-del", false).ignored(ALWAYS_LAZY).doc("Whether overwriting is lazy."),
    yes_no("lazyfree-lazy-user-del", false).ignored(ALWAYS_LAZY).doc("Whether DEL is lazy."),
    yes_no("lazyfree-lazy-user-flush", false).ignored(ALWAYS_LAZY).doc("Whether FLUSHALL is lazy."),
    yes_no("replica-lazy-flush", false)
        .or(&["slave-lazy-flush"])
        .ignored(ALWAYS_LAZY)
        .doc("Whether a replica empties itself lazily."),
    yes_no("activerehashing", true).ignored(NO_TABLES).doc("Whether to rehash in idle time."),
    yes_no("jemalloc-bg-thread", true)
        .ignored("the allocator is set when it is compiled")
        .doc("Whether the allocator has a thread."),
    yes_no("activedefrag", false).ignored(NO_DEFRAG).doc("Whether to defragment memory."),
    memory("active-defrag-ignore-bytes", 100 << 20, 1).ignored(NO_DEFRAG).doc("Waste not worth it."),
    int_to("active-defrag-threshold-lower", 10, 0, 1000)
        .ignored(NO_DEFRAG)
        .doc("Waste, in percent, to begin at."),
    int_to("active-defrag-threshold-upper", 100, 0, 1000)
        .ignored(NO_DEFRAG)
        .doc("Waste, in percent, to work hardest at."),
    int_to("active-defrag-cycle-min", 1, 1, 99).ignored(NO_DEFRAG).doc("The least time for it, in percent."),
    int_to("active-defrag-cycle-max", 25, 1, 99).ignored(NO_DEFRAG).doc("The most time for it, in percent."),
    signed("active-defrag-max-scan-fields", 1000, 1, MAX)
        .ignored(NO_DEFRAG)
        .doc("Fields of a collection looked at in one go."),
    // Data types.
    int("list-compress-depth", 0, 0)
        .ignored("lists are compressed on disk as everything is")
        .doc("Nodes at a list's ends that stay uncompressed."),
    memory("hll-sparse-max-bytes", 3000, 0)
        .ignored("there are no HyperLogLogs yet")
        .doc("Bytes up to which a HyperLogLog is sparse."),
    yes_no("vset-force-single-threaded-execution", false).ignored(NO_MODULES).doc("How vector sets run."),
    // What happens, and how long it takes.
    signed("latency-monitor-threshold", 0, 0, MAX)
        .ignored(NO_LATENCY)
        .doc("Milliseconds from which LATENCY notes an event; 0: it notes none."),
    int("shutdown-timeout", 10, 0)
        .ignored("SHUTDOWN waits for replicas only, and there are none")
        .doc("Seconds SHUTDOWN waits at most."),
    // Users, scripts, modules.
    checked_text("aclfile", "", read_aclfile)
        .at_start()
        .mapped("a file is refused: what it forbids could not be forbidden")
        .doc("The file of users."),
    choice("acl-pubsub-default", &["allchannels", "resetchannels"], 1)
        .ignored(NO_USERS)
        .doc("The channels of a new user."),
    signed("acllog-max-len", 128, 0, MAX).ignored(NO_USERS).doc("Entries of the ACL log."),
    choice("enable-module-command", NO_YES_LOCAL, 0)
        .at_start()
        .ignored(NO_MODULES)
        .doc("Who may use MODULE."),
    yes_no("lua-enable-deprecated-api", false)
        .at_start()
        .unlisted()
        .ignored("scripts have none of them")
        .doc("Whether scripts have old functions."),
    choice("propagation-error-behavior", &["ignore", "panic", "panic-on-replicas"], 0)
        .ignored(NO_REPLICATION)
        .doc("What a failed command from the primary does."),
    // Replication.
    list("replicaof", "", read_primary)
        .or(&["slaveof"])
        .at_start()
        .ignored(NO_REPLICATION)
        .doc("The primary to follow."),
    text("masteruser", "").ignored(NO_REPLICATION).doc("The user at the primary."),
    text("masterauth", "").ignored(NO_REPLICATION).doc("The password at the primary."),
    yes_no("replica-serve-stale-data", true)
        .or(&["slave-serve-stale-data"])
        .ignored(NO_REPLICATION)
        .doc("Whether a replica answers without its primary."),
    yes_no("replica-read-only", true)
        .or(&["slave-read-only"])
        .ignored(NO_REPLICATION)
        .doc("Whether a replica refuses writes."),
    yes_no("replica-ignore-maxmemory", true)
        .or(&["slave-ignore-maxmemory"])
        .ignored(NO_REPLICATION)
        .doc("Whether a replica leaves evicting to its primary."),
    yes_no("replica-ignore-disk-write-errors", false)
        .ignored(NO_REPLICATION)
        .doc("Whether a replica goes on without its disk."),
    int("replica-priority", 100, 0)
        .or(&["slave-priority"])
        .ignored(NO_REPLICATION)
        .doc("The order of replicas in a failover."),
    text("replica-announce-ip", "")
        .or(&["slave-announce-ip"])
        .ignored(NO_REPLICATION)
        .doc("The address a replica says it has."),
    int_to("replica-announce-port", 0, 0, 65535)
        .or(&["slave-announce-port"])
        .ignored(NO_REPLICATION)
        .doc("The port a replica says it has."),
    yes_no("replica-announced", true).ignored(NO_REPLICATION).doc("Whether Sentinel shows a replica."),
    signed_memory("replica-full-sync-buffer-limit", 0, 0)
        .ignored(NO_REPLICATION)
        .doc("Bytes kept for a replica during a full sync."),
    yes_no("repl-diskless-sync", true).ignored(NO_REPLICATION).doc("Whether a full sync goes past the disk."),
    int("repl-diskless-sync-delay", 5, 0).ignored(NO_REPLICATION).doc("Seconds to wait for more replicas."),
    int("repl-diskless-sync-max-replicas", 0, 0)
        .ignored(NO_REPLICATION)
        .doc("Replicas after which not to wait."),
    choice("repl-diskless-load", &["disabled", "on-empty-db", "swapdb"], 0)
        .ignored(NO_REPLICATION)
        .doc("How a replica loads a full sync."),
    yes_no("repl-rdb-channel", true)
        .unlisted()
        .ignored(NO_REPLICATION)
        .doc("Whether a full sync has its own connection."),
    int("repl-ping-replica-period", 10, 1)
        .or(&["repl-ping-slave-period"])
        .ignored(NO_REPLICATION)
        .doc("Seconds between pings."),
    int("repl-timeout", 60, 1).ignored(NO_REPLICATION).doc("Seconds until a link counts as broken."),
    yes_no("repl-disable-tcp-nodelay", false)
        .ignored(NO_REPLICATION)
        .doc("Whether to send to replicas in larger parts."),
    signed_memory("repl-backlog-size", 1 << 20, 1)
        .ignored(NO_REPLICATION)
        .doc("Bytes kept for replicas that come back."),
    signed("repl-backlog-ttl", 3600, 0, MAX).ignored(NO_REPLICATION).doc("Seconds they are kept."),
    int("min-replicas-to-write", 0, 0)
        .or(&["min-slaves-to-write"])
        .ignored(NO_REPLICATION)
        .doc("Replicas that writing needs."),
    int("min-replicas-max-lag", 10, 0)
        .or(&["min-slaves-max-lag"])
        .ignored(NO_REPLICATION)
        .doc("Seconds they may be behind."),
    // Cluster.
    yes_no("cluster-enabled", false)
        .at_start()
        .ignored(NO_CLUSTER)
        .doc("Whether this is a node of a cluster."),
    text("cluster-config-file", "nodes.conf").at_start().ignored(NO_CLUSTER).doc("The file of nodes."),
    signed("cluster-node-timeout", 15000, 0, MAX)
        .ignored(NO_CLUSTER)
        .doc("Milliseconds until a node counts as gone."),
    int("cluster-ping-interval", 0, 0).unlisted().ignored(NO_CLUSTER).doc("Milliseconds between pings."),
    int_to("cluster-port", 0, 0, 65535).at_start().ignored(NO_CLUSTER).doc("The port of the cluster bus."),
    int("cluster-replica-validity-factor", 10, 0)
        .or(&["cluster-slave-validity-factor"])
        .ignored(NO_CLUSTER)
        .doc("How old a replica's data may be in a failover."),
    int("cluster-migration-barrier", 1, 0).ignored(NO_CLUSTER).doc("Replicas a primary keeps."),
    yes_no("cluster-allow-replica-migration", true)
        .ignored(NO_CLUSTER)
        .doc("Whether replicas move to where they are needed."),
    yes_no("cluster-require-full-coverage", true)
        .ignored(NO_CLUSTER)
        .doc("Whether all slots must be served."),
    yes_no("cluster-replica-no-failover", false)
        .or(&["cluster-slave-no-failover"])
        .ignored(NO_CLUSTER)
        .doc("Whether a replica stays one."),
    yes_no("cluster-allow-reads-when-down", false)
        .ignored(NO_CLUSTER)
        .doc("Whether a broken cluster answers reads."),
    yes_no("cluster-allow-pubsubshard-when-down", true)
        .ignored(NO_CLUSTER)
        .doc("Whether a broken cluster passes messages on."),
    memory("cluster-link-sendbuf-limit", 0, 0).ignored(NO_CLUSTER).doc("Bytes waiting on a link."),
    text("cluster-announce-ip", "").ignored(NO_CLUSTER).doc("The address a node says it has."),
    checked_text("cluster-announce-hostname", "", read_hostname)
        .ignored(NO_CLUSTER)
        .doc("The name a node says it has."),
    text("cluster-announce-human-nodename", "").ignored(NO_CLUSTER).doc("The name of a node in logs."),
    int_to("cluster-announce-port", 0, 0, 65535).ignored(NO_CLUSTER).doc("The port a node says it has."),
    int_to("cluster-announce-tls-port", 0, 0, 65535)
        .ignored(NO_CLUSTER)
        .doc("The TLS port a node says it has."),
    int_to("cluster-announce-bus-port", 0, 0, 65535)
        .ignored(NO_CLUSTER)
        .doc("The bus port a node says it has."),
    choice("cluster-preferred-endpoint-type", &["ip", "hostname", "unknown-endpoint"], 0)
        .ignored(NO_CLUSTER)
        .doc("What clients are sent to."),
    yes_no("cluster-slot-stats-enabled", false).ignored(NO_CLUSTER).doc("Whether slots are counted."),
    int_to("cluster-compatibility-sample-ratio", 0, 0, 100)
        .ignored(NO_CLUSTER)
        .doc("Commands checked for use in a cluster, in percent."),
];
