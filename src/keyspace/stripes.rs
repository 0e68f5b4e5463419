//! Key stripes: the one mechanism for locks, and for knowing how far the log must be flushed before a reply may go.
//!
//! Every key belongs to one of 65536 stripes (the low bits of its position). A stripe is a small reader-writer lock that never
//! puts a thread to sleep, and the sequence of the last commit under it. A run takes all its stripes at once, in ascending order,
//! each once (shared and exclusive together are exclusive), so runs cannot wait for each other in a circle.
//!
//! A worker spins briefly on a stripe another worker holds, for such holds last microseconds. A stripe the pool holds, or one
//! promised to a waiter (a *turn*), makes the command park: `free` is a future, the thread goes on with other work.

use crate::base::prefetch::prefetch;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

/// How many stripes there are. A group commit holds some hundred for a while: another worker should seldom meet one of them. (With
/// 1024, one SET in a hundred parked; with 65536, one in some thousands.)
pub const STRIPES: usize = 1 << 16;

/// Places to park in, each for many stripes.
const LOTS: usize = 256;

/// A stripe's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StripeId(pub u16);

impl StripeId {
    /// The stripe of a key at this position.
    pub fn of(position: crate::encoding::row::Position) -> StripeId {
        StripeId((position.0 % STRIPES as u64) as u16)
    }
}

/// Who wants the locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A worker thread: holds for microseconds, never waits.
    Worker,
    /// A worker running the command of a waiter whose turn it is: other turns do not stop it.
    Turn,
    /// A pool thread: may hold for longer, may wait.
    Pool,
}

const EXCLUSIVE: u32 = 1 << 31;
const POOL: u32 = 1 << 30;
const PARKED: u32 = 1 << 29;
const READERS: u32 = PARKED - 1;
const SPINS: u32 = 128;
/// How often a pool thread tries before it gives up what it has, and what it waits between two tries: some milliseconds in all.
const LOCK_TRIES: usize = 50;
const LOCK_PAUSE: Duration = Duration::from_micros(50);

#[derive(Default)]
struct Stripe {
    state: AtomicU32,
    turns: AtomicU32,
    sequence: AtomicU64,
}

/// Who waits for which stripe.
type Lot = Mutex<Vec<(StripeId, Waker)>>;

/// All stripes of a keyspace.
pub struct Stripes {
    stripes: Box<[Stripe]>,
    parked: Box<[Lot]>,
}

/// The stripes a run needs, sorted, each once, with true for exclusive.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LockPlan(SmallVec<[(StripeId, bool); 4]>);

impl LockPlan {
    /// Adds a stripe. Call `seal` when all are in.
    pub fn add(&mut self, stripe: StripeId, exclusive: bool) {
        self.0.push((stripe, exclusive));
    }

    /// Sorts and merges.
    pub fn seal(&mut self) {
        if self.0.len() > 1 {
            self.0.sort_unstable_by_key(|&(stripe, exclusive)| (stripe, !exclusive));
            self.0.dedup_by_key(|entry| entry.0);
        }
    }

    /// The stripes, with true for exclusive.
    pub fn iter(&self) -> impl Iterator<Item = (StripeId, bool)> + '_ {
        self.0.iter().copied()
    }

    /// Adds the stripes of another plan. Call `seal` when all are in.
    pub fn extend(&mut self, other: &LockPlan) {
        self.0.extend_from_slice(&other.0);
    }

    /// True when no stripe is needed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all stripes.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Locks held; dropped, they are free.
pub struct Held<'s> {
    stripes: &'s Stripes,
    plan: &'s LockPlan,
}

