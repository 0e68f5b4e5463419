//! What a thread has measured, and the two pieces of bookkeeping that decide what a latency is.
//!
//! [`Flight`] holds the requests of one connection that are not answered yet, each with the moment from which its latency
//! counts. [`Lane`] is one connection's part of an open loop: request n of all is due at n / rate, and connection c of C has
//! the requests c, c + C, c + 2C ... Neither looks at a clock: times come in as nanoseconds since the start.

use super::replies::{Kind, NotResp, Replies};
use hdrhistogram::Histogram;
use std::collections::VecDeque;

/// Latencies above this are counted as this.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Digits that a latency keeps in the histogram.
const LATENCY_DIGITS: u8 = 3;

/// The figures of one command.
#[derive(Debug, Clone)]
pub struct CommandTally {
    /// Nanoseconds from the moment a request was due (open loop) or sent (closed loop) to its last reply.
    pub latency: Histogram<u64>,
    /// Replies that were nil.
    pub nils: u64,
    /// Replies that were errors.
    pub errors: u64,
}

/// The figures of one thread or of all.
#[derive(Debug, Clone)]
pub struct Tally {
    /// In the order of the mix.
    pub commands: Vec<CommandTally>,
    /// Requests that were never answered: the connection was lost, or patience was.
    pub unanswered: u64,
    /// Connections that ended before their time.
    pub lost_connections: u64,
    /// The first error text, of a reply or of a socket.
    pub first_error: String,
    /// When the last reply came.
    pub last_ns: u64,
}

impl Tally {
    /// Nothing yet, for `commands` commands.
    pub fn new(commands: usize) -> Result<Tally, String> {
        let latency =
            Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS).map_err(|e| e.to_string())?;
        let command = CommandTally { latency, nils: 0, errors: 0 };
        Ok(Tally {
            commands: vec![command; commands],
            unanswered: 0,
            lost_connections: 0,
            first_error: String::new(),
            last_ns: 0,
        })
    }

    /// Adds another thread's figures.
    pub fn add(&mut self, other: &Tally) -> Result<(), String> {
        for (mine, theirs) in self.commands.iter_mut().zip(&other.commands) {
            mine.latency.add(&theirs.latency).map_err(|e| e.to_string())?;
            mine.nils += theirs.nils;
            mine.errors += theirs.errors;
        }
        self.unanswered += other.unanswered;
        self.lost_connections += other.lost_connections;
        self.note_error(&other.first_error);
        self.last_ns = self.last_ns.max(other.last_ns);
        Ok(())
    }

    /// All commands' latencies in one histogram.
    pub fn latency(&self) -> Result<Histogram<u64>, String> {
        let mut all = self.commands.first().map(|c| c.latency.clone()).ok_or("no commands")?;
        for command in self.commands.iter().skip(1) {
            all.add(&command.latency).map_err(|e| e.to_string())?;
        }
        Ok(all)
    }

    /// Everything that went wrong: error replies, unanswered requests, lost connections.
    pub fn failures(&self) -> u64 {
        self.commands.iter().map(|c| c.errors).sum::<u64>() + self.unanswered + self.lost_connections
    }

    /// Keeps `text` if it is the first.
    pub fn note_error(&mut self, text: &str) {
        if self.first_error.is_empty() {
            self.first_error = text.to_string();
        }
    }
}

struct Request {
    since_ns: u64,
    command: u16,
    replies_left: u32,
}

/// What one connection waits for.
#[derive(Default)]
pub struct Flight {
    requests: VecDeque<Request>,
    replies: Replies,
}

impl Flight {
    /// A request has been sent whose latency counts from `since_ns`.
    pub fn push(&mut self, command: usize, replies: u32, since_ns: u64) {
        self.requests.push_back(Request { since_ns, command: command as u16, replies_left: replies });
    }

    /// Requests that are not answered.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// `bytes` have come at `now_ns`: notes the replies in them and returns how many requests they ended.
    pub fn answer(&mut self, mut bytes: &[u8], now_ns: u64, tally: &mut Tally) -> Result<u64, NotResp> {
        let mut ended = 0;
        while let Some(kind) = self.replies.next(&mut bytes)? {
            let request = self.requests.front_mut().ok_or(NotResp)?;
            let command = &mut tally.commands[usize::from(request.command)];
            match kind {
                Kind::Value => {}
                Kind::Nil => command.nils += 1,
                Kind::Error => {
                    command.errors += 1;
                    if tally.first_error.is_empty() {
                        tally.first_error = String::from_utf8_lossy(self.replies.first_error()).into_owned();
                    }
                }
            }
            request.replies_left -= 1;
            if request.replies_left == 0 {
                command.latency.saturating_record(now_ns.saturating_sub(request.since_ns).max(1));
                self.requests.pop_front();
                ended += 1;
            }
        }
        if ended > 0 {
            tally.last_ns = tally.last_ns.max(now_ns);
        }
        Ok(ended)
    }

    /// Nobody waits any more: what is not answered counts as unanswered, with the time it has taken so far.
    pub fn abandon(&mut self, now_ns: u64, tally: &mut Tally) {
        for request in self.requests.drain(..) {
            let command = &mut tally.commands[usize::from(request.command)];
            command.latency.saturating_record(now_ns.saturating_sub(request.since_ns).max(1));
            tally.unanswered += 1;
        }
    }
}

