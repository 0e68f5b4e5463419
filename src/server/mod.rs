//! The server: sockets, threads and their beginning and end.
//!
//! `Server::start` opens the data folder, starts the workers and the background, and accepts connections on a thread of its own.
//! Read in this order: `worker`, `placement`, `connection` (the life of a connection), `pause` (runs that cannot go on), `effects`, then
//! `pool`, `readers`, `sync` (the WAL thread), `housekeeping`, `governor` (memory), `save`.

mod accept;
mod client_pause;
mod connection;
mod descriptors;
mod effects;
mod governor;
mod housekeeping;
pub mod logging;
mod messages;
mod metrics_http;
mod metronome;
mod moving;
mod pause;
mod pidfile;
mod placement;
mod pool;
mod readers;
mod retune;
mod save;
mod sending;
pub mod service_manager;
mod shown;
mod sync;
mod worker;

pub use pidfile::PidFile;
pub use sync::WalSync;

use crate::base::clock::Clock;
use crate::config::Config;
use crate::dispatch::node::Node;
use crate::dispatch::table::Table;
use crate::hot::HotTier;
use crate::keyspace::Keyspace;
use crate::store::{Store, StoreOptions};
use metronome::Metronome;
use placement::Placement;
use pool::Pool;
use readers::Readers;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use worker::Arrival;

/// How long a shutdown waits for connections to end.
const GOODBYE: Duration = Duration::from_secs(2);

/// What all threads of a server share.
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    pub(crate) pool: Pool,
    readers: Readers,
    /// Memory that connections are about to take.
    claims: governor::Claims,
    pub(crate) sync: Arc<WalSync>,
    placement: Placement,
    metronome: Metronome,
    ending: AtomicBool,
    /// Connections accepted since the start; their number is their seat.
    seats: AtomicUsize,
    /// Connections accepted and not yet in the list.
    arriving: AtomicUsize,
}

/// The same, as one worker's connections share it among themselves: a command must not touch a count that other workers touch.
pub(crate) struct Local(Arc<Shared>);

impl std::ops::Deref for Local {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Shared {
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct StartError {
    doing: String,
    cause: String,
}

impl StartError {
    fn new(doing: impl Into<String>, cause: impl std::fmt::Display) -> StartError {
        StartError { doing: doing.into(), cause: cause.to_string() }
    }
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    runtime: tokio::runtime::Runtime,
    acceptors: Vec<tokio::task::JoinHandle<()>>,
    workers: Vec<std::thread::JoinHandle<()>>,
    wal: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Opens the data folder and begins to serve. The commands come from above: `commands::families()`.
    pub fn start(config: Arc<Config>, table: Table, clock: Clock) -> Result<Server, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tuff-main")
            .enable_all()
            .build()
            .map_err(|error| StartError::new("starting a runtime", error))?;
        let open_files_max = descriptors::share_out(&config)?;
        let listeners = accept::listen(&config)?;
        let node = Arc::new(open_node(&config, open_files_max, table, clock)?);
        retune::retune(&node);
        save::remove_unfinished(&node);
        node.checkpoint.get_or_init(|| |node| save::checkpoint(node));
        let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let port = addresses.first().map_or(0, SocketAddr::port);
        node.port.store(u64::from(port), Ordering::Relaxed);
        let pool =
            Pool::new(config.pool_threads()).map_err(|error| StartError::new("starting the pool", error))?;
        let sync = Arc::new(WalSync::default());
        let wal = sync
            .start(Arc::clone(&node))
            .map_err(|error| StartError::new("starting the WAL thread", error))?;
        let first_workers = if config.has_fixed_workers() { node.workers } else { 1 };
        let shared = Arc::new(Shared {
            placement: Placement::new(node.workers, first_workers),
            metronome: Metronome::new(node.workers),
            readers: Readers::new(Arc::clone(&node), config.pool_threads()),
            claims: governor::Claims::default(),
            node,
            pool,
            sync,
            ending: AtomicBool::new(false),
            seats: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
        });
        let (senders, workers) = start_workers(&shared)?;
        let mut acceptors = Vec::new();
        {
            let _inside = runtime.enter();
            housekeeping::start(&shared);
            if !config.has_fixed_workers() && shared.node.workers > 1 {
                tokio::spawn(placement::place(Arc::clone(&shared)));
            }
            for listener in listeners {
                acceptors.push(tokio::spawn(accept::accept(Arc::clone(&shared), listener, senders.clone())));
            }
            start_metrics(&shared, &config)?;
        }
        Ok(Server { shared, addresses, runtime, acceptors, workers, wal: Some(wal) })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Has connections served by the first so many workers; for tests, with `workers` set to a number.
    pub fn use_workers(&self, in_use: usize) {
        self.shared.use_workers(in_use.clamp(1, self.shared.node.workers));
    }

    /// What its connections share; for tests and tools in the same process.
    pub fn node(&self) -> &Arc<Node> {
        &self.shared.node
    }