impl Default for Stripes {
    fn default() -> Stripes {
        Stripes {
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            parked: (0..LOTS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Stripes {
    fn at(&self, id: StripeId) -> &Stripe {
        &self.stripes[usize::from(id.0)]
    }

    /// Asks for the memory of a stripe.
    pub fn prefetch(&self, id: StripeId) {
        prefetch(self.at(id));
    }

    /// Takes all locks of a plan, or none: then the answer is the stripe that was in the way.
    pub fn try_lock<'s>(&'s self, plan: &'s LockPlan, holder: Holder) -> Result<Held<'s>, StripeId> {
        for (index, (id, exclusive)) in plan.iter().enumerate() {
            if !self.acquire(id, exclusive, holder) {
                for (id, exclusive) in plan.iter().take(index) {
                    self.release(id, exclusive);
                }
                return Err(id);
            }
        }
        Ok(Held { stripes: self, plan })
    }

    /// Takes all locks of a plan, waiting a little for those that are held for moments. For pool threads. Nothing when a stripe is not to be
    /// had: whoever has the turn on it may need the gate open, or the database not in use, so give up both and try again.
    pub fn lock_soon<'s>(&'s self, plan: &'s LockPlan, holder: Holder) -> Option<Held<'s>> {
        for _ in 0..LOCK_TRIES {
            if let Ok(held) = self.try_lock(plan, holder) {
                return Some(held);
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        None
    }

    /// Takes one stripe, spinning briefly; false when it is somebody else's. `release` must follow. For locks that are gathered one
    /// by one: since nobody waits for a stripe while holding another, any order will do.
    pub fn acquire(&self, id: StripeId, exclusive: bool, holder: Holder) -> bool {
        let stripe = self.at(id);
        for _ in 0..SPINS {
            if holder != Holder::Turn && stripe.turns.load(Ordering::Acquire) > 0 {
                return false;
            }
            let state = stripe.state.load(Ordering::Relaxed);
            if state & POOL != 0 {
                return false;
            }
            let wanted = match exclusive {
                false if state & EXCLUSIVE == 0 => state + 1,
                true if state & (EXCLUSIVE | READERS) == 0 => {
                    state | EXCLUSIVE | if holder == Holder::Pool { POOL } else { 0 }
                }
                _ => {
                    std::hint::spin_loop();
                    continue;
                }
            };
            if stripe.state.compare_exchange_weak(state, wanted, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                // A turn is promised under the exclusive lock: whoever got in after that sees it here.
                if holder != Holder::Turn && stripe.turns.load(Ordering::Acquire) > 0 {
                    self.release(id, exclusive);
                    return false;
                }
                return true;
            }
        }
        false
    }

    /// Gives back what `acquire` took.
    pub fn release(&self, id: StripeId, exclusive: bool) {
        let stripe = self.at(id);
        let before = match exclusive {
            true => stripe.state.fetch_and(!(EXCLUSIVE | POOL), Ordering::Release),
            false => stripe.state.fetch_sub(1, Ordering::Release),
        };
        if before & PARKED != 0 {
            self.wake(id);
        }
    }

    fn wake(&self, id: StripeId) {
        let wakers: SmallVec<[Waker; 8]> = {
            let mut parked = self.lot(id).lock();
            self.at(id).state.fetch_and(!PARKED, Ordering::AcqRel);
            parked.extract_if(.., |(other, _)| *other == id).map(|(_, waker)| waker).collect()
        };
        for waker in wakers {
            waker.wake();
        }
    }

    fn lot(&self, id: StripeId) -> &Lot {
        &self.parked[usize::from(id.0) % LOTS]
    }

    /// Waits until nobody holds the stripe and no turn is promised on it. Somebody else may be quicker then.
    pub async fn free(&self, id: StripeId) {
        poll_fn(|context| {
            let stripe = self.at(id);
            let mut parked = self.lot(id).lock();
            let state = stripe.state.fetch_or(PARKED, Ordering::AcqRel);
            if state & (EXCLUSIVE | READERS) == 0 && stripe.turns.load(Ordering::Acquire) == 0 {
                return Poll::Ready(());
            }
            parked.push((id, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Promises a turn on the stripe: until `end_turn` only the waiter's own run gets in. Called under its exclusive lock.
    pub fn begin_turn(&self, id: StripeId) {
        self.at(id).turns.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends one promise.
    pub fn end_turn(&self, id: StripeId) {
        self.at(id).turns.fetch_sub(1, Ordering::AcqRel);
        self.wake(id);
    }

    /// The sequence at or above the last commit under the stripe.
    pub fn sequence(&self, id: StripeId) -> u64 {
        self.at(id).sequence.load(Ordering::Acquire)
    }

    /// Takes note of a commit. Called under the exclusive lock (or the gate).
    pub fn set_sequence(&self, id: StripeId, sequence: u64) {
        self.at(id).sequence.store(sequence, Ordering::Release);
    }

    /// Sets every stripe's sequence: after a whole-keyspace change, or a reopen.
    pub fn set_all_sequences(&self, sequence: u64) {
        for stripe in &self.stripes {
            stripe.sequence.store(sequence, Ordering::Release);
        }
    }
}

impl Held<'_> {
    /// The highest sequence anything read under these locks can have.
    pub fn sequence(&self) -> u64 {
        self.plan.iter().map(|(id, _)| self.stripes.sequence(id)).max().unwrap_or(0)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        for (id, exclusive) in self.plan.iter() {
            self.stripes.release(id, exclusive);
        }
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
    fn a_plan_is_sorted_and_shared_with_exclusive_is_exclusive() {
        let plan = plan(&[(9, false), (3, false), (9, true), (3, false), (1, true)]);
        let entries: Vec<_> = plan.iter().map(|(id, exclusive)| (id.0, exclusive)).collect();
        assert_eq!(entries, [(1, true), (3, false), (9, true)]);
    }

    #[test]
    fn readers_share_and_writers_exclude() {
        let stripes = Stripes::default();
        let (shared, exclusive) = (plan(&[(5, false)]), plan(&[(5, true)]));
        let first = stripes.try_lock(&shared, Holder::Worker).ok();
        let second = stripes.try_lock(&shared, Holder::Worker).ok();
        assert!(first.is_some() && second.is_some());
        assert!(stripes.try_lock(&exclusive, Holder::Worker).is_err());
        drop((first, second));
        let writer = stripes.try_lock(&exclusive, Holder::Worker).ok();
        assert!(writer.is_some() && stripes.try_lock(&shared, Holder::Worker).is_err());
    }

    #[test]
    fn a_failed_lock_leaves_nothing_locked() {
        let stripes = Stripes::default();
        let (blocker, wanted) = (plan(&[(7, true)]), plan(&[(2, true), (7, true)]));
        let held = stripes.try_lock(&blocker, Holder::Worker).ok();
        assert_eq!(stripes.try_lock(&wanted, Holder::Worker).err(), Some(StripeId(7)));
        assert!(stripes.try_lock(&plan(&[(2, true)]), Holder::Worker).is_ok());
        drop(held);
        assert!(stripes.try_lock(&wanted, Holder::Worker).is_ok());
    }

    #[test]
    fn only_the_waiter_gets_in_during_its_turn() {
        let stripes = Stripes::default();
        let plan = plan(&[(4, true)]);
        stripes.begin_turn(StripeId(4));
        assert!(stripes.try_lock(&plan, Holder::Worker).is_err());
        assert!(stripes.try_lock(&plan, Holder::Pool).is_err());
        assert!(stripes.try_lock(&plan, Holder::Turn).is_ok());
        stripes.end_turn(StripeId(4));
        assert!(stripes.try_lock(&plan, Holder::Worker).is_ok());
    }

    #[test]
    fn a_parked_command_is_woken_by_the_release() {
        let stripes = Stripes::default();
        let plan = plan(&[(4, true)]);
        let held = stripes.lock_soon(&plan, Holder::Pool);
        let mut free = std::pin::pin!(stripes.free(StripeId(4)));
        let (waker, woken) = counting_waker();
        let mut context = std::task::Context::from_waker(&waker);
        assert!(free.as_mut().poll(&mut context).is_pending());
        drop(held);
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        assert!(free.as_mut().poll(&mut context).is_ready());
    }

    fn counting_waker() -> (Waker, std::sync::Arc<AtomicU32>) {
        struct Count(std::sync::Arc<AtomicU32>);
        impl std::task::Wake for Count {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let count = std::sync::Arc::new(AtomicU32::new(0));
        (Waker::from(std::sync::Arc::new(Count(std::sync::Arc::clone(&count)))), count)
    }

    #[test]
    fn many_threads_never_break_the_exclusion() {
        let stripes = Stripes::default();
        let counters: Vec<AtomicU64> = (0..4).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..4u16 {
                let (stripes, counters) = (&stripes, &counters);
                scope.spawn(move || {
                    for round in 0..2000u16 {
                        let (a, b) = ((thread + round) % 4, (thread * 3 + round) % 4);
                        let plan = plan(&[(a, true), (b, true)]);
                        let held = std::iter::repeat_with(|| stripes.lock_soon(&plan, Holder::Pool));
                        let _held = held.flatten().next();
                        for index in if a == b { vec![a] } else { vec![a, b] } {
                            let counter = &counters[usize::from(index)];
                            let seen = counter.load(Ordering::Relaxed);
                            counter.store(seen + 1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let expected: u64 = (0..4u16)
            .flat_map(|thread| {
                (0..2000u16)
                    .map(move |round| if (thread + round) % 4 == (thread * 3 + round) % 4 { 1 } else { 2 })
            })
            .sum();
        assert_eq!(counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum::<u64>(), expected);
    }
}
