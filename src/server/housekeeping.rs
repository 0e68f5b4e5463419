//! What goes on in the background: the expirer, the gc worker, the filter of rows, the memtables, the version lease, and the repair of a failed store.
//!
//! Each is a loop on the main runtime. What may wait for the disk goes to the pool; the rest is short.

use super::Shared;
use crate::keyspace::Stop;
use crate::metrics::vitals::TICK_PERIOD_MS;
use crate::store::STOPPED;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const EXPIRY_PERIOD: Duration = Duration::from_millis(100);
const GC_PERIOD: Duration = Duration::from_millis(100);
const FILTER_PERIOD: Duration = Duration::from_millis(100);
const MEMTABLES_PERIOD: Duration = Duration::from_millis(100);
const LEASE_PERIOD: Duration = Duration::from_secs(5);
const OUTPUT_PERIOD: Duration = Duration::from_secs(1);
const REOPEN_PERIOD: Duration = Duration::from_millis(500);
/// RocksDB has stopped writes for so many of those periods, and compactions fail: it will not get over that by itself.
const STOPPED_LOOKS: u32 = 6;
const STOPPED_PATIENCE: Duration = Duration::from_secs(5);

/// Starts all loops on the current runtime.
pub(super) fn start(shared: &Arc<Shared>) {
    tokio::spawn(expire(Arc::clone(shared)));
    tokio::spawn(collect(Arc::clone(shared)));
    let tend_row_filter = |shared: &Shared| shared.node.keyspace.store().tend_row_filter();
    tokio::spawn(repeat(Arc::clone(shared), FILTER_PERIOD, tend_row_filter));
    let tend_memtables = |shared: &Shared| shared.node.keyspace.store().tend_memtables();
    tokio::spawn(repeat(Arc::clone(shared), MEMTABLES_PERIOD, tend_memtables));
    tokio::spawn(lease(Arc::clone(shared)));
    tokio::spawn(repair(Arc::clone(shared)));
    tokio::spawn(watch_stops(Arc::clone(shared)));
    tokio::spawn(sample(Arc::clone(shared)));
    tokio::spawn(keep_output_limits(Arc::clone(shared)));
    tokio::spawn(super::governor::govern(Arc::clone(shared)));
    tokio::spawn(carry(Arc::clone(shared)));
    tokio::spawn(super::metronome::beat(Arc::clone(shared)));
}

/// Takes messages for many receivers to them.
async fn carry(shared: Arc<Shared>) {
    shared.node.pubsub.carry().await;
}

async fn expire(shared: Arc<Shared>) {
    let mut told = String::new();
    loop {
        tokio::time::sleep(EXPIRY_PERIOD).await;
        if !shared.node.active_expiry.load(Ordering::Relaxed) {
            continue;
        }
        rounds(&shared, "expiry", &mut told, |shared| {
            // As long as CLIENT PAUSE lasts, nothing changes.
            let is_paused = shared.node.pauses.current(shared.node.clock.now_ms()).is_some();
            if is_paused { Ok(false) } else { shared.node.keyspace.expire_round() }
        })
        .await;
    }
}

async fn collect(shared: Arc<Shared>) {
    let mut told = String::new();
    loop {
        tokio::time::sleep(GC_PERIOD).await;
        rounds(&shared, "gc", &mut told, |shared| shared.node.keyspace.gc_round()).await;
    }
}

/// Rounds of one kind until there is nothing more to do. Why they fail is told once (`told`), though they are tried again and again.
async fn rounds(
    shared: &Arc<Shared>,
    what: &'static str,
    told: &mut String,
    round: fn(&Shared) -> Result<bool, Stop>,
) {
    loop {
        if shared.node.keyspace.store().is_failed() {
            return;
        }
        // What it has to tell is taken along first.
        if let Some(receipt) = shared.node.pubsub.overdue() {
            shared.node.pubsub.delivered(receipt).await;
        }
        let on_pool = Arc::clone(shared);
        match shared.pool.run(move || round(&on_pool)).await {
            Some(Ok(true)) => tokio::task::yield_now().await,
            Some(Ok(false)) | None => return,
            Some(Err(stop)) => {
                let reason = stop
                    .trouble()
                    .filter(|reason| !shared.node.keyspace.store().is_failed() && told != reason);
                if let Some(reason) = reason {
                    tracing::warn!(what, reason, "a background round failed");
                    *told = reason;
                }
                return;
            }
        }
    }
}

/// The same work on the pool, again and again.
async fn repeat(shared: Arc<Shared>, period: Duration, work: fn(&Shared)) {
    loop {
        tokio::time::sleep(period).await;
        let on_pool = Arc::clone(&shared);
        if shared.pool.run(move || work(&on_pool)).await.is_none() {
            return;
        }
    }
}

