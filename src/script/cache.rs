//! The scripts a server knows by their SHA-1, shared by all its threads.
//!
//! What SCRIPT LOAD brought stays until SCRIPT FLUSH. What EVAL brought leaves when [`EVAL_SCRIPTS_MAX`] newer ones have been
//! used since, unless SCRIPT LOAD names it meanwhile. One lock over both maps, held for a lookup.

use std::num::NonZeroUsize;
use std::sync::Arc;

use hashbrown::HashMap;
use lru::LruCache;
use parking_lot::Mutex;

use crate::script::source::{Script, Sha};

/// Scripts of EVAL that are kept, as in Redis.
pub const EVAL_SCRIPTS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(500 - 1);

/// The scripts known, by name.
pub struct Scripts {
    known: Mutex<Known>,
}

struct Known {
    loaded: HashMap<Sha, Arc<Script>, ahash::RandomState>,
    evaluated: LruCache<Sha, Arc<Script>>,
    evicted: u64,
    text_bytes: usize,
}

impl Scripts {
    /// None yet.
    pub fn new() -> Scripts {
        let loaded = HashMap::with_hasher(ahash::RandomState::new());
        let evaluated = LruCache::new(EVAL_SCRIPTS_MAX);
        Scripts { known: Mutex::new(Known { loaded, evaluated, evicted: 0, text_bytes: 0 }) }
    }

    /// The script of this name, which counts as a use of it.
    pub fn get(&self, sha: Sha) -> Option<Arc<Script>> {
        let mut known = self.known.lock();
        if let Some(script) = known.loaded.get(&sha) {
            return Some(Arc::clone(script));
        }
        known.evaluated.get(&sha).map(Arc::clone)
    }

    /// Whether there is such a script; no use of it.
    pub fn contains(&self, sha: Sha) -> bool {
        let known = self.known.lock();
        known.loaded.contains_key(&sha) || known.evaluated.contains(&sha)
    }

    /// Keeps a script that SCRIPT LOAD brought.
    pub fn load(&self, script: Arc<Script>) {
        let mut known = self.known.lock();
        let sha = script.sha();
        known.text_bytes += script.text().len();
        if let Some(old) = known.evaluated.pop(&sha) {
            known.text_bytes -= old.text().len();
        }
        if let Some(old) = known.loaded.insert(sha, script) {
            known.text_bytes -= old.text().len();
        }
    }

    /// Keeps a script that EVAL brought for as long as it is in use.
    pub fn keep(&self, script: Arc<Script>) {
        let mut known = self.known.lock();
        let sha = script.sha();
        if known.loaded.contains_key(&sha) {
            return;
        }
        known.text_bytes += script.text().len();
        if let Some((gone, old)) = known.evaluated.push(sha, script) {
            known.text_bytes -= old.text().len();
            if gone != sha {
                known.evicted += 1;
            }
        }
    }

    /// Forgets all.
    pub fn flush(&self) {
        let mut known = self.known.lock();
        known.loaded.clear();
        known.evaluated.clear();
        known.text_bytes = 0;
    }

    /// How many there are: `number_of_cached_scripts`.
    pub fn len(&self) -> usize {
        let known = self.known.lock();
        known.loaded.len() + known.evaluated.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of EVAL's have left for newer ones: `evicted_scripts`.
    pub fn evicted(&self) -> u64 {
        self.known.lock().evicted
    }

    /// Bytes of all texts.
    pub fn text_bytes(&self) -> usize {
        self.known.lock().text_bytes
    }
}

impl Default for Scripts {
    fn default() -> Scripts {
        Scripts::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{EVAL_SCRIPTS_MAX, Scripts};
    use crate::script::Script;

    fn script(i: usize) -> Arc<Script> {
        Arc::new(Script::parse(format!("return {i:04}").as_bytes()).unwrap())
    }

    #[test]
    fn eval_scripts_leave_for_newer_ones_and_loaded_ones_stay() {
        let scripts = Scripts::new();
        let max = EVAL_SCRIPTS_MAX.get();
        scripts.load(script(0));
        (1..=max).for_each(|i| scripts.keep(script(i)));
        assert_eq!((scripts.len(), scripts.evicted()), (max + 1, 0));
        assert!(scripts.get(script(1).sha()).is_some());
        scripts.keep(script(max + 1));
        assert_eq!((scripts.len(), scripts.evicted()), (max + 1, 1));
        assert!(scripts.contains(script(1).sha()), "it was used");
        assert!(!scripts.contains(script(2).sha()), "it was the least recently used");
        assert!(scripts.contains(script(0).sha()));
        assert_eq!(scripts.text_bytes(), (max + 1) * "return 0000".len());
        scripts.flush();
        assert!(scripts.is_empty() && scripts.text_bytes() == 0);
    }

    #[test]
    fn load_makes_an_eval_script_stay() {
        let scripts = Scripts::new();
        scripts.keep(script(0));
        scripts.load(script(0));
        scripts.keep(script(0));
        assert_eq!((scripts.len(), scripts.text_bytes()), (1, 11));
        (1..=EVAL_SCRIPTS_MAX.get()).for_each(|i| scripts.keep(script(i)));
        assert!(scripts.contains(script(0).sha()));
    }
}
