//! A worker: one thread, one single-threaded tokio runtime, the connections given to it.
//!
//! The acceptor hands out new connections in turn; `placement` may send them on to other workers. `metronome` measures how late the
//! worker's loop comes round.

use super::connection::Connection;
use super::moving::Luggage;
use super::{Local, Shared};
use crate::dispatch::run::Bench;
use crate::session::Session;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::LocalSet;

/// A connection that comes to a worker. Their number is bounded by `maxclients`.
pub(super) enum Arrival {
    /// Just accepted, with its seat (`Placement::worker_of`).
    New(usize, std::net::TcpStream, SocketAddr),
    /// From another worker.
    Moved(Box<Luggage>),
}

/// What all connections of a worker share.
pub(super) struct Desk {
    pub(super) shared: Rc<Local>,
    pub(super) worker: usize,
    pub(super) bench: Rc<RefCell<Bench>>,
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
    shared.placement.enter(number);
    crate::base::priority::ask_for_short_slices();
    let desk = Desk {
        shared: Rc::new(Local(shared)),
        worker: number,
        bench: Rc::new(RefCell::new(Bench::of_worker(number))),
    };
    let ticker = tokio::task::spawn_local(tick(number, Arc::clone(&desk.shared), Rc::clone(&desk.bench)));
    let mut connections = tokio::task::JoinSet::new();
    while let Some(arrival) = arrivals.recv().await {
        while let Some(ended) = connections.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a connection was given up");
            }
        }
        let connection = match arrival {
            Arrival::New(seat, stream, address) => welcome(&desk, seat, stream, address),
            Arrival::Moved(luggage) => luggage.unpack(&desk),
        };
        match connection {
            Ok(connection) => {
                connections.spawn_local(connection.serve());
            }
            Err(error) => tracing::warn!(%error, "a connection could not be set up"),
        }
    }
    ticker.abort();
    while connections.join_next().await.is_some() {}
}

fn welcome(
    desk: &Desk,
    seat: usize,
    stream: std::net::TcpStream,
    address: SocketAddr,
) -> std::io::Result<Connection> {
    let shared = &desk.shared;
    let descriptor = stream.as_raw_fd();
    let set_up = stream.local_addr().and_then(|local| Ok((local, TcpStream::from_std(stream)?)));
    let client = set_up.map(|(local, stream)| (shared.node.clients.add(address, local, descriptor), stream));
    // It is among the clients now, or will not be.
    shared.arriving.fetch_sub(1, Ordering::AcqRel);
    let (client, stream) = client?;
    let authenticated = shared.node.config.requirepass().is_empty();
    let session = Session::new(client, authenticated);
    Ok(Connection::new(desk, seat, stream, session))
}

async fn tick(worker: usize, shared: Arc<Shared>, bench: Rc<RefCell<Bench>>) {
    loop {
        let lag_us = shared.metronome.beat(worker).await;
        shared.node.loop_lag.note(lag_us);
        // Whoever is in a group settles it in the same turn of the loop; should one ever fail to, its locks end here.
        bench.borrow_mut().group.settle(&shared.node.keyspace, &shared.node.clock);
    }
}