/// Samples rates and memory, and keeps what must not grow inside its limit.
async fn sample(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_millis(TICK_PERIOD_MS)).await;
        crate::commands::info::tick(&shared.node);
        while shared.node.tracking.keep_limit() {
            tokio::task::yield_now().await;
        }
    }
}

/// Cuts those who have had too much waiting for too long, even if nothing more is sent to them.
async fn keep_output_limits(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(OUTPUT_PERIOD).await;
        let node = &shared.node;
        for client in node.clients.all() {
            let Some(outbox) = client.outbox() else { continue };
            if client.monitors.load(Ordering::Relaxed) {
                outbox.keep_limit(&node.monitors.standing());
            } else {
                outbox.keep_limit(&node.pubsub.standing());
            }
        }
    }
}

async fn lease(shared: Arc<Shared>) {
    let mut leased_until = 0;
    loop {
        tokio::time::sleep(LEASE_PERIOD).await;
        let on_pool = Arc::clone(&shared);
        let extended = shared.pool.run(move || {
            let ended = on_pool.node.keyspace.extend_lease(&mut leased_until);
            (leased_until, ended.map_err(|error| error.to_string()))
        });
        match extended.await {
            Some((until, Ok(()))) => leased_until = until,
            // A failed disk is the repair's affair.
            Some((_, Err(_))) if shared.node.keyspace.store().is_failed() => {}
            Some((_, Err(error))) => tracing::warn!(error, "the version lease could not be extended"),
            None => return,
        }
    }
}

/// Closes and reopens the store when it has failed, until it can be written again. In between it is open for reading. One line
/// in the log says that a failure has begun, one that it is over.
async fn repair(shared: Arc<Shared>) {
    loop {
        shared.node.keyspace.failure().await;
        let store = shared.node.keyspace.store();
        let Some(reason) = store.failure() else { continue };
        let (folder, began) = (store.path().display(), Instant::now());
        tracing::error!(%folder, reason, "the disk fails: writes are refused until it works again, reads go on");
        while store.is_failed() && !shared.is_ending() {
            wait_while_stopped(&shared).await;
            let on_pool = Arc::clone(&shared);
            let reopened = shared.pool.run(move || reopen(&on_pool)).await;
            shared.sync.nudge();
            match reopened {
                Some(Ok(())) => {
                    let seconds = began.elapsed().as_secs_f32();
                    tracing::warn!(%folder, seconds, "the disk works again: the database was reopened and takes writes");
                }
                Some(Err(reason)) => {
                    tracing::debug!(reason, "the database cannot be opened for writing yet");
                    tokio::time::sleep(REOPEN_PERIOD).await;
                }
                None => return,
            }
        }
    }
}

/// A database that takes no writes for now may be about to: closed, it would begin its compactions anew. One whose compactions have
/// failed is given a while, for some of them may find room.
async fn wait_while_stopped(shared: &Shared) {
    let (store, began) = (shared.node.keyspace.store(), Instant::now());
    while store.is_stopped()
        && !shared.is_ending()
        && (!store.has_failed_behind() || began.elapsed() < STOPPED_PATIENCE)
    {
        tokio::time::sleep(REOPEN_PERIOD).await;
    }
}

/// Sees to it that writes are refused which RocksDB would keep waiting: on a nearly full disk, until there is far more room.
async fn watch_stops(shared: Arc<Shared>) {
    let store = shared.node.keyspace.store();
    let mut looks = 0;
    loop {
        tokio::time::sleep(REOPEN_PERIOD).await;
        looks = if store.is_stopped() && store.has_failed_behind() { looks + 1 } else { 0 };
        if looks >= STOPPED_LOOKS && !store.is_failed() {
            store.fail(STOPPED);
            shared.node.keyspace.signal_failure();
        }
    }
}

fn reopen(shared: &Shared) -> Result<(), String> {
    let keyspace = &shared.node.keyspace;
    // A script may have no end, and nothing goes on while it uses the database.
    let end_scripts = || shared.node.running_scripts.kill_all();
    end_scripts();
    // Nor while somebody inside the gate waits for room to write.
    keyspace.store().give_up();
    let alone = keyspace.gate().close();
    let reopened = keyspace.store().reopen(end_scripts);
    // Also when it is open for reading only: memory may hold what the disk has lost.
    if keyspace.store().db().is_ok() {
        keyspace.rebuild(&alone).map_err(|error| error.to_string())?;
    }
    reopened.map_err(|error| error.to_string())?;
    keyspace.store().failure().map_or(Ok(()), Err)
}
