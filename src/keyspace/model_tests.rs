//! A model test of the keyspace, the hot tier and the store together: random runs of random operations, against a map.
//!
//! Every run is tried with each of its reads answering "cold" in turn, with stalled writes, given up before its commit, or in the
//! other modes; between runs the clock moves, expirer and gc work, rows are chilled, the hot tier is cleared, the store is
//! closed, or loses what was not flushed. After each step, what a scan finds, what reads through a tiny hot tier find, the
//! counters, the expiry hints and the rows of collections are what the model says.

use super::{Key, Keyspace, Mode, NewHead, Outcome, RunIdentity, Scratch, Stop, Stored, Txn};
use crate::base::clock::Clock;
use crate::base::random::Rng;
use crate::encoding::Family;
use crate::encoding::gc::GcRow;
use crate::encoding::head::{Body, DataType, Head, Spread};
use crate::encoding::row::split_head_row;
use crate::encoding::ttl::hint_row;
use crate::hot::{HotTier, Policy};
use crate::store::{Direction, Store, StoreOptions, Tier, View};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

const DATABASES: u32 = 3;
const NAMES: u64 = 8;
const FIELDS: u64 = 12;
const HOT_BYTES: usize = 6000;

#[derive(Debug, Clone, PartialEq)]
enum Content {
    Whole(Vec<u8>),
    Fields(BTreeMap<Vec<u8>, Vec<u8>>),
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    content: Content,
    expires_at_ms: Option<u64>,
}

/// Each database's keys, those included whose time is up but which nobody has removed.
#[derive(Debug, Clone, PartialEq, Default)]
struct Model(Vec<BTreeMap<Vec<u8>, Entry>>);

#[derive(Debug, Clone)]
enum Op {
    Save { at: (u32, Vec<u8>), value: Vec<u8>, expires_at_ms: Option<u64> },
    Delete((u32, Vec<u8>)),
    Expire((u32, Vec<u8>), Option<u64>),
    Relocate((u32, Vec<u8>), (u32, Vec<u8>)),
    SetField((u32, Vec<u8>), Vec<u8>, Vec<u8>),
    DeleteField((u32, Vec<u8>), Vec<u8>),
    TakenBack(Vec<Op>),
    Flush(u32),
    Swap(u32, u32),
}

impl Op {
    fn random(rng: &mut Rng, now_ms: u64, alone: bool) -> Op {
        let at = |rng: &mut Rng| {
            (rng.below(u64::from(DATABASES)) as u32, format!("key{}", rng.below(NAMES)).into_bytes())
        };
        let field = |rng: &mut Rng| format!("field{}", rng.below(FIELDS)).into_bytes();
        let time = |rng: &mut Rng| (rng.below(3) > 0).then(|| now_ms + 1 + rng.below(400));
        let value = |rng: &mut Rng| vec![b'a' + rng.below(26) as u8; rng.below(300) as usize];
        match rng.below(if alone { 22 } else { 20 }) {
            0..=3 => Op::Save { at: at(rng), value: value(rng), expires_at_ms: time(rng) },
            4..=5 => Op::Delete(at(rng)),
            6..=8 => Op::Expire(at(rng), time(rng)),
            9..=11 => Op::Relocate(at(rng), at(rng)),
            12..=16 => Op::SetField(at(rng), field(rng), value(rng)),
            17..=18 => Op::DeleteField(at(rng), field(rng)),
            19 => Op::TakenBack((0..1 + rng.below(3)).map(|_| Op::random(rng, now_ms, false)).collect()),
            20 => Op::Flush(rng.below(u64::from(DATABASES)) as u32),
            _ => Op::Swap(rng.below(u64::from(DATABASES)) as u32, rng.below(u64::from(DATABASES)) as u32),
        }
    }

