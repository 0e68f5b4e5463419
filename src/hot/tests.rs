//! Tests of the whole tier: the budget, a model, hit ratios on seeded traces, live settings, threads.

use super::ranks::Name;
use super::stretches::{Block, Suffix};
use super::{FEW_SHARDS, HELPER_STEPS, HotTier, Lookup, Policy, RowValue, Source, Stats};
use crate::base::clock::Clock;
use crate::base::random::Rng;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

const LFU: Policy = Policy::Lfu { log_factor: 10, decay_minutes: 1 };
const POLICIES: [Policy; 2] = [Policy::Lru, LFU];
const SEEDS: [u64; 4] = [11, 22, 33, 44];

fn tier(budget_bytes: usize, policy: Policy) -> HotTier {
    HotTier::seeded(budget_bytes, policy, Clock::manual(1_700_000_000_000), SEEDS)
}

fn hit(value: &[u8]) -> Lookup {
    Lookup::Hit(RowValue::from(value))
}

#[test]
fn what_is_put_is_found_until_it_is_removed() {
    for policy in POLICIES {
        let tier = tier(1 << 20, policy);
        assert_eq!(tier.get(b"a"), Lookup::Miss);
        tier.put(b"a", b"1", Source::Write);
        tier.put_absent(b"b", Source::Fill);
        assert_eq!((tier.get(b"a"), tier.get(b"b")), (hit(b"1"), Lookup::Absent));
        tier.put(b"a", b"2", Source::Write);
        tier.put(b"b", b"longer than before", Source::Write);
        assert_eq!((tier.get(b"a"), tier.get_quiet(b"b")), (hit(b"2"), hit(b"longer than before")));
        tier.put_absent(b"a", Source::Write);
        assert_eq!(tier.get(b"a"), Lookup::Absent);
        assert_eq!((tier.entries(), tier.bytes() > 0), (2, true));
        tier.remove(b"a");
        assert_eq!(tier.get(b"a"), Lookup::Miss);
        let expected = Stats { hits: 2, misses: 2, absent_hits: 2, insertions: 2, ..Stats::default() };
        assert_eq!(tier.stats(), expected);
        tier.clear();
        assert_eq!((tier.get_quiet(b"b"), tier.entries(), tier.bytes()), (Lookup::Miss, 0, 0));
    }
}

#[test]
fn a_reader_keeps_the_value_it_was_given() {
    for policy in POLICIES {
        let tier = tier(1 << 20, policy);
        tier.put(b"k", b"old", Source::Write);
        let seen = tier.get(b"k");
        tier.put(b"k", b"new", Source::Write);
        assert_eq!((seen, tier.get(b"k")), (hit(b"old"), hit(b"new")));
    }
}

#[test]
fn a_row_too_large_is_not_kept_nor_is_its_older_value() {
    for policy in POLICIES {
        let tier = tier(4 << 10, policy);
        tier.put(b"k", b"small", Source::Write);
        tier.put(b"k", &[0; 5000], Source::Write);
        assert_eq!((tier.get(b"k"), tier.entries(), tier.stats().rejected), (Lookup::Miss, 0, 1));
        let large = HotTier::seeded(1 << 30, policy, Clock::manual(0), SEEDS);
        large.put(b"k", &vec![0; 2 << 20], Source::Write);
        assert_eq!((large.get(b"k"), large.stats().rejected), (Lookup::Miss, 1));
    }
}

#[test]
fn a_few_kilobytes_are_put_to_use_and_nothing_is_kept_without_a_budget() {
    for policy in POLICIES {
        for (budget_bytes, rows_min) in [(0, 0), (100, 0), (1 << 10, 4), (4 << 10, 20), (64 << 10, 380)] {
            let tier = tier(budget_bytes, policy);
            for number in 0..2000u32 {
                tier.put(&number.to_be_bytes(), b"eight by", Source::Fill);
                assert!(tier.bytes() <= budget_bytes);
            }
            assert!(tier.entries() >= rows_min, "{policy:?} {budget_bytes}: {}", tier.entries());
        }
    }
}

