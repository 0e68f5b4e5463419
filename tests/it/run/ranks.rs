//! Rank indexes beside commits.

use super::House;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tuffdb::encoding::Family;
use tuffdb::encoding::head::{Body, DataType, Spread};
use tuffdb::encoding::row::{Place, RowKey};
use tuffdb::keyspace::{Holder, Indexing, LockPlan, Mode, NewHead, Outcome, RunIdentity, Scratch, Stop, Txn};
use tuffdb::store::Tier;

const KEY: &str = "z";

fn row(place: Place, score: u64) -> RowKey {
    let mut row = RowKey::from_slice(&place.prefix());
    row.extend_from_slice(&score.to_be_bytes());
    row.extend_from_slice(b"member");
    row
}

/// A run under the key's lock, with all its rows in reach.
fn run<T>(
    house: &House,
    scratch: &mut Scratch,
    exclusive: bool,
    work: impl FnOnce(&mut Txn<'_>, Option<(Place, u64)>) -> Outcome<T>,
) -> Outcome<T> {
    let keyspace = house.keyspace();
    let mut plan = LockPlan::default();
    plan.add(house.stripe(KEY), exclusive);
    plan.seal();
    let _locked = keyspace.lock_inside(&plan, Holder::Pool);
    let guard = keyspace.store().db().unwrap();
    let db = guard.as_deref().unwrap();
    let identity = RunIdentity { now_ms: 1, now_us: 1000, seed: 1 };
    let mut txn = keyspace.begin(db.newest(Tier::Disk), Mode::Locked, &identity, scratch);
    let key = txn.key(0, KEY.as_bytes());
    let spread = txn.load(&key)?.and_then(|stored| match stored.body() {
        Body::Spread(spread) => Some((spread.place, spread.count)),
        Body::Whole(_) => None,
    });
    let answer = work(&mut txn, spread)?;
    txn.commit()?;
    Ok(answer)
}

fn save(txn: &mut Txn<'_>, place: Place, count: u64) -> Outcome {
    let key = txn.key(0, KEY.as_bytes());
    txn.save(&key, NewHead::new(DataType::Zset, Body::Spread(Spread { place, count, extra: b"" })))
}

/// Scores 0, 10, 20 ...
fn fill(house: &House, rows: u64) {
    let filled = run(house, &mut Scratch::default(), true, |txn, _| {
        let key = txn.key(0, KEY.as_bytes());
        let place = txn.new_place(&key);
        for score in 0..rows {
            txn.insert_element(&key, Family::Score, &row(place, score * 10), b"")?;
        }
        save(txn, place, rows)
    });
    filled.unwrap();
}

/// Tells the writer to stop, also when the test fails.
struct Ends<'o>(&'o AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn an_index_built_in_slices_while_others_commit_counts_every_row_once() {
    const ROWS: u64 = 30_000;
    let house = House::start(&["--workers", "1"]);
    fill(&house, ROWS);
    let over = AtomicBool::new(false);
    let (allowed, commits, slices) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Rows come and go everywhere, below the frontier and above it.
            for number in 0..ROWS {
                while number >= allowed.load(Ordering::SeqCst) {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    std::thread::yield_now();
                }
                let score = number * 7919 % ROWS * 10;
                let written = run(&house, &mut Scratch::default(), true, |txn, spread| {
                    let (key, (place, count)) = (txn.key(0, KEY.as_bytes()), spread.unwrap());
                    txn.insert_element(&key, Family::Score, &row(place, score + 1), b"")?;
                    if number % 3 > 0 {
                        return save(txn, place, count + 1);
                    }
                    txn.delete_element(&key, Family::Score, &row(place, score))?;
                    save(txn, place, count)
                });
                written.unwrap();
                commits.fetch_add(1, Ordering::SeqCst);
            }
        });
        let _ends = Ends(&over);
        for _ in 0..4 {
            // Commits race with each slice; then everything is forgotten, and it begins again.
            let mut scratch = Scratch::default();
            scratch.indexing = Indexing::building();
            loop {
                let wanted = allowed.fetch_add(30, Ordering::SeqCst) + 30;
                let ended = run(&house, &mut scratch, false, |txn, spread| {
                    let (place, count) = spread.unwrap();
                    let limits = (&place.prefix()[..], &place.end()[..]);
                    for rank in (0..count).step_by(1009) {
                        let found = txn.row_at(Family::Score, place, count, limits, rank)?.unwrap();
                        assert_eq!(txn.rank(Family::Score, place, count, limits, &found)?, rank);
                        let mut walked = 0;
                        txn.scan(
                            Family::Score,
                            &place.prefix(),
                            &found,
                            tuffdb::keyspace::Direction::Up,
                            |_, _| {
                                walked += 1;
                                Ok(std::ops::ControlFlow::Continue(()))
                            },
                        )?;
                        assert_eq!(walked, rank);
                    }
                    Ok(())
                });
                super::wait_until("the others have committed", || commits.load(Ordering::SeqCst) == wanted);
                match ended {
                    Ok(()) => break,
                    Err(Stop::Cold) => slices.fetch_add(1, Ordering::SeqCst),
                    Err(stop) => panic!("{stop:?}"),
                };
            }
            house.keyspace().hot().clear();
        }
    });
    assert!(slices.load(Ordering::SeqCst) > 4 * ROWS / 2_000 / 2, "the index came to be in one go");
}
