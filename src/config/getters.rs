//! The settings as the rest of the server wants them: typed, with units in their names, cheap enough for every path.
//!
//! Numbers are one relaxed load; texts are one reference count. Derived figures (the parts of `maxmemory`, `workers` when it is
//! 0) are computed here, so that CONFIG GET keeps showing what was set.

use super::directive::index_of;
use super::{Config, ConfigError, DIR, REQUIREPASS, TABLE};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A smaller `maxmemory` counts as this.
pub(super) const MEMORY_BYTES_MIN: u64 = 64 << 20;

/// When the log is forced to the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendFsync {
    /// Once a second.
    Everysec,
    /// Before a reply shows a change.
    Always,
    /// When the system likes.
    No,
}

/// Who may use DEBUG.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DebugCommand {
    /// Nobody.
    No,
    /// Everybody.
    Yes,
    /// Connections over the loopback.
    Local,
}

/// What the hot tier keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HotPolicy {
    /// The recently used.
    Lru,
    /// The often used.
    Lfu,
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Much.
    Verbose,
    /// What one wants in production.
    Notice,
    /// Only trouble.
    Warning,
    /// Nothing at all.
    Nothing,
}

/// A class of clients in `client-output-buffer-limit`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientClass {
    /// Ordinary clients.
    Normal,
    /// Replicas.
    Replica,
    /// Clients with subscriptions.
    Pubsub,
}

/// How many bytes of replies a client may have waiting; 0: no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputLimit {
    /// Never more than this.
    pub hard_bytes: u64,
    /// More than this only for a while.
    pub soft_bytes: u64,
    /// How long.
    pub soft_seconds: u64,
}