/// One connection's requests in an open loop.
#[derive(Debug, Clone)]
pub struct Lane {
    next: u64,
    step: u64,
    count: u64,
    interval_ns: f64,
}

impl Lane {
    /// Lane `number` of `lanes`, which share `count` requests at `rate` per second.
    pub fn new(number: u64, lanes: u64, count: u64, rate: f64) -> Lane {
        Lane { next: number, step: lanes, count, interval_ns: 1e9 / rate }
    }

    /// When the next request is due; nothing when there are no more.
    pub fn due_ns(&self) -> Option<u64> {
        (self.next < self.count).then_some((self.next as f64 * self.interval_ns) as u64)
    }

    /// Takes the next request if it is due at `now_ns`: the moment at which it was.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due = self.due_ns().filter(|due| *due <= now_ns)?;
        self.next += self.step;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// An open loop over one connection at 1,000 requests a second for 10 s, against a server that answers a request 100 us
    /// after it is sent, but nothing while it stalls. The clock is a number.
    fn against_a_server_that_stalls(stall: std::ops::Range<u64>, depth: usize) -> Tally {
        let (mut lane, mut flight) = (Lane::new(0, 1, 10_000, 1_000.0), Flight::default());
        let mut tally = Tally::new(1).unwrap();
        let mut now = 0;
        while lane.due_ns().is_some() || flight.len() > 0 {
            while flight.len() < depth {
                let Some(due) = lane.take(now) else { break };
                flight.push(0, 1, due);
            }
            now += 100_000;
            let answers = if stall.contains(&now) { 0 } else { flight.len() };
            assert_eq!(
                flight.answer("+OK\r\n".repeat(answers).as_bytes(), now, &mut tally),
                Ok(answers as u64)
            );
        }
        tally
    }

    #[test]
    fn a_stall_is_seen_by_every_request_that_was_due_in_it() {
        let calm = against_a_server_that_stalls(0..0, 1);
        assert_eq!(calm.commands[0].latency.len(), 10_000);
        assert!(calm.commands[0].latency.max() <= 101_000);

        for depth in [1, 16] {
            let stalled = against_a_server_that_stalls(2_000 * MS..2_500 * MS, depth);
            let latency = &stalled.commands[0].latency;
            assert_eq!(latency.len(), 10_000, "each request counts once");
            // 500 were due in the stall, 2 % and more of a half waited long; a loop that stops asking would see `depth` of them.
            let late = latency.len() - latency.count_between(0, 100 * MS);
            assert!((390..=450).contains(&late), "{late} waited longer than 100 ms");
            assert!(latency.value_at_quantile(0.999) > 480 * MS);
            assert!(latency.value_at_quantile(0.9) < MS);
        }
    }

    #[test]
    fn lanes_share_the_requests_and_each_is_due_at_its_time() {
        let mut dues: Vec<u64> = Vec::new();
        for number in 0..3 {
            let mut lane = Lane::new(number, 3, 10, 1000.0);
            assert_eq!(lane.take(number * MS), Some(number * MS));
            assert_eq!(lane.take(number * MS + 3 * MS - 1), None);
            dues.push(number * MS);
            while let Some(due) = lane.due_ns() {
                assert_eq!(lane.take(due), Some(due));
                dues.push(due);
            }
        }
        dues.sort_unstable();
        assert_eq!(dues, (0..10).map(|n| n * MS).collect::<Vec<_>>());
    }

    #[test]
    fn a_request_of_many_replies_counts_once_with_the_last() {
        let (mut flight, mut tally) = (Flight::default(), Tally::new(2).unwrap());
        flight.push(1, 3, 10);
        flight.push(0, 1, 20);
        assert_eq!(flight.answer(b"+OK\r\n-ERR x\r\n", 30, &mut tally), Ok(0));
        assert_eq!(flight.answer(b"$-1\r\n+OK\r", 40, &mut tally), Ok(1));
        assert_eq!(flight.answer(b"\n", 50, &mut tally), Ok(1));
        assert_eq!((tally.commands[1].latency.max(), tally.commands[0].latency.max()), (30, 30));
        assert_eq!((tally.commands[1].nils, tally.commands[1].errors), (1, 1));
        assert_eq!((tally.first_error.as_str(), tally.failures(), tally.last_ns), ("ERR x", 1, 50));
        assert_eq!(flight.answer(b"+OK\r\n", 60, &mut tally), Err(NotResp), "a reply nobody asked for");
    }

    #[test]
    fn what_is_abandoned_counts_with_the_time_it_took() {
        let (mut flight, mut tally) = (Flight::default(), Tally::new(1).unwrap());
        flight.push(0, 1, 0);
        flight.push(0, 1, 5);
        flight.abandon(105, &mut tally);
        assert_eq!((tally.unanswered, tally.failures(), flight.len()), (2, 2, 0));
        assert_eq!((tally.commands[0].latency.len(), tally.commands[0].latency.max()), (2, 105));
    }
}
