//! What a connection says goes out: log first, then the socket, however slowly the client reads.
//!
//! A client that waits to be fed may have replies on their way that it does not read. It is fed nevertheless: others may wait for its
//! turn to end, so what is left to send is put aside ([`Sending`]), and goes before anything else once the command has run.

use super::connection::{Connection, Ended, pause_for};
use crate::config::{AppendFsync, ClientClass, OutputLimit};
use crate::dispatch::prepare::misconf_text;
use crate::resp::Reply;
use crate::session::ClientKind;
use crate::waiters::Waiter;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;

const SEND_BYTES: usize = 128 << 10;
/// So much of what a client is sent does not count against its output limit, as in Redis, where it is the fixed part of the buffer.
const FREE_OUTPUT_BYTES: usize = 16 << 10;
/// The replies of so many commands take so long to make that their receiver has gone to sleep over those before. They go out together
/// with those of the worker's other connections: it is woken once, not once for each, and waking costs the sender a tenth of its time.
const PIPELINE_MIN: usize = 12;
/// With requests to be read, whether they are the last is looked at so often.
const HANG_UP_PERIOD: Duration = Duration::from_millis(100);
/// A buffer that the worker does not give back by itself.
const HUGE_BYTES: usize = 4 << 20;

/// Replies that may go, and what ends the wait for a client that does not read them.
#[derive(Default)]
pub(super) struct Sending {
    left: Vec<u8>,
    /// While the connection waits to be fed: its waiter, and when its time is up.
    waiter: Option<(Arc<Waiter>, Option<tokio::time::Instant>)>,
    /// Since when more waits for the client than its soft limit has.
    over_soft_since: Option<tokio::time::Instant>,
}

impl Sending {
    /// Nothing was put aside.
    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// How much was put aside.
    pub(super) fn bytes(&self) -> usize {
        self.left.len()
    }

    /// From now on sending ends when somebody decides about this waiter, or so much time has passed.
    pub(super) fn wait_for(&mut self, waiter: Arc<Waiter>, patience: Duration) {
        self.waiter = Some((waiter, tokio::time::Instant::now().checked_add(patience)));
    }

    /// From now on it ends when all is sent.
    pub(super) fn wait_for_nobody(&mut self) {
        self.waiter = None;
    }

    /// How long a client may still leave so many bytes unread. What it reads counts only once it is below its soft limit.
    fn patience(&mut self, limit: &OutputLimit, bytes: u64) -> Duration {
        if limit.soft_bytes == 0 || bytes <= limit.soft_bytes {
            self.over_soft_since = None;
            return Duration::MAX;
        }
        let since = self.over_soft_since.get_or_insert_with(tokio::time::Instant::now);
        Duration::from_secs(limit.soft_seconds).saturating_sub(since.elapsed())
    }

    /// Waits until the connection has something better to do than to send; for ever when it has not.
    async fn is_wanted(&self) {
        match &self.waiter {
            None => std::future::pending().await,
            Some((waiter, None)) => waiter.decided().await,
            Some((waiter, Some(deadline))) => {
                let _ = tokio::time::timeout_at(*deadline, waiter.decided()).await;
            }
        }
    }
}

/// Waits until the client has closed its side, though there may be requests before that which nobody has read.
async fn hung_up(stream: &TcpStream) {
    while let Ok(ready) = stream.ready(Interest::READABLE).await
        && !ready.is_read_closed()
    {
        tokio::time::sleep(HANG_UP_PERIOD).await;
    }
}

