//! The slow log: the commands that took longer than `slowlog-log-slower-than`, newest first, no more than `slowlog-max-len`.
//!
//! Durations are measured for the statistics anyway; a command that is not slow costs one comparison. What an entry keeps of a request is
//! bounded as in Redis: 32 words of 128 bytes.
//!
//! Locks: one mutex, taken for a slow command and by SLOWLOG.

use super::words::without_secrets;
use crate::config::Config;
use crate::resp::Args;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Words of a request that an entry keeps; of more, the last of them says how many.
const WORDS_MAX: usize = 32;
/// Bytes of a word that an entry keeps.
const WORD_BYTES_MAX: usize = 128;

/// A slow command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, never used twice.
    pub id: u64,
    /// When it ended, unix seconds.
    pub at_s: u64,
    /// How long it took, microseconds.
    pub duration_us: u64,
    /// The request, cut.
    pub words: Vec<Box<[u8]>>,
    /// Who sent it; empty: a script.
    pub address: String,
    /// The sender's name.
    pub name: Arc<[u8]>,
}

/// The entries, and the number of the next.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: Mutex<(VecDeque<Arc<Entry>>, u64)>,
}

/// Whether a command that took so long belongs into the log.
pub fn is_slow(config: &Config, duration_us: u64) -> bool {
    // Below zero the log is off.
    u64::try_from(config.slowlog_slower_than_us()).is_ok_and(|limit_us| duration_us >= limit_us)
}

impl SlowLog {
    /// Notes a slow command; `command` is its whole name, `sender` its address and name, nothing for a script's.
    pub fn note(
        &self,
        config: &Config,
        command: &str,
        args: Args<'_>,
        (duration_us, at_s): (u64, u64),
        sender: Option<(String, Arc<[u8]>)>,
    ) {
        let entries_max = config.slowlog_entries_max();
        if entries_max == 0 {
            return;
        }
        let words = cut(without_secrets(command, args));
        let (address, name) = sender.unwrap_or_default();
        let mut log = self.entries.lock();
        let (entries, next_id) = &mut *log;
        let id = *next_id;
        *next_id += 1;
        entries.push_front(Arc::new(Entry { id, at_s, duration_us, words, address, name }));
        entries.truncate(entries_max);
    }

    /// The newest entries, newest first.
    pub fn newest(&self, count: usize) -> Vec<Arc<Entry>> {
        self.entries.lock().0.iter().take(count).cloned().collect()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.lock().0.len()
    }

    /// True when nothing was slow.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all entries; numbers go on.
    pub fn reset(&self) {
        self.entries.lock().0.clear();
    }
}

/// The words an entry keeps.
fn cut<'a>(words: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Box<[u8]>> {
    let count = words.len();
    let kept = if count > WORDS_MAX { WORDS_MAX - 1 } else { count };
    let mut cut: Vec<Box<[u8]>> = words.take(kept).map(cut_word).collect();
    if count > kept {
        cut.push(format!("... ({} more arguments)", count - kept).into_bytes().into());
    }
    cut
}

fn cut_word(word: &[u8]) -> Box<[u8]> {
    match word.split_at_checked(WORD_BYTES_MAX) {
        Some((head, rest)) if !rest.is_empty() => {
            [head, format!("... ({} more bytes)", rest.len()).as_bytes()].concat().into()
        }
        _ => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn noted(log: &SlowLog, config: &Config, words: &[&[u8]]) {
        let sender = Some(("1.2.3.4:5".to_owned(), Arc::from(&b"me"[..])));
        log.note(config, "get", OwnedArgs::from_slices(words).args(), (7, 9), sender);
    }

    #[test]
    fn long_requests_and_long_words_are_cut_as_redis_cuts_them() {
        let word = [b'a'; 130];
        let many: Vec<&[u8]> =
            std::iter::once(&b"get"[..]).chain(std::iter::repeat_n(&word[..], 40)).collect();
        let words = cut(many.iter().copied());
        assert_eq!(words.len(), 32);
        assert_eq!(*words[31], *b"... (10 more arguments)");
        assert_eq!(*words[1], *[&[b'a'; 128], &b"... (2 more bytes)"[..]].concat());
        assert_eq!(cut(many[..32].iter().copied()).len(), 32);
        assert_eq!(cut_word(&[b'a'; 128]).len(), 128);
    }

    #[test]
    fn the_log_keeps_the_newest_and_never_gives_a_number_twice() {
        let (log, config) = (SlowLog::default(), Config::default());
        config.apply(&[("slowlog-max-len".to_owned(), "2".to_owned())]);
        for word in [&b"a"[..], b"b", b"c"] {
            noted(&log, &config, &[word]);
        }
        let entries = log.newest(10);
        assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((entries[0].at_s, entries[0].duration_us, &*entries[0].address), (9, 7, "1.2.3.4:5"));
        log.reset();
        assert!(log.is_empty());
        noted(&log, &config, &[b"d"]);
        assert_eq!(log.newest(10)[0].id, 3);
        config.apply(&[("slowlog-max-len".to_owned(), "0".to_owned())]);
        noted(&log, &config, &[b"e"]);
        assert_eq!(log.len(), 1);
    }

    #[test]
    fn the_limit_is_reached_by_its_own_value_and_below_zero_nothing_is_slow() {
        let config = Config::default();
        let check = |limit: &str, duration_us: u64| {
            config.apply(&[("slowlog-log-slower-than".to_owned(), limit.to_owned())]);
            is_slow(&config, duration_us)
        };
        assert!(check("10", 10) && !check("10", 9));
        assert!(check("0", 0) && !check("-1", u64::MAX));
    }
}
