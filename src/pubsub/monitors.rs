//! Who watches all commands (MONITOR), and how their lines get there.
//!
//! A line is made where a command runs, and shown while its locks are still held, so that lines have the order of what they tell of:
//! one mutex puts them into one order, with rising times, the same for every monitor. They go into outboxes as messages do; who
//! does not read them is cut. Nobody watching: one relaxed load a command.
//!
//! Locks: the list of monitors, then an outbox.

use super::{Message, Outbox, Rests, Standing};
use crate::base::clock::Clock;
use crate::config::{ClientClass, Config};
use parking_lot::Mutex;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One command as monitors are shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// From behind the time on, without the end of the line.
    pub text: Vec<u8>,
    /// The monitor that is not shown it: it has just ceased to be one.
    pub unseen_by: Option<u64>,
}

/// All monitors.
pub struct Monitors {
    count: AtomicUsize,
    list: Mutex<Vec<Arc<Outbox>>>,
    config: Arc<Config>,
    clock: Clock,
}

impl Monitors {
    /// Nobody watches.
    pub fn new(config: Arc<Config>, clock: Clock) -> Monitors {
        Monitors { count: AtomicUsize::new(0), list: Mutex::default(), config, clock }
    }

    /// True when nobody watches. Costs next to nothing.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// A connection begins to watch.
    pub fn begin(&self, outbox: &Arc<Outbox>) {
        let mut list = self.list.lock();
        if !list.iter().any(|other| other.id() == outbox.id()) {
            list.push(Arc::clone(outbox));
        }
        self.count.store(list.len(), Ordering::Relaxed);
    }

    /// A connection watches no longer.
    pub fn end(&self, outbox: &Outbox) {
        let mut list = self.list.lock();
        list.retain(|other| other.id() != outbox.id());
        self.count.store(list.len(), Ordering::Relaxed);
    }

    /// Shows lines to all who watch.
    pub fn show(&self, lines: Vec<Line>) {
        if lines.is_empty() || self.is_empty() {
            return;
        }
        let standing = self.standing();
        let list = self.list.lock();
        for Line { text, unseen_by } in lines {
            let now_us = self.clock.now_us();
            let mut bytes = Vec::with_capacity(text.len() + 24);
            // Writing to memory cannot fail.
            let _ = write!(bytes, "+{}.{:06} ", now_us / 1_000_000, now_us % 1_000_000);
            bytes.extend_from_slice(&text);
            bytes.extend_from_slice(b"\r\n");
            let message = Message::raw(&bytes);
            let watching = list.iter().filter(|outbox| Some(outbox.id()) != unseen_by);
            watching.for_each(|outbox| outbox.put(&message, Rests::default(), &standing));
        }
    }

    /// What a monitor's outbox must keep to, as of now. Monitors are ordinary clients; where those may have any amount waiting, the limit
    /// is that of subscribers: nothing grows without end.
    pub fn standing(&self) -> Standing<'_> {
        let normal = self.config.output_limit(ClientClass::Normal);
        let is_limited = normal.hard_bytes > 0 || normal.soft_bytes > 0;
        let limit = if is_limited { normal } else { self.config.output_limit(ClientClass::Pubsub) };
        Standing { limit, clock: &self.clock }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Proto;
    use std::sync::atomic::AtomicBool;

    fn line(text: &str, unseen_by: Option<u64>) -> Line {
        Line { text: text.into(), unseen_by }
    }

    fn taken(outbox: &Outbox) -> Vec<String> {
        let items = std::iter::from_fn(|| outbox.take_if(|_| true));
        items
            .map(|item| {
                let (first, rest) = item.message.parts(item.proto);
                format!("{}{}", first as char, String::from_utf8_lossy(rest))
            })
            .collect()
    }

    #[test]
    fn lines_have_the_time_and_reach_those_who_watch() {
        let monitors = Monitors::new(Arc::default(), Clock::manual(1_700_000_000_042));
        let [one, two] = [1, 2].map(|id| Outbox::new(id, Proto::Resp3, || {}));
        assert!(monitors.is_empty());
        monitors.begin(&one);
        monitors.begin(&one);
        monitors.begin(&two);
        monitors.show(vec![line("a", None), line("b", Some(2))]);
        let [a, b] = ["a", "b"].map(|text| format!("+1700000000.042000 {text}\r\n"));
        assert_eq!((taken(&one), taken(&two)), (vec![a.clone(), b], vec![a]));
        monitors.end(&one);
        monitors.show(vec![line("c", None)]);
        assert_eq!((taken(&one).len(), taken(&two).len()), (0, 1));
        monitors.end(&two);
        assert!(monitors.is_empty());
    }

    #[test]
    fn who_does_not_read_is_cut_also_where_ordinary_clients_have_no_limit() {
        let config: Arc<Config> = Arc::default();
        let monitors = Monitors::new(Arc::clone(&config), Clock::manual(0));
        let cut = Arc::new(AtomicBool::new(false));
        let hears = Arc::clone(&cut);
        let outbox = Outbox::new(1, Proto::Resp2, move || hears.store(true, Ordering::Relaxed));
        monitors.begin(&outbox);
        let long = "x".repeat(1 << 20);
        (0..31).for_each(|_| monitors.show(vec![line(&long, None)]));
        assert!(!cut.load(Ordering::Relaxed));
        monitors.show(vec![line(&long, None)]);
        assert!(cut.load(Ordering::Relaxed) && outbox.is_empty());
        config.apply(&[("client-output-buffer-limit".to_owned(), "normal 1000 0 0".to_owned())]);
        assert_eq!(monitors.standing().limit.hard_bytes, 1000);
    }
}