/// Waits until the worker's other tasks that can go on have had their turn; unlike `yield_now`, without a look at the sockets.
async fn behind_others() {
    let mut has_waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Connection {
    /// Lets the gathered replies go: log first, then the socket.
    pub(super) async fn flush(&mut self) -> Ended {
        if self.output.is_empty() && self.sending.is_over() && self.delay.is_none() {
            self.alone = false;
            return Ok(());
        }
        let mut has_yielded = false;
        if self.ticket.as_ref().is_some_and(|ticket| ticket.get().is_none()) {
            // Others on this worker may join the group, too: whoever comes back first settles it for all.
            tokio::task::yield_now().await;
            has_yielded = true;
        }
        if !self.settle() {
            return Ok(());
        }
        self.alone = false;
        if let Some(delay) = self.delay.take() {
            self.hold_back(delay).await?;
        }
        if self.sequence > 0 {
            let shared = Rc::clone(&self.shared);
            let store = shared.node.keyspace.store();
            if !has_yielded && self.sequence > store.flushed_sequence() {
                // Others on this worker may have written, too: whoever comes first flushes for all.
                tokio::task::yield_now().await;
                has_yielded = true;
            }
            let mut safe = shared.sync.flush(&shared.node, self.sequence);
            if safe
                && self.sequence > store.synced_sequence()
                && shared.node.config.appendfsync() == AppendFsync::Always
            {
                safe = shared.sync.synced(&shared.node, self.sequence).await;
            }
            if !safe || (self.epoch != 0 && store.epoch() != self.epoch) {
                self.retract();
            }
        }
        if self.replies >= PIPELINE_MIN && !has_yielded {
            behind_others().await;
        }
        self.sequence = 0;
        self.replies = 0;
        self.epoch = 0;
        self.send().await
    }

    /// Replies that rest on what may be lost become errors.
    fn retract(&mut self) {
        let reason = self
            .shared
            .node
            .keyspace
            .store()
            .failure()
            .unwrap_or_else(|| "the database was reopened".to_owned());
        self.has_retracted = true;
        self.output.clear();
        for _ in 0..self.replies {
            Reply::new(&mut self.output, self.session.proto).error(&misconf_text(&reason));
        }
    }

    /// Writes the output to the socket, waiting for a slow client as long as its output limits allow.
    async fn send(&mut self) -> Ended {
        if !self.sending.is_over() {
            let left = std::mem::take(&mut self.sending.left);
            self.send_bytes(&left).await?;
        }
        let mut output = std::mem::take(&mut self.output);
        let sent = self.send_bytes(&output).await;
        if output.capacity() > HUGE_BYTES {
            // To give so many pages back takes milliseconds.
            drop(self.shared.pool.start(move || drop(output)));
        } else {
            output.clear();
            self.output = output;
        }
        sent
    }

    /// The same for bytes that need not be copied into the output.
    pub(super) async fn send_bytes(&mut self, output: &[u8]) -> Ended {
        let client = Arc::clone(&self.session.client);
        let class = match client.kind() {
            ClientKind::PubSub => ClientClass::Pubsub,
            _ => ClientClass::Normal,
        };
        let limit = self.shared.node.config.output_limit(class);
        let counted = (self.sending.left.len() + output.len()).saturating_sub(FREE_OUTPUT_BYTES) as u64;
        if limit.hard_bytes > 0 && counted > limit.hard_bytes {
            return Err(self.over_output_limit());
        }
        if !self.sending.is_over() {
            self.sending.left.extend_from_slice(output);
            return Ok(());
        }
        let (mut sent, mut hears) = (0, true);
        while sent < output.len() {
            if sent > 0 {
                // A reader as fast as this would keep the worker for as long as there is something to send.
                tokio::task::yield_now().await;
            }
            let slice = &output[sent..output.len().min(sent + SEND_BYTES)];
            match self.stream.try_write(slice) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = output.len() - sent;
                    client.output_bytes.store(left, Ordering::Relaxed);
                    // What was taken out of it is in the output.
                    let waiting = client.outbox().map_or(0, |outbox| outbox.queued_bytes() as u64);
                    let counted = left.saturating_sub(FREE_OUTPUT_BYTES) as u64 + waiting;
                    let patience = self.sending.patience(&limit, counted);
                    // Who subscribes or waits is silent for good reason.
                    let waits = self.sending.waiter.is_some();
                    let idle = match self.shared.node.config.timeout_seconds() {
                        seconds @ 1.. if class == ClientClass::Normal && !waits => {
                            Duration::from_secs(seconds)
                        }
                        _ => Duration::MAX,
                    };
                    tokio::select! {
                        biased;
                        () = self.sending.is_wanted() => {
                            self.sending.left.extend_from_slice(&output[sent..]);
                            break;
                        }
                        ready = self.stream.writable() => ready?,
                        ready = self.stream.readable(), if hears && !waits => {
                            ready?;
                            hears = self.read_beside()?;
                        }
                        () = client.ended() => return Err(io::ErrorKind::ConnectionAborted.into()),
                        // Who has said that nothing more will come is to be fed no more.
                        () = hung_up(&self.stream), if waits => {
                            return Err(io::ErrorKind::ConnectionAborted.into());
                        }
                        () = pause_for(idle) => return Err(io::ErrorKind::TimedOut.into()),
                        () = pause_for(patience) => return Err(self.over_output_limit()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if sent == output.len() {
            self.sending.over_soft_since = None;
        }
        client.output_bytes.store(self.sending.left.len(), Ordering::Relaxed);
        client.sent_bytes.fetch_add(sent as u64, Ordering::Relaxed);
        self.shared.node.traffic.sent_bytes.fetch_add(sent as u64, Ordering::Relaxed);
        Ok(())
    }

    fn over_output_limit(&self) -> io::Error {
        self.shared.node.traffic.output_limit_closed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            client = self.session.client.id,
            "closed: more waits for it than client-output-buffer-limit allows"
        );
        io::Error::other("output buffer limit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_of_reading_does_not_renew_the_patience_with_a_client() {
        let limit = OutputLimit { hard_bytes: 0, soft_bytes: 1000, soft_seconds: 60 };
        let mut sending = Sending::default();
        assert_eq!(sending.patience(&limit, 1000), Duration::MAX);
        let whole = sending.patience(&limit, 5000);
        assert!(whole <= Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(2));
        assert!(sending.patience(&limit, 2000) <= whole - Duration::from_millis(2));
        assert_eq!(sending.patience(&limit, 1000), Duration::MAX);
        assert!(sending.patience(&limit, 2000) > whole - Duration::from_millis(2), "it begins anew");
        assert_eq!(sending.patience(&OutputLimit { soft_bytes: 0, ..limit }, u64::MAX), Duration::MAX);
    }
}
