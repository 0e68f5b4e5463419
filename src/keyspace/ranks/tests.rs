//! A model test of ranks through runs and commits: a list and the scores of a sorted set, against sorted sets in memory.
//!
//! Runs change rows at the ends and in the middle, overwrite some, and ask for ranks before, between and after; with reads that answer
//! cold, in all modes, given up or committed; between runs the hot tier is emptied, or the log is lost. What a worker leaves to the
//! pool is built slice by slice, with other commits in between.

use super::{Indexing, SLICE_ROWS, SharedIndex, name_of};
use crate::base::clock::Clock;
use crate::base::random::Rng;
use crate::encoding::Family;
use crate::encoding::head::{Body, DataType, Spread};
use crate::encoding::row::{Place, RowKey};
use crate::hot::{HotTier, Policy};
use crate::keyspace::{Keyspace, Mode, NewHead, Outcome, RunIdentity, Scratch, Stop, Txn, WORKER_STEPS_MAX};
use crate::store::{Store, StoreOptions, Tier, View};
use std::collections::BTreeSet;
use std::sync::Arc;

type Suffixes = BTreeSet<Vec<u8>>;

/// The rows of the sorted set and of the list.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model([Suffixes; 2]);

const FAMILIES: [Family; 2] = [Family::Score, Family::List];
const TYPES: [DataType; 2] = [DataType::Zset, DataType::List];

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Adds a row, somewhere in the middle, or beyond an end.
    Add(u64),
    AddFirst,
    AddLast,
    /// Sets a row that is there (lists), after having read it or not.
    Overwrite(u64, bool),
    Remove(u64),
    RemoveFirst,
    RemoveLast,
    /// A row is moved, and put back where it was.
    MoveAndBack(u64),
    Ask(u64),
}

impl Op {
    fn random(rng: &mut Rng) -> Op {
        let at = rng.next_u64();
        match rng.below(20) {
            0..=2 => Op::Add(at),
            3 => Op::AddFirst,
            4..=5 => Op::AddLast,
            6..=7 => Op::Overwrite(at, rng.below(2) == 0),
            8..=10 => Op::Remove(at),
            11 => Op::RemoveFirst,
            12..=13 => Op::RemoveLast,
            14 => Op::MoveAndBack(at),
            _ => Op::Ask(at),
        }
    }
}

fn number(suffix: Option<&Vec<u8>>) -> u64 {
    suffix.and_then(|suffix| suffix.first_chunk()).map_or(1 << 63, |bytes| u64::from_be_bytes(*bytes))
}

fn pick(rows: &Suffixes, at: u64) -> Option<Vec<u8>> {
    rows.iter().nth(at as usize % rows.len().max(1)).cloned()
}

/// One collection within a run.
struct Subject<'t, 'k> {
    txn: &'t mut Txn<'k>,
    which: usize,
    place: Place,
    rows: &'t mut Suffixes,
}

impl Subject<'_, '_> {
    fn family(&self) -> Family {
        FAMILIES[self.which]
    }

    fn row(&self, suffix: &[u8]) -> RowKey {
        super::row_of(self.place, suffix)
    }

    fn put(&mut self, suffix: Vec<u8>) -> Outcome {
        let key = self.txn.key(0, &[self.which as u8]);
        let (family, row) = (self.family(), self.row(&suffix));
        match (family, self.rows.contains(&suffix)) {
            (Family::Score, true) => {}
            (Family::Score, false) => self.txn.insert_element(&key, family, &row, b"")?,
            _ => self.txn.put_element(&key, family, &row, b"")?,
        }
        self.rows.insert(suffix);
        Ok(())
    }