    fn apply(&self, txn: &mut Txn<'_>) -> Outcome {
        match self {
            Op::Save { at, value, expires_at_ms } => {
                let key = txn.key(at.0, &at.1);
                txn.save(&key, NewHead::new(DataType::String, Body::Whole(value)).expiring(*expires_at_ms))
            }
            Op::Delete(at) => {
                let key = txn.key(at.0, &at.1);
                txn.delete(&key).map(|_| ())
            }
            Op::Expire(at, expires_at_ms) => {
                let key = txn.key(at.0, &at.1);
                match txn.load(&key)? {
                    Some(stored) => txn.set_expiry(&key, &stored, *expires_at_ms),
                    None => Ok(()),
                }
            }
            Op::Relocate(from, to) => {
                let (from, to) = (txn.key(from.0, &from.1), txn.key(to.0, &to.1));
                let Some(stored) = txn.load(&from)? else { return Ok(()) };
                if from.row() == to.row() {
                    return Ok(());
                }
                let head = NewHead::new(stored.data_type(), stored.body()).expiring(stored.expires_at_ms());
                txn.save(&to, head)?;
                txn.delete(&from).map(|_| ())
            }
            Op::SetField(at, field, value) => set_field(txn, at, field, value),
            Op::DeleteField(at, field) => delete_field(txn, at, field),
            Op::TakenBack(ops) => {
                let mark = txn.savepoint();
                ops.iter().try_for_each(|op| op.apply(txn))?;
                txn.rewind_failed(&mark);
                Ok(())
            }
            Op::Flush(database) => txn.flush_database(*database),
            Op::Swap(a, b) => txn.swap_databases(*a, *b),
        }
    }
}

fn save_fields(txn: &mut Txn<'_>, key: &Key, stored: &Stored, spread: Spread<'_>, count: u64) -> Outcome {
    let spread = Spread { count, ..spread };
    txn.save(key, NewHead::new(DataType::Hash, Body::Spread(spread)).expiring(stored.expires_at_ms()))
}

fn set_field(txn: &mut Txn<'_>, at: &(u32, Vec<u8>), field: &[u8], value: &[u8]) -> Outcome {
    let key = txn.key(at.0, &at.1);
    let seed = *txn.keyspace().seed();
    let stored = txn.load(&key)?;
    if let Some(stored) = &stored
        && let Body::Spread(spread) = stored.body()
    {
        let row = spread.place.field_row(&seed, field);
        let count = spread.count + u64::from(txn.element(Family::Hash, &row)?.is_none());
        txn.put_element(&key, Family::Hash, &row, value)?;
        return save_fields(txn, &key, stored, spread, count);
    }
    let place = txn.new_place(&key);
    txn.put_element(&key, Family::Hash, &place.field_row(&seed, field), value)?;
    let body = Body::Spread(Spread { place, count: 1, extra: b"" });
    txn.save(&key, NewHead::new(DataType::Hash, body))
}

fn delete_field(txn: &mut Txn<'_>, at: &(u32, Vec<u8>), field: &[u8]) -> Outcome {
    let key = txn.key(at.0, &at.1);
    let Some(stored) = txn.load(&key)? else { return Ok(()) };
    let Body::Spread(spread) = stored.body() else { return Ok(()) };
    let row = spread.place.field_row(txn.keyspace().seed(), field);
    if txn.element(Family::Hash, &row)?.is_none() {
        return Ok(());
    }
    txn.delete_element(&key, Family::Hash, &row)?;
    match spread.count {
        1 => txn.delete(&key).map(|_| ()),
        count => save_fields(txn, &key, &stored, spread, count - 1),
    }
}

