//! Least frequently used, with the counter Redis has.
//!
//! A row carries an 8-bit counter that grows with the logarithm of its uses: it starts at 5, and a use
//! adds one with probability 1 / ((counter - 5) * log_factor + 1). It falls by one for every
//! `decay_minutes` without a use, worked out when it is looked at. The victim is the lowest of the
//! candidates in a pool of 16, which each eviction feeds with 5 rows picked at random; among equal
//! counters the longest unused goes. A pool makes 5 samples nearly as good as a full ordering: what was
//! once found cheap is not forgotten. Counter and time of use stand in the table's slots, so a sample touches no row.

use super::Source;
use super::table::{Slot, Table};
use crate::base::random::Rng;

/// The counter of a new row, as in Redis: above zero, so that it gets the time to be used.
const COUNTER_INIT: u8 = 5;
const SAMPLES: usize = 5;
const POOL_LEN_MAX: usize = 16;

/// A row found cheap: the tag it is found by (where it stands may change) and how it ranked then.
struct Candidate {
    tag: u32,
    rank: u64,
}

/// What the policy knows of a shard's rows beside their slots.
pub(super) struct Lfu {
    pool: Vec<Candidate>,
    rng: Rng,
    log_factor: u32,
    decay_minutes: u32,
}

impl Lfu {
    /// The state of a new row.
    pub(super) const NEW: u8 = COUNTER_INIT;

    /// The state of a row that was put in ahead of its read, which will make it as any other new row.
    pub(super) const AHEAD: u8 = COUNTER_INIT - 1;

    pub(super) fn new(log_factor: u32, decay_minutes: u32, seed: u64) -> Lfu {
        Lfu { pool: Vec::new(), rng: Rng::new(seed), log_factor, decay_minutes }
    }

    /// Changes the counter's parameters; the counters stay.
    pub(super) fn set_parameters(&mut self, log_factor: u32, decay_minutes: u32) {
        self.log_factor = log_factor;
        self.decay_minutes = decay_minutes;
    }

    /// Counts a read.
    pub(super) fn read(&mut self, slot: &mut Slot, now_s: u32) {
        let counter = self.decayed(slot, now_s);
        let above = u64::from(counter.saturating_sub(COUNTER_INIT));
        let odds = above * u64::from(self.log_factor) + 1;
        let rises = counter < u8::MAX && (odds == 1 || self.rng.below(odds) == 0);
        slot.set_state(counter + u8::from(rises));
        slot.used_s = now_s;
    }

    /// Counts another value: the counter stays.
    pub(super) fn replaced(&mut self, slot: &mut Slot, now_s: u32, source: Source) {
        if source == Source::Write {
            // The decay counts from the last use, so what is due so far has to be taken first.
            slot.set_state(self.decayed(slot, now_s));
            slot.used_s = now_s;
        }
    }

    /// A row's counter as of now.
    pub(super) fn decayed(&self, slot: &Slot, now_s: u32) -> u8 {
        if self.decay_minutes == 0 {
            return slot.state();
        }
        let idle_minutes = now_s.saturating_sub(slot.used_s) / 60;
        let periods = u8::try_from(idle_minutes / self.decay_minutes).unwrap_or(u8::MAX);
        slot.state().saturating_sub(periods)
    }

    /// Drops the row least worth keeping among those sampled; false if there is none.
    pub(super) fn evict(&mut self, table: &mut Table, now_s: u32) -> bool {
        if table.len() == 0 {
            return false;
        }
        for _ in 0..SAMPLES {
            let picked = self.pick(table);
            self.offer(table, picked, now_s);
        }
        while let Some(best) = (0..self.pool.len()).min_by_key(|&at| self.pool[at].rank) {
            let candidate = self.pool.swap_remove(best);
            // Gone since, or used since: no candidate any more.
            if let Some(at) = table.find_tag(candidate.tag)
                && self.rank(table.slot(at), now_s) <= candidate.rank
            {
                table.remove(at);
                return true;
            }
        }
        let picked = self.pick(table);
        table.remove(picked);
        true
    }

    /// A random row's slot: the first taken one from a random slot on.
    fn pick(&mut self, table: &Table) -> usize {
        let mut at = self.rng.below(table.slots() as u64) as usize;
        while table.slot(at).entry().is_none() {
            at = table.after(at);
        }
        at
    }

    /// Puts the row into the pool if there is room or it ranks below one that is in.
    fn offer(&mut self, table: &Table, at: usize, now_s: u32) {
        let tag = table.tag(at);
        let new = Candidate { tag, rank: self.rank(table.slot(at), now_s) };
        if let Some(known) = self.pool.iter_mut().find(|known| known.tag == tag) {
            *known = new;
        } else if self.pool.len() < POOL_LEN_MAX {
            self.pool.push(new);
        } else if let Some(worst) = self.pool.iter_mut().max_by_key(|known| known.rank)
            && new.rank < worst.rank
        {
            *worst = new;
        }
    }

    /// The order of eviction: the lowest counter first, then the longest unused.
    fn rank(&self, slot: &Slot, now_s: u32) -> u64 {
        u64::from(self.decayed(slot, now_s)) << 32 | u64::from(slot.used_s)
    }
}
