//! Both at once: inside the gate, and the locks of a plan.
//!
//! Three may wait for one another: a pool thread for a stripe that is promised to a waiter; that waiter for the gate, or for the database to be
//! opened anew; and whoever closes the gate for all who are inside. So nobody waits for a stripe inside the gate, or while using the
//! database, for longer than a moment.

use super::Keyspace;
use super::gate::Inside;
use super::stripes::{Held, Holder, LockPlan};

/// Inside the gate, the locks of a plan held; dropped, they are given back in this order.
pub struct Locked<'k> {
    held: Held<'k>,
    _inside: Inside<'k>,
}

impl Locked<'_> {
    /// The highest sequence anything read under these locks can have.
    pub fn sequence(&self) -> u64 {
        self.held.sequence()
    }
}

impl Keyspace {
    /// Goes inside and takes the locks, waiting as long as it takes. For pool threads that do not use the database yet.
    pub fn lock_inside<'k>(&'k self, plan: &'k LockPlan, holder: Holder) -> Locked<'k> {
        loop {
            let inside = self.gate().enter_pool();
            if let Some(held) = self.stripes().lock_soon(plan, holder) {
                return Locked { held, _inside: inside };
            }
        }
    }
}
