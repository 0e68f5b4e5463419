//! CLIENT PAUSE: which commands are held back, and until when.
//!
//! One pause at a time: a second one can only make it longer and stricter, until it is over. Who is held back waits outside of all
//! locks (`server::client_pause`) and asks again when the pause ends or is changed. While it lasts, no key is deleted because
//! its time is up.
//!
//! Nobody paused: one relaxed load a command. Locks: one mutex, for changes and looks during a pause.

use super::node::Node;
use super::spec::Flag;
use super::table::Entry;
use crate::resp::Args;
use crate::script::{Flags, Script, Sha};
use crate::session::Session;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// What a pause holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseMode {
    /// What may change data, or tell others of something.
    Write,
    /// Everything.
    All,
}

/// The pause there is.
#[derive(Default)]
pub struct Pauses {
    /// There is one, perhaps over by now.
    is_on: AtomicBool,
    /// What it holds back, and until when, unix milliseconds.
    current: Mutex<Option<(PauseMode, u64)>>,
    changed: Notify,
}

impl Pauses {
    /// Begins a pause, or makes the present one longer and stricter.
    pub fn begin(&self, mode: PauseMode, until_ms: u64, now_ms: u64) {
        let mut current = self.current.lock();
        let merged = match current.filter(|(_, end_ms)| *end_ms > now_ms) {
            Some((old_mode, old_until_ms)) => (mode.max(old_mode), until_ms.max(old_until_ms)),
            None => (mode, until_ms),
        };
        *current = Some(merged);
        self.is_on.store(true, Ordering::Release);
        drop(current);
        self.changed.notify_waiters();
    }

    /// Ends the pause.
    pub fn end(&self) {
        *self.current.lock() = None;
        self.is_on.store(false, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// False when nobody has asked for a pause. Costs next to nothing.
    pub fn may_be_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// The pause that lasts now: what it holds back, and until when.
    pub fn current(&self, now_ms: u64) -> Option<(PauseMode, u64)> {
        if !self.may_be_on() {
            return None;
        }
        let mut current = self.current.lock();
        if current.is_some_and(|(_, until_ms)| until_ms <= now_ms) {
            *current = None;
            self.is_on.store(false, Ordering::Release);
        }
        *current
    }

    /// Ready when the pause is changed; enable it before looking at `current`.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

/// Until when a command is held back, unix milliseconds; nothing when it may run, or be queued.
pub fn held_until_ms(node: &Node, session: &Session, entry: &Entry, args: Args<'_>) -> Option<u64> {
    let (mode, until_ms) = node.pauses.current(node.clock.now_ms())?;
    let is_held = match mode {
        PauseMode::All => true,
        PauseMode::Write if entry.name == "exec" => session.multi.as_ref().is_some_and(|multi| {
            multi.queue.iter().any(|queued| {
                let entry = node.table.entry(queued.command);
                entry.is_some_and(|entry| may_write(node, entry, queued.args.args()))
            })
        }),
        PauseMode::Write => may_write(node, entry, args),
    };
    is_held.then_some(until_ms)
}

/// Whether a command may change data or tell others of something. A script that says of itself that it does not write is believed.
fn may_write(node: &Node, entry: &Entry, args: Args<'_>) -> bool {
    let flags = entry.spec.flags;
    let may = flags.has(Flag::Write) || flags.has(Flag::MayReplicate);
    may && !script_flags(node, entry, args).is_some_and(|flags| flags.has(Flags::NO_WRITES))
}

/// What a script or function declares of itself, if it is known and does.
fn script_flags(node: &Node, entry: &Entry, args: Args<'_>) -> Option<Flags> {
    let named = args.at(1);
    let script = match entry.name {
        "eval" => node.scripts.get(Sha::of(named)).or_else(|| Script::parse(named).ok().map(Arc::new))?,
        "evalsha" => node.scripts.get(Sha::parse(named)?)?,
        "fcall" => {
            let libraries = node.keyspace.libraries();
            let (loaded, number) = libraries.find_function(named)?;
            return loaded.content.functions.get(number).map(|function| Flags::from_bits(function.flags));
        }
        _ => return None,
    };
    script.declares_flags().then(|| script.flags())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_longer_and_stricter_until_it_is_over() {
        let pauses = Pauses::default();
        assert!(!pauses.may_be_on());
        pauses.begin(PauseMode::All, 100, 0);
        pauses.begin(PauseMode::Write, 50, 10);
        assert_eq!(pauses.current(20), Some((PauseMode::All, 100)));
        pauses.begin(PauseMode::Write, 150, 20);
        assert_eq!(pauses.current(149), Some((PauseMode::All, 150)));
        // Over: the next one begins anew.
        pauses.begin(PauseMode::Write, 200, 150);
        assert_eq!(pauses.current(150), Some((PauseMode::Write, 200)));
        pauses.end();
        assert_eq!(pauses.current(151), None);
        pauses.begin(PauseMode::Write, 200, 160);
        assert_eq!(pauses.current(200), None);
        assert!(!pauses.may_be_on());
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_the_end() {
        let pauses = Pauses::default();
        pauses.begin(PauseMode::All, 100, 0);
        let mut changed = std::pin::pin!(pauses.changed());
        changed.as_mut().enable();
        pauses.end();
        changed.await;
    }
}