    fn delete(&mut self, suffix: Option<Vec<u8>>) -> Outcome {
        let Some(suffix) = suffix.filter(|_| self.rows.len() > 1) else { return Ok(()) };
        let key = self.txn.key(0, &[self.which as u8]);
        let (family, row) = (self.family(), self.row(&suffix));
        self.txn.delete_element(&key, family, &row)?;
        self.rows.remove(&suffix);
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Outcome {
        let beside = |number: u64| match self.which {
            0 => [&number.to_be_bytes()[..], b"member"].concat(),
            _ => number.to_be_bytes().to_vec(),
        };
        match op {
            Op::Add(at) => {
                let between = number(self.rows.first())..number(self.rows.last());
                self.put(beside(between.start + at % (between.end - between.start).max(1)))
            }
            Op::AddFirst => self.put(beside(number(self.rows.first()) - 1)),
            Op::AddLast => self.put(beside(number(self.rows.last()) + 1)),
            Op::Overwrite(at, reads) => {
                let Some(suffix) = pick(self.rows, at) else { return Ok(()) };
                if reads {
                    let (family, row) = (self.family(), self.row(&suffix));
                    assert!(self.txn.element(family, &row)?.is_some());
                }
                self.put(suffix)
            }
            Op::Remove(at) => self.delete(pick(self.rows, at)),
            Op::RemoveFirst => self.delete(self.rows.first().cloned()),
            Op::RemoveLast => self.delete(self.rows.last().cloned()),
            Op::MoveAndBack(at) => {
                let (Some(suffix), true) = (pick(self.rows, at), self.rows.len() > 1) else { return Ok(()) };
                self.delete(Some(suffix.clone()))?;
                self.apply(Op::AddLast)?;
                self.delete(self.rows.last().cloned())?;
                self.put(suffix)
            }
            Op::Ask(at) => self.ask(at),
        }
    }

    fn ask(&mut self, at: u64) -> Outcome {
        let (family, place, count) = (self.family(), self.place, self.rows.len() as u64);
        let rank = at % (count + 1);
        let expected = self.rows.iter().nth(rank as usize).map(|suffix| self.row(suffix));
        // A dry run holds no lock: what it finds tells nothing.
        let dry = self.txn.mode() == Mode::Dry;
        // The tightest ones that are true.
        let first =
            self.rows.first().map_or_else(|| RowKey::from_slice(&place.prefix()), |suffix| self.row(suffix));
        let end = self
            .rows
            .last()
            .map_or_else(|| place.end(), |suffix| [&self.row(suffix)[..], &[0]].concat().into());
        let limits = (&first[..], &end[..]);
        let found = self.txn.row_at(family, place, count, limits, rank)?;
        assert!(dry || found == expected, "the row at {rank} of {count} is {found:?}, not {expected:?}");
        let mut questions = vec![(place.end(), count), (RowKey::from_slice(&place.prefix()), 0)];
        if let Some(row) = expected {
            questions.push(([&row[..], &[0]].concat().into(), rank + 1));
            questions.push((row, rank));
        }
        for (row, rank) in questions {
            let found = self.txn.rank(family, place, count, limits, &row)?;
            assert!(dry || found == rank, "the rank of {row:?} of {count} is {found}, not {rank}");
        }
        Ok(())
    }
}

struct World {
    keyspace: Keyspace,
    clock: Clock,
    rng: Rng,
    model: Model,
    flushed: Model,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(seed: u64, rows: u64, hot_bytes: usize) -> World {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000);
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        let hot = HotTier::new(hot_bytes, Policy::Lru, clock.clone());
        let keyspace = Keyspace::open(Arc::new(store), hot, clock.clone(), 1, 1).unwrap();
        let (mut rng, mut model) = (Rng::new(seed), Model::default());
        for _ in 0..rows {
            let middle = 1 << 63;
            model.0[0].insert([&(middle + rng.below(1 << 20)).to_be_bytes()[..], b"member"].concat());
            model.0[1].insert((middle + model.0[1].len() as u64 * 3).to_be_bytes().to_vec());
        }
        let flushed = Model::default();
        let mut world = World { keyspace, clock, rng, model, flushed, _folder: folder };
        let model = world.model.clone();
        world.with_txn(Mode::Locked, &mut Scratch::default(), |txn| fill(txn, &model)).unwrap();
        world.flush();
        world
    }