/// Getters of numbers: a name, the directive, its type.
macro_rules! numbers {
    ($($(#[$doc:meta])* $getter:ident($name:literal) -> $type:ty;)*) => {
        impl Config {
            $(
                $(#[$doc])*
                pub fn $getter(&self) -> $type {
                    const INDEX: usize = index_of(&TABLE, $name);
                    let number = self.number(INDEX);
                    // Ranges in the table fit the type; where they do not, the nearest end is meant.
                    <$type>::try_from(number).unwrap_or(if number < 0 { 0 } else { <$type>::MAX })
                }
            )*
        }
    };
}

/// Getters of `yes` and `no`.
macro_rules! flags {
    ($($(#[$doc:meta])* $getter:ident($name:literal);)*) => {
        impl Config {
            $(
                $(#[$doc])*
                pub fn $getter(&self) -> bool {
                    const INDEX: usize = index_of(&TABLE, $name);
                    self.number(INDEX) != 0
                }
            )*
        }
    };
}

/// Getters of texts.
macro_rules! texts {
    ($($(#[$doc:meta])* $getter:ident($name:literal);)*) => {
        impl Config {
            $(
                $(#[$doc])*
                pub fn $getter(&self) -> Arc<String> {
                    const INDEX: usize = index_of(&TABLE, $name);
                    self.text(INDEX)
                }
            )*
        }
    };
}

numbers! {
    /// The TCP port; 0: a free one.
    port("port") -> u16;
    /// Connections the system may keep waiting.
    tcp_backlog("tcp-backlog") -> u32;
    /// Seconds after which an idle client is disconnected; 0: never.
    timeout_seconds("timeout") -> u64;
    /// Seconds between keepalive probes; 0: none.
    tcp_keepalive_seconds("tcp-keepalive") -> u64;
    /// Keys remembered for client-side caching; 0: no bound.
    tracking_table_keys_max("tracking-table-max-keys") -> u64;
    /// Connections at the same time.
    maxclients("maxclients") -> usize;
    /// How many databases there are.
    databases("databases") -> u32;
    /// The longest argument and string, bytes.
    bulk_len_max("proto-max-bulk-len") -> u64;
    /// Bytes of unanswered requests of a client.
    query_buffer_bytes_max("client-query-buffer-limit") -> usize;
    /// `lfu-log-factor`.
    lfu_log_factor("lfu-log-factor") -> u32;
    /// `lfu-decay-time`, minutes.
    lfu_decay_minutes("lfu-decay-time") -> u32;
    /// `hash-max-listpack-entries`.
    hash_entries_max("hash-max-listpack-entries") -> usize;
    /// `hash-max-listpack-value`, bytes.
    hash_value_bytes_max("hash-max-listpack-value") -> usize;
    /// `list-max-listpack-size`: elements, or a size class below zero.
    list_size_max("list-max-listpack-size") -> i64;
    /// `set-max-intset-entries`.
    set_intset_entries_max("set-max-intset-entries") -> usize;
    /// `set-max-listpack-entries`.
    set_entries_max("set-max-listpack-entries") -> usize;
    /// `set-max-listpack-value`, bytes.
    set_value_bytes_max("set-max-listpack-value") -> usize;
    /// `zset-max-listpack-entries`.
    zset_entries_max("zset-max-listpack-entries") -> usize;
    /// `zset-max-listpack-value`, bytes.
    zset_value_bytes_max("zset-max-listpack-value") -> usize;
    /// `stream-node-max-bytes`.
    stream_node_bytes_max("stream-node-max-bytes") -> usize;
    /// `stream-node-max-entries`.
    stream_node_entries_max("stream-node-max-entries") -> i64;
    /// `busy-reply-threshold`, milliseconds.
    busy_reply_threshold_ms("busy-reply-threshold") -> u64;
    /// From how many microseconds a command is in the slow log; below zero none is.
    slowlog_slower_than_us("slowlog-log-slower-than") -> i64;
    /// Entries of the slow log.
    slowlog_entries_max("slowlog-max-len") -> usize;
    /// Threads that read from the disk.
    pool_threads("pool-threads") -> usize;
    /// `packed-max-bytes`.
    packed_bytes_max("packed-max-bytes") -> usize;
    /// `max-total-wal-size`, bytes.
    wal_bytes_max("max-total-wal-size") -> u64;
    /// How many checkpoints stay.
    checkpoint_keep("checkpoint-keep") -> usize;
    /// The port of the Prometheus page; 0: there is none.
    metrics_port("metrics-port") -> u16;
}

flags! {
    /// `protected-mode`.
    protected_mode("protected-mode");
    /// Small collections are stored as one value.
    packing("packing");
    /// `latency-tracking`.
    latency_tracking("latency-tracking");
}

texts! {
    /// The log's file; empty: standard output.
    logfile("logfile");
    /// The file for the process id; empty: none.
    pidfile("pidfile");
    /// Classes of keyspace events.
    notify_keyspace_events("notify-keyspace-events");
    /// The address of the Prometheus page.
    metrics_bind("metrics-bind");
}

impl Config {
    /// The password; empty: none.
    pub fn requirepass(&self) -> Arc<String> {
        self.text(REQUIREPASS)
    }

    /// Addresses to listen on, as they were given: one may begin with `-` (it may be missing), or be `*` or `::*`.
    pub fn bind(&self) -> Vec<String> {
        const INDEX: usize = index_of(&TABLE, "bind");
        self.text(INDEX).split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Hosts to listen on, and whether each may be missing on this machine: `bind` with its signs read.
    pub fn listen_addresses(&self) -> Vec<(String, bool)> {
        let read = |name: String| {
            let (host, may_be_missing) = match name.strip_prefix('-') {
                Some(host) => (host, true),
                None => (name.as_str(), false),
            };
            let host = match host {
                "*" => "0.0.0.0",
                "::*" => "::",
                host => host,
            };
            (host.to_owned(), may_be_missing)
        };
        self.bind().into_iter().map(read).collect()
    }

    /// The data folder, absolute.
    pub fn dir(&self) -> PathBuf {
        // Collected from its components, the path loses each `.` in it.
        self.folder.join(self.text(DIR).as_str()).components().collect()
    }

    /// The limits of a class of clients.
    pub fn output_limit(&self, class: ClientClass) -> OutputLimit {
        let [hard, soft, seconds] = &self.output_limits[class as usize];
        OutputLimit {
            hard_bytes: hard.load(Ordering::Relaxed),
            soft_bytes: soft.load(Ordering::Relaxed),
            soft_seconds: seconds.load(Ordering::Relaxed),
        }
    }

    /// After how long a script counts as busy, microseconds; nothing: it never does.
    pub fn busy_after_us(&self) -> Option<u64> {
        Some(self.busy_reply_threshold_ms().saturating_mul(1000)).filter(|us| *us > 0)
    }

    /// When the log is forced to the disk.
    pub fn appendfsync(&self) -> AppendFsync {
        const INDEX: usize = index_of(&TABLE, "appendfsync");
        match self.number(INDEX) {
            1 => AppendFsync::Always,
            2 => AppendFsync::No,
            _ => AppendFsync::Everysec,
        }
    }

    /// Who may use DEBUG.
    pub fn enable_debug_command(&self) -> DebugCommand {
        const INDEX: usize = index_of(&TABLE, "enable-debug-command");
        match self.number(INDEX) {
            1 => DebugCommand::Yes,
            2 => DebugCommand::Local,
            _ => DebugCommand::No,
        }
    }

    /// `maxmemory-policy`, as it is spelt.
    pub fn maxmemory_policy(&self) -> String {
        self.get(&[b"maxmemory-policy"]).pop().map(|(_, value)| value).unwrap_or_default()
    }

    /// How much is logged.
    pub fn loglevel(&self) -> LogLevel {
        const INDEX: usize = index_of(&TABLE, "loglevel");
        match self.number(INDEX) {
            0 => LogLevel::Debug,
            1 => LogLevel::Verbose,
            3 => LogLevel::Warning,
            4 => LogLevel::Nothing,
            _ => LogLevel::Notice,
        }
    }

    /// Whether systemd wants to know how the server is.
    pub fn is_supervised(&self) -> bool {
        const INDEX: usize = index_of(&TABLE, "supervised");
        match self.number(INDEX) {
            1 => true,
            2 => std::env::var_os("NOTIFY_SOCKET").is_some(),
            _ => false,
        }
    }

    /// The percentiles that INFO latencystats shows.
    pub fn latency_percentiles(&self) -> Vec<f64> {
        const INDEX: usize = index_of(&TABLE, "latency-tracking-info-percentiles");
        self.text(INDEX).split(' ').filter_map(|percentile| percentile.parse().ok()).collect()
    }

    /// What the hot tier keeps.
    pub fn hot_policy(&self) -> HotPolicy {
        const OWN: usize = index_of(&TABLE, "hot-tier-policy");
        const REDIS: usize = index_of(&TABLE, "maxmemory-policy");
        match (self.number(OWN), self.number(REDIS)) {
            // volatile-lfu and allkeys-lfu.
            (2, _) | (0, 1 | 5) => HotPolicy::Lfu,
            _ => HotPolicy::Lru,
        }
    }

    /// Threads that run commands.
    pub fn workers(&self) -> usize {
        const INDEX: usize = index_of(&TABLE, "workers");
        match usize::try_from(self.number(INDEX)) {
            Ok(0) | Err(_) => self.cores.min(255),
            Ok(workers) => workers,
        }
    }

    /// True when all workers are used whatever the load: their number was given.
    pub fn has_fixed_workers(&self) -> bool {
        const INDEX: usize = index_of(&TABLE, "workers");
        self.number(INDEX) != 0
    }

    /// Memory for the whole process, bytes: `maxmemory` as it is meant.
    pub fn memory_bytes_max(&self) -> u64 {
        const INDEX: usize = index_of(&TABLE, "maxmemory");
        let bytes = match u64::try_from(self.number(INDEX)) {
            Ok(0) | Err(_) => self.machine_bytes / 4 * 3,
            Ok(bytes) => bytes,
        };
        bytes.max(MEMORY_BYTES_MIN)
    }

    /// The hot tier's part of it.
    pub fn hot_tier_bytes(&self) -> usize {
        const INDEX: usize = index_of(&TABLE, "hot-tier-percent");
        self.part(INDEX)
    }

    /// The block cache's part of it.
    pub fn block_cache_bytes(&self) -> usize {
        const INDEX: usize = index_of(&TABLE, "block-cache-percent");
        self.part(INDEX)
    }

    /// The memtables' part of it.
    pub fn write_buffer_bytes(&self) -> usize {
        const INDEX: usize = index_of(&TABLE, "write-buffer-percent");
        self.part(INDEX)
    }

    /// Does with `rename` what the `rename-command` lines ask for, in their order: it gets the old name and the new one, which
    /// is empty where the command shall be gone. What it refuses is reported as the line's fault.
    pub fn rename_commands(
        &self,
        mut rename: impl FnMut(&str, &str) -> Result<(), &'static str>,
    ) -> Result<(), ConfigError> {
        self.renamed.iter().try_for_each(|line| rename(&line.old, &line.new).map_err(|why| line.refused(why)))
    }

    fn part(&self, percent: usize) -> usize {
        let percent = u64::try_from(self.number(percent)).unwrap_or(0);
        usize::try_from(self.memory_bytes_max() / 100 * percent).unwrap_or(usize::MAX)
    }
}

/// Memory this process could have: the machine's, or the control group's if that is less. 1 GiB if nobody tells.
pub(super) fn machine_bytes() -> u64 {
    let machine = first_line_number(Path::new("/proc/meminfo"), |line| line.strip_prefix("MemTotal:"))
        .map(|kib| kib.saturating_mul(1024));
    let group = first_line_number(Path::new("/sys/fs/cgroup/memory.max"), |line| Some(line));
    [machine, group].into_iter().flatten().min().unwrap_or(1 << 30)
}

fn first_line_number(path: &Path, select: fn(&str) -> Option<&str>) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(select)?.split_ascii_whitespace().next()?.parse().ok()
}
