//! The index against a sorted set, its borders one by one, and the list of indexes with its budget.

use super::Ranks;
use super::index::{BLOCK_ROWS, Change, Lost, Pieces, RankIndex};
use crate::base::random::Rng;
use crate::hot::named::ENTRY_BYTES;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A collection, its index, and questions answered as a reader answers them.
#[derive(Default)]
struct Subject {
    rows: BTreeSet<Vec<u8>>,
    index: RankIndex,
}

impl Subject {
    /// Reads `rows_max` rows from the frontier on.
    fn extend(&mut self, rows_max: u64) {
        let Some(frontier) = self.index.frontier().cloned() else { return };
        let mut pieces = Pieces::new(&frontier);
        let mut next = None;
        for row in self.rows.range(frontier.to_vec()..) {
            if pieces.rows() == rows_max {
                next = Some(if rows_max.is_multiple_of(2) {
                    pieces.frontier_before(row)
                } else {
                    pieces.frontier_here()
                });
                break;
            }
            pieces.add(row);
        }
        assert!(self.index.extend(pieces, next));
    }

    fn put(&mut self, row: Vec<u8>, unsure: bool) -> Result<(), Lost> {
        let change = match (unsure && !self.index.is_outside(&row), self.rows.contains(&row)) {
            (true, _) => Change::Unsure,
            (false, false) => Change::Added,
            (false, true) => return Ok(()),
        };
        let lost = self.index.change(&row, change);
        self.rows.insert(row);
        lost
    }

    fn delete(&mut self, row: &[u8]) -> Result<(), Lost> {
        assert!(self.rows.remove(row));
        self.index.change(row, Change::Removed)
    }

    fn refine(&mut self, block: &super::Found) {
        let mut pieces = Pieces::new(&block.from);
        let rows = self.rows.range(block.from.to_vec()..);
        rows.take_while(|row| block.to.as_ref().is_none_or(|to| row[..] < to[..]))
            .for_each(|row| pieces.add(row));
        assert!(self.index.refine(block, pieces));
    }

    /// Ranks asked of a complete index.
    fn check(&mut self, rng: &mut Rng) {
        while let Some(block) = self.index.unsure().first().cloned() {
            self.refine(&block);
        }
        assert_eq!(self.index.total(), self.rows.len() as u64);
        let rows: Vec<_> = self.rows.iter().cloned().collect();
        for _ in 0..8 {
            let rank = rng.below(rows.len() as u64 + 2);
            let block = loop {
                match self.index.block_at(rank) {
                    Some(block) if block.stale => self.refine(&block),
                    found => break found,
                }
            };
            let row = rows.get(rank as usize);
            assert_eq!(block.is_some(), row.is_some());
            let (Some(block), Some(row)) = (block, row) else { continue };
            assert!(block.from[..] <= row[..] && block.to.as_ref().is_none_or(|to| row[..] < to[..]));
            assert_eq!(
                rows[block.before as usize..]
                    .iter()
                    .take_while(|row| block.to.as_ref().is_none_or(|to| row[..] < to[..]))
                    .count() as u64,
                block.rows
            );
            assert!(block.rows <= 2 * u64::from(BLOCK_ROWS));
            let mut other = row.clone();
            other.push(rng.below(3) as u8);
            let found = self.index.block_of(&other);
            let before = rows.partition_point(|row| row[..] < found.from[..]);
            assert_eq!(before as u64, found.before);
        }
    }
}

fn random_row(rng: &mut Rng) -> Vec<u8> {
    (0..1 + rng.below(24)).map(|_| b'a' + rng.below(3) as u8).collect()
}

#[test]
fn any_sequence_of_changes_and_questions_matches_a_sorted_set() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut subject = Subject::default();
        let grown = rng.below(4000);
        subject.rows.extend((0..grown).map(|_| random_row(&mut rng)));
        let slice = 1 + rng.below(400);
        let growing = 300 + rng.below(400);
        for step in 0..1200 {
            let pick = rng.below(subject.rows.len().max(1) as u64) as usize;
            let lost = match rng.below(1000) {
                0..=9 if step < 1000 => continue,
                pick_kind if pick_kind < growing => {
                    let unsure = rng.below(40) == 0;
                    subject.put(random_row(&mut rng), unsure)
                }
                // At the ends, as lists are pushed.
                pick_kind if pick_kind < growing + 100 => {
                    let row = match (rng.below(2), subject.rows.last(), subject.rows.first()) {
                        (0, Some(last), _) => [&last[..], b"a"].concat(),
                        (_, _, Some(first)) if first.len() > 1 => first[..first.len() - 1].to_vec(),
                        _ => random_row(&mut rng),
                    };
                    subject.put(row, false)
                }
                _ => match subject.rows.iter().nth(pick).cloned() {
                    Some(row) => subject.delete(&row),
                    None => Ok(()),
                },
            };
            assert_eq!(lost, Ok(()), "seed {seed} step {step}");
            if rng.below(20) == 0 {
                subject.extend(slice);
            }
            if rng.below(10) == 0 && subject.index.frontier().is_none() {
                subject.check(&mut rng);
            }
        }
        while subject.index.frontier().is_some() {
            subject.extend(slice);
        }
        subject.check(&mut rng);
        // Back to nothing: the unsure blocks were refined by the check.
        while let Some(row) = subject.rows.first().cloned() {
            assert_eq!(subject.delete(&row), Ok(()));
        }
        assert_eq!((subject.index.total(), subject.index.block_at(0)), (0, None));
    }
}

