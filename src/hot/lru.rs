//! Least recently used, in two segments, with the bookkeeping left to whoever makes room.
//!
//! New rows enter *probation*. A use only leaves a mark on a row, which costs one look into a map and changes no list; so as long
//! as everything fits there is nothing else to do. The order is made good when room is needed: what is
//! taken from probation's old end and was read meanwhile moves up to *protected*, which may hold 80 % of the shard; what was
//! only written begins anew at the young end; all else leaves. What overflows protected goes back to
//! probation's young end, unless it was used, too. So rows seen once (a scan) push out each other, and at most the fifth of the
//! shard that was not used twice, never the working set. Each segment is an `LruCache` without a
//! limit of its own; the bytes are counted here.
//!
//! No lock of its own: the shard's mutex is held around every call.

use crate::hot::entry::{Hashed, Key, PassHash, Probe, Value, heap_bytes, overwrite};
use crate::hot::{Lookup, Source};
use ::lru::LruCache;

use super::Kept;

/// The memory of an entry without its key's and value's heap blocks: the list node (40 key, 24 held,
/// 16 links: exactly the 80-byte class) and 28 for the map: 17 bytes a slot (16 + 1 control byte) over
/// a load that wanders between 7/16 and 7/8, 1.65 slots per entry on average.
pub(super) const ENTRY_BYTES: usize = 80 + 28;

/// Protected leaves one part in this many to probation.
const PROBATION_PART: usize = 5;
/// Rows looked at in one call at most, before one leaves whatever its marks say.
const LOOKS_MAX: usize = 16;
/// The use counter a row gets when the policy becomes LFU: in probation, in protected.
const SEEN_ONCE: u8 = 5;
const SEEN_TWICE: u8 = 6;

type Segment = LruCache<Key, Held, PassHash>;

struct Held {
    value: Value,
    /// The second of the last use.
    used_s: u32,
    /// Read, or written, since it came to where it stands in its segment.
    was_read: bool,
    was_written: bool,
    /// The read that it was put in for is still to come.
    is_awaited: bool,
}

impl Held {
    fn new(value: Value, used_s: u32) -> Held {
        Held { value, used_s, was_read: false, was_written: false, is_awaited: false }
    }

    /// Marks a read. A row that bears the mark is not written to: its cache line stays clean.
    fn read(&mut self, now_s: u32) -> Lookup {
        if self.is_awaited {
            self.is_awaited = false;
        } else if self.used_s != now_s || !self.was_read {
            (self.used_s, self.was_read) = (now_s, true);
        }
        self.lookup()
    }

    fn clear_marks(&mut self) {
        (self.was_read, self.was_written) = (false, false);
    }

    fn lookup(&self) -> Lookup {
        Lookup::of(&self.value)
    }
}

/// One shard's rows under this policy.
pub(super) struct Lru {
    probation: Segment,
    protected: Segment,
    probation_bytes: usize,
    protected_bytes: usize,
    protected_bytes_max: usize,
}

fn segment() -> Segment {
    LruCache::unbounded_with_hasher(PassHash::default())
}

pub(super) fn charge(key_len: usize, value_len: Option<usize>) -> usize {
    ENTRY_BYTES + heap_bytes(key_len, value_len)
}

fn charge_of(key: &[u8], value: &Value) -> usize {
    charge(key.len(), value.as_ref().map(|value| value.len()))
}

impl Lru {
    pub(super) fn new(share_bytes: usize) -> Lru {
        let mut new = Lru {
            probation: segment(),
            protected: segment(),
            probation_bytes: 0,
            protected_bytes: 0,
            protected_bytes_max: 0,
        };
        new.set_share(share_bytes);
        new
    }

    /// Sets the shard's byte budget, of which protected has its part.
    pub(super) fn set_share(&mut self, share_bytes: usize) {
        self.protected_bytes_max = share_bytes - share_bytes / PROBATION_PART;
    }

    pub(super) fn bytes(&self) -> usize {
        self.probation_bytes + self.protected_bytes
    }

    pub(super) fn len(&self) -> usize {
        self.probation.len() + self.protected.len()
    }

    /// Finds a row and counts the use.
    pub(super) fn get(&mut self, probe: &Probe, now_s: u32) -> Lookup {
        let wanted: &dyn Hashed = probe;
        match self.protected.peek_mut(wanted).or_else(|| self.probation.peek_mut(wanted)) {
            Some(held) => held.read(now_s),
            None => Lookup::Miss,
        }
    }

    /// Finds a row without a trace.
    pub(super) fn peek(&self, probe: &Probe) -> Lookup {
        self.held(probe).map_or(Lookup::Miss, Held::lookup)
    }