#[test]
fn a_large_row_finds_room_among_small_ones_at_once() {
    for policy in POLICIES {
        let tier = tier(100 << 10, policy);
        for number in 0..2000u32 {
            tier.put(&number.to_be_bytes(), b"", Source::Write);
        }
        tier.put(b"large", &[1; 50 << 10], Source::Fill);
        assert_eq!(tier.get(b"large"), hit(&[1; 50 << 10]));
        assert!(tier.bytes() <= 100 << 10);
        // And growing in place makes the same room.
        tier.put(b"large", &[2; 90 << 10], Source::Write);
        assert!(tier.bytes() <= 100 << 10);
    }
}

/// Random operations on a tier, mirrored in a map of all that was ever put.
struct Mirror {
    tier: HotTier,
    clock: Clock,
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    rng: Rng,
    budget_bytes: usize,
}

impl Mirror {
    fn new(budget_bytes: usize, policy: Policy, seed: u64) -> Mirror {
        let clock = Clock::manual(1_700_000_000_000);
        let tier = HotTier::seeded(budget_bytes, policy, clock.clone(), [seed; 4]);
        Mirror { tier, clock, rows: BTreeMap::new(), rng: Rng::new(seed), budget_bytes }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.rng.below(60);
        let long = if number < 12 { 40 } else { 3 };
        format!("{number:0long$}").into_bytes()
    }

    fn source(&mut self) -> Source {
        if self.rng.below(2) == 0 { Source::Write } else { Source::Fill }
    }

    fn put(&mut self) {
        let (key, source) = (self.key(), self.source());
        if self.rng.below(5) == 0 {
            self.tier.put_absent(&key, source);
            self.rows.insert(key, None);
            return;
        }
        let len_max = [8, 100, 3000][self.rng.below(3) as usize];
        let len = self.rng.below(len_max) as usize;
        let value = vec![self.rng.next_u64() as u8; len];
        self.tier.put(&key, &value, source);
        self.rows.insert(key, Some(value));
    }

    fn change_budget(&mut self) {
        self.budget_bytes = [600, 3000, 20_000, 1 << 20][self.rng.below(4) as usize];
        self.tier.set_budget(self.budget_bytes);
        while self.tier.shrink_step() {}
    }

    fn change_policy(&mut self) {
        let decay_minutes = self.rng.below(3) as u32;
        let log_factor = self.rng.below(12) as u32;
        let policies = [Policy::Lru, Policy::Lfu { log_factor, decay_minutes }];
        self.tier.set_policy(policies[self.rng.below(2) as usize]);
    }

    fn step(&mut self, with_settings: bool) {
        let key = self.key();
        match self.rng.below(100) {
            0..40 => self.put(),
            40..50 => {
                self.tier.remove(&key);
                self.rows.remove(&key);
            }
            50..55 => self.tier.touch(&key),
            55..60 => self.clock.advance_ms(30_000),
            60 if with_settings => self.change_budget(),
            61 if with_settings => self.change_policy(),
            62 if with_settings => {
                self.tier.clear();
                self.rows.clear();
            }
            _ => self.check(&key),
        }
        assert!(self.tier.bytes() <= self.budget_bytes, "{} of {}", self.tier.bytes(), self.budget_bytes);
    }

    fn check(&mut self, key: &[u8]) {
        let found = if self.rng.below(2) == 0 { self.tier.get(key) } else { self.tier.get_quiet(key) };
        match found {
            Lookup::Hit(value) => assert_eq!(self.rows.get(key), Some(&Some(value.to_vec()))),
            Lookup::Absent => assert_eq!(self.rows.get(key), Some(&None)),
            Lookup::Miss => {}
        }
    }

