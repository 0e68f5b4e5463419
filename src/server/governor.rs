//! Keeps the process inside `maxmemory`: what it really takes, not what it believes to take, decides how much may be cached.
//!
//! Ten times a second, and more often while far too much is taken, the resident memory is compared with `maxmemory`. Above it by more
//! than a little, hot tier and block cache have to make room for whatever took it (client buffers, compaction, a huge value, holes in
//! the allocator's pages), at once and by as much as is too much; the allocator gives its free pages back. Below it both get back what
//! was withheld, slowly, so that a load that comes and goes does not empty them again and again.
//!
//! A connection that is about to read a huge request says so first ([`Claims`]) and waits for the next look, which counts the request as
//! if it were there: it comes faster than memory could be made free behind it.
//!
//! `Governor::step` is a function of figures; `govern` reads them and does what it says. The budgets of the configuration are
//! what it never exceeds.

use super::Shared;
use crate::metrics::process::{Allocated, purge, resident_bytes};
use crate::metrics::vitals::TICK_PERIOD_MS;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// One part in this many of `maxmemory` (and this much at least) may be exceeded before anything is done.
const SLACK_PART: usize = 20;
const SLACK_BYTES_MIN: usize = 8 << 20;
/// One part in this many of the configured budgets always stays. More would keep many pages: survivors lie all over them, and each
/// keeps that of others that are gone.
const FLOOR_PART: usize = 256;
/// What was withheld is given back in steps of one part in this many of the configured budgets.
const GROWTH_PART: usize = 64;
/// Free pages worth the work of giving them back.
const PURGE_BYTES_MIN: usize = 8 << 20;
/// Ticks between two purges, unless memory is exceeded by one part in `URGENT_PART`: pages that are wanted again must be zeroed again.
const PURGE_TICKS: u32 = 20;
const URGENT_PART: usize = 16;
/// Between two looks, and while memory is exceeded as far as that.
const PERIOD: Duration = Duration::from_millis(TICK_PERIOD_MS);
const URGENT_PERIOD: Duration = Duration::from_millis(TICK_PERIOD_MS / 5);
/// A claim of one part in this many of `maxmemory` is worth writing out the memtables, too.
const LARGE_PART: usize = 8;
/// How long the claim, and with it the next look, waits for that.
const FLUSH_PATIENCE: Duration = Duration::from_millis(300);
/// The block cache frees what it gives up in the calling thread, some of it under a lock: so in steps.
const CACHE_STEP_BYTES: usize = 4 << 20;

/// What the process takes and may take, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    /// In memory, by the system's account.
    pub(super) resident: usize,
    /// Of it, free pages that the allocator keeps; looked at only where more than `limit` is resident.
    pub(super) free: usize,
    /// `maxmemory`.
    pub(super) limit: usize,
    /// The hot tier: filled, and as configured.
    pub(super) hot: usize,
    pub(super) hot_max: usize,
    /// The block cache likewise.
    pub(super) cache: usize,
    pub(super) cache_max: usize,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The hot tier's budget from now on.
    pub(super) hot: usize,
    /// The block cache's.
    pub(super) cache: usize,
    /// The allocator must give its free pages back.
    pub(super) purge: bool,
    /// Far too much is taken: look again soon.
    pub(super) urgent: bool,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Governor {
    /// Taken from the configured budgets of both together.
    withheld: usize,
    ticks_since_purge: u32,
}

impl Governor {
    pub(super) fn step(&mut self, now: &Reading) -> Verdict {
        let configured = now.hot_max + now.cache_max;
        let aim = now.limit + (now.limit / SLACK_PART).max(SLACK_BYTES_MIN);
        let withheld_max = configured - configured / FLOOR_PART;
        let excess = now.resident.saturating_sub(aim);
        self.withheld = self.withheld.min(withheld_max);
        self.ticks_since_purge += 1;
        let urgent = excess > now.limit / URGENT_PART;
        let is_due = self.ticks_since_purge >= PURGE_TICKS || urgent;
        let purge = excess > 0 && is_due && now.free >= PURGE_BYTES_MIN;
        if purge {
            self.ticks_since_purge = 0;
        }
        // What a purge brings, now or when it is due, need not be taken from anybody: it may be what was taken a moment ago.
        let wanted = excess.saturating_sub(now.free);
        if wanted > 0 {
            // A budget that is not used up gives nothing when it is cut.
            let filled = (now.hot + now.cache).min(configured - self.withheld);
            self.withheld = (configured - filled + wanted).min(withheld_max);
        } else if excess == 0 {
            let room = aim - now.resident;
            self.withheld -= self.withheld.min(room / 4).min(configured / GROWTH_PART);
        }
        let allowed = configured - self.withheld;
        let hot = (allowed as u128 * now.hot_max as u128 / configured.max(1) as u128) as usize;
        Verdict { hot, cache: allowed - hot, purge, urgent }
    }
}