    /// The second of a row's last use and whether it is known absent.
    pub(super) fn used(&self, probe: &Probe) -> Option<(u32, bool)> {
        self.held(probe).map(|held| (held.used_s, held.value.is_none()))
    }

    /// Backdates (or renews) a row's last use.
    pub(super) fn set_used(&mut self, probe: &Probe, used_s: u32) {
        let wanted: &dyn Hashed = probe;
        if let Some(held) = self.protected.peek_mut(wanted).or_else(|| self.probation.peek_mut(wanted)) {
            held.used_s = used_s;
        }
    }

    fn held(&self, probe: &Probe) -> Option<&Held> {
        let wanted: &dyn Hashed = probe;
        self.protected.peek(wanted).or_else(|| self.probation.peek(wanted))
    }

    /// Gives a row that is here another value; false if it is not here. A write keeps it in its segment, but only a read moves it
    /// up: a command that reads and writes has used it once.
    pub(super) fn replace(
        &mut self,
        probe: &Probe,
        value: Option<&[u8]>,
        now_s: u32,
        source: Source,
    ) -> bool {
        let wanted: &dyn Hashed = probe;
        let (held, bytes) = match self.protected.peek_mut(wanted) {
            Some(held) => (held, &mut self.protected_bytes),
            None => match self.probation.peek_mut(wanted) {
                Some(held) => (held, &mut self.probation_bytes),
                None => return false,
            },
        };
        *bytes -= charge_of(probe.bytes, &held.value);
        overwrite(&mut held.value, value);
        *bytes += charge_of(probe.bytes, &held.value);
        if source == Source::Write {
            (held.used_s, held.was_written) = (now_s, true);
        }
        self.demote_overflow();
        true
    }

    /// Adds a row that is not here.
    pub(super) fn insert(&mut self, probe: &Probe, value: Option<&[u8]>, now_s: u32, source: Source) {
        let mut held = Held::new(None, now_s);
        held.is_awaited = source == Source::Ahead;
        overwrite(&mut held.value, value);
        self.probation_bytes += charge_of(probe.bytes, &held.value);
        self.probation.push(Key::new(probe), held);
    }

    /// Forgets a row; false if it was not here.
    pub(super) fn remove(&mut self, probe: &Probe) -> bool {
        let wanted: &dyn Hashed = probe;
        if let Some(held) = self.protected.pop(wanted) {
            self.protected_bytes -= charge_of(probe.bytes, &held.value);
            return true;
        }
        let Some(held) = self.probation.pop(wanted) else {
            return false;
        };
        self.probation_bytes -= charge_of(probe.bytes, &held.value);
        true
    }

    /// Drops the row least worth keeping; false if there is none.
    pub(super) fn evict(&mut self) -> bool {
        for look in 0.. {
            let Some((key, mut held)) = self.probation.pop_lru() else { break };
            if look < LOOKS_MAX && held.was_read {
                held.clear_marks();
                let charge = charge_of(key.bytes(), &held.value);
                self.probation_bytes -= charge;
                self.protected_bytes += charge;
                self.protected.push(key, held);
                self.demote_overflow();
            } else if look < LOOKS_MAX && held.was_written {
                held.clear_marks();
                self.probation.push(key, held);
            } else {
                self.probation_bytes -= charge_of(key.bytes(), &held.value);
                return true;
            }
        }
        let Some((key, held)) = self.protected.pop_lru() else {
            return false;
        };
        self.protected_bytes -= charge_of(key.bytes(), &held.value);
        true
    }

    fn demote_overflow(&mut self) {
        for look in 0..LOOKS_MAX {
            if self.protected_bytes <= self.protected_bytes_max {
                return;
            }
            let Some((key, mut held)) = self.protected.pop_lru() else {
                return;
            };
            let was_used = held.was_read || held.was_written;
            held.clear_marks();
            if was_used && look + 1 < LOOKS_MAX {
                self.protected.push(key, held);
                continue;
            }
            let charge = charge_of(key.bytes(), &held.value);
            self.protected_bytes -= charge;
            self.probation_bytes += charge;
            self.probation.push(key, held);
        }
    }

    /// Takes every row out, the one least worth keeping first.
    pub(super) fn drain(&mut self) -> Vec<Kept> {
        let mut rows = Vec::with_capacity(self.len());
        for (segment, counter) in [(&mut self.probation, SEEN_ONCE), (&mut self.protected, SEEN_TWICE)] {
            while let Some((key, Held { value, used_s, was_read, .. })) = segment.pop_lru() {
                let counter = if was_read { SEEN_TWICE } else { counter };
                rows.push(Kept { key, value, used_s, counter });
            }
        }
        self.probation_bytes = 0;
        self.protected_bytes = 0;
        rows
    }