impl Model {
    fn live(&self, at: &(u32, Vec<u8>), now_ms: u64) -> Option<&Entry> {
        let entry = self.0[at.0 as usize].get(&at.1)?;
        entry.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms).then_some(entry)
    }

    fn put(&mut self, at: &(u32, Vec<u8>), entry: Entry) {
        self.0[at.0 as usize].insert(at.1.clone(), entry);
    }

    fn remove(&mut self, at: &(u32, Vec<u8>)) {
        self.0[at.0 as usize].remove(&at.1);
    }

    fn apply(&mut self, op: &Op, now_ms: u64) {
        match op {
            Op::Save { at, value, expires_at_ms } => {
                self.put(at, Entry { content: Content::Whole(value.clone()), expires_at_ms: *expires_at_ms });
            }
            Op::Delete(at) => self.remove(at),
            Op::Expire(at, expires_at_ms) => {
                if let Some(entry) = self.live(at, now_ms).cloned() {
                    self.put(at, Entry { expires_at_ms: *expires_at_ms, ..entry });
                }
            }
            Op::Relocate(from, to) => {
                if let Some(entry) = self.live(from, now_ms).cloned()
                    && from != to
                {
                    self.put(to, entry);
                    self.remove(from);
                }
            }
            Op::SetField(at, field, value) => {
                let mut entry = match self.live(at, now_ms) {
                    Some(entry @ Entry { content: Content::Fields(_), .. }) => entry.clone(),
                    _ => Entry { content: Content::Fields(BTreeMap::new()), expires_at_ms: None },
                };
                if let Content::Fields(fields) = &mut entry.content {
                    fields.insert(field.clone(), value.clone());
                }
                self.put(at, entry);
            }
            Op::DeleteField(at, field) => {
                let Some(mut entry) = self.live(at, now_ms).cloned() else { return };
                let Content::Fields(fields) = &mut entry.content else { return };
                if fields.remove(field).is_some() {
                    match fields.is_empty() {
                        true => self.remove(at),
                        false => self.put(at, entry),
                    }
                }
            }
            Op::TakenBack(_) => {}
            Op::Flush(database) => self.0[*database as usize].clear(),
            Op::Swap(a, b) => self.0.swap(*a as usize, *b as usize),
        }
    }
}

/// The keyspace under test and what it should hold.
struct World {
    folder: tempfile::TempDir,
    keyspace: Option<Keyspace>,
    clock: Clock,
    policy: Policy,
    rng: Rng,
    model: Model,
    /// As of the last flush of the log: what a disk that fails leaves.
    flushed: Model,
}

impl World {
    fn new(seed: u64, policy: Policy) -> World {
        let model = Model(vec![BTreeMap::new(); DATABASES as usize]);
        let mut world = World {
            folder: tempfile::tempdir().unwrap(),
            keyspace: None,
            clock: Clock::manual(1_000_000),
            policy,
            rng: Rng::new(seed),
            flushed: model.clone(),
            model,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let store = Store::open(self.folder.path(), StoreOptions::default()).unwrap();
        let hot = HotTier::new(HOT_BYTES, self.policy, self.clock.clone());
        let keyspace = Keyspace::open(Arc::new(store), hot, self.clock.clone(), DATABASES, 1).unwrap();
        self.keyspace = Some(keyspace);
    }

    fn keyspace(&self) -> &Keyspace {
        self.keyspace.as_ref().unwrap()
    }

    /// One run in one mode, to its commit or not.
    fn attempt(&self, ops: &[Op], mode: Mode, seed: u64, commits: bool) -> Outcome {
        let keyspace = self.keyspace();
        let guard = keyspace.store().db().unwrap();
        let db = guard.as_deref().unwrap();
        let snapshot = db.snapshot();
        let view = match mode {
            Mode::Worker => db.newest(Tier::Memory),
            Mode::Heavy | Mode::Dry => View { db, snapshot: Some(&snapshot), tier: Tier::Disk },
            Mode::Locked | Mode::Alone => db.newest(Tier::Disk),
        };
        let now_ms = self.clock.now_ms();
        let run = RunIdentity { now_ms, now_us: now_ms * 1000, seed };
        let mut scratch = Scratch::default();
        let mut txn = keyspace.begin(view, mode, &run, &mut scratch);
        ops.iter().try_for_each(|op| op.apply(&mut txn))?;
        if commits { txn.commit().map(|_| ()) } else { Ok(()) }
    }

    /// Runs operations to their commit, through whatever is put in their way.
    fn run(&mut self) {
        let alone = self.rng.below(8) == 0;
        let now_ms = self.clock.now_ms();
        let ops: Vec<_> =
            (0..1 + self.rng.below(4)).map(|_| Op::random(&mut self.rng, now_ms, alone)).collect();
        let seed = self.rng.next_u64();
        let store = Arc::clone(self.keyspace().store());
        let mode = match self.rng.below(4) {
            _ if alone => Mode::Alone,
            0 => Mode::Heavy,
            1 => Mode::Locked,
            _ => Mode::Worker,
        };
        if self.rng.below(8) == 0 {
            let dropped = if alone { Mode::Alone } else { Mode::Locked };
            self.attempt(&ops, dropped, seed, false).unwrap();
            return;
        }
        if !alone && self.rng.below(4) == 0 {
            self.attempt(&ops, Mode::Dry, seed, false).unwrap();
        }
        if self.rng.below(6) == 0 {
            store.faults().stall_writes(1 + self.rng.below(3) as u32);
        }
        let mut cold_at = 1;
        loop {
            store.faults().cold_at_read(if mode == Mode::Worker { cold_at } else { 0 });
            // After enough rounds the rows are really on disk: then the pool.
            let now = if cold_at > 60 { Mode::Locked } else { mode };
            match self.attempt(&ops, now, seed, true) {
                Ok(()) => break,
                Err(Stop::Cold) => cold_at += 1,
                Err(Stop::Stall) => {}
                Err(stop) => panic!("{ops:?} ended with {stop:?}"),
            }
        }
        store.faults().cold_at_read(0);
        store.faults().stall_writes(0);
        for op in &ops {
            self.model.apply(op, now_ms);
        }
    }

    fn flush_log(&mut self) {
        let syncs = self.rng.below(2) == 0;
        let store = self.keyspace().store();
        store.flush_wal(store.with_db(|db| db.latest_sequence()).unwrap()).unwrap();
        if syncs {
            store.sync_wal().unwrap();
        }
        self.flushed = self.model.clone();
    }

    /// The log cannot be written: what was not flushed is lost.
    fn lose(&mut self) {
        let keyspace = self.keyspace();
        let store = keyspace.store();
        store.faults().fail_wal(true, false);
        assert!(store.flush_wal(u64::MAX).is_err() && store.is_failed());
        store.faults().fail_wal(false, false);
        let alone = keyspace.gate().close();
        store.reopen(|| ()).unwrap();
        keyspace.rebuild(&alone).unwrap();
        drop(alone);
        self.model = self.flushed.clone();
    }

    /// What happens between two runs.
    fn interlude(&mut self) {
        match self.rng.below(60) {
            0..=9 => self.clock.advance_ms(self.rng.below(150)),
            10..=14 => {
                while self.keyspace().expire_round().unwrap() {}
                let now_ms = self.clock.now_ms();
                for database in &mut self.model.0 {
                    database.retain(|_, entry| entry.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms));
                }
            }
            15..=16 => self.collect(),
            17 => self.keyspace().hot().clear(),
            18..=22 => {
                self.flush_log();
                self.keyspace().store().chill().unwrap();
            }
            23..=28 => self.flush_log(),
            29 => self.lose(),
            30 => {
                self.keyspace().store().close().unwrap();
                self.keyspace = None;
                self.open();
                self.flushed = self.model.clone();
            }
            _ => {}
        }
    }

