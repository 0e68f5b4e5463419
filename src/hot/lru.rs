//! Least recently used, by one hand that goes around the table.
//!
//! A row is on *probation* when it comes. A use only adds to a small count of its own, so as long as everything fits there is nothing
//! else to do. Who needs room lets the hand go on, slot by slot. A row on probation that was read meanwhile becomes
//! *protected*; one that was only written stays for another round; all else leaves. Protected rows may have 80 % of the shard; as
//! long as they have more, the hand takes one use from each it passes, and sends one that has none left back to probation.
//! So rows seen once (a scan) push out each other, never the working set.
//!
//! Neighbours in the table have nothing in common but their hashes: the order in which the hand meets rows is chance, and each gets
//! the same time, one round.

use super::Source;
use super::table::{Slot, Table};

/// Uses counted since the hand came by: this many at most.
const USES_MASK: u8 = 0b11;
const PROTECTED: u8 = 0b100;
const WRITTEN: u8 = 0b1000;
/// The read that the row was put in for is still to come.
const AWAITED: u8 = 0b1_0000;

/// Protected leaves one part in this many to probation.
const PROBATION_PART: usize = 5;
/// Slots the hand passes for one row at most; then the one it stands on leaves, whatever its marks say.
const STEPS_MAX: usize = 1024;
/// The use counter a row gets when the policy becomes LFU: on probation, protected.
const SEEN_ONCE: u8 = 5;
const SEEN_TWICE: u8 = 6;

/// What the policy knows of a shard's rows beside their slots.
#[derive(Default)]
pub(super) struct Lru {
    hand: usize,
    protected_bytes: usize,
    protected_bytes_max: usize,
}

impl Lru {
    pub(super) fn new(share_bytes: usize) -> Lru {
        let mut new = Lru::default();
        new.set_share(share_bytes);
        new
    }

    /// Sets the shard's byte budget, of which protected has its part.
    pub(super) fn set_share(&mut self, share_bytes: usize) {
        self.protected_bytes_max = share_bytes - share_bytes / PROBATION_PART;
    }

    /// The state of a new row.
    pub(super) const NEW: u8 = 0;

    /// The state of a row that was put in ahead of its read.
    pub(super) const AHEAD: u8 = AWAITED;

    /// Counts a read. A row that has its full count is not written to again within the second: its cache line stays clean.
    pub(super) fn read(slot: &mut Slot, now_s: u32) {
        let state = slot.state();
        if state & AWAITED != 0 {
            slot.set_state(state & !AWAITED);
        } else if state & USES_MASK < USES_MASK {
            slot.set_state(state + 1);
        }
        if slot.used_s != now_s {
            slot.used_s = now_s;
        }
    }

    /// Counts another value: a write keeps the row for a round, but only reads protect it.
    pub(super) fn replaced(&mut self, slot: &mut Slot, grown: isize, now_s: u32, source: Source) {
        if slot.state() & PROTECTED != 0 {
            self.protected_bytes = self.protected_bytes.saturating_add_signed(grown);
        }
        if source == Source::Write {
            slot.set_state(slot.state() | WRITTEN);
            slot.used_s = now_s;
        }
    }

    /// A row is taken out by others.
    pub(super) fn removed(&mut self, state: u8, charge: usize) {
        if state & PROTECTED != 0 {
            self.protected_bytes -= charge;
        }
    }

    /// Drops the row least worth keeping; false if there is none.
    pub(super) fn evict(&mut self, table: &mut Table) -> bool {
        if table.len() == 0 {
            return false;
        }
        // The table may have become smaller.
        self.hand &= table.slots() - 1;
        let mut steps = 0;
        loop {
            let slot = table.slot_mut(self.hand);
            if slot.entry().is_some() && (self.passes_sentence(slot) || steps >= STEPS_MAX) {
                break;
            }
            self.hand = table.after(self.hand);
            steps += 1;
        }
        // What moves up into the gap is met next.
        if let Some(gone) = table.remove(self.hand) {
            self.removed(gone.state, gone.entry.charge());
        }
        true
    }

    /// The hand is at a row: changes its marks, or true if it is to leave.
    fn passes_sentence(&mut self, slot: &mut Slot) -> bool {
        let state = slot.state();
        let uses = state & USES_MASK;
        if state & PROTECTED != 0 {
            if self.protected_bytes > self.protected_bytes_max {
                if uses > 0 {
                    slot.set_state(state - 1);
                } else {
                    slot.set_state(state & WRITTEN);
                    self.protected_bytes -= slot.charge();
                }
            }
            return false;
        }
        if uses > 0 {
            slot.set_state(PROTECTED | (uses - 1));
            self.protected_bytes += slot.charge();
            return false;
        }
        slot.set_state(state & !WRITTEN);
        state & WRITTEN == 0
    }