    /// Takes a drained row in, as the youngest of its segment.
    pub(super) fn restore(&mut self, row: Kept) {
        let charge = charge_of(row.key.bytes(), &row.value);
        let held = Held::new(row.value, row.used_s);
        if row.counter > SEEN_ONCE {
            self.protected_bytes += charge;
            self.protected.push(row.key, held);
            self.demote_overflow();
        } else {
            self.probation_bytes += charge;
            self.probation.push(row.key, held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ENTRY_BYTES, Held, Lru, charge};
    use crate::hot::entry::{Key, Probe};
    use crate::hot::{Lookup, Source};

    fn probe(bytes: &[u8]) -> Probe<'_> {
        Probe { hash: bytes.iter().fold(0, |hash, &b| hash * 31 + u64::from(b)), bytes }
    }

    fn holds(lru: &Lru, key: &[u8]) -> bool {
        !matches!(lru.peek(&probe(key)), Lookup::Miss)
    }

    #[test]
    fn the_node_is_the_size_the_charge_assumes() {
        assert_eq!(size_of::<Key>() + size_of::<Held>() + 2 * size_of::<usize>(), 80);
    }

    #[test]
    fn rows_seen_once_leave_before_rows_used_twice() {
        let mut lru = Lru::new(10 * ENTRY_BYTES);
        for key in [b"a", b"b", b"c"] {
            lru.insert(&probe(key), None, 0, Source::Fill);
        }
        lru.get(&probe(b"a"), 1);
        assert!(lru.evict());
        assert_eq!([b"a", b"b", b"c"].map(|key| holds(&lru, key)), [true, false, true]);
        assert!(lru.evict() && lru.evict());
        assert!(!lru.evict());
        assert_eq!((lru.bytes(), lru.len()), (0, 0));
    }

    #[test]
    fn the_read_a_row_was_put_in_for_does_not_count() {
        let mut lru = Lru::new(10 * ENTRY_BYTES);
        lru.insert(&probe(b"a"), None, 0, Source::Ahead);
        lru.insert(&probe(b"b"), None, 0, Source::Ahead);
        for key in [b"a", b"b", b"b"] {
            lru.get(&probe(key), 1);
        }
        lru.insert(&probe(b"c"), None, 1, Source::Ahead);
        assert!(lru.evict());
        assert_eq!([b"a", b"b", b"c"].map(|key| holds(&lru, key)), [false, true, true]);
    }

    #[test]
    fn a_write_renews_a_row_a_fill_does_not() {
        for (source, survivor) in [(Source::Write, b"a"), (Source::Fill, b"b")] {
            let mut lru = Lru::new(10 * ENTRY_BYTES);
            lru.insert(&probe(b"a"), Some(b"1"), 0, Source::Fill);
            lru.insert(&probe(b"b"), Some(b"1"), 0, Source::Fill);
            assert!(lru.replace(&probe(b"a"), Some(b"2"), 1, source));
            assert!(lru.evict());
            assert!(holds(&lru, survivor));
        }
    }

    #[test]
    fn protected_overflows_into_probation() {
        let mut lru = Lru::new(5 * ENTRY_BYTES);
        for key in 0..5u8 {
            lru.insert(&probe(&[key]), None, 0, Source::Fill);
            lru.get(&probe(&[key]), 0);
        }
        lru.insert(&probe(&[5]), None, 0, Source::Fill);
        assert!(lru.evict());
        assert!(!holds(&lru, &[5]), "the only one not read");
        assert_eq!((lru.probation.len(), lru.protected.len()), (1, 4));
        assert_eq!(lru.probation_bytes, charge(1, None));
        assert!(lru.evict());
        assert!(!holds(&lru, &[0]), "first up, first down");
    }

    #[test]
    fn a_use_while_everything_fits_changes_no_order() {
        let mut lru = Lru::new(100 * ENTRY_BYTES);
        for key in 0..5u8 {
            lru.insert(&probe(&[key]), None, 0, Source::Fill);
        }
        for key in [3, 1, 3] {
            lru.get(&probe(&[key]), 1);
        }
        assert_eq!((lru.probation.len(), lru.protected.len()), (5, 0));
        assert!(lru.evict());
        assert!(!holds(&lru, &[0]));
    }

    #[test]
    fn rows_that_are_all_in_use_do_not_keep_one_from_leaving() {
        let mut lru = Lru::new(1000 * ENTRY_BYTES);
        for key in 0..200u8 {
            lru.insert(&probe(&[key]), None, 0, Source::Fill);
            lru.get(&probe(&[key]), 0);
        }
        let before = lru.len();
        assert!(lru.evict());
        assert_eq!(lru.len(), before - 1);
    }
}