    fn with_txn<T>(
        &self,
        mode: Mode,
        scratch: &mut Scratch,
        work: impl FnOnce(&mut Txn<'_>) -> Outcome<(T, bool)>,
    ) -> Outcome<T> {
        let guard = self.keyspace.store().db().unwrap();
        let db = guard.as_deref().unwrap();
        let snapshot = db.snapshot();
        let view = match mode {
            Mode::Worker => db.newest(Tier::Memory),
            Mode::Heavy | Mode::Dry => View { db, snapshot: Some(&snapshot), tier: Tier::Disk },
            Mode::Locked | Mode::Alone => db.newest(Tier::Disk),
        };
        let now_ms = self.clock.now_ms();
        let run = RunIdentity { now_ms, now_us: now_ms * 1000, seed: 1 };
        let mut txn = self.keyspace.begin(view, mode, &run, scratch);
        let (answer, commits) = work(&mut txn)?;
        if commits {
            txn.commit()?;
        }
        Ok(answer)
    }

    /// One attempt at a run.
    fn attempt(
        &self,
        ops: &[(usize, Op)],
        mode: Mode,
        scratch: &mut Scratch,
        commits: bool,
    ) -> Outcome<Model> {
        self.with_txn(mode, scratch, |txn| {
            let mut model = self.model.clone();
            for &(which, op) in ops {
                let key = txn.key(0, &[which as u8]);
                let stored = txn.load(&key)?;
                let Some(Body::Spread(Spread { place, count, .. })) = stored.as_ref().map(|of| of.body())
                else {
                    panic!("a collection went missing");
                };
                let rows = &mut model.0[which];
                assert_eq!(count, rows.len() as u64);
                Subject { txn, which, place, rows }.apply(op)?;
                if !matches!(op, Op::Ask(_)) {
                    let spread = Spread { place, count: model.0[which].len() as u64, extra: b"" };
                    txn.save(&key, NewHead::new(TYPES[which], Body::Spread(spread)))?;
                }
            }
            Ok((model, commits))
        })
    }

    fn step(&mut self) {
        let ops: Vec<_> = (0..1 + self.rng.below(8))
            .map(|_| (self.rng.below(2) as usize, Op::random(&mut self.rng)))
            .collect();
        let mode = match self.rng.below(6) {
            0 => Mode::Heavy,
            1 => Mode::Locked,
            _ => Mode::Worker,
        };
        let mut scratch = Scratch::default();
        if self.rng.below(8) == 0 {
            let _ = self.attempt(&ops, Mode::Dry, &mut scratch, false);
            self.attempt(&ops, Mode::Locked, &mut scratch, false).unwrap();
            return;
        }
        let mut cold_at = if mode == Mode::Worker { self.rng.below(8) as u32 } else { 0 };
        let mut rounds = 0;
        let model = loop {
            rounds += 1;
            assert!(rounds < 20, "{ops:?} comes to no end");
            self.keyspace.store().faults().cold_at_read(cold_at);
            let ended = self.attempt(&ops, mode, &mut scratch, true);
            self.keyspace.store().faults().cold_at_read(0);
            match ended {
                Ok(model) => break model,
                Err(Stop::Cold) => {
                    cold_at = 0;
                    let _ = self.attempt(&ops, Mode::Dry, &mut scratch, false);
                }
                Err(Stop::Heavy) => break self.on_the_pool(&ops),
                Err(stop) => panic!("{ops:?} ended with {stop:?}"),
            }
        };
        self.model = model;
    }

    /// As the pool does it: slices under the locks, with dry runs and, here, other commits in between.
    fn on_the_pool(&mut self, ops: &[(usize, Op)]) -> Model {
        let mut scratch = Scratch::default();
        scratch.indexing = Indexing::Wanted;
        match self.attempt(ops, Mode::Heavy, &mut scratch, false) {
            Err(Stop::Heavy) => {}
            // Asked of a run's own writes alone.
            ended => drop(ended.unwrap()),
        }
        scratch.indexing = Indexing::building();
        for _ in 0..200 {
            match self.attempt(ops, Mode::Locked, &mut scratch, true) {
                Ok(model) => return model,
                Err(Stop::Cold) => {}
                Err(Stop::Heavy) => break,
                Err(stop) => panic!("{stop:?}"),
            }
            let _ = self.attempt(ops, Mode::Dry, &mut scratch, false);
            let others: Vec<_> =
                (0..3).map(|_| (self.rng.below(2) as usize, Op::random(&mut self.rng))).collect();
            let others: Vec<_> = others.into_iter().filter(|(_, op)| !matches!(op, Op::Ask(_))).collect();
            self.model = self.attempt(&others, Mode::Locked, &mut Scratch::default(), true).unwrap();
        }
        // It did not fit, or was evicted again and again.
        self.attempt(ops, Mode::Heavy, &mut Scratch::default(), true).unwrap()
    }

    fn flush(&mut self) {
        self.keyspace.store().flush_wal(u64::MAX).unwrap();
        self.flushed = self.model.clone();
    }

    fn lose(&mut self) {
        let store = self.keyspace.store();
        store.faults().fail_wal(true, false);
        assert!(store.flush_wal(u64::MAX).is_err());
        store.faults().fail_wal(false, false);
        let alone = self.keyspace.gate().close();
        store.reopen(|| ()).unwrap();
        self.keyspace.rebuild(&alone).unwrap();
        drop(alone);
        self.model = self.flushed.clone();
    }

    fn interlude(&mut self) {
        match self.rng.below(100) {
            0..=1 => self.keyspace.hot().clear(),
            2..=9 => self.flush(),
            10 => self.lose(),
            _ => {}
        }
    }

    /// The index of a collection, if it is complete.
    fn index(&self, which: usize) -> Option<SharedIndex> {
        let found = self.with_txn(Mode::Locked, &mut Scratch::default(), |txn| {
            let key = txn.key(0, &[which as u8]);
            let stored = txn.load(&key)?.unwrap();
            let Body::Spread(spread) = stored.body() else { panic!("not spread") };
            let name = name_of(FAMILIES[which], &spread.place.prefix());
            let index = txn.keyspace().hot().ranks().peek(&name);
            Ok((index.filter(|index| index.lock().frontier().is_none()), false))
        });
        found.unwrap()
    }
}

fn fill(txn: &mut Txn<'_>, model: &Model) -> Outcome<((), bool)> {
    for (which, rows) in model.0.iter().enumerate() {
        let key = txn.key(0, &[which as u8]);
        let place = txn.new_place(&key);
        for suffix in rows {
            txn.put_element(&key, FAMILIES[which], &super::row_of(place, suffix), b"")?;
        }
        let spread = Spread { place, count: rows.len() as u64, extra: b"" };
        txn.save(&key, NewHead::new(TYPES[which], Body::Spread(spread)))?;
    }
    Ok(((), true))
}

fn walk(seed: u64, rows: u64, hot_bytes: usize) -> World {
    let mut world = World::new(seed, rows, hot_bytes);
    for _ in 0..400 {
        world.step();
        world.interlude();
    }
    world
}

#[test]
fn ranks_match_a_sorted_set_whatever_a_worker_does() {
    for seed in 0..4 {
        walk(seed, 300 + seed * 400, 4 << 20);
    }
}

#[test]
fn ranks_match_a_sorted_set_when_the_pool_builds_the_index_between_commits() {
    const { assert!(WORKER_STEPS_MAX > 2 * SLICE_ROWS) };
    for seed in 10..12 {
        let world = walk(seed, WORKER_STEPS_MAX + 2000, 4 << 20);
        assert!(world.index(0).is_some() || world.index(1).is_some());
    }
}

#[test]
fn ranks_match_a_sorted_set_when_there_is_hardly_room_for_an_index() {
    for seed in 20..23 {
        walk(seed, 700, 6000 + seed as usize * 100);
        walk(seed, WORKER_STEPS_MAX + 500, 20_000);
    }
}

#[test]
fn an_index_follows_every_commit_and_dies_with_its_collection() {
    let mut world = World::new(5, 1000, 4 << 20);
    let ask = |world: &World, which: usize| {
        world.attempt(&[(which, Op::Ask(500))], Mode::Worker, &mut Scratch::default(), false).unwrap();
    };
    (0..2).for_each(|which| ask(&world, which));
    let indexes = [0, 1].map(|which| world.index(which).unwrap());
    let ops =
        [Op::AddFirst, Op::Remove(300), Op::RemoveLast, Op::Overwrite(7, true), Op::Overwrite(9, false)];
    for op in ops.into_iter().chain([Op::AddLast, Op::MoveAndBack(200), Op::RemoveFirst]) {
        world.model =
            world.attempt(&[(0, op), (1, op)], Mode::Worker, &mut Scratch::default(), true).unwrap();
        (0..2).for_each(|which| ask(&world, which));
        // None was dropped and made anew.
        assert!((0..2).all(|which| Arc::ptr_eq(&world.index(which).unwrap(), &indexes[which])), "{op:?}");
    }
    assert_eq!(world.keyspace.hot().ranks().len(), 2);
    let deleted = world.with_txn(Mode::Locked, &mut Scratch::default(), |txn| {
        let key = txn.key(0, &[0]);
        Ok((txn.delete(&key)?, true))
    });
    assert!(deleted.unwrap());
    assert_eq!(world.keyspace.hot().ranks().len(), 1);
    world.keyspace.hot().clear();
    assert_eq!((world.keyspace.hot().ranks().len(), world.keyspace.hot().bytes()), (0, 0));
}
