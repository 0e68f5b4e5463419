//! The scripts and functions that run off the workers: what SCRIPT KILL, FUNCTION KILL and FUNCTION STATS look at. (A worker ends
//! one that takes longer than a few milliseconds by itself.) One lock over the list, held for a look.

use crate::resp::OwnedArgs;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A function that runs.
#[derive(Debug, Clone)]
pub struct RunningFunction {
    /// Its name.
    pub name: Box<[u8]>,
    /// The words that called it.
    pub command: OwnedArgs,
    /// When it began, microseconds of the monotonic clock.
    pub began_us: u64,
}

struct Running {
    killed: AtomicBool,
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

    /// A script or a function begins elsewhere.
    pub fn begin(&self, function: Option<RunningFunction>) -> RunningScript<'_> {
        let own = Arc::new(Running { killed: AtomicBool::new(false), function });
        self.all.lock().push(Arc::clone(&own));
        RunningScript { scripts: self, own: Some(own) }
    }

    /// Ends all functions, or all scripts.
    pub fn kill(&self, functions: bool) -> Kill {
        let all = self.all.lock();
        let mut found = if all.is_empty() { Kill::Nothing } else { Kill::OnlyOthers };
        for running in all.iter().filter(|running| running.function.is_some() == functions) {
            running.killed.store(true, Ordering::Relaxed);
            found = Kill::Told;
        }
        found
    }

    /// Ends whatever runs.
    pub fn kill_all(&self) {
        self.all.lock().iter().for_each(|running| running.killed.store(true, Ordering::Relaxed));
    }

    /// The function that has run for longest.
    pub fn oldest_function(&self) -> Option<RunningFunction> {
        let all = self.all.lock();
        all.iter().filter_map(|running| running.function.as_ref()).min_by_key(|run| run.began_us).cloned()
    }
}

impl RunningScript<'_> {
    /// Somebody wants it to end.
    pub fn is_killed(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.killed.load(Ordering::Relaxed))
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
    use super::{Kill, RunningFunction, RunningScripts};
    use crate::resp::OwnedArgs;

    #[test]
    fn a_kill_ends_its_own_kind_only() {
        let scripts = RunningScripts::default();
        assert_eq!(scripts.kill(true), Kill::Nothing);
        let script = scripts.begin(None);
        assert_eq!(scripts.kill(true), Kill::OnlyOthers);
        let function = |began_us| RunningFunction {
            name: (*b"f").into(),
            command: OwnedArgs::from_slices(&[]),
            began_us,
        };
        let younger = scripts.begin(Some(function(9)));
        let older = scripts.begin(Some(function(5)));
        assert_eq!(scripts.oldest_function().map(|function| function.began_us), Some(5));
        assert_eq!(scripts.kill(true), Kill::Told);
        assert_eq!([&script, &younger, &older].map(|one| one.is_killed()), [false, true, true]);
        drop((younger, older));
        assert!(scripts.oldest_function().is_none());
        assert_eq!(scripts.kill(true), Kill::OnlyOthers);
        assert_eq!(scripts.kill(false), Kill::Told);
        assert!(script.is_killed() && !scripts.begin_on_worker().is_killed());
    }
}