    fn finish(mut self) {
        let keys: Vec<Vec<u8>> = self.rows.keys().cloned().collect();
        keys.iter().for_each(|key| self.check(key));
        keys.iter().for_each(|key| self.tier.remove(key));
        assert_eq!((self.tier.entries(), self.tier.bytes()), (0, 0));
    }
}

#[test]
fn whatever_is_found_is_what_was_put_last_and_the_budget_holds() {
    for policy in POLICIES {
        for (seed, budget_bytes) in [(1, 200), (2, 700), (3, 3000), (4, 20_000), (5, 1 << 20)] {
            let mut mirror = Mirror::new(budget_bytes, policy, seed);
            for _ in 0..4000 {
                mirror.step(false);
            }
            mirror.finish();
        }
    }
}

#[test]
fn the_same_holds_while_budget_and_policy_change() {
    for seed in 10..16 {
        let mut mirror = Mirror::new(3000, Policy::Lru, seed);
        for _ in 0..5000 {
            mirror.step(true);
        }
        mirror.finish();
    }
}

#[test]
fn a_change_of_policy_keeps_the_rows() {
    let tier = tier(64 << 20, Policy::Lru);
    for number in 0..5000u32 {
        tier.put(&number.to_be_bytes(), &number.to_le_bytes(), Source::Write);
        if number % 2 == 0 {
            tier.touch(&number.to_be_bytes());
        }
    }
    for policy in [LFU, Policy::Lfu { log_factor: 0, decay_minutes: 0 }, Policy::Lru, LFU] {
        tier.set_policy(policy);
        assert_eq!((tier.entries(), tier.policy()), (5000, policy));
        for number in 0..5000u32 {
            assert_eq!(tier.get_quiet(&number.to_be_bytes()), hit(&number.to_le_bytes()));
        }
    }
    // What LRU held as used twice, LFU ranks above the rest.
    assert_eq!(
        (tier.frequency(&4u32.to_be_bytes()), tier.frequency(&5u32.to_be_bytes())),
        (Some(6), Some(5))
    );
}

#[test]
fn more_budget_brings_more_shards_into_use_and_loses_nothing() {
    for policy in POLICIES {
        let tier = tier(100 << 10, policy);
        let count = 500u32;
        for number in 0..count {
            tier.put(&number.to_be_bytes(), &number.to_le_bytes(), Source::Write);
        }
        let (entries, bytes) = (tier.entries(), tier.bytes());
        assert_eq!(entries, count as usize);
        for budget_bytes in [1 << 20, 64 << 20, 32 << 20] {
            tier.set_budget(budget_bytes);
            assert_eq!((tier.entries(), tier.bytes(), tier.budget_bytes()), (entries, bytes, budget_bytes));
            assert!((0..count).all(|n| tier.get(&n.to_be_bytes()) == hit(&n.to_le_bytes())));
        }
        assert_eq!(tier.mask.load(Ordering::Relaxed), FEW_SHARDS - 1);
    }
}

#[test]
fn a_large_tier_begins_with_many_shards_and_one_that_becomes_large_moves_no_rows() {
    let large = tier(1 << 30, Policy::Lru);
    assert_eq!(large.in_use().len(), 256);
    let grown = tier(64 << 20, Policy::Lru);
    let before = grown.in_use().len();
    grown.set_budget(8 << 30);
    assert_eq!((before, grown.in_use().len()), (FEW_SHARDS, FEW_SHARDS));
}

