//! Brings the memory of keys that will soon be wanted nearer, many at once.
//!
//! A hit in a large hot tier waits for main memory: for the key's stripe, for its slot in the table, for the row. Where the
//! keys of several commands are known beforehand, all their stripes and slots are asked for first, then all rows; the
//! waits go by together. Nothing is decided by it: a key foreseen wrongly has cost a few instructions.

use super::stripes::StripeId;
use super::{Keyspace, hot_name};
use crate::encoding::Family;
use crate::encoding::row::{Namespace, Position, head_row};
use crate::hot::Foreseen;
use smallvec::SmallVec;

/// Keys foreseen at a time, at most.
pub const FORESEEN_MAX: usize = 32;

/// Keys whose slots are on their way.
#[derive(Default)]
pub struct Foresight(SmallVec<[Foreseen; FORESEEN_MAX]>);

impl Foresight {
    /// True when no more keys are to be added before `fetch`.
    pub fn is_full(&self) -> bool {
        self.0.len() >= FORESEEN_MAX
    }

    /// Asks for the stripe and the slot of a key.
    pub fn add(&mut self, keyspace: &Keyspace, namespace: Namespace, position: Position, name: &[u8]) {
        keyspace.stripes.prefetch(StripeId::of(position));
        let row = head_row(namespace, position, name);
        self.0.push(keyspace.hot.foresee(hot_name(Family::Keys, &row)));
    }

    /// Asks for the rows of all keys added, and begins anew.
    pub fn fetch(&mut self, keyspace: &Keyspace) {
        for foreseen in self.0.drain(..) {
            keyspace.hot.fetch(foreseen);
        }
    }
}
