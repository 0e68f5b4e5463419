//! Logical databases: which namespace each maps to, and how many keys it holds.
//!
//! SELECT's numbers map to physical namespaces, so FLUSHDB (a fresh namespace) and SWAPDB (two map entries) are O(1).
//!
//! Keys are counted by *writer*: each worker is one, the pool is one. A writer's commits follow one another, so each can write
//! the writer's own count into the batch that changes it: one row a batch, whatever the number of keys. The sum over the writers
//! is kept in memory and read back at start, so DBSIZE is exact right after a crash. (A row for each stripe, the first design,
//! cost a new key as much again as its head.)

use crate::encoding::row::Namespace;
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