fn numbered(numbers: impl Iterator<Item = u64>) -> RankIndex {
    let mut index = RankIndex::default();
    assert!(index.extend(Pieces::new(b""), None));
    numbers.for_each(|number| assert_eq!(index.change(&number.to_be_bytes(), Change::Added), Ok(())));
    index
}

#[test]
fn rows_added_at_either_end_never_overgrow_a_block() {
    let rows = 100_000u64;
    let (up, down) = (numbered(0..rows), numbered((0..rows).rev()));
    for index in [up, down] {
        for rank in (0..rows).step_by(97) {
            let block = index.block_at(rank).unwrap();
            assert!(!block.stale && block.before <= rank && rank < block.before + block.rows);
            assert_eq!(index.block_of(&rank.to_be_bytes()), block);
        }
    }
}

#[test]
fn a_million_rows_take_less_than_a_megabyte() {
    let mut index = RankIndex::default();
    let mut pieces = Pieces::new(b"");
    let mut rng = Rng::new(7);
    let mut scores: Vec<u64> = (0..1_000_000).map(|_| rng.next_u64()).collect();
    scores.sort_unstable();
    for (number, score) in scores.iter().enumerate() {
        pieces.add(&[&score.to_be_bytes()[..], format!("member:{number}").as_bytes()].concat());
    }
    assert!(index.extend(pieces, None));
    assert!(index.bytes() < 1_000_000, "{} bytes", index.bytes());
}

#[test]
fn a_frontier_somebody_else_has_moved_is_not_moved_back() {
    let mut index = RankIndex::default();
    let (mut mine, mut other) = (Pieces::new(b""), Pieces::new(b""));
    mine.add(b"a");
    other.add(b"a");
    other.add(b"b");
    let (at_mine, at_other) = (mine.frontier_here(), other.frontier_here());
    assert!(index.extend(other, Some(at_other)));
    assert!(!index.extend(mine, Some(at_mine)));
    assert_eq!(index.total(), 2);
}

#[test]
fn a_block_that_changed_meanwhile_is_not_refined() {
    let mut index = numbered(0..10);
    index.change(&5u64.to_be_bytes(), Change::Unsure).unwrap();
    let block = index.unsure()[0].clone();
    index.change(&5u64.to_be_bytes(), Change::Removed).unwrap();
    assert!(!index.refine(&block, Pieces::new(b"")));
}

#[test]
fn more_removed_than_was_there_is_noticed() {
    let mut index = numbered(0..1);
    assert_eq!(index.change(&0u64.to_be_bytes(), Change::Removed), Ok(()));
    assert_eq!(index.change(&0u64.to_be_bytes(), Change::Removed), Err(Lost));
}

#[test]
fn the_index_unused_for_longest_makes_room_and_one_too_large_is_not_kept() {
    let ranks = Ranks::new(4 * 10 * (ENTRY_BYTES + 1000));
    let (a, b) = (ranks.get_or_start(b"xa"), ranks.get_or_start(b"xb"));
    assert!(ranks.charge(b"xa", &a, 4000) && ranks.charge(b"xb", &b, 4000));
    assert!(ranks.has(b'x') && !ranks.has(b'y'));
    assert!(Arc::ptr_eq(&ranks.get_or_start(b"xa"), &a));
    let c = ranks.get_or_start(b"yc");
    assert!(ranks.charge(b"yc", &c, 4000));
    assert!(ranks.peek(b"xa").is_some() && ranks.peek(b"xb").is_none());
    assert_eq!(ranks.bytes(), 2 * (4000 + ENTRY_BYTES));
    // What is here no more is charged to nobody.
    assert!(!ranks.charge(b"xb", &b, 1));
    assert!(!ranks.charge(b"yc", &c, 1 << 20));
    assert!(ranks.peek(b"yc").is_none() && !ranks.has(b'y'));
    ranks.clear();
    assert_eq!((ranks.bytes(), ranks.len()), (0, 0));
}