    /// When the gc has worked, only the rows of what lives are left.
    fn collect(&self) {
        while self.keyspace().gc_round().unwrap() {}
        let mut fields = 0;
        for entry in self.model.0.iter().flat_map(BTreeMap::values) {
            if let Content::Fields(of_entry) = &entry.content {
                fields += of_entry.len();
            }
        }
        assert_eq!(self.rows(Family::Hash).len(), fields, "rows of fields");
        let keys: usize = self.model.0.iter().map(BTreeMap::len).sum();
        assert_eq!(self.rows(Family::Keys).len(), keys, "rows of keys");
        for (row, value) in self.rows(Family::Gc) {
            assert!(matches!(GcRow::decode(&row, &value), Ok(GcRow::Exile(_))), "left in the queue");
        }
        assert!(self.keyspace().store().dead().is_empty());
    }

    fn rows(&self, family: Family) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = BTreeMap::new();
        let scanned = self.keyspace().store().with_db(|db| {
            db.newest(Tier::Disk).scan(family, b"", &[u8::MAX; 80], Direction::Up, |row, value| {
                rows.insert(row.to_vec(), value.to_vec());
                Ok::<_, Stop>(ControlFlow::Continue(()))
            })
        });
        scanned.unwrap().unwrap();
        rows
    }

    /// All that can be seen is what the model says.
    fn check(&self) {
        let databases = self.keyspace().databases();
        let hints = self.rows(Family::Ttl);
        let heads = self.rows(Family::Keys);
        for (number, expected) in self.model.0.iter().enumerate() {
            let database = &databases[number];
            assert_eq!(database.keys(), expected.len() as u64, "keys of database {number}");
            let expiring = expected.values().filter(|entry| entry.expires_at_ms.is_some()).count() as u64;
            assert_eq!(database.expiring(), expiring, "expiring keys of database {number}");
            let mut found = BTreeMap::new();
            for (row, value) in &heads {
                let (namespace, _, name) = split_head_row(row).unwrap();
                if namespace == database.namespace() {
                    let head = Head::decode(value).unwrap();
                    if let Some(expiry) = head.expiry {
                        assert!(expiry.hint_ms <= expiry.at_ms, "a hint after its expiry");
                        assert!(hints.contains_key(&hint_row(expiry.hint_ms, row)[..]), "no hint");
                    }
                    found.insert(name.to_vec(), head.expiry.map(|expiry| expiry.at_ms));
                }
            }
            let wanted: BTreeMap<_, _> =
                expected.iter().map(|(name, entry)| (name.clone(), entry.expires_at_ms)).collect();
            assert_eq!(found, wanted, "heads of database {number}");
        }
        self.check_reads();
    }

    /// Reads through the hot tier.
    fn check_reads(&self) {
        let keyspace = self.keyspace();
        let guard = keyspace.store().db().unwrap();
        let db = guard.as_deref().unwrap();
        let now_ms = self.clock.now_ms();
        let run = RunIdentity { now_ms, now_us: now_ms * 1000, seed: 0 };
        let mut scratch = Scratch::default();
        let mut txn = keyspace.begin(db.newest(Tier::Disk), Mode::Locked, &run, &mut scratch);
        for number in 0..DATABASES {
            assert_eq!(txn.database_size(number).unwrap(), self.model.0[number as usize].len() as u64);
            for name in (0..NAMES).map(|n| format!("key{n}").into_bytes()) {
                let at = (number, name);
                let key = txn.key(number, &at.1);
                let stored = txn.load(&key).unwrap();
                let found = stored.as_ref().map(|stored| Entry {
                    content: read_content(&mut txn, stored),
                    expires_at_ms: stored.expires_at_ms(),
                });
                assert_eq!(found.as_ref(), self.model.live(&at, now_ms), "{at:?} as read");
            }
        }
    }
}