    /// Waits until SHUTDOWN asks it to end.
    pub fn wait_for_shutdown(&self) {
        self.runtime.block_on(self.shared.node.shutdown_requested());
    }

    /// SIGTERM and SIGINT end the server as SHUTDOWN does.
    pub fn watch_signals(&mut self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = self.runtime.enter();
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut signal = signal(kind)?;
            let node = Arc::clone(&self.shared.node);
            tokio::spawn(async move {
                while signal.recv().await.is_some() {
                    node.request_shutdown();
                }
            });
        }
        // Ignored, as by Redis: a closed terminal ends no server.
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move { while hangup.recv().await.is_some() {} });
        Ok(())
    }

    /// Ends the server: no new connections, replies sent, log synced, database closed.
    ///
    /// That the log cannot be brought onto stable storage does not keep it from ending, as in Redis: the system has all that was
    /// acknowledged.
    pub fn end(mut self) -> Result<(), StartError> {
        if let Err(error) = self.shared.node.keyspace.store().sync_wal() {
            tracing::warn!(%error, "ending though the log cannot be brought onto stable storage");
        }
        self.shared.ending.store(true, Ordering::Release);
        for acceptor in self.acceptors.drain(..) {
            acceptor.abort();
        }
        let node = Arc::clone(&self.shared.node);
        let patience = Instant::now() + GOODBYE;
        while !node.clients.is_empty() && Instant::now() < patience {
            for client in node.clients.all() {
                client.end();
            }
            // Those that wait for others to end come later.
            node.running_scripts.kill_all();
            std::thread::sleep(Duration::from_millis(1));
        }
        if !node.clients.is_empty() {
            tracing::warn!(connections = node.clients.len(), "stopping while connections are still at work");
        }
        self.shared.sync.end();
        if let Some(wal) = self.wal.take()
            && wal.join().is_err()
        {
            tracing::error!("the WAL thread had panicked");
        }
        self.runtime.shutdown_background();
        self.shared.pool.end();
        self.shared.readers.end();
        // Of a disk that fails it has been said, and nothing more can be done about it.
        let has_failed = node.keyspace.store().is_failed();
        let closed = node.keyspace.store().close();
        // The workers end when their last connection does; a stuck one does not keep the server from closing its database.
        let stuck = self.workers.iter().filter(|worker| !worker.is_finished());
        for name in stuck.filter_map(|worker| worker.thread().name()) {
            tracing::warn!(name, "a worker has not come to its end");
        }
        closed
            .or_else(|error| if has_failed { Ok(()) } else { Err(StartError::new("syncing the log", error)) })
    }
}

fn open_node(
    config: &Arc<Config>,
    open_files_max: i32,
    table: Table,
    clock: Clock,
) -> Result<Node, StartError> {
    let folder = config.dir().join("db");
    std::fs::create_dir_all(&folder)
        .map_err(|error| StartError::new(format!("making {}", folder.display()), error))?;
    let options = StoreOptions {
        block_cache_bytes: config.block_cache_bytes(),
        write_buffer_bytes: config.write_buffer_bytes(),
        wal_bytes_max: config.wal_bytes_max(),
        open_files_max,
    };
    let store = Store::open(&folder, options)
        .map_err(|error| StartError::new(format!("opening the database in {}", folder.display()), error))?;
    let hot = HotTier::new(config.hot_tier_bytes(), retune::hot_policy(config), clock.clone());
    let workers = config.workers();
    let keyspace = Keyspace::open(Arc::new(store), hot, clock.clone(), config.databases(), workers)
        .map_err(|error| StartError::new(format!("reading the database in {}", folder.display()), error))?;
    Ok(Node::new(table, Arc::clone(config), keyspace, clock, workers))
}

type Workers = (Vec<UnboundedSender<Arrival>>, Vec<std::thread::JoinHandle<()>>);

fn start_workers(shared: &Arc<Shared>) -> Result<Workers, StartError> {
    let (mut senders, mut threads) = (Vec::new(), Vec::new());
    for number in 0..shared.node.workers {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let thread = worker::start(Arc::clone(shared), number, receiver)
            .map_err(|error| StartError::new("starting a worker", error))?;
        senders.push(sender);
        threads.push(thread);
    }
    shared.placement.connect(senders.iter().map(UnboundedSender::downgrade).collect());
    Ok((senders, threads))
}

fn start_metrics(shared: &Arc<Shared>, config: &Config) -> Result<(), StartError> {
    let port = config.metrics_port();
    if port == 0 {
        return Ok(());
    }
    let address = format!("{}:{port}", config.metrics_bind());
    let doing = || format!("listening for metrics on {address}");
    let listener = std::net::TcpListener::bind(&address).map_err(|error| StartError::new(doing(), error))?;
    listener.set_nonblocking(true).map_err(|error| StartError::new(doing(), error))?;
    let listener =
        tokio::net::TcpListener::from_std(listener).map_err(|error| StartError::new(doing(), error))?;
    tokio::spawn(metrics_http::serve(listener, Arc::clone(&shared.node), Arc::clone(&shared.sync)));
    Ok(())
}
