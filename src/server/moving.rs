//! A connection on its way from one worker to another.
//!
//! It moves between two bursts, when all its commands are answered and all its replies are sent. What it takes along is its
//! session, what it has read of its next request, and its socket, which leaves one runtime's poller and enters the other's.

use super::connection::{Connection, end};
use super::worker::{Arrival, Desk};
use crate::base::random::Rng;
use crate::resp::Decoder;
use crate::session::Session;
use bytes::BytesMut;
use std::io;
use std::sync::atomic::Ordering;
use tokio::net::TcpStream;

/// What a connection takes along.
pub(super) struct Luggage {
    seat: usize,
    stream: std::net::TcpStream,
    session: Session,
    decoder: Decoder,
    input: BytesMut,
    rng: Rng,
    last_command: usize,
}

impl Connection {
    /// The worker this connection belongs to now, if that is another one and nothing holds it here.
    pub(super) fn destination(&self) -> Option<usize> {
        let worker = self.shared.placement.worker_of(self.seat);
        (worker != self.worker && self.is_at_rest()).then_some(worker)
    }

    /// Goes to another worker. Should that be gone, the server is about to end, and so does the connection.
    pub(super) fn depart(mut self, worker: usize) {
        let stream = match self.stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(client = self.session.client.id, %error, "closed: it could not change its worker");
                return end(&self.shared, &mut self.session);
            }
        };
        let luggage = Luggage {
            seat: self.seat,
            stream,
            session: self.session,
            decoder: self.decoder,
            input: self.input,
            rng: self.rng,
            last_command: self.last_command,
        };
        if let Err(Arrival::Moved(mut luggage)) =
            self.shared.placement.send(worker, Arrival::Moved(Box::new(luggage)))
        {
            end(&self.shared, &mut luggage.session);
        }
    }
}

impl Luggage {
    /// Settles in at another worker.
    pub(super) fn unpack(mut self, desk: &Desk) -> io::Result<Connection> {
        let stream = match TcpStream::from_std(self.stream) {
            Ok(stream) => stream,
            Err(error) => {
                end(&desk.shared, &mut self.session);
                return Err(error);
            }
        };
        let mut connection = Connection::new(desk, self.seat, stream, self.session);
        connection.decoder = self.decoder;
        connection.input = self.input;
        connection.rng = self.rng;
        connection.last_command = self.last_command;
        desk.shared.node.traffic.moved.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }
}