fn read_content(txn: &mut Txn<'_>, stored: &Stored) -> Content {
    match stored.body() {
        Body::Whole(bytes) => Content::Whole(bytes.to_vec()),
        Body::Spread(spread) => {
            let (mut fields, seed) = (BTreeMap::new(), *txn.keyspace().seed());
            for field in (0..FIELDS).map(|n| format!("field{n}").into_bytes()) {
                let row = spread.place.field_row(&seed, &field);
                if let Some(value) = txn.element(Family::Hash, &row).unwrap() {
                    fields.insert(field, value.to_vec());
                }
            }
            assert_eq!(fields.len() as u64, spread.count, "the count of fields");
            let mut rows = 0;
            let (from, to) = (spread.place.prefix(), spread.place.end());
            let counted = txn.scan(Family::Hash, &from, &to, Direction::Up, |_, _| {
                rows += 1;
                Ok(ControlFlow::Continue(()))
            });
            counted.unwrap();
            assert_eq!(rows, spread.count, "the rows of fields");
            Content::Fields(fields)
        }
    }
}

/// Tells which seed it was if a test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat: TUFF_SEED={}", self.0);
        }
    }
}

fn walk(policy: Policy) {
    let given = std::env::var("TUFF_SEED").ok().and_then(|text| text.parse().ok());
    let seeds = match given {
        Some(seed) => vec![seed],
        None => vec![1, 2, 3, Rng::from_entropy().next_u64() >> 32],
    };
    for seed in seeds {
        let _seed = Seed(seed);
        let mut world = World::new(seed, policy);
        for _ in 0..700 {
            world.run();
            world.check();
            world.interlude();
            world.check();
        }
        world.collect();
    }
}

#[test]
fn any_sequence_of_runs_and_faults_matches_a_map_under_lru() {
    walk(Policy::Lru);
}

#[test]
fn any_sequence_of_runs_and_faults_matches_a_map_under_lfu() {
    walk(Policy::Lfu { log_factor: 10, decay_minutes: 1 });
}