#[test]
fn a_smaller_budget_is_worked_off_bit_by_bit_by_puts_and_by_steps() {
    for policy in POLICIES {
        for by_steps in [true, false] {
            let tier = tier(16 << 20, policy);
            for number in 0..100_000u32 {
                tier.put(&number.to_be_bytes(), b"", Source::Write);
            }
            tier.set_budget(1 << 20);
            let mut rounds = 0u32;
            let mut bytes = tier.bytes();
            assert!(bytes > 4 << 20);
            while bytes > 1 << 20 {
                if by_steps {
                    tier.shrink_step();
                } else {
                    tier.put(&(1_000_000 + rounds).to_be_bytes(), b"", Source::Write);
                }
                assert!(tier.bytes() <= bytes, "grew while in debt");
                let freed_max = if by_steps { FEW_SHARDS * 16 * 128 } else { 17 * 128 };
                assert!(bytes - tier.bytes() <= freed_max, "too much at once");
                bytes = tier.bytes();
                rounds += 1;
            }
            assert!(rounds > 10);
            assert_eq!(tier.stats().rejected, 0);
            while tier.shrink_step() {}
            assert!(tier.bytes() <= 1 << 20 && tier.entries() > 4000);
        }
    }
}

#[test]
fn idle_time_counts_from_the_last_use() {
    for policy in POLICIES {
        let clock = Clock::manual(1_700_000_005_000);
        let tier = HotTier::new(1 << 20, policy, clock.clone());
        tier.put(b"k", b"v", Source::Write);
        tier.put_absent(b"none", Source::Write);
        clock.advance_ms(90_000);
        tier.get_quiet(b"k");
        assert_eq!(tier.idle_seconds(b"k"), Some(90));
        tier.put(b"k", b"w", Source::Fill);
        assert_eq!(tier.idle_seconds(b"k"), Some(90));
        tier.touch(b"k");
        clock.advance_ms(7_000);
        assert_eq!(tier.idle_seconds(b"k"), Some(7));
        tier.put(b"k", b"x", Source::Write);
        assert_eq!(tier.idle_seconds(b"k"), Some(0));
        tier.set_idle_seconds(b"k", 100_000_000);
        assert_eq!(tier.idle_seconds(b"k"), Some(100_000_000));
        assert_eq!((tier.idle_seconds(b"none"), tier.idle_seconds(b"unknown")), (None, None));
    }
}

#[test]
fn the_frequency_decays_by_one_per_period_and_a_replaced_value_keeps_it() {
    let clock = Clock::manual(1_700_000_005_000);
    let tier = HotTier::new(1 << 20, Policy::Lfu { log_factor: 0, decay_minutes: 2 }, clock.clone());
    tier.put(b"k", b"v", Source::Fill);
    assert_eq!(tier.frequency(b"k"), Some(5));
    for _ in 0..4 {
        tier.get(b"k");
    }
    tier.get_quiet(b"k");
    assert_eq!(tier.frequency(b"k"), Some(9));
    clock.advance_ms(119_999);
    assert_eq!(tier.frequency(b"k"), Some(9));
    clock.advance_ms(1);
    assert_eq!(tier.frequency(b"k"), Some(8));
    tier.put(b"k", b"longer", Source::Write);
    assert_eq!(tier.frequency(b"k"), Some(8));
    clock.advance_ms(240_000);
    tier.touch(b"k");
    assert_eq!(tier.frequency(b"k"), Some(7));
    clock.advance_ms(3_600_000);
    assert_eq!(tier.frequency(b"k"), Some(0));
    tier.set_frequency(b"k", 200);
    tier.set_policy(Policy::Lfu { log_factor: 0, decay_minutes: 0 });
    clock.advance_ms(3_600_000);
    assert_eq!(tier.frequency(b"k"), Some(200));
    assert_eq!(tier.frequency(b"unknown"), None);
    tier.set_policy(Policy::Lru);
    assert_eq!(tier.frequency(b"k"), None);
}

/// Draws ranks with probability proportional to 1 / rank^0.99.
struct Zipf {
    sums: Vec<f64>,
    rng: Rng,
}

impl Zipf {
    fn new(keys: usize, seed: u64) -> Zipf {
        let weights = (1..=keys).map(|rank| (rank as f64).powf(-0.99));
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Zipf { sums: sums.collect(), rng: Rng::new(seed) }
    }

