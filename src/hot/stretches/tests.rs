//! Stretches against a map of rows: what they say is there is there, and nothing else.

use super::*;
use crate::base::random::Rng;
use std::collections::BTreeMap;

const BUDGET: usize = 64 << 20;

fn name(number: u8) -> Name {
    Name::from_slice(&[9, number])
}

fn key(number: u64) -> Vec<u8> {
    format!("{number:04}").into_bytes()
}

fn block(from: &[u8], to: Option<&[u8]>, rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> Block {
    let mut block = Block::starting_at(Suffix::from_slice(from));
    for (key, value) in rows.range(from.to_vec()..) {
        if to.is_some_and(|to| &key[..] >= to) {
            break;
        }
        block.push(key, value);
    }
    block.set_to(to.map(Suffix::from_slice));
    block
}

/// Goes through all that is known and compares it with the rows; gives how many rows are known.
fn check(stretches: &Stretches, name: &Name, rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> usize {
    let mut known = 0;
    let mut look = |blocks: &[Arc<Block>]| {
        for block in blocks {
            let expected: Vec<_> = rows
                .range(block.from().to_vec()..)
                .take_while(|(key, _)| block.to().is_none_or(|to| &key[..] < to))
                .map(|(key, value)| (&key[..], &value[..]))
                .collect();
            assert_eq!(block.iter().collect::<Vec<_>>(), expected, "{block:?}");
            assert_eq!(block.iter_down().collect::<Vec<_>>(), expected.into_iter().rev().collect::<Vec<_>>());
            assert_eq!(block.rows(), block.iter().count());
            known += block.rows();
        }
    };
    let mut at = Suffix::new();
    loop {
        match stretches.look_up(name, &at) {
            Known::Blocks(blocks) => {
                look(&blocks);
                match blocks.last().unwrap().to() {
                    Some(to) => at = Suffix::from_slice(to),
                    None => break,
                }
            }
            Known::Gap(gap) => {
                assert!(gap.from[..] <= at[..], "{gap:?} {at:?}");
                match gap.to {
                    Some(to) => at = to,
                    None => break,
                }
            }
        }
    }
    let (upwards, mut at) = (known, None);
    known = 0;
    loop {
        let from = match stretches.look_down(name, at.as_deref()) {
            Known::Blocks(blocks) => {
                known += blocks.iter().map(|block| block.rows()).sum::<usize>();
                Suffix::from_slice(blocks.last().unwrap().from())
            }
            Known::Gap(gap) => gap.from,
        };
        if from.is_empty() {
            break;
        }
        at = Some(from);
    }
    assert_eq!(known, upwards);
    known
}

#[test]
fn what_is_known_is_what_is_there_whatever_is_changed() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let stretches = Stretches::new(BUDGET);
        let mut rows = BTreeMap::new();
        let value = |rng: &mut Rng| vec![b'v'; rng.below(if seed % 2 == 0 { 20 } else { 400 }) as usize];
        for _ in 0..300 {
            rows.insert(key(rng.below(1000)), value(&mut rng));
        }
        for step in 0..2000 {
            match rng.below(20) {
                0 => {
                    let (a, b) = (rng.below(1000), rng.below(1000));
                    let from = if a < 50 { Vec::new() } else { key(a.min(b)) };
                    let to = if b > 950 { None } else { Some(key(a.max(b))) };
                    stretches.fill(&name(1), [block(&from, to.as_deref(), &rows)]);
                }
                1..=6 => {
                    let key = key(rng.below(1000));
                    stretches.change(&name(1), &key, None);
                    rows.remove(&key);
                }
                7 => {
                    let value = vec![b'x'; ROW_BYTES_MAX - 3];
                    let key = key(rng.below(1000));
                    stretches.change(&name(1), &key, Some(&value));
                    rows.insert(key, value);
                }
                _ => {
                    let (key, value) = (key(rng.below(1000)), value(&mut rng));
                    stretches.change(&name(1), &key, Some(&value));
                    rows.insert(key, value);
                }
            }
            if step % 50 == 0 {
                check(&stretches, &name(1), &rows);
            }
        }
        let before = stretches.bytes();
        assert!(check(&stretches, &name(1), &rows) > 0 || before <= ENTRY_BYTES, "seed {seed} kept nothing");
        stretches.remove(&name(1));
        assert_eq!((stretches.bytes(), stretches.has(9)), (0, false), "seed {seed}");
    }
}

#[test]
fn a_collection_is_wanted_when_it_is_scanned_again() {
    let stretches = Stretches::new(BUDGET);
    let wanted = |number| match stretches.look_up(&name(number), b"") {
        Known::Gap(gap) => gap.wanted,
        Known::Blocks(_) => panic!("nothing was put in"),
    };
    assert_eq!([wanted(1), wanted(2), wanted(1), wanted(2)], [false, false, true, true]);
}

#[test]
fn the_collection_unused_for_the_longest_leaves_first_and_a_large_one_is_not_kept() {
    let rows: BTreeMap<_, _> = (0..60).map(|number| (key(number), vec![b'v'; 50])).collect();
    let one = block(b"", None, &rows).memory_bytes() + ENTRY_BYTES;
    // Room for some dozen in each shard.
    let stretches = Stretches::new(BUDGET_PART * one * 200);
    for number in 0..=255 {
        stretches.fill(&name(number), [block(b"", None, &rows)]);
        check(&stretches, &name(0), &rows);
    }
    assert!(stretches.bytes() <= one * 200 && stretches.bytes() > one * 150);
    assert_eq!(check(&stretches, &name(0), &rows), 60, "the one in use is gone");
    let large: BTreeMap<_, _> = (0..60).map(|number| (key(number), vec![b'v'; 4000])).collect();
    stretches.set_budget(BUDGET_PART * one * 40);
    stretches.fill(&name(0), [block(b"0000", Some(b"0000"), &rows)]);
    stretches.remove(&name(0));
    stretches.fill(&name(0), [block(b"", None, &large)]);
    assert_eq!(check(&stretches, &name(0), &large), 0);
    stretches.clear();
    assert_eq!((stretches.bytes(), stretches.has(9)), (0, false));
}

#[test]
fn what_is_pushed_and_never_read_does_not_stay() {
    let stretches = Stretches::new(BUDGET);
    stretches.fill(&name(1), [block(b"", None, &BTreeMap::new())]);
    for number in (0..1_000_000).rev().step_by(10) {
        stretches.change(&name(1), &format!("{number:07}").into_bytes(), Some(b"value"));
        if number % 1000 == 9 {
            // The first few are read now and then.
            assert!(matches!(stretches.look_up(&name(1), b""), Known::Blocks(_)));
        }
    }
    assert!(stretches.bytes() < 1 << 20, "{}", stretches.bytes());
    assert!(matches!(stretches.look_up(&name(1), b""), Known::Blocks(_)));
}
