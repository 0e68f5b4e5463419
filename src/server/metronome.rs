//! How late the workers' loops come round: the figure by which the promise that nothing holds a worker up is watched.
//!
//! Every `PERIOD` each worker is sent a beat with the time of sending, as a request would reach it, and notes how long it took
//! to answer. The workers' own timers would not do: they know whole milliseconds only. A worker that has not answered yet
//! is not sent another beat, so a long pause counts once, with its length from the first beat on.
//!
//! No locks; one wake-up a worker and period.

use super::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const PERIOD: Duration = Duration::from_millis(10);

/// One worker's beat.
#[derive(Default)]
struct Beat {
    /// When it was sent, nanoseconds since `began`; 0 when it is answered.
    sent_ns: AtomicU64,
    sent: Notify,
}

/// See the head of the file.
pub(super) struct Metronome {
    began: Instant,
    beats: Box<[Beat]>,
}

impl Metronome {
    /// For so many workers.
    pub(super) fn new(workers: usize) -> Metronome {
        Metronome { began: Instant::now(), beats: (0..workers).map(|_| Beat::default()).collect() }
    }

    fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Sends a beat to every worker that has answered the last one.
    fn send(&self) {
        for beat in &self.beats {
            if beat.sent_ns.load(Ordering::Acquire) == 0 {
                beat.sent_ns.store(self.now_ns().max(1), Ordering::Release);
                beat.sent.notify_one();
            }
        }
    }

    /// Waits for a worker's next beat; gives how long ago it was sent, microseconds.
    pub(super) async fn beat(&self, worker: usize) -> u64 {
        let beat = &self.beats[worker];
        loop {
            beat.sent.notified().await;
            let sent_ns = beat.sent_ns.swap(0, Ordering::AcqRel);
            if sent_ns > 0 {
                return self.now_ns().saturating_sub(sent_ns) / 1000;
            }
        }
    }
}

/// Sends beats as long as the server lives; for the main runtime.
pub(super) async fn beat(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        shared.metronome.send();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn a_late_answer_counts_from_the_first_beat_and_once() {
        let metronome = Metronome::new(1);
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut answer = pin!(metronome.beat(0));
            assert!(answer.as_mut().poll(&mut context).is_pending(), "no beat yet");
            metronome.send();
            let sent_ns = metronome.beats[0].sent_ns.load(Ordering::Acquire);
            metronome.send();
            assert_eq!(metronome.beats[0].sent_ns.load(Ordering::Acquire), sent_ns, "the second is not sent");
            assert!(matches!(answer.as_mut().poll(&mut context), Poll::Ready(_)));
        }
        assert!(pin!(metronome.beat(0)).poll(&mut context).is_pending(), "answered");
    }
}
