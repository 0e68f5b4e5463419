//! Logical databases: which namespace each maps to, and how many keys it holds.
//!
//! SELECT's numbers map to physical namespaces, so FLUSHDB (a fresh namespace) and SWAPDB (two map entries) are O(1). Each
//! stripe of a namespace has a counter row, written in the batch that changes it under the stripe's exclusive lock; the sums
//! are kept in memory and read back at start, so DBSIZE is exact right after a crash.

use super::stripes::{STRIPES, StripeId};
use crate::encoding::row::Namespace;
use crate::encoding::system::Count;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The map from database numbers to databases. Replaced as a whole, under the gate.
pub type DatabaseMap = Vec<Arc<Database>>;

#[derive(Default)]
struct StripeCount {
    keys: AtomicU64,
    expiring: AtomicU64,
}

/// One logical database as it is now.
pub struct Database {
    namespace: Namespace,
    keys: AtomicI64,
    expiring: AtomicI64,
    stripes: OnceLock<Box<[StripeCount]>>,
}

impl Database {
    /// An empty database in a namespace.
    pub fn new(namespace: Namespace) -> Arc<Database> {
        let (keys, expiring) = (AtomicI64::new(0), AtomicI64::new(0));
        Arc::new(Database { namespace, keys, expiring, stripes: OnceLock::new() })
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

    fn stripe(&self, id: StripeId) -> &StripeCount {
        let stripes = self.stripes.get_or_init(|| (0..STRIPES).map(|_| StripeCount::default()).collect());
        &stripes[usize::from(id.0) % STRIPES]
    }

    /// The counts of one stripe. Exact under the stripe's lock.
    pub fn count(&self, id: StripeId) -> Count {
        let stripe = self.stripe(id);
        Count { keys: stripe.keys.load(Ordering::Acquire), expiring: stripe.expiring.load(Ordering::Acquire) }
    }

    /// Sets the counts of one stripe. Under its exclusive lock, or at start.
    pub fn set_count(&self, id: StripeId, count: Count) {
        let stripe = self.stripe(id);
        let keys = stripe.keys.swap(count.keys, Ordering::AcqRel);
        let expiring = stripe.expiring.swap(count.expiring, Ordering::AcqRel);
        self.keys.fetch_add(count.keys as i64 - keys as i64, Ordering::AcqRel);
        self.expiring.fetch_add(count.expiring as i64 - expiring as i64, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_follow_the_stripes() {
        let database = Database::new(Namespace(1));
        database.set_count(StripeId(1), Count { keys: 5, expiring: 2 });
        database.set_count(StripeId(2), Count { keys: 1, expiring: 1 });
        database.set_count(StripeId(1), Count { keys: 3, expiring: 0 });
        assert_eq!((database.keys(), database.expiring()), (4, 1));
        assert_eq!(database.count(StripeId(1)), Count { keys: 3, expiring: 0 });
    }
}
