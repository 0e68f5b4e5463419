//! The scripts and functions that run off the workers: what SCRIPT KILL, FUNCTION KILL and FUNCTION STATS look at, and why others are
//! answered BUSY. (A worker ends one that takes longer than a few milliseconds by itself.) One lock over the list, held for a look.

use crate::resp::OwnedArgs;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// A function that runs.
#[derive(Debug, Clone)]
pub struct RunningFunction {
    /// Its name.
    pub name: Box<[u8]>,
    /// The words that called it.
    pub command: OwnedArgs,
}

/// What a script keeps from others while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// Nothing.
    Nothing,
    /// One of the few turns of heavy commands.
    Turn,
    /// All keys: the gate is closed.
    Everything,
}

/// What is answered while a script is in the way, in Redis' words.
pub const BUSY_SCRIPT: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
/// While a function is.
pub const BUSY_FUNCTION: &str =
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";

/// Who wants a script to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killer {
    /// SCRIPT KILL or FUNCTION KILL.
    Client,
    /// The server, which ends or opens its database again.
    Server,
}

struct Running {
    killer: OnceLock<Killer>,
    /// When it began, microseconds of the monotonic clock.
    began_us: u64,
    holds: Holds,
    /// Nothing for a script.
    function: Option<RunningFunction>,
}

/// What a kill has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// Whatever was asked for has been told to end.
    Told,
    /// There are only those of the other kind.
    OnlyOthers,
    /// Nothing runs.
    Nothing,
}

/// All that run.
#[derive(Default)]
pub struct RunningScripts {
    all: Mutex<Vec<Arc<Running>>>,
}

/// One that runs; dropped, it has ended.
pub struct RunningScript<'n> {
    scripts: &'n RunningScripts,
    own: Option<Arc<Running>>,
}

impl RunningScripts {
    /// One begins on a worker, where it cannot be killed.
    pub fn begin_on_worker(&self) -> RunningScript<'_> {
        RunningScript { scripts: self, own: None }
    }

    /// A script or a function begins elsewhere, at `began_us` of the monotonic clock.
    pub fn begin(&self, function: Option<RunningFunction>, began_us: u64, holds: Holds) -> RunningScript<'_> {
        let own = Arc::new(Running { killer: OnceLock::new(), began_us, holds, function });
        self.all.lock().push(Arc::clone(&own));
        RunningScript { scripts: self, own: Some(own) }
    }

    /// Ends all functions, or all scripts.
    pub fn kill(&self, functions: bool) -> Kill {
        let all = self.all.lock();
        let mut found = if all.is_empty() { Kill::Nothing } else { Kill::OnlyOthers };
        for running in all.iter().filter(|running| running.function.is_some() == functions) {
            running.killer.get_or_init(|| Killer::Client);
            found = Kill::Told;
        }
        found
    }

    /// Ends whatever runs, for the server's sake.
    pub fn kill_all(&self) {
        for running in self.all.lock().iter() {
            running.killer.get_or_init(|| Killer::Server);
        }
    }

    /// The function that has run for longest, and since when.
    pub fn oldest_function(&self) -> Option<(RunningFunction, u64)> {
        let all = self.all.lock();
        let functions = all.iter().filter_map(|run| Some((run.function.as_ref()?, run.began_us)));
        functions
            .min_by_key(|(_, began_us)| *began_us)
            .map(|(function, began_us)| (function.clone(), began_us))
    }

    /// One of them has all keys to itself.
    pub fn hold_everything(&self) -> bool {
        self.all.lock().iter().any(|run| run.holds == Holds::Everything)
    }

    /// What to answer whoever waits for the gate (`turns` is nothing), or for one of so many turns: scripts that began before `since_us`
    /// hold all keys, or all turns.
    pub fn busy_text(&self, since_us: u64, turns: Option<usize>) -> Option<&'static str> {
        let all = self.all.lock();
        let holders = |holds| all.iter().filter(move |run| run.holds >= holds && run.began_us <= since_us);
        let has_all = |turns| holders(Holds::Turn).count() >= turns;
        let in_the_way = match holders(Holds::Everything).next() {
            None if turns.is_some_and(has_all) => holders(Holds::Turn).next(),
            holder => holder,
        };
        in_the_way.map(|run| if run.function.is_some() { BUSY_FUNCTION } else { BUSY_SCRIPT })
    }
}

impl RunningScript<'_> {
    /// Who wants it to end, if anybody does.
    pub fn killer(&self) -> Option<Killer> {
        self.own.as_ref().and_then(|own| own.killer.get().copied())
    }
}

impl Drop for RunningScript<'_> {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            self.scripts.all.lock().retain(|other| !Arc::ptr_eq(other, own));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUSY_FUNCTION, BUSY_SCRIPT, Holds, Kill, Killer, RunningFunction, RunningScripts};
    use crate::resp::OwnedArgs;

    fn function() -> RunningFunction {
        RunningFunction { name: (*b"f").into(), command: OwnedArgs::from_slices(&[]) }
    }

    #[test]
    fn those_are_in_the_way_that_hold_all_keys_or_all_turns_for_too_long() {
        let scripts = RunningScripts::default();
        let first = scripts.begin(Some(function()), 10, Holds::Turn);
        let _dry = scripts.begin(None, 10, Holds::Nothing);
        assert_eq!(scripts.busy_text(99, Some(2)), None);
        let _second = scripts.begin(None, 20, Holds::Turn);
        assert_eq!(
            [19, 20].map(|since_us| scripts.busy_text(since_us, Some(2))),
            [None, Some(BUSY_FUNCTION)]
        );
        assert_eq!(scripts.busy_text(99, None), None);
        drop(first);
        assert_eq!(scripts.busy_text(99, Some(2)), None);
        let _alone = scripts.begin(None, 30, Holds::Everything);
        assert_eq!([29, 30].map(|since_us| scripts.busy_text(since_us, None)), [None, Some(BUSY_SCRIPT)]);
        assert_eq!(scripts.busy_text(30, Some(9)), Some(BUSY_SCRIPT));
    }

    #[test]
    fn a_kill_ends_its_own_kind_only() {
        let scripts = RunningScripts::default();
        assert_eq!(scripts.kill(true), Kill::Nothing);
        let script = scripts.begin(None, 0, Holds::Turn);
        assert_eq!(scripts.kill(true), Kill::OnlyOthers);
        let younger = scripts.begin(Some(function()), 9, Holds::Turn);
        let older = scripts.begin(Some(function()), 5, Holds::Turn);
        assert_eq!(scripts.oldest_function().map(|(_, began_us)| began_us), Some(5));
        assert_eq!(scripts.kill(true), Kill::Told);
        assert_eq!([&script, &younger, &older].map(|one| one.killer().is_some()), [false, true, true]);
        drop((younger, older));
        assert!(scripts.oldest_function().is_none());
        assert_eq!(scripts.kill(true), Kill::OnlyOthers);
        assert_eq!(scripts.kill(false), Kill::Told);
        assert_eq!((script.killer(), scripts.begin_on_worker().killer()), (Some(Killer::Client), None));
        let last = scripts.begin(None, 9, Holds::Turn);
        scripts.kill_all();
        assert_eq!([script.killer(), last.killer()], [Some(Killer::Client), Some(Killer::Server)]);
    }
}