/// How long who claims memory waits for it; then it goes on without.
const CLAIM_PATIENCE: Duration = Duration::from_secs(1);

/// Memory that connections are about to take.
#[derive(Debug, Default)]
pub(super) struct Claims {
    bytes: AtomicUsize,
    asked: Notify,
    served: Notify,
}

impl Claims {
    /// Has the governor look at once: the configuration has changed.
    pub(super) fn look(&self) {
        self.asked.notify_one();
    }

    /// Waits until the governor has made room for so many bytes, as far as there is any to make.
    pub(super) async fn claim(&self, bytes: usize) {
        let mut served = std::pin::pin!(self.served.notified());
        // Before it is asked for, so that no answer is missed.
        served.as_mut().enable();
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.asked.notify_one();
        // Too late is no harm: the next looks find what it took.
        let _ = tokio::time::timeout(CLAIM_PATIENCE, served).await;
    }
}

/// Governs until the server ends.
pub(super) async fn govern(shared: Arc<Shared>) {
    let mut governor = Governor::default();
    let mut period = PERIOD;
    let mut flushing: Option<JoinHandle<()>> = None;
    loop {
        let _ = tokio::time::timeout(period, shared.claims.asked.notified()).await;
        let claimed = shared.claims.bytes.swap(0, Ordering::AcqRel);
        let reading = read(&shared, claimed);
        let verdict = governor.step(&reading);
        period = if verdict.urgent { URGENT_PERIOD } else { PERIOD };
        let (hot, store) = (shared.node.keyspace.hot(), shared.node.keyspace.store());
        if hot.budget_bytes() != verdict.hot {
            hot.set_budget(verdict.hot);
        }
        while hot.shrink_step() {
            tokio::task::yield_now().await;
        }
        let mut cache = store.block_cache_bytes().1;
        while cache != verdict.cache {
            cache = verdict.cache.max(cache.saturating_sub(CACHE_STEP_BYTES));
            store.set_block_cache_budget(cache);
            tokio::task::yield_now().await;
        }
        // What was cut for a claim is wanted as pages of the system's, not of the allocator's.
        let is_cut = claimed > 0 && verdict.hot + verdict.cache < reading.hot + reading.cache;
        if is_cut && claimed > reading.limit / LARGE_PART {
            // One at a time, however many claims come while the disk is slow.
            let running = flushing.take().filter(|flush| !flush.is_finished());
            let mut flush = running.unwrap_or_else(|| start_flush(&shared));
            if tokio::time::timeout(FLUSH_PATIENCE, &mut flush).await.is_err() {
                flushing = Some(flush);
            }
        }
        if (verdict.purge || is_cut) && shared.pool.run(purge).await.is_none() {
            return;
        }
        if claimed > 0 {
            shared.claims.served.notify_waiters();
        }
    }
}

/// Writes out the memtables, on the pool.
fn start_flush(shared: &Arc<Shared>) -> JoinHandle<()> {
    let on_pool = Arc::clone(shared);
    shared.pool.start(move || {
        if let Err(error) = on_pool.node.keyspace.store().flush_memtables() {
            tracing::warn!(%error, "changes could not be written out to make room for a large request");
        }
    })
}