    fn draw(&mut self) -> u64 {
        let unit = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let wanted = unit * self.sums[self.sums.len() - 1];
        self.sums.partition_point(|&sum| sum < wanted) as u64
    }
}

const TRACE_KEYS: usize = 40_000;
const TRACE_DRAWS: usize = 300_000;
/// Rows that fit: a tenth of the keys.
const TRACE_ROWS: usize = 4_000;

/// The hit ratio of a zipf trace in percent, the first third not counted. Every `scan_every` draws, a scan
/// reads twice as many rows as fit, each once.
fn zipf_hit_percent(mut read: impl FnMut(&[u8]) -> bool, scan_every: Option<usize>) -> f64 {
    let mut zipf = Zipf::new(TRACE_KEYS, 42);
    let mut next_scanned = 1u64 << 32;
    let (mut hits, mut reads) = (0u32, 0u32);
    for draw in 0..TRACE_DRAWS {
        let hit = read(&zipf.draw().to_be_bytes());
        if draw >= TRACE_DRAWS / 3 {
            reads += 1;
            hits += u32::from(hit);
        }
        if scan_every.is_some_and(|every| draw % every == 0) {
            for _ in 0..2 * TRACE_ROWS {
                read(&next_scanned.to_be_bytes());
                next_scanned += 1;
            }
        }
    }
    100.0 * f64::from(hits) / f64::from(reads)
}

fn tier_hit_percent(policy: Policy, scan_every: Option<usize>) -> f64 {
    let row_bytes = super::entry::charge((&[0; 8]).into(), Some(8));
    let tier = tier(TRACE_ROWS * row_bytes, policy);
    let read = |key: &[u8]| {
        let hit = matches!(tier.get(key), Lookup::Hit(_));
        if !hit {
            tier.put(key, key, Source::Fill);
        }
        hit
    };
    zipf_hit_percent(read, scan_every)
}

fn plain_lru_hit_percent(scan_every: Option<usize>) -> f64 {
    let mut plain = ::lru::LruCache::new(TRACE_ROWS.try_into().unwrap());
    let read = |key: &[u8]| {
        let hit = plain.get(key).is_some();
        if !hit {
            plain.put(key.to_vec(), ());
        }
        hit
    };
    zipf_hit_percent(read, scan_every)
}

#[test]
fn scans_do_not_flush_the_working_set_and_zipf_does_no_worse_than_plain_lru() {
    let plain = plain_lru_hit_percent(None);
    let scan_every = Some(10_000);
    let plain_scanned = plain_lru_hit_percent(scan_every);
    assert!(plain - plain_scanned > 4.0, "the scans are no test: {plain:.2} and {plain_scanned:.2}");
    for policy in POLICIES {
        let pure = tier_hit_percent(policy, None);
        let scanned = tier_hit_percent(policy, scan_every);
        println!(
            "{policy:?}: {pure:.2} % pure, {scanned:.2} % with scans; plain {plain:.2}, {plain_scanned:.2}"
        );
        assert!(pure >= plain, "{policy:?}: {pure:.2}, plain LRU {plain:.2}");
        assert!(pure - scanned <= 2.0, "{policy:?}: {pure:.2} without scans, {scanned:.2} with");
    }
}

#[test]
fn the_read_that_a_row_was_put_in_for_does_not_count_as_a_use() {
    const LFU: Policy = Policy::Lfu { log_factor: 10, decay_minutes: 1 };
    for policy in [Policy::Lru, LFU] {
        let tier = tier(1 << 20, policy);
        tier.put(b"filled", b"v", Source::Fill);
        for name in [b"once", b"more"] {
            tier.put(name, b"v", Source::Ahead);
            assert_eq!(tier.get(name), hit(b"v"));
        }
        tier.get(b"more");
        tier.set_policy(LFU);
        let used = [&b"filled"[..], b"once", b"more"].map(|name| tier.frequency(name));
        assert_eq!(used, [Some(5), Some(5), Some(6)], "{policy:?}");
    }
}

