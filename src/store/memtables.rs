//! How rows wait in memory: how large each family's memtables are, and how many of them become one file.
//!
//! The way to a row's place leads through the whole memtable, so one that gets its rows in the order of their hashes has to stay in the
//! processor's nearest caches. But with each full memtable begins another log, which has to be made, brought to the disk and removed:
//! a load of large rows would do so hundreds of times a second. So memtables of `keys` are small as long as they fill slowly, and become
//! large while they fill fast.

use super::handle::Db;
use crate::encoding::Family;

/// How a family's rows wait in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memtables {
    /// Bytes of one, at most.
    pub(super) bytes: usize,
    /// So many become one file: rows rewritten meanwhile reach the disk once, and there are fewer files to merge.
    pub(super) merged: u64,
}

/// For rows that come in the order of their hashes, of one after another family.
const SMALL: usize = 2 << 20;
/// For those of `keys`, as long as they fill slowly.
const SMALLEST: usize = 512 << 10;

impl Memtables {
    /// Of a family in a database that may have so many bytes of them. What is merged stays as it is until the next opening.
    pub(super) fn of(family: Family, write_buffer_bytes: usize) -> Memtables {
        let (bytes, merged) = match family {
            // Read one by one, past a Bloom filter in each memtable and file.
            Family::Keys => (SMALLEST, (key_bytes_max(write_buffer_bytes) / SMALLEST).clamp(16, 80) as u64),
            // A scan looks into all memtables and files.
            Family::Hash | Family::Set | Family::Member | Family::Score => (SMALL, 16),
            // Large, and seldom rewritten: they rather leave memory early.
            Family::Chunk => (4 << 20, 3),
            // Most of these come in the order in which they lie.
            _ => (8 << 20, 4),
        };
        Memtables { bytes: bytes.min(write_buffer_bytes / 4).max(SMALLEST), merged }
    }

    /// How many there may be before writes wait for one to become a file.
    pub(super) fn most(self) -> i32 {
        (3 * self.merged as i32).clamp(12, 160)
    }
}

/// `keys` may have two fifths of all memory for memtables.
fn key_bytes_max(write_buffer_bytes: usize) -> usize {
    write_buffer_bytes * 2 / 5
}

/// Looks that find nothing much before memtables become small again: some seconds.
const QUIET_LOOKS: u32 = 30;
/// Bytes written between two looks (a tenth of a second) from which memtables become large, and below which there is nothing much.
const FAST_BYTES: u64 = 5 << 20;
const SLOW_BYTES: u64 = 2 << 20;

/// Sees how fast memtables fill.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen_bytes: u64,
    is_large: bool,
    quiet: u32,
}

impl Watch {
    /// The database was opened, with small ones.
    pub(super) fn begin_small(&mut self) {
        self.is_large = false;
    }

    /// A tenth of a second later so many bytes have been written in all. True when the size is to change.
    fn look(&mut self, written_bytes: u64) -> bool {
        let bytes = written_bytes.saturating_sub(std::mem::replace(&mut self.seen_bytes, written_bytes));
        self.quiet = if bytes < SLOW_BYTES { self.quiet + 1 } else { 0 };
        let is_large = if self.is_large { self.quiet < QUIET_LOOKS } else { bytes >= FAST_BYTES };
        is_large != std::mem::replace(&mut self.is_large, is_large)
    }

    /// Sets the size of the memtables of `keys` as `written_bytes` have it, and makes files of large ones before they are too many.
    pub(super) fn tend(
        &mut self,
        db: &Db,
        written_bytes: u64,
        write_buffer_bytes: usize,
    ) -> Result<(), String> {
        if self.look(written_bytes) {
            let bytes = if self.is_large { SMALL } else { SMALLEST };
            db.set_key_memtable_bytes(bytes.min(write_buffer_bytes / 4).max(SMALLEST))?;
        }
        // As many as are merged would be too much of large ones.
        let is_full = db.family_property(Family::Keys, "cur-size-all-mem-tables")
            > key_bytes_max(write_buffer_bytes) as u64;
        if self.is_large && is_full && db.family_property(Family::Keys, "num-running-flushes") == 0 {
            db.begin_flush_of_keys()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_gather_in_as_much_as_their_part_of_the_memory_for_memtables() {
        let gathered = |megabytes: usize| {
            let Memtables { bytes, merged } = Memtables::of(Family::Keys, megabytes << 20);
            (bytes >> 10, merged)
        };
        assert_eq!([1, 8, 77, 10_000].map(gathered), [(512, 16), (512, 16), (512, 61), (512, 80)]);
    }

    #[test]
    fn memtables_are_large_while_they_fill_fast_and_for_some_seconds_after() {
        let (mut watch, mut written) = (Watch::default(), 0);
        let mut looks = |bytes: u64, count: u32| -> Vec<u32> {
            let changes = (0..count).filter(|_| {
                written += bytes;
                watch.look(written)
            });
            changes.collect()
        };
        assert_eq!(looks(4 << 20, 50), [0; 0]);
        assert_eq!(looks(6 << 20, 50), [0]);
        assert_eq!(looks(3 << 20, 50), [0; 0]);
        assert_eq!(looks(0, 29), [0; 0]);
        assert_eq!(looks(2 << 20, 1), [0; 0]);
        assert_eq!(looks(0, 50), [29]);
    }
}