    /// Takes over from LFU: what was used more than once is protected.
    pub(super) fn take_over(&mut self, table: &mut Table) {
        self.protected_bytes = 0;
        table.for_each_slot(|slot| {
            if slot.state() > SEEN_ONCE {
                slot.set_state(PROTECTED);
                self.protected_bytes += slot.charge();
            } else {
                slot.set_state(Lru::NEW);
            }
        });
    }

    /// Takes a row in that had this state in another shard.
    pub(super) fn restored(&mut self, state: u8, charge: usize) {
        if state & PROTECTED != 0 {
            self.protected_bytes += charge;
        }
    }

    /// The counters with which LFU begins.
    pub(super) fn hand_over(table: &mut Table) {
        table.for_each_slot(|slot| {
            let was_read = slot.state() & (PROTECTED | USES_MASK) != 0;
            slot.set_state(if was_read { SEEN_TWICE } else { SEEN_ONCE });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Lru;
    use crate::hot::Source;
    use crate::hot::entry::{Probe, charge};
    use crate::hot::table::Table;

    /// A shard's rows by number, each of the same size.
    struct Rows {
        lru: Lru,
        table: Table,
    }

    impl Rows {
        fn for_rows(count: usize) -> Rows {
            Rows { lru: Lru::new(count * charge(b"k".into(), None)), table: Table::default() }
        }

        fn at(&self, key: u8) -> Option<usize> {
            self.table.find(&Probe { hash: u64::from(key), name: (&[key]).into() })
        }

        fn insert(&mut self, key: u8) {
            self.table.insert(&Probe { hash: u64::from(key), name: (&[key]).into() }, None, 0, Lru::NEW);
        }

        fn read(&mut self, key: u8) {
            let at = self.at(key).unwrap();
            Lru::read(self.table.slot_mut(at), 1);
        }

        fn write(&mut self, key: u8, source: Source) {
            let at = self.at(key).unwrap();
            self.lru.replaced(self.table.slot_mut(at), 0, 1, source);
        }

        fn evict(&mut self) -> bool {
            self.lru.evict(&mut self.table)
        }

        fn held(&self) -> Vec<u8> {
            (0..=255).filter(|&key| self.at(key).is_some()).collect()
        }
    }

    #[test]
    fn rows_seen_once_leave_before_rows_that_were_read() {
        let mut rows = Rows::for_rows(10);
        (0..3).for_each(|key| rows.insert(key));
        rows.read(0);
        assert!(rows.evict());
        assert_eq!(rows.held(), [0, 2]);
        assert!(rows.evict());
        assert_eq!(rows.held(), [0]);
        assert!(rows.evict());
        assert!(!rows.evict());
        assert_eq!((rows.table.bytes(), rows.lru.protected_bytes), (0, 0));
    }

    #[test]
    fn a_write_renews_a_row_a_fill_does_not() {
        for (source, survivor) in [(Source::Write, 0), (Source::Fill, 1)] {
            let mut rows = Rows::for_rows(10);
            (0..2).for_each(|key| rows.insert(key));
            rows.write(0, source);
            assert!(rows.evict());
            assert_eq!(rows.held(), [survivor]);
        }
    }

    #[test]
    fn protected_rows_go_back_to_probation_only_when_they_are_too_many_and_unused() {
        let mut rows = Rows::for_rows(5);
        (0..5).for_each(|key| rows.insert(key));
        (0..5).for_each(|key| rows.read(key));
        rows.insert(5);
        assert!(rows.evict());
        assert_eq!(rows.held(), [0, 1, 2, 3, 4], "the only one not read");
        // All five are protected, one too many: the first the hand meets goes back, and leaves when it comes again.
        assert!(rows.evict());
        assert_eq!(
            (rows.held(), rows.lru.protected_bytes),
            (vec![1, 2, 3, 4], 4 * charge(b"k".into(), None))
        );
        rows.insert(7);
        rows.read(7);
        assert!(rows.evict());
        assert_eq!((rows.held().len(), rows.lru.protected_bytes), (4, 4 * charge(b"k".into(), None)));
        assert!(rows.at(7).is_some());
    }

    #[test]
    fn rows_that_are_all_in_use_do_not_keep_one_from_leaving() {
        let mut rows = Rows::for_rows(1000);
        for key in 0..200 {
            rows.insert(key);
            rows.read(key);
        }
        assert!(rows.evict());
        assert_eq!(rows.table.len(), 199);
    }
}
