//! Listening and accepting: `maxclients`, protected mode, keepalive, and handing connections to the workers in turn.

use super::worker::Arrival;
use super::{Shared, StartError};
use crate::config::Config;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// After a failed accept (no descriptors left, say) the acceptor rests this long.
const REST: Duration = Duration::from_millis(20);

/// Opens the listening sockets, all on one port. An address that begins with `-` may be missing on this machine; a port that
/// another server has is an error there, too.
pub(super) fn listen(config: &Config) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    let mut port = config.port();
    for (host, may_be_missing) in config.listen_addresses() {
        match listen_on(&host, port, config) {
            Ok(listener) => {
                // Port 0 is a free one: the other addresses follow the first.
                port = listener.local_addr().map_or(port, |address| address.port());
                listeners.push(listener);
            }
            Err(error) if may_be_missing && (is_missing(&error) || config.port() == 0) => {
                tracing::info!(address = host, %error, "not listening on an address that may be missing");
            }
            Err(error) => return Err(StartError::new(format!("listening on {host} port {port}"), error)),
        }
    }
    if listeners.is_empty() {
        return Err(StartError::new("listening", "no address to listen on"));
    }
    Ok(listeners)
}

/// The machine has no such address, or does not speak its protocol.
fn is_missing(error: &std::io::Error) -> bool {
    const MISSING: [i32; 6] = [
        libc::EADDRNOTAVAIL,
        libc::EAFNOSUPPORT,
        libc::EPFNOSUPPORT,
        libc::EPROTONOSUPPORT,
        libc::ESOCKTNOSUPPORT,
        libc::ENOPROTOOPT,
    ];
    error.raw_os_error().is_none_or(|code| MISSING.contains(&code))
}

fn listen_on(host: &str, port: u16, config: &Config) -> std::io::Result<TcpListener> {
    let address = (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(config.tcp_backlog()).unwrap_or(511))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts until the server ends.
pub(super) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    workers: Vec<UnboundedSender<Arrival>>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot accept connections");
            return;
        }
    };
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let Ok(stream) = stream.into_std() else { continue };
        if let Some(refusal) = refusal(&shared, address) {
            shared.node.traffic.refused.fetch_add(1, Ordering::Relaxed);
            let mut stream = stream;
            // Best effort: the client may be gone already, and its socket never waits.
            if stream.write_all(refusal.as_bytes()).is_err() {
                tracing::debug!(%address, "a refused client did not hear why");
            }
            continue;
        }
        shared.node.traffic.accepted.fetch_add(1, Ordering::Relaxed);
        set_options(&stream, &shared.node.config);
        shared.arriving.fetch_add(1, Ordering::AcqRel);
        let seat = shared.seats.fetch_add(1, Ordering::Relaxed);
        let worker = shared.placement.worker_of(seat);
        if workers[worker].send(Arrival::New(seat, stream, address)).is_err() {
            return;
        }
    }
}

/// Why a client may not come in, as it is told.
fn refusal(shared: &Shared, address: SocketAddr) -> Option<&'static str> {
    let config = &shared.node.config;
    let connected = shared.node.clients.len() + shared.arriving.load(Ordering::Acquire);
    if connected >= config.maxclients() {
        return Some("-ERR max number of clients reached\r\n");
    }
    if config.protected_mode()
        && config.requirepass().is_empty()
        && !address.ip().to_canonical().is_loopback()
    {
        return Some(
            "-DENIED Tuff is running in protected mode because protected mode is enabled and no password is set for the \
             default user. In this mode connections are only accepted from the loopback interface. To let other machines \
             in, set a password (requirepass), or bind to trusted interfaces only and turn protected mode off with \
             'CONFIG SET protected-mode no' from this machine.\r\n",
        );
    }
    None
}

fn set_options(stream: &std::net::TcpStream, config: &Config) {
    let socket = SockRef::from(stream);
    let mut set = socket.set_tcp_nodelay(true);
    let keepalive_seconds = config.tcp_keepalive_seconds();
    if keepalive_seconds > 0 {
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(keepalive_seconds))
            .with_interval(Duration::from_secs((keepalive_seconds / 3).max(1)))
            .with_retries(3);
        set = set.and(socket.set_tcp_keepalive(&keepalive));
    }
    if let Err(error) = set {
        tracing::debug!(%error, "socket options could not be set");
    }
}
