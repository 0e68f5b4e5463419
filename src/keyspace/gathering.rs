//! Exclusive stripes gathered one command after the other and given back together: the locks of a group commit.
//!
//! Each command's stripes are only tried, never waited for, so they may be gathered in any order. What a command only reads is
//! locked while it runs.

use super::stripes::{Holder, LockPlan, STRIPES, StripeId, Stripes};
use smallvec::SmallVec;

/// Stripes held exclusively. Give them back with `release_all` before it is dropped.
#[derive(Default)]
pub struct Gathering {
    held: Vec<StripeId>,
    is_held: Bits,
}

/// A set of stripes; without memory until the first comes.
#[derive(Default)]
struct Bits(Box<[u64]>);

/// What one command holds beyond what was held before it.
pub struct Taken {
    shared: SmallVec<[StripeId; 4]>,
    exclusive_from: usize,
    /// One of its stripes was held before: it may see what is not committed yet.
    pub overlaps: bool,
    /// The highest sequence of anything it can read on disk.
    pub sequence: u64,
}

impl Taken {
    /// True when nothing was held before.
    pub fn is_first(&self) -> bool {
        self.exclusive_from == 0
    }
}

impl Bits {
    fn has(&self, id: StripeId) -> bool {
        let (word, bit) = (usize::from(id.0) / 64, id.0 % 64);
        self.0.get(word).is_some_and(|bits| bits >> bit & 1 == 1)
    }

    fn flip(&mut self, id: StripeId) {
        let (word, bit) = (usize::from(id.0) / 64, id.0 % 64);
        if self.0.is_empty() {
            self.0 = vec![0; STRIPES / 64].into();
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits ^= 1 << bit;
        }
    }
}

impl Gathering {
    /// Takes the stripes of a plan that are not held yet, all or none: then the answer is the stripe that was in the way.
    pub fn take(&mut self, stripes: &Stripes, plan: &LockPlan) -> Result<Taken, StripeId> {
        let exclusive_from = self.held.len();
        let mut taken = Taken { shared: SmallVec::new(), exclusive_from, overlaps: false, sequence: 0 };
        for (id, exclusive) in plan.iter() {
            if self.is_held.has(id) {
                taken.overlaps = true;
            } else if !stripes.acquire(id, exclusive, Holder::Worker) {
                self.give_back(stripes, &taken);
                return Err(id);
            } else if exclusive {
                self.held.push(id);
                self.is_held.flip(id);
            } else {
                taken.shared.push(id);
            }
            taken.sequence = taken.sequence.max(stripes.sequence(id));
        }
        Ok(taken)
    }

    /// Takes one stripe more for a command that is running: it stays until the command is given back or all are released.
    pub fn take_one(&mut self, stripes: &Stripes, id: StripeId) -> bool {
        if self.is_held.has(id) {
            return true;
        }
        let taken = stripes.acquire(id, true, Holder::Worker);
        if taken {
            self.held.push(id);
            self.is_held.flip(id);
        }
        taken
    }

    /// The command has read what it wanted; what it locked exclusively stays.
    pub fn keep(&self, stripes: &Stripes, taken: &Taken) {
        for &id in &taken.shared {
            stripes.release(id, false);
        }
    }

    /// The command has changed nothing: all it took is free again.
    pub fn give_back(&mut self, stripes: &Stripes, taken: &Taken) {
        self.keep(stripes, taken);
        self.release_from(stripes, taken.exclusive_from);
    }

    /// Gives back everything.
    pub fn release_all(&mut self, stripes: &Stripes) {
        self.release_from(stripes, 0);
    }

    fn release_from(&mut self, stripes: &Stripes, from: usize) {
        for id in self.held.drain(from..) {
            self.is_held.flip(id);
            stripes.release(id, true);
        }
    }

    /// True when nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(entries: &[(u16, bool)]) -> LockPlan {
        let mut plan = LockPlan::default();
        for &(id, exclusive) in entries {
            plan.add(StripeId(id), exclusive);
        }
        plan.seal();
        plan
    }

    #[test]
    fn what_was_written_stays_locked_and_what_was_read_does_not() {
        let (stripes, mut gathering) = (Stripes::default(), Gathering::default());
        let taken = gathering.take(&stripes, &plan(&[(1, true), (2, false)])).unwrap();
        assert!(!taken.overlaps);
        gathering.keep(&stripes, &taken);
        assert!(stripes.try_lock(&plan(&[(2, true)]), Holder::Worker).is_ok());
        assert_eq!(stripes.try_lock(&plan(&[(1, false)]), Holder::Worker).err(), Some(StripeId(1)));
        assert!(gathering.take(&stripes, &plan(&[(1, true)])).unwrap().overlaps);
        gathering.release_all(&stripes);
        assert!(gathering.is_empty() && stripes.try_lock(&plan(&[(1, true)]), Holder::Worker).is_ok());
    }

    #[test]
    fn a_command_that_fails_gives_back_its_own_and_nothing_else() {
        let (stripes, mut gathering) = (Stripes::default(), Gathering::default());
        let first = gathering.take(&stripes, &plan(&[(70, true)])).unwrap();
        gathering.keep(&stripes, &first);
        let blocker = plan(&[(900, true)]);
        let held = stripes.try_lock(&blocker, Holder::Worker).ok();
        assert_eq!(
            gathering.take(&stripes, &plan(&[(3, true), (70, true), (900, false)])).err(),
            Some(StripeId(900))
        );
        assert!(stripes.try_lock(&plan(&[(3, true)]), Holder::Worker).is_ok());
        assert!(stripes.try_lock(&plan(&[(70, true)]), Holder::Worker).is_err());
        drop(held);
        let second = gathering.take(&stripes, &plan(&[(3, true), (70, true), (900, false)])).unwrap();
        gathering.give_back(&stripes, &second);
        assert!(stripes.try_lock(&plan(&[(3, true), (900, true)]), Holder::Worker).is_ok());
        assert!(stripes.try_lock(&plan(&[(70, true)]), Holder::Worker).is_err());
        gathering.release_all(&stripes);
    }
}
