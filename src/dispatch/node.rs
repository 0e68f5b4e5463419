//! What all connections of one server share.

use super::pauses::Pauses;
use super::running::RunningScripts;
use super::slowlog::SlowLog;
use super::table::Table;
use crate::base::clock::Clock;
use crate::base::random::Rng;
use crate::config::{Config, LogLevel};
use crate::keyspace::Keyspace;
use crate::metrics::stats::{BUCKETS, Stats, bucket_of};
use crate::metrics::vitals::Vitals;
use crate::pubsub::{Monitors, Outbox, PubSub};
use crate::resp::Proto;
use crate::script::Scripts;
use crate::session::{BROADCASTS, ClientInfo, Clients, TRACKS};
use crate::tracking::{Aftermath, Options, Tracking};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// Makes a checkpoint and says where, or why not.
pub type MakeCheckpoint = fn(&Node) -> Result<PathBuf, String>;

/// Changes how much is logged.
pub type SetLogLevel = Box<dyn Fn(LogLevel) + Send + Sync>;

/// One running server.
pub struct Node {
    /// Its commands.
    pub table: Table,
    /// Its settings.
    pub config: Arc<Config>,
    /// Its data.
    pub keyspace: Keyspace,
    /// Who listens to which channel.
    pub pubsub: Arc<PubSub>,
    /// Who watches all commands.
    pub monitors: Arc<Monitors>,
    /// Who caches which keys.
    pub tracking: Arc<Tracking>,
    /// Its connections.
    pub clients: Clients,
    /// How often commands ran.
    pub stats: Stats,
    /// Which of them took long.
    pub slowlog: SlowLog,
    /// What CLIENT PAUSE holds back.
    pub pauses: Pauses,
    /// Its time.
    pub clock: Clock,
    /// When it started, unix milliseconds.
    pub started_ms: u64,
    /// Forty hex digits, new at each start.
    pub run_id: String,
    /// The port it listens on (0 in a test may have become another).
    pub port: AtomicU64,
    /// Worker threads.
    pub workers: usize,
    /// How many of them serve connections at present.
    pub workers_in_use: AtomicUsize,
    /// Checkpoints made.
    pub saves: Saves,
    /// Connections and bytes.
    pub traffic: Traffic,
    /// How late the workers' loops were.
    pub loop_lag: LoopLag,
    /// What is sampled ten times a second: rates, memory, processor time.
    pub vitals: Vitals,
    /// The expirer runs (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expiry: AtomicBool,
    /// Makes a checkpoint, waiting for the disk; the server installs it at start.
    pub checkpoint: OnceLock<MakeCheckpoint>,
    /// Where `loglevel` acts; a program that logs in another way leaves it empty.
    pub set_log_level: OnceLock<SetLogLevel>,
    shutdown_wanted: Notify,
    /// The Lua scripts it knows.
    pub scripts: Scripts,
    /// The scripts and functions that run off the workers.
    pub running_scripts: RunningScripts,
}

/// What INFO says of saving.
#[derive(Default)]
pub struct Saves {
    /// When the last one succeeded, unix seconds.
    pub last_success_s: AtomicU64,
    /// One is being made.
    pub in_progress: AtomicBool,
    /// The last one failed.
    pub last_failed: AtomicBool,
    /// Keys changed until the last one.
    pub changes_at_last: AtomicU64,
    /// How many were made.
    pub count: AtomicU64,
    /// How long the last one took, microseconds.
    pub last_duration_us: AtomicU64,
    /// The log is being cut (BGREWRITEAOF).
    pub cutting: AtomicBool,
    /// The last cut failed.
    pub cut_failed: AtomicBool,
    /// How often the log was cut.
    pub cuts: AtomicU64,
}

/// Connections and bytes since the start.
#[derive(Default)]
pub struct Traffic {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections refused, `maxclients` being reached.
    pub refused: AtomicU64,
    /// Connections that have gone from one worker to another.
    pub moved: AtomicU64,
    /// Bytes read.
    pub received_bytes: AtomicU64,
    /// Bytes written.
    pub sent_bytes: AtomicU64,
    /// Connections closed because more waited for their clients than `client-output-buffer-limit` allows.
    pub output_limit_closed: AtomicU64,
    /// Connections closed because a request was over `client-query-buffer-limit`.
    pub query_limit_closed: AtomicU64,
}

