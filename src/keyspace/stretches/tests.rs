//! Scans through what is kept, against a map: runs that are committed or dropped, own writes, both directions, known ends.

use super::*;
use crate::base::random::Rng;
use crate::encoding::head::{Body, Spread};
use crate::keyspace::testbed::Testbed;
use crate::keyspace::{Mode, NewHead, RunIdentity, Scratch};
use crate::store::Tier;
use std::collections::BTreeMap;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

const NUMBERS: u64 = 400;

fn row_of(place: Place, number: u64) -> Vec<u8> {
    [&place.prefix()[..], format!("{number:04}").as_bytes()].concat()
}

/// Scans a random stretch, and says how many rows were found.
fn scan_some(txn: &mut Txn<'_>, rng: &mut Rng, place: Place, rows: &Rows) -> usize {
    let (a, b) = (rng.below(NUMBERS), rng.below(NUMBERS));
    let outermost = |row: Option<&Vec<u8>>| row.cloned().unwrap_or_else(|| row_of(place, 0));
    let lower = match rng.below(4) {
        0 => place.prefix().to_vec(),
        // As a list does, which knows its first row.
        1 | 2 => outermost(rows.keys().next()),
        _ => row_of(place, a.min(b)),
    };
    let upper = match rng.below(4) {
        0 => place.end().to_vec(),
        1 | 2 => [&outermost(rows.keys().last())[..], b"\0"].concat(),
        _ => row_of(place, a.max(b)),
    };
    let is_first = rng.below(2) == 0 && rows.keys().next().is_none_or(|first| *first >= lower);
    let is_last = rng.below(2) == 0 && rows.keys().last().is_none_or(|last| *last < upper);
    let rows_max = if rng.below(2) == 0 { rng.below(80) as usize + 1 } else { usize::MAX };
    let direction = if rng.below(2) == 0 { Direction::Up } else { Direction::Down };
    let mut expected: Vec<_> = rows
        .iter()
        .filter(|(row, _)| **row >= lower && **row < upper)
        .map(|(r, v)| (r.clone(), v.clone()))
        .collect();
    if direction == Direction::Down {
        expected.reverse();
    }
    expected.truncate(rows_max);
    let mut found = Vec::new();
    let stretch = Stretch { lower: &lower, upper: &upper, is_first, is_last };
    txn.scan_kept(Family::List, stretch, direction, |row, value| {
        found.push((row.to_vec(), value.to_vec()));
        Ok(if found.len() == rows_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .unwrap();
    assert_eq!(found, expected, "{stretch:?} {direction:?} {rows_max}");
    found.len()
}

fn save_head(txn: &mut Txn<'_>, key: &crate::keyspace::Key, place: Place) {
    let body = Body::Spread(Spread { place, count: 1, extra: b"" });
    txn.save(key, NewHead::new(DataType::List, body)).unwrap();
}

#[test]
fn a_scan_finds_what_is_there_whoever_has_written_it_and_whatever_was_given_up() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let bed = Testbed::open();
        let (mut committed, mut place) = (Rows::new(), None);
        let (mut found, mut from_memory) = (0, 0);
        for turn in 0..400 {
            let guard = bed.keyspace.store().db().unwrap();
            let db = guard.as_deref().unwrap();
            let run = RunIdentity { now_ms: 1_000_000, now_us: 1_000_000_000, seed: turn };
            let mut scratch = Scratch::default();
            let mode = [Mode::Locked, Mode::Worker, Mode::Alone][rng.below(3) as usize];
            let mut txn = bed.keyspace.begin(db.newest(Tier::Disk), mode, &run, &mut scratch);
            let key = txn.key(0, b"key");
            let mut rows = committed.clone();
            let mut now_at = place;
            if now_at.is_none() || rng.below(60) == 0 {
                txn.delete(&key).unwrap();
                let made = txn.new_place(&key);
                save_head(&mut txn, &key, made);
                (now_at, rows) = (Some(made), Rows::new());
            }
            let at = now_at.unwrap();
            for _ in 0..1 + rng.below(8) {
                let (row, value) = (row_of(at, rng.below(NUMBERS)), vec![b'v'; rng.below(120) as usize]);
                match rng.below(6) {
                    0 | 1 => {
                        txn.put_element(&key, Family::List, &row, &value).unwrap();
                        rows.insert(row, value);
                    }
                    2 => {
                        // An end, as pops do.
                        let end = if rng.below(2) == 0 { rows.keys().next() } else { rows.keys().last() };
                        if let Some(row) = end.cloned() {
                            txn.delete_element(&key, Family::List, &row).unwrap();
                            rows.remove(&row);
                        }
                    }
                    3 => {
                        let huge = vec![b'h'; ROW_BYTES_MAX];
                        let value = if rng.below(30) == 0 { huge } else { value };
                        txn.put_element(&key, Family::List, &row, &value).unwrap();
                        rows.insert(row, value);
                    }
                    _ => found += scan_some(&mut txn, &mut rng, at, &rows),
                }
            }
            let name = name_of(Family::List, &at.prefix());
            if matches!(bed.keyspace.hot.stretches().look_up(&name, b"0200"), Known::Blocks(_)) {
                from_memory += 1;
            }
            if rng.below(3) > 0 {
                txn.commit().unwrap();
                (committed, place) = (rows, now_at);
            }
            if rng.below(100) == 0 {
                bed.keyspace.hot.clear();
            }
        }
        assert!(
            found > 1000 && from_memory > 100,
            "seed {seed}: {found} rows, {from_memory} times in memory"
        );
        let mut scratch = Scratch::default();
        let guard = bed.keyspace.store().db().unwrap();
        let run = RunIdentity { now_ms: 1_000_000, now_us: 1_000_000_000, seed };
        let db = guard.as_deref().unwrap();
        let mut txn = bed.keyspace.begin(db.newest(Tier::Disk), Mode::Locked, &run, &mut scratch);
        let key = txn.key(0, b"key");
        txn.delete(&key).unwrap();
        txn.commit().unwrap();
        assert!(!bed.keyspace.hot.stretches().has(Family::List as u8), "rows of the dead are kept");
    }
}

#[test]
fn after_a_commit_of_very_many_rows_a_scan_sees_them() {
    let bed = Testbed::open();
    let (key, place) = bed.run(|txn| {
        let key = txn.key(0, b"key");
        let place = txn.new_place(&key);
        for number in 0..10 {
            txn.put_element(&key, Family::List, &row_of(place, number), b"value")?;
        }
        save_head(txn, &key, place);
        Ok((key, place))
    });
    let count = || {
        bed.run(|txn| {
            let (lower, upper, mut rows) = (place.prefix(), place.end(), 0);
            let stretch = Stretch { lower: &lower, upper: &upper, is_first: true, is_last: true };
            txn.scan_kept(Family::List, stretch, Direction::Up, |_, _| {
                rows += 1;
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(rows)
        })
    };
    assert_eq!([count(), count(), count()], [10; 3]);
    assert!(bed.keyspace.hot.stretches().has(Family::List as u8));
    bed.run(|txn| {
        for number in 0..=ROWS_FOLLOWED_MAX as u64 {
            txn.put_element(&key, Family::List, &row_of(place, 1000 + number), b"value")?;
        }
        Ok(())
    });
    assert_eq!(count(), 10 + ROWS_FOLLOWED_MAX + 1);
}

#[test]
fn a_snapshot_reads_past_what_is_kept_and_keeps_nothing() {
    let bed = Testbed::open();
    let place = bed.run(|txn| {
        let key = txn.key(0, b"key");
        let place = txn.new_place(&key);
        for number in 0..100 {
            txn.put_element(&key, Family::List, &row_of(place, number), b"value")?;
        }
        save_head(txn, &key, place);
        Ok(place)
    });
    let guard = bed.keyspace.store().db().unwrap();
    let db = guard.as_deref().unwrap();
    let snapshot = db.snapshot();
    let view = crate::store::View { snapshot: Some(&snapshot), ..db.newest(Tier::Disk) };
    let run = RunIdentity { now_ms: 1_000_000, now_us: 1_000_000_000, seed: 1 };
    let mut scratch = Scratch::default();
    for _ in 0..3 {
        let mut txn = bed.keyspace.begin(view, Mode::Heavy, &run, &mut scratch);
        let mut rows = 0;
        let (lower, upper) = (place.prefix(), place.end());
        txn.scan_kept(Family::List, Stretch::between(&lower, &upper), Direction::Up, |_, _| {
            rows += 1;
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(rows, 100);
    }
    assert_eq!(bed.keyspace.hot.stretches().bytes(), 0);
}
