//! A worker: one thread, one single-threaded tokio runtime, the connections given to it.
//!
//! The acceptor hands out new connections in turn. A ticker measures how late the worker's loop comes round: the figure by which
//! the promise that nothing holds a worker up is watched.

use super::connection::Connection;
use super::{Local, Shared};
use crate::dispatch::run::Bench;
use crate::session::Session;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::LocalSet;

const TICK: Duration = Duration::from_millis(10);

/// A connection just accepted. Their number is bounded by `maxclients`.
pub(super) struct Arrival {
    pub(super) stream: std::net::TcpStream,
    pub(super) address: SocketAddr,
}

/// Starts the thread of one worker; it ends when the acceptor has gone and its connections are closed.
pub(super) fn start(
    shared: Arc<Shared>,
    number: usize,
    arrivals: UnboundedReceiver<Arrival>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("tuff-worker-{number}")).spawn(move || {
        let local = LocalSet::new();
        local.block_on(&runtime, serve(shared, number, arrivals));
    })
}

async fn serve(shared: Arc<Shared>, number: usize, mut arrivals: UnboundedReceiver<Arrival>) {
    let shared = Rc::new(Local(shared));
    let bench = Rc::new(RefCell::new(Bench::of_worker(number)));
    let ticker = tokio::task::spawn_local(tick(Arc::clone(&shared), Rc::clone(&bench)));
    let mut connections = tokio::task::JoinSet::new();
    while let Some(arrival) = arrivals.recv().await {
        while connections.try_join_next().is_some() {}
        match welcome(&shared, number, &bench, arrival) {
            Ok(connection) => {
                connections.spawn_local(connection.serve());
            }
            Err(error) => tracing::warn!(%error, "a new connection could not be set up"),
        }
    }
    ticker.abort();
    while connections.join_next().await.is_some() {}
}

fn welcome(
    shared: &Rc<Local>,
    number: usize,
    bench: &Rc<RefCell<Bench>>,
    arrival: Arrival,
) -> std::io::Result<Connection> {
    let Arrival { stream, address } = arrival;
    let descriptor = stream.as_raw_fd();
    let local_address = stream.local_addr()?;
    let stream = TcpStream::from_std(stream)?;
    let client = shared.node.clients.add(address, local_address, descriptor);
    shared.arriving.fetch_sub(1, Ordering::AcqRel);
    let authenticated = shared.node.config.requirepass().is_empty();
    let session = Session::new(client, authenticated);
    Ok(Connection::new(Rc::clone(shared), number, Rc::clone(bench), stream, session))
}

async fn tick(shared: Arc<Shared>, bench: Rc<RefCell<Bench>>) {
    loop {
        let due = tokio::time::Instant::now() + TICK;
        tokio::time::sleep_until(due).await;
        shared.node.loop_lag.note(due.elapsed().as_micros() as u64);
        // Whoever is in a group settles it in the same turn of the loop; should one ever fail to, its locks end here.
        bench.borrow_mut().group.settle(&shared.node.keyspace, &shared.node.clock);
    }
}
