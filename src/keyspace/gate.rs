//! The gate gives whole-keyspace commands (FLUSHALL, SWAPDB, a reopen) exclusivity without a lock that every command shares.
//!
//! Each worker owns a slot on a cache line of its own and marks it while it runs one command; the pool shares one counting slot.
//! Who wants the keyspace alone closes the gate and waits until every slot is empty. Commands that find the gate closed park.
//! Only pool threads close it, so no worker ever waits.

use parking_lot::{Mutex, MutexGuard};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

#[derive(Default)]
#[repr(align(64))]
struct Slot(AtomicUsize);

/// The gate of a keyspace.
pub struct Gate {
    closed: AtomicBool,
    slots: Box<[Slot]>,
    alone: Mutex<()>,
    parked: Mutex<Vec<Waker>>,
}

/// Within the gate; dropped, it is left.
pub struct Inside<'g>(&'g Slot);

/// Alone in the keyspace; dropped, the gate opens.
pub struct Alone<'g> {
    gate: &'g Gate,
    _alone: MutexGuard<'g, ()>,
}

impl Gate {
    /// A gate for this many workers. Slot 0 is the pool's, worker `n` has slot `n + 1`.
    pub fn new(workers: usize) -> Gate {
        Gate {
            closed: AtomicBool::new(false),
            slots: (0..=workers).map(|_| Slot::default()).collect(),
            alone: Mutex::new(()),
            parked: Mutex::default(),
        }
    }

    /// Enters, or says that the gate is closed.
    pub fn enter(&self, slot: usize) -> Option<Inside<'_>> {
        self.hold(slot).then(|| Inside(self.slot(slot)))
    }

    /// Enters for longer than a guard can live; false when the gate is closed. `leave` must follow.
    pub fn hold(&self, slot: usize) -> bool {
        let slot = self.slot(slot);
        slot.0.fetch_add(1, Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            slot.0.fetch_sub(1, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// Ends a `hold`.
    pub fn leave(&self, slot: usize) {
        self.slot(slot).0.fetch_sub(1, Ordering::Release);
    }

    fn slot(&self, number: usize) -> &Slot {
        &self.slots[number.min(self.slots.len() - 1)]
    }

    /// Enters from a pool thread, waiting while the gate is closed.
    pub fn enter_pool(&self) -> Inside<'_> {
        loop {
            if let Some(inside) = self.enter(0) {
                return inside;
            }
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    }

    /// Closes the gate and waits until everybody is out. Pool threads only.
    pub fn close(&self) -> Alone<'_> {
        let alone = self.alone.lock();
        self.closed.store(true, Ordering::SeqCst);
        for slot in &self.slots {
            let mut spins = 0u32;
            while slot.0.load(Ordering::SeqCst) != 0 {
                spins += 1;
                if spins < 1000 {
                    std::hint::spin_loop();
                } else {
                    std::thread::sleep(std::time::Duration::from_micros(50));
                }
            }
        }
        Alone { gate: self, _alone: alone }
    }

    /// Waits until the gate is open.
    pub async fn open(&self) {
        poll_fn(|context| {
            let mut parked = self.parked.lock();
            if !self.closed.load(Ordering::SeqCst) {
                return Poll::Ready(());
            }
            parked.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let wakers = {
            let mut parked = self.gate.parked.lock();
            self.gate.closed.store(false, Ordering::SeqCst);
            std::mem::take(&mut *parked)
        };
        for waker in wakers {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_enters_a_closed_gate_and_closing_waits_for_those_inside() {
        let gate = Gate::new(2);
        let inside = gate.enter(1);
        assert!(inside.is_some());
        std::thread::scope(|scope| {
            let closer = scope.spawn(|| drop(gate.close()));
            while !gate.closed.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            assert!(gate.enter(2).is_none());
            assert!(!closer.is_finished());
            drop(inside);
        });
        assert!(gate.enter(2).is_some());
    }
}
