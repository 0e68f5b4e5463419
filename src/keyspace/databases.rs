//! Logical databases: which namespace each maps to, and how many keys it holds.
//!
//! SELECT's numbers map to physical namespaces, so FLUSHDB (a fresh namespace) and SWAPDB (two map entries) are O(1).
//!
//! Keys are counted by *writer*: each worker is one, the pool is one. A writer's commits follow one another, so each can write
//! the writer's own count into the batch that changes it: one row a batch, whatever the number of keys. The sum over the writers
//! is kept in memory and read back at start, so DBSIZE is exact right after a crash. (A row for each stripe, the first design,
//! cost a new key as much again as its head.)

use super::error::{Outcome, Stop};
use super::txn::{Mode, Txn};
use crate::encoding::Family;
use crate::encoding::row::{Namespace, split_head_row};
use crate::encoding::system::Count;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

/// The map from database numbers to databases. Replaced as a whole, under the gate.
pub type DatabaseMap = Vec<Arc<Database>>;

/// Who commits: a worker, or the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Writer(pub u16);

impl Writer {
    /// The threads of the pool, which take turns.
    pub const POOL: Writer = Writer(0);

    /// Writers there can be.
    pub const COUNT: usize = 256;

    /// Worker `number`, counted from 0; below 255.
    pub fn worker(number: usize) -> Writer {
        Writer(1 + number.min(Writer::COUNT - 2) as u16)
    }
}

#[derive(Default)]
#[repr(align(64))]
struct WriterCount {
    keys: AtomicI64,
    expiring: AtomicI64,
}

/// One logical database as it is now.
pub struct Database {
    namespace: Namespace,
    keys: AtomicI64,
    expiring: AtomicI64,
    writers: OnceLock<Box<[WriterCount]>>,
}

impl Database {
    /// An empty database in a namespace.
    pub fn new(namespace: Namespace) -> Arc<Database> {
        let (keys, expiring) = (AtomicI64::new(0), AtomicI64::new(0));
        Arc::new(Database { namespace, keys, expiring, writers: OnceLock::new() })
    }

    /// Where its keys lie.
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// Keys it holds, expired ones that are not yet removed included.
    pub fn keys(&self) -> u64 {
        self.keys.load(Ordering::Acquire).max(0) as u64
    }

    /// Keys among them with an expiry.
    pub fn expiring(&self) -> u64 {
        self.expiring.load(Ordering::Acquire).max(0) as u64
    }

    fn writer(&self, writer: Writer) -> &WriterCount {
        let writers =
            self.writers.get_or_init(|| (0..Writer::COUNT).map(|_| WriterCount::default()).collect());
        &writers[usize::from(writer.0) % Writer::COUNT]
    }

    /// What a writer has counted. Exact for the writer itself.
    pub fn count(&self, writer: Writer) -> Count {
        let counts = self.writer(writer);
        Count { keys: counts.keys.load(Ordering::Acquire), expiring: counts.expiring.load(Ordering::Acquire) }
    }

    /// Sets what a writer has counted. For the writer itself, or at start.
    pub fn set_count(&self, writer: Writer, count: Count) {
        let counts = self.writer(writer);
        let keys = counts.keys.swap(count.keys, Ordering::AcqRel);
        let expiring = counts.expiring.swap(count.expiring, Ordering::AcqRel);
        self.keys.fetch_add(count.keys - keys, Ordering::AcqRel);
        self.expiring.fetch_add(count.expiring - expiring, Ordering::AcqRel);
    }
}

/// What a run that is alone in the keyspace does to whole databases; the commit makes it real.
#[derive(Default)]
pub struct Remapping {
    /// The map as it is left.
    pub(super) databases: Option<Arc<DatabaseMap>>,
    /// The numbers that stand for another namespace now.
    pub(super) numbers: Vec<u32>,
    /// The databases that were emptied.
    pub(super) flushed: Vec<Arc<Database>>,
    /// Clients that cache are told to forget everything, whether or not something changes.
    pub(super) caches_forget: bool,
}

impl Remapping {
    fn databases_mut(&mut self, before: &Arc<DatabaseMap>) -> &mut DatabaseMap {
        Arc::make_mut(self.databases.get_or_insert_with(|| Arc::clone(before)))
    }
}

/// Whole databases; all but their sizes only for a run that is alone in the keyspace.
impl Txn<'_> {
    /// Empties a database: it gets a fresh namespace, the old one is queued for removal.
    pub fn flush_database(&mut self, number: u32) -> Outcome {
        self.require_alone()?;
        let old = Arc::clone(self.database(number)?);
        if old.keys() == 0 && self.scratch.overlay.is_empty() {
            return Ok(());
        }
        // Writes of this run to the old namespace are void.
        let fresh = Database::new(Namespace(self.keyspace.next_namespace()));
        let remapping = self.remapping.get_or_insert_default();
        remapping.databases_mut(&self.databases)[number as usize] = fresh;
        remapping.flushed.push(old);
        remapping.numbers.push(number);
        Ok(())
    }

    /// Clients that cache are to forget everything once this commits, even if it changes nothing.
    pub fn make_caches_forget(&mut self) {
        self.remapping.get_or_insert_default().caches_forget = true;
    }

    /// Exchanges two databases.
    pub fn swap_databases(&mut self, a: u32, b: u32) -> Outcome {
        self.require_alone()?;
        self.database(a)?;
        self.database(b)?;
        if a != b {
            let remapping = self.remapping.get_or_insert_default();
            remapping.databases_mut(&self.databases).swap(a as usize, b as usize);
            remapping.numbers.extend([a, b]);
        }
        Ok(())
    }

    fn require_alone(&self) -> Outcome {
        match self.mode {
            Mode::Alone => Ok(()),
            _ => Err(Stop::Unavailable("a whole-keyspace command ran without the gate".to_owned())),
        }
    }

    /// Keys in a database, this run's changes included.
    pub fn database_size(&mut self, number: u32) -> Outcome<u64> {
        let database = Arc::clone(self.database(number)?);
        let namespace = database.namespace();
        self.scratch.sequence = self.scratch.sequence.max(self.view.db.latest_sequence());
        let mut size = database.keys() as i64;
        for state in &self.scratch.states {
            if split_head_row(state.key.row()).is_none_or(|(of, _, _)| of != namespace) {
                continue;
            }
            if let Some(written) = self.scratch.overlay.get(Family::Keys, state.key.row()) {
                size += i64::from(written.is_some()) - i64::from(state.before.is_some());
            }
        }
        Ok(size.max(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_follow_the_writers() {
        let database = Database::new(Namespace(1));
        database.set_count(Writer::POOL, Count { keys: 5, expiring: 2 });
        database.set_count(Writer::worker(0), Count { keys: -1, expiring: -1 });
        database.set_count(Writer::POOL, Count { keys: 3, expiring: 1 });
        assert_eq!((database.keys(), database.expiring()), (2, 0));
        assert_eq!(database.count(Writer::POOL), Count { keys: 3, expiring: 1 });
    }
}