/// As if the claimed bytes were there.
fn read(shared: &Shared, claimed: usize) -> Reading {
    let (config, keyspace) = (&shared.node.config, &shared.node.keyspace);
    let limit = usize::try_from(config.memory_bytes_max()).unwrap_or(usize::MAX);
    let resident = (resident_bytes() as usize).saturating_add(claimed);
    // Only wanted where too much is taken, and the allocator adds up all its arenas for it.
    let allocated = if resident > limit { Allocated::read() } else { Allocated::default() };
    Reading {
        resident,
        free: allocated.resident.saturating_sub(allocated.active) as usize,
        limit,
        hot: keyspace.hot().bytes(),
        hot_max: config.hot_tier_bytes(),
        cache: keyspace.store().block_cache_bytes().0,
        cache_max: config.block_cache_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    /// 1 GB: 500 MB for the hot tier, 250 for the block cache, both full.
    fn full() -> Reading {
        let (hot, cache) = (500 * MB, 250 * MB);
        Reading { resident: 900 * MB, free: 0, limit: 1000 * MB, hot, hot_max: hot, cache, cache_max: cache }
    }

    fn obeyed(reading: &Reading, verdict: &Verdict) -> Reading {
        let (hot, cache) = (reading.hot.min(verdict.hot), reading.cache.min(verdict.cache));
        let freed = reading.hot - hot + reading.cache - cache;
        let free = if verdict.purge { 0 } else { reading.free };
        Reading { resident: reading.resident - freed - (reading.free - free), free, hot, cache, ..*reading }
    }

    #[test]
    fn a_claim_waits_for_the_look_that_counts_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let claims = Arc::new(Claims::default());
            let claimant = Arc::clone(&claims);
            let waiting = tokio::spawn(async move { claimant.claim(5).await });
            claims.asked.notified().await;
            assert_eq!(claims.bytes.swap(0, Ordering::AcqRel), 5);
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            claims.served.notify_waiters();
            waiting.await.unwrap();
        });
    }

    #[test]
    fn who_stays_inside_keeps_the_configured_budgets() {
        let mut governor = Governor::default();
        for resident in [0, 900 * MB, 1000 * MB, 1050 * MB] {
            let verdict = governor.step(&Reading { resident, free: 100 * MB, ..full() });
            assert_eq!(verdict, Verdict { hot: 500 * MB, cache: 250 * MB, purge: false, urgent: false });
        }
    }

    #[test]
    fn what_is_too_much_is_taken_from_both_in_one_step() {
        let mut governor = Governor::default();
        let reading = Reading { resident: 1350 * MB, ..full() };
        let after = obeyed(&reading, &governor.step(&reading));
        assert_eq!(after.resident, 1050 * MB);
        assert_eq!((after.hot, after.cache), (300 * MB, 150 * MB));
    }

    #[test]
    fn a_cache_that_is_not_full_gives_what_it_has() {
        let mut governor = Governor::default();
        let reading = Reading { resident: 1150 * MB, hot: 200 * MB, cache: 100 * MB, ..full() };
        let verdict = governor.step(&reading);
        assert_eq!(verdict.hot + verdict.cache, 200 * MB);
    }

    #[test]
    fn free_pages_go_first_and_not_all_the_time() {
        let mut governor = Governor { ticks_since_purge: PURGE_TICKS, ..Governor::default() };
        let reading = Reading { resident: 1100 * MB, free: 60 * MB, ..full() };
        let verdict = governor.step(&reading);
        assert_eq!(verdict, Verdict { hot: 500 * MB, cache: 250 * MB, purge: true, urgent: false });
        // The next tick finds free pages again: they will wait, and are not taken from the budgets either.
        let verdict = governor.step(&reading);
        assert_eq!(verdict, Verdict { hot: 500 * MB, cache: 250 * MB, purge: false, urgent: false });
        let verdict = governor.step(&Reading { resident: 1110 * MB, free: 20 * MB, ..reading });
        assert!(!verdict.purge && verdict.hot + verdict.cache == 710 * MB);
        // Far too much is purged whenever it is.
        let verdict = governor.step(&Reading { resident: 1200 * MB, ..reading });
        assert!(verdict.purge && verdict.urgent, "and looked at again soon");
    }

    #[test]
    fn something_always_stays_and_all_of_it_comes_back() {
        let mut governor = Governor::default();
        let flood = Reading { resident: 5000 * MB, ..full() };
        let least = governor.step(&flood);
        assert_eq!(least.hot + least.cache, 750 * MB / FLOOR_PART);
        let mut reading = Reading { hot: least.hot, cache: least.cache, resident: 500 * MB, ..full() };
        let mut steps = 0;
        loop {
            let verdict = governor.step(&reading);
            assert!(
                verdict.hot >= reading.hot && verdict.hot - reading.hot <= 500 * MB / 32,
                "in small steps"
            );
            reading = Reading { hot: verdict.hot, cache: verdict.cache, ..reading };
            steps += 1;
            if (verdict.hot, verdict.cache) == (500 * MB, 250 * MB) {
                break;
            }
            assert!(steps < 100, "it stays at {verdict:?}");
        }
        assert!(steps > 10, "a load that comes and goes would empty the tiers each time");
    }

    #[test]
    fn what_comes_back_does_not_exceed_the_limit_again() {
        let mut governor = Governor::default();
        let reading = Reading { resident: 1350 * MB, ..full() };
        let mut reading = obeyed(&reading, &governor.step(&reading));
        for _ in 0..100 {
            let verdict = governor.step(&reading);
            // It is filled at once.
            let grown = verdict.hot + verdict.cache - reading.hot - reading.cache;
            let resident = reading.resident + grown;
            assert!(resident <= 1050 * MB);
            reading = Reading { hot: verdict.hot, cache: verdict.cache, resident, ..reading };
        }
    }

    #[test]
    fn a_smaller_configuration_is_followed_at_once() {
        let mut governor = Governor::default();
        let reading = Reading { resident: 1800 * MB, ..full() };
        governor.step(&reading);
        let small =
            Reading { hot_max: 50 * MB, cache_max: 25 * MB, resident: 80 * MB, limit: 100 * MB, ..full() };
        let verdict = governor.step(&small);
        assert!(verdict.hot <= 50 * MB && verdict.cache <= 25 * MB);
    }
}
