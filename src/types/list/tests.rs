//! A list against a vector: random operations, after each of which the head and the rows must be what the vector says.

use super::rows::{POSITION_MAX, position_of};
use super::*;
use crate::base::random::Rng;
use crate::keyspace::testbed::Testbed;
use crate::keyspace::{Direction, Mode, Stop, WORKER_STEPS_MAX};
use std::iter::once;
use std::ops::ControlFlow;

/// A keyspace with one list in it.
struct World(Testbed);

impl World {
    /// With packing off: a list is spread from its first element.
    fn spread() -> World {
        let bed = Testbed::open();
        bed.keyspace.tuning().set_packing(false, 0);
        World(bed)
    }

    /// Runs `work` with the list and commits. Gives how many rows it wrote, the head included, and what it answered.
    fn run<T>(&self, work: impl FnOnce(&mut Txn<'_>, &Key, Option<&Stored>) -> Outcome<T>) -> (usize, T) {
        self.0.run(|txn| {
            let key = txn.key(0, b"list");
            let stored = load(txn, &key)?;
            let answer = work(txn, &key, stored.as_ref())?;
            Ok((txn.writes(), answer))
        })
    }

    /// The same in a run of some kind, if it comes to its end.
    fn run_as<T>(
        &self,
        mode: Mode,
        work: impl FnOnce(&mut Txn<'_>, &Key, Option<&Stored>) -> Outcome<T>,
    ) -> Outcome<T> {
        self.0.run_as(mode, |txn| {
            let key = txn.key(0, b"list");
            let stored = load(txn, &key)?;
            work(txn, &key, stored.as_ref())
        })
    }

    fn push(&self, end: End, element: &[u8]) {
        self.run(|txn, key, stored| push(txn, key, stored, end, once(element)));
    }

    fn insert(&self, side: Side, pivot: &[u8], element: &[u8]) -> usize {
        let (writes, len) =
            self.run(|txn, key, stored| insert(txn, key, stored.unwrap(), side, pivot, element));
        assert!(len.is_some());
        writes
    }

    fn rows(&self) -> Option<Rows> {
        self.run(|_, _, stored| {
            Ok(match stored.map(Stored::body) {
                Some(Body::Spread(spread)) => Some(Rows::decode(spread)?),
                _ => None,
            })
        })
        .1
    }

    /// Writes another head over the list's rows.
    fn save_rows(&self, rows: Rows) {
        self.run(|txn, key, stored| save_rows(txn, key, Unfinished::of(stored), rows));
    }

    fn elements(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        self.run(|txn, _, stored| match stored {
            None => Ok(()),
            Some(stored) => {
                let len = len(stored)?;
                walk(txn, stored, 0..len, End::Front, |element| all.push(element.to_vec()))
            }
        });
        all
    }

    /// The list is `model`; head and rows agree; no row lies outside.
    fn check(&self, model: &[Vec<u8>]) {
        assert_eq!(self.elements(), model);
        let Some(rows) = self.rows() else {
            assert!(model.is_empty());
            return;
        };
        let mut positions = Vec::new();
        self.run(|txn, _, _| {
            let (lower, upper) = (rows.place.prefix(), rows.place.end());
            txn.scan(Family::List, &lower, &upper, Direction::Up, |row, _| {
                positions.push(position_of(row)?);
                Ok(ControlFlow::Continue(()))
            })
        });
        let bytes: u64 = model.iter().map(|element| listpack::element_bytes(element)).sum();
        assert_eq!((rows.count, rows.listpack_bytes), (model.len() as u64, bytes + listpack::EMPTY_BYTES));
        assert_eq!((positions.first(), positions.last()), (Some(&rows.first), Some(&rows.last)));
        assert_eq!(positions.len(), model.len());
        let even = positions.windows(2).all(|pair| pair[1] - pair[0] == STRIDE);
        assert!(!rows.even || even, "{positions:?}");
        for (nth, &position) in positions.iter().enumerate() {
            assert_eq!(self.run(|txn, _, _| rows.locate(txn, nth as u64)).1, position);
        }
    }
}

fn text(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

#[test]
fn a_spread_list_does_what_a_vector_does() {
    for seed in 0..4 {
        let (world, mut rng) = (World::spread(), Rng::new(seed));
        let mut model: Vec<Vec<u8>> = Vec::new();
        for step in 0..250u64 {
            step_both(&world, &mut model, &mut rng, step);
            if step % 10 == 0 {
                world.check(&model);
            }
        }
        world.check(&model);
    }
}

fn step_both(world: &World, model: &mut Vec<Vec<u8>>, rng: &mut Rng, step: u64) {
    let len = model.len() as u64;
    let some = |rng: &mut Rng| text(rng.below(12));
    match rng.below(if len == 0 { 3 } else { 14 }) {
        0..=2 => {
            let all: Vec<_> = (0..1 + rng.below(30)).map(|_| some(rng)).collect();
            let end = if rng.below(2) == 0 { End::Front } else { End::Back };
            world.run(|txn, key, stored| push(txn, key, stored, end, all.iter().map(|e| &e[..])));
            for element in all {
                if end == End::Front { model.insert(0, element) } else { model.push(element) }
            }
        }
        3..=4 => {
            let (count, front) = (rng.below(8), rng.below(2) == 0);
            let mut popped = Vec::new();
            let end = if front { End::Front } else { End::Back };
            world.run(|txn, key, stored| {
                pop(txn, key, stored.unwrap(), end, count, |element| popped.push(element.to_vec()))
            });
            let count = count.min(len) as usize;
            let mut expected: Vec<_> =
                if front { model.drain(..count).collect() } else { model.split_off(model.len() - count) };
            if !front {
                expected.reverse();
            }
            assert_eq!(popped, expected);
        }
        5 => {
            let start = rng.below(3).min(len);
            let end = len.saturating_sub(rng.below(3)).max(start);
            world.run(|txn, key, stored| trim(txn, key, stored.unwrap(), start..end));
            model.truncate(end as usize);
            model.drain(..start as usize);
        }
        6..=9 => {
            let (pivot, element) = (some(rng), text(100 + step));
            let side = if rng.below(2) == 0 { Side::Before } else { Side::After };
            let (_, answer) =
                world.run(|txn, key, stored| insert(txn, key, stored.unwrap(), side, &pivot, &element));
            let found = model.iter().position(|other| *other == pivot);
            assert_eq!(answer, found.map(|_| len + 1));
            if let Some(at) = found {
                model.insert(at + usize::from(side == Side::After), element);
            }
        }
        10..=11 => {
            let (unwanted, count, back) = (some(rng), 1 + rng.below(4), rng.below(2) == 0);
            let from = if back { End::Back } else { End::Front };
            let (_, answer) =
                world.run(|txn, key, stored| remove(txn, key, stored.unwrap(), from, count, &unwanted));
            let mut left = count;
            let mut stays = |element: &Vec<u8>| {
                let goes = left > 0 && *element == unwanted;
                left -= u64::from(goes);
                !goes
            };
            if back {
                model.reverse();
            }
            model.retain(&mut stays);
            if back {
                model.reverse();
            }
            assert_eq!(answer, count - left);
        }
        12 => {
            let (nth, element) = (rng.below(len), text(step << 20));
            world.run(|txn, key, stored| set(txn, key, stored.unwrap(), nth, &element));
            model[nth as usize] = element;
        }
        _ => {
            let (start, wanted) = (rng.below(len), some(rng));
            let range = start..start + rng.below(len - start + 1);
            let mut seen = Vec::new();
            world.run(|txn, _, stored| {
                walk(txn, stored.unwrap(), range.clone(), End::Back, |element| seen.push(element.to_vec()))
            });
            seen.reverse();
            assert_eq!(seen, &model[range.start as usize..range.end as usize]);
            let mut indexes = Vec::new();
            world.run(|txn, _, stored| {
                find(txn, stored.unwrap(), &wanted, End::Back, 40, |index| {
                    indexes.push(index);
                    ControlFlow::Continue(())
                })
            });
            let all = (0..model.len()).rev().take(40).filter(|&at| model[at] == wanted);
            assert!(indexes.iter().copied().eq(all.map(|at| at as u64)));
        }
    }
}

#[test]
fn pushes_pops_and_trims_keep_a_list_even_and_a_removal_at_an_end_does() {
    let world = World::spread();
    for n in 0..20 {
        world.push(if n % 3 == 0 { End::Front } else { End::Back }, &text(n));
    }
    world.run(|txn, key, stored| pop(txn, key, stored.unwrap(), End::Front, 3, |_| ()));
    world.run(|txn, key, stored| trim(txn, key, stored.unwrap(), 1..14));
    let outermost = world.elements()[0].clone();
    world.run(|txn, key, stored| remove(txn, key, stored.unwrap(), End::Front, 1, &outermost));
    assert!(world.rows().unwrap().even);
    let middle = world.elements()[5].clone();
    world.run(|txn, key, stored| remove(txn, key, stored.unwrap(), End::Front, 1, &middle));
    assert!(!world.rows().unwrap().even);
    world.run(|txn, key, stored| pop(txn, key, stored.unwrap(), End::Back, 9, |_| ()));
    assert_eq!((world.rows().unwrap().count, world.rows().unwrap().even), (2, true));
}

#[test]
fn insertions_at_one_spot_move_few_rows() {
    for side in [Side::Before, Side::After] {
        let world = World::spread();
        let mut model = Vec::new();
        for n in 0..200 {
            world.push(End::Back, &text(n));
            model.push(text(n));
        }
        let (mut all, mut most) = (0, 0);
        for n in 0..1200 {
            let element = text(1000 + n);
            let writes = world.insert(side, b"100", &element);
            let at = model.iter().position(|other| other == b"100").unwrap();
            model.insert(at + usize::from(side == Side::After), element);
            all += writes;
            most = most.max(writes);
        }
        world.check(&model);
        // Two rows an insertion, head and element, and what moves: a row that moves is deleted and written.
        assert!(all < 1200 * 12, "{all} rows for 1200 insertions");
        assert!(most < 300, "{most} rows for one insertion");
    }
}

#[test]
fn when_a_gap_is_used_up_only_the_rows_around_it_move() {
    let world = World::spread();
    for n in 0..1000 {
        world.push(End::Back, &text(n));
    }
    for n in 0..16 {
        assert_eq!(world.insert(Side::Before, b"500", &text(2000 + n)), 2, "{n}");
    }
    let before = world.rows().unwrap();
    let writes = world.insert(Side::Before, b"500", b"x");
    assert!((40..=2 * 33 + 2).contains(&writes), "{writes}");
    let after = world.rows().unwrap();
    assert_eq!((before.first, before.last, before.place), (after.first, after.last, after.place));
}

#[test]
fn a_window_at_the_end_of_a_list_grows_beyond_it() {
    for (side, pivot) in [(Side::After, "0"), (Side::Before, "39")] {
        let world = World::spread();
        let mut model: Vec<_> = (0..40).map(text).collect();
        model.iter().for_each(|element| world.push(End::Back, element));
        for n in 0..300 {
            let element = text(1000 + n);
            world.insert(side, pivot.as_bytes(), &element);
            let at = model.iter().position(|other| other == pivot.as_bytes()).unwrap();
            model.insert(at + usize::from(side == Side::After), element);
        }
        world.check(&model);
    }
}

#[test]
fn a_list_whose_positions_run_out_moves_to_a_new_place() {
    for end in [End::Front, End::Back] {
        let world = World::spread();
        world.push(End::Back, b"a");
        let fresh = world.rows().unwrap();
        // As if it had wandered to the last position.
        let far = if end == End::Front { 1 - POSITION_MAX } else { POSITION_MAX - 1 };
        let wandered = Rows { first: far, last: far, ..fresh };
        world.run(|txn, key, _| txn.put_element(key, Family::List, &fresh.place.index_row(far), b"a"));
        world.run(|txn, key, _| txn.delete_element(key, Family::List, &fresh.place.index_row(0)));
        world.save_rows(wandered);
        world.push(end, b"b");
        world.push(end, b"c");
        assert_ne!(world.rows().unwrap().place, fresh.place);
        let mut model = vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
        if end == End::Front {
            model.reverse();
        }
        world.check(&model);
        assert!(world.rows().unwrap().even);
    }
}

#[test]
fn cutting_a_long_list_to_a_small_part_writes_that_part_and_lets_the_rest_die() {
    let filled = || {
        let world = World::spread();
        let all: Vec<_> = (0..4000).map(text).collect();
        world.run(|txn, key, stored| push(txn, key, stored, End::Back, all.iter().map(|e| &e[..])));
        (world, all)
    };
    let (world, all) = filled();
    let place = world.rows().unwrap().place;
    let (writes, ()) = world.run(|txn, key, stored| trim(txn, key, stored.unwrap(), 2000..2100));
    assert_eq!(writes, 101);
    assert_ne!(world.rows().unwrap().place, place);
    world.check(&all[2000..2100]);

    let (world, all) = filled();
    let mut popped = 0;
    let (writes, ()) =
        world.run(|txn, key, stored| pop(txn, key, stored.unwrap(), End::Back, 3900, |_| popped += 1));
    assert_eq!((writes, popped), (101, 3900));
    world.check(&all[..100]);

    let (world, _) = filled();
    world.run(|txn, key, stored| {
        let stored = stored.unwrap();
        let Body::Spread(spread) = stored.body() else { unreachable!() };
        let mut rows = Rows::decode(spread)?;
        rows.push(txn, key, End::Front, [&b"x"[..]; 4000].into_iter())?;
        rows.push(txn, key, End::Back, [&b"x"[..]; 4500].into_iter())?;
        save_rows(txn, key, Unfinished::of(Some(stored)), rows)
    });
    world.run(|txn, key, stored| remove(txn, key, stored.unwrap(), End::Back, 8499, b"x"));
    let mut model: Vec<_> = (0..4000).map(text).collect();
    model.insert(0, b"x".to_vec());
    world.check(&model);
}

#[test]
fn a_spread_list_that_is_cut_small_is_packed_again_when_it_is_written_anew() {
    let world = World::spread();
    let all: Vec<_> = (0..4000).map(text).collect();
    world.run(|txn, key, stored| push(txn, key, stored, End::Back, all.iter().map(|e| &e[..])));
    world.0.keyspace.tuning().set_packing(true, 1024);
    world.run(|txn, key, stored| trim(txn, key, stored.unwrap(), 1..11));
    assert!(world.rows().is_none());
    assert_eq!(world.elements(), &all[1..11]);
}

#[test]
fn insertions_into_a_long_list_find_the_first_equal_element_whatever_has_changed() {
    for seed in 0..6 {
        let (world, mut rng) = (World::spread(), Rng::new(seed));
        // The list shrinks below the length from which on marks are kept, and grows again.
        let mut model: Vec<Vec<u8>> = (0..1300).map(|_| text(rng.below(2000))).collect();
        world.run(|txn, key, stored| push(txn, key, stored, End::Back, model.iter().map(|e| &e[..])));
        for step in 0..400u64 {
            let len = model.len();
            let (element, at) = (text(rng.below(2000)), rng.below(len as u64) as usize);
            match rng.below(10) {
                0 => {
                    world.run(|txn, key, stored| set(txn, key, stored.unwrap(), at as u64, &element));
                    model[at] = element;
                }
                1 => {
                    let end = if step % 3 == 0 { End::Front } else { End::Back };
                    let some: Vec<_> = (0..rng.below(60)).map(|_| text(rng.below(2000))).collect();
                    world.run(|txn, key, stored| push(txn, key, stored, end, some.iter().map(|e| &e[..])));
                    for element in some {
                        if end == End::Front { model.insert(0, element) } else { model.push(element) }
                    }
                }
                2 => {
                    let (front, back) = (rng.below(30) as usize, rng.below(30) as usize);
                    let kept = front as u64..(len - back) as u64;
                    world.run(|txn, key, stored| trim(txn, key, stored.unwrap(), kept));
                    model.truncate(len - back);
                    model.drain(..front);
                }
                3 => {
                    let unwanted = model[at].clone();
                    world.run(|txn, key, stored| remove(txn, key, stored.unwrap(), End::Back, 1, &unwanted));
                    model.remove(model.iter().rposition(|other| *other == unwanted).unwrap());
                }
                _ => {
                    // At one spot over and over, too.
                    let pivot =
                        if rng.below(3) == 0 { model[len / 2].clone() } else { text(rng.below(2000)) };
                    let side = if rng.below(2) == 0 { Side::Before } else { Side::After };
                    let mode = [Mode::Locked, Mode::Heavy, Mode::Worker][rng.below(3) as usize];
                    let given_up = rng.below(5) == 0;
                    let answer = world.run_as(mode, |txn, key, stored| {
                        let answer = insert(txn, key, stored.unwrap(), side, &pivot, &element)?;
                        if given_up { Err(Stop::Cold) } else { Ok(answer) }
                    });
                    let found = model.iter().position(|other| *other == pivot);
                    match answer {
                        Ok(len) => {
                            assert_eq!(len, found.map(|_| model.len() as u64 + 1), "seed {seed}, {step}");
                            if let Some(at) = found {
                                model.insert(at + usize::from(side == Side::After), element);
                            }
                        }
                        Err(stop) => assert!(given_up, "{stop:?}"),
                    }
                }
            }
            if step % 20 == 0 {
                assert_eq!(world.elements(), model, "seed {seed}, {step}");
            }
        }
        world.check(&model);
    }
}

#[test]
fn a_worker_inserts_deep_in_a_long_list_once_the_place_was_found_on_the_pool() {
    let world = World::spread();
    let count = 3 * WORKER_STEPS_MAX;
    let mut model: Vec<Vec<u8>> = (0..count).map(text).collect();
    for some in model.chunks(1000) {
        world.run(|txn, key, stored| push(txn, key, stored, End::Back, some.iter().map(|e| &e[..])));
    }
    let insert_as = |mode: Mode, pivot: &[u8]| {
        world.run_as(mode, |txn, key, stored| insert(txn, key, stored.unwrap(), Side::After, pivot, b"x"))
    };
    let pivot = text(2 * WORKER_STEPS_MAX);
    assert!(matches!(insert_as(Mode::Worker, &pivot), Err(Stop::Heavy)));
    assert_eq!(insert_as(Mode::Heavy, &pivot).unwrap(), Some(count + 1));
    assert_eq!(insert_as(Mode::Worker, &pivot).unwrap(), Some(count + 2));
    assert_eq!(insert_as(Mode::Worker, &text(WORKER_STEPS_MAX + 7)).unwrap(), Some(count + 3));
    for (pivot, times) in [(2 * WORKER_STEPS_MAX, 2), (WORKER_STEPS_MAX + 7, 1)] {
        (0..times).for_each(|_| model.insert(pivot as usize + 1, b"x".to_vec()));
    }
    // Behind what the pool had read it must look again.
    assert!(matches!(insert_as(Mode::Worker, b"nowhere"), Err(Stop::Heavy)));
    for n in 0..300 {
        assert_eq!(insert_as(Mode::Worker, &pivot).unwrap(), Some(count + 4 + n));
        model.insert(1 + model.iter().position(|other| *other == pivot).unwrap(), b"x".to_vec());
    }
    world.check(&model);
}