impl Traffic {
    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        for counter in [
            &self.accepted,
            &self.refused,
            &self.moved,
            &self.received_bytes,
            &self.sent_bytes,
            &self.output_limit_closed,
            &self.query_limit_closed,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// A histogram of how late worker loops came round, bucket `n` for at most 2^n microseconds.
#[derive(Default)]
pub struct LoopLag {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

impl LoopLag {
    /// A loop came round so late.
    pub fn note(&self, lag_us: u64) {
        let bucket = bucket_of(lag_us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(lag_us, Ordering::Relaxed);
        self.max_us.fetch_max(lag_us, Ordering::Relaxed);
    }

    /// The buckets, and the sum of all, microseconds.
    pub fn figures(&self) -> ([u64; BUCKETS], u64) {
        let buckets = std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed));
        (buckets, self.sum_us.load(Ordering::Relaxed))
    }

    /// The latest any loop came, microseconds.
    pub fn max_us(&self) -> u64 {
        self.max_us.load(Ordering::Relaxed)
    }
}

impl Node {
    /// A node that is about to serve.
    pub fn new(table: Table, config: Arc<Config>, keyspace: Keyspace, clock: Clock, workers: usize) -> Node {
        let pubsub = Arc::new(PubSub::new(Arc::clone(&config), clock.clone()));
        let telling = keyspace.telling();
        let tracking =
            Arc::new(Tracking::new(telling.wants_changes(), Arc::clone(&pubsub), Arc::clone(&config)));
        telling.set_listener(Box::new(Aftermath::new(Arc::clone(&pubsub), Arc::clone(&tracking))));
        Node {
            monitors: Arc::new(Monitors::new(Arc::clone(&config), clock.clone())),
            pubsub,
            tracking,
            stats: Stats::new(table.len(), workers),
            slowlog: SlowLog::default(),
            pauses: Pauses::default(),
            table,
            config,
            keyspace,
            clients: Clients::new(clock.clone()),
            started_ms: clock.now_ms(),
            run_id: Rng::from_entropy().hex(40),
            port: AtomicU64::new(0),
            workers,
            saves: Saves { last_success_s: AtomicU64::new(clock.now_ms() / 1000), ..Saves::default() },
            traffic: Traffic::default(),
            workers_in_use: AtomicUsize::new(workers),
            loop_lag: LoopLag::default(),
            vitals: Vitals::default(),
            active_expiry: AtomicBool::new(true),
            checkpoint: OnceLock::new(),
            set_log_level: OnceLock::new(),
            clock,
            shutdown_wanted: Notify::new(),
            scripts: Scripts::new(),
            running_scripts: RunningScripts::default(),
        }
    }

    /// A client tracks keys from now on, in this way, or no more. Doing it twice is doing it once.
    pub fn track(&self, client: &Arc<ClientInfo>, options: Option<&Options>) {
        let mut flags = 0;
        match options {
            Some(options) => {
                flags = TRACKS | if options.broadcasts { BROADCASTS } else { 0 };
                let target = (options.redirect != 0).then(|| match self.clients.get(options.redirect) {
                    Some(target) => Arc::clone(target.make_outbox_from_outside()),
                    // It has gone since the reply was written: the first message finds that out.
                    None => gone_outbox(options.redirect),
                });
                self.tracking.begin(options, client.make_outbox(), target, &client.redirect_broken);
            }
            None => {
                self.tracking.end(client.id);
                client.redirect_broken.store(false, Ordering::Release);
            }
        }
        client.tracking.store(flags, Ordering::Relaxed);
        let redirect = options.map_or(-1, |options| options.redirect as i64);
        client.redirect.store(redirect, Ordering::Relaxed);
    }

    /// Asks the server to end.
    pub fn request_shutdown(&self) {
        self.shutdown_wanted.notify_one();
    }

    /// Waits until somebody asks the server to end.
    pub async fn shutdown_requested(&self) {
        self.shutdown_wanted.notified().await;
    }
}

fn gone_outbox(id: u64) -> Arc<Outbox> {
    let outbox = Outbox::new(id, Proto::Resp2, || {});
    outbox.close();
    outbox
}