#[test]
fn threads_see_their_own_last_writes_whatever_changes_around_them() {
    let tier = tier(200 << 10, Policy::Lru);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4u8)
            .map(|thread| {
                let tier = &tier;
                scope.spawn(move || write_and_read_back(tier, thread))
            })
            .collect();
        scope.spawn(|| {
            for round in 0usize.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                tier.set_budget([100 << 10, 400 << 10, 2 << 20, 16 << 20][round / 8 % 4]);
                tier.set_policy(POLICIES[round / 4 % 2]);
                tier.shrink_step();
            }
        });
        let outcomes: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok));
    });
    tier.set_budget(1 << 20);
    while tier.shrink_step() {}
    assert!(tier.bytes() <= 1 << 20);
    assert!(tier.stats().hits > 0);
}

#[test]
fn threads_lose_and_duplicate_nothing_while_shards_come_into_use() {
    for round in 0..30 {
        let tier = tier(120 << 10, POLICIES[round % 2]);
        let done = AtomicBool::new(false);
        let writer = |thread: u8| {
            let mut rounds = 0u64;
            while !done.load(Ordering::Relaxed) {
                let key = [thread, (rounds % 200) as u8];
                tier.put(&key, &rounds.to_be_bytes(), Source::Write);
                assert_eq!(tier.get(&key), hit(&rounds.to_be_bytes()));
                rounds += 1;
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| writer(1));
            scope.spawn(|| writer(2));
            for step in 1..8 {
                tier.set_budget((120 << 10) << step);
                std::thread::yield_now();
            }
            done.store(true, Ordering::Relaxed);
        });
        for thread in 1..3 {
            (0..200).for_each(|number| tier.remove(&[thread, number]));
        }
        assert_eq!((tier.entries(), tier.bytes()), (0, 0));
    }
}

/// Works on keys no other thread touches, so that every find must be this thread's last write.
fn write_and_read_back(tier: &HotTier, thread: u8) {
    let mut rng = Rng::new(u64::from(thread));
    let mut model: BTreeMap<u64, Option<Vec<u8>>> = BTreeMap::new();
    for _ in 0..20_000 {
        let number = rng.below(500);
        let key = [&[thread][..], &number.to_be_bytes()].concat();
        match rng.below(10) {
            0..4 => {
                let value = vec![rng.next_u64() as u8; rng.below(200) as usize];
                tier.put(&key, &value, Source::Write);
                model.insert(number, Some(value));
            }
            4 => {
                tier.put_absent(&key, Source::Write);
                model.insert(number, None);
            }
            5 => {
                tier.remove(&key);
                model.remove(&number);
            }
            _ => match tier.get(&key) {
                Lookup::Hit(value) => assert_eq!(model.get(&number), Some(&Some(value.to_vec()))),
                Lookup::Absent => assert_eq!(model.get(&number), Some(&None)),
                Lookup::Miss => {}
            },
        }
    }
}

#[test]
fn small_helpers_cost_the_rows_one_step_and_no_further_sharing_out() {
    let tier = HotTier::seeded(64 << 20, Policy::Lru, Clock::manual(1_000_000), [1, 2, 3, 4]);
    let name = Name::from_slice(b"a collection");
    let mut block = Block::starting_at(Suffix::new());
    block.push(b"key", b"value");
    block.set_to(None);
    tier.fill_stretch(&name, [block]);
    let kept_back = tier.helper_bytes.load(Ordering::Relaxed);
    assert_eq!(kept_back, (64 << 20) / HELPER_STEPS);
    // Whoever shares out anew writes this over.
    tier.helper_bytes.store(kept_back - 1, Ordering::Relaxed);
    for number in 0..100u8 {
        assert!(tier.change_stretch(&name, &[b'k', number], Some(b"value")));
    }
    assert_eq!(tier.helper_bytes.load(Ordering::Relaxed), kept_back - 1);
}
