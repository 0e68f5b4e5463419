//! Elements picked by chance: fields of hashes, members of sets and sorted sets.
//!
//! The positions of a spread collection are hashes, evenly strewn over 53 bits. They are cut into equal windows of about 64 elements
//! each. A pick draws a window and a number below 120, and reads the window as far as the element of that number; if it has not so many,
//! draw again. Since every window is drawn as often as any other and every number within it, too, each element is as likely as every
//! other, but for those beyond the 120th of a window (one window in ten thousand million has so many), which are never picked.
//!
//! When the picks are many for the collection's size, one pass over all elements is cheaper: a sample of fixed size on the way (each
//! new element takes a random place in it), or all elements gathered and drawn from.

use super::positions::walk;
use crate::base::random::Rng;
use crate::encoding::head::Spread;
use crate::encoding::row::{POSITION_END, Place};
use crate::encoding::{Damaged, Family};
use crate::keyspace::{Outcome, Txn};
use ahash::AHashSet;
use std::ops::{ControlFlow, Range};

/// Elements expected in a window.
const WINDOW_ELEMENTS: u64 = 64;
/// More elements than this are hardly ever in one.
const WINDOW_ELEMENTS_MAX: u64 = 120;
/// Windows drawn for one element before the pick gives up; two suffice on average.
const DRAWS_MAX: u32 = 200;
/// With fewer elements to a pick than this, all are read: finding a window's beginning takes as long as reading some hundred rows.
const ELEMENTS_PER_PICK_MIN: u64 = 256;

/// How many elements are to be picked, and whether one may come twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picks {
    /// So many, each drawn from all.
    Any(u64),
    /// So many different ones, or all if there are not so many.
    Distinct(u64),
}

/// Picks rows of a spread collection whose rows lie in the order of their positions, each as likely as any other, and shows them to
/// `visit`: name, value.
pub fn pick_rows(
    txn: &mut Txn<'_>,
    family: Family,
    spread: Spread<'_>,
    picks: Picks,
    mut visit: impl FnMut(&[u8], &[u8]) -> Outcome,
) -> Outcome {
    let (Picks::Any(count) | Picks::Distinct(count)) = picks;
    if count.saturating_mul(ELEMENTS_PER_PICK_MIN) <= spread.count {
        txn.expect_work(count.saturating_mul(WINDOW_ELEMENTS_MAX))?;
        return pick_by_windows(txn, family, spread, picks, |(name, value)| visit(name, value));
    }
    txn.expect_work(spread.count)?;
    if let Picks::Any(_) = picks {
        let mut all = Vec::new();
        walk_all(txn, family, spread.place, |name, value| all.push((name.to_vec(), value.to_vec())))?;
        txn.expect_work(count)?;
        return pick_from(txn, all, picks, |(name, value)| visit(name, value));
    }
    let mut rng = txn.rng().clone();
    let mut sample = Sample { pairs: Vec::new(), size: count, seen: 0 };
    walk_all(txn, family, spread.place, |name, value| sample.offer(&mut rng, name, value))?;
    *txn.rng() = rng;
    sample.pairs.iter().try_for_each(|(name, value)| visit(name, value))
}

fn walk_all(txn: &mut Txn<'_>, family: Family, place: Place, mut visit: impl FnMut(&[u8], &[u8])) -> Outcome {
    walk(txn, family, place, 0..POSITION_END, |_, name, value| {
        visit(name, value);
        ControlFlow::Continue(())
    })
}

type OwnedPair = (Vec<u8>, Vec<u8>);

/// Picks from elements that are all at hand.
pub fn pick_from<T>(
    txn: &mut Txn<'_>,
    mut all: Vec<T>,
    picks: Picks,
    mut visit: impl FnMut(&T) -> Outcome,
) -> Outcome {
    let len = all.len() as u64;
    match picks {
        Picks::Any(count) => {
            txn.expect_work(count)?;
            for _ in 0..count {
                let at = txn.rng().below(len) as usize;
                if let Some(pair) = all.get(at) {
                    visit(pair)?;
                }
            }
        }
        Picks::Distinct(count) => {
            for done in 0..count.min(len) {
                let at = done + txn.rng().below(len - done);
                all.swap(done as usize, at as usize);
                if let Some(pair) = all.get(done as usize) {
                    visit(pair)?;
                }
            }
        }
    }
    Ok(())
}

fn pick_by_windows(
    txn: &mut Txn<'_>,
    family: Family,
    spread: Spread<'_>,
    picks: Picks,
    mut visit: impl FnMut(&OwnedPair) -> Outcome,
) -> Outcome {
    let windows = Windows::of(spread.count);
    let mut rng = txn.rng().clone();
    let mut taken = AHashSet::new();
    let (Picks::Any(count) | Picks::Distinct(count)) = picks;
    let mut done = 0;
    while done < count {
        let pair = windows.pick(&mut rng, |window, nth| {
            let (mut at, mut found) = (0, None);
            walk(txn, family, spread.place, window, |_, name, value| {
                if at == nth {
                    found = Some((name.to_vec(), value.to_vec()));
                    return ControlFlow::Break(());
                }
                at += 1;
                ControlFlow::Continue(())
            })?;
            Ok(found)
        })?;
        if let Picks::Distinct(_) = picks
            && !taken.insert(pair.0.clone())
        {
            continue;
        }
        done += 1;
        visit(&pair)?;
    }
    *txn.rng() = rng;
    Ok(())
}

/// The positions cut into equal windows.
struct Windows {
    count: u64,
    width: u64,
}

impl Windows {
    fn of(elements: u64) -> Windows {
        let count = (elements / WINDOW_ELEMENTS).max(1);
        Windows { count, width: POSITION_END.div_ceil(count) }
    }

    fn range(&self, number: u64) -> Range<u64> {
        let start = number * self.width;
        start.min(POSITION_END)..(start + self.width).min(POSITION_END)
    }

    /// One of all elements; `read` gives the one of a number in a window, if it has so many.
    fn pick<T>(
        &self,
        rng: &mut Rng,
        mut read: impl FnMut(Range<u64>, u64) -> Outcome<Option<T>>,
    ) -> Outcome<T> {
        for _ in 0..DRAWS_MAX {
            let (window, nth) = (rng.below(self.count), rng.below(WINDOW_ELEMENTS_MAX));
            if let Some(picked) = read(self.range(window), nth)? {
                return Ok(picked);
            }
        }
        Err(Damaged("a collection with fewer elements than its head counts").into())
    }
}

/// A sample of fixed size of elements that come by one after the other.
struct Sample {
    pairs: Vec<OwnedPair>,
    size: u64,
    seen: u64,
}

impl Sample {
    fn offer(&mut self, rng: &mut Rng, name: &[u8], value: &[u8]) {
        self.seen += 1;
        if self.seen <= self.size {
            self.pairs.push((name.to_vec(), value.to_vec()));
        } else if let Some(place) = self.pairs.get_mut(rng.below(self.seen) as usize) {
            *place = (name.to_vec(), value.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Stop;
    use crate::keyspace::testbed::Testbed;
    use crate::types::set;
    use std::collections::BTreeSet;

    /// Chi-square of counts that should be equal; with n counts it is about n, give or take some times sqrt(2n).
    fn assert_even(counts: &[u64]) {
        let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        let chi_square: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
        let freedom = counts.len() as f64 - 1.0;
        let bound = freedom + 5.0 * (2.0 * freedom).sqrt();
        assert!(chi_square < bound, "chi-square {chi_square:.1}, at most {bound:.1} is even enough");
    }

    #[test]
    fn windows_pick_every_element_equally_often() {
        let mut rng = Rng::new(7);
        for fields in [100, 513, 2000] {
            let mut positions = BTreeSet::new();
            while positions.len() < fields {
                positions.insert(rng.below(POSITION_END));
            }
            let order: Vec<u64> = positions.iter().copied().collect();
            let windows = Windows::of(fields as u64);
            let mut counts = vec![0; fields];
            for _ in 0..fields * 100 {
                let picked =
                    windows.pick(&mut rng, |range, nth| Ok(positions.range(range).nth(nth as usize)));
                let picked = *picked.unwrap();
                counts[order.binary_search(&picked).unwrap()] += 1;
            }
            assert_even(&counts);
        }
    }

    #[test]
    fn windows_cover_every_position_once() {
        for fields in [1, 15, 16, 17, 1000, 1 << 40] {
            let windows = Windows::of(fields);
            assert_eq!(windows.range(0).start, 0);
            assert_eq!(windows.range(windows.count - 1).end, POSITION_END, "{fields} fields");
            let middle = windows.count / 2;
            if middle > 0 {
                assert_eq!(windows.range(middle - 1).end, windows.range(middle).start);
            }
        }
    }

    #[test]
    fn a_pick_from_an_empty_collection_ends() {
        let picked = Windows::of(100).pick(&mut Rng::new(1), |_, _| Ok(None::<u8>));
        assert!(matches!(picked, Err(Stop::Damaged(_))));
    }

    #[test]
    fn a_sample_holds_every_element_equally_often() {
        let mut rng = Rng::new(3);
        let mut counts = [0; 50];
        for _ in 0..20_000 {
            let mut sample = Sample { pairs: Vec::new(), size: 5, seen: 0 };
            (0..50u8).for_each(|field| sample.offer(&mut rng, &[field], b"v"));
            assert_eq!(sample.pairs.len(), 5);
            sample.pairs.iter().for_each(|pair| counts[usize::from(pair.0[0])] += 1);
        }
        assert_even(&counts);
    }

    #[test]
    fn what_was_picked_from_is_kept_and_what_was_popped_does_not_come_again() {
        let bed = Testbed::open();
        let mut left: BTreeSet<Vec<u8>> = (0..1000).map(|n| format!("member{n}").into_bytes()).collect();
        let bytes: usize = left.iter().map(Vec::len).sum();
        bed.run(|txn| {
            let key = txn.key(0, b"set");
            set::add(txn, &key, None, left.iter().map(Vec::as_slice)).map(drop)
        });
        let pick = |txn: &mut Txn<'_>, pops: bool| {
            let key = txn.key(0, b"set");
            let Some(stored) = set::load(txn, &key)? else { return Ok(Vec::new()) };
            let mut picked = Vec::new();
            set::pick(txn, &stored, Picks::Any(1), |member| {
                picked = member.to_vec();
                Ok(())
            })?;
            if pops {
                set::remove(txn, &key, &stored, [&picked[..]].into_iter())?;
            }
            Ok(picked)
        };
        let picked = bed.run(|txn| (0..1000).map(|_| pick(txn, false)).collect::<Outcome<BTreeSet<_>>>());
        assert!(picked.is_subset(&left) && picked.len() > left.len() / 4);
        let kept = bed.keyspace.hot().stretches().bytes();
        assert!(kept > bytes, "{kept} bytes are kept of {bytes}");
        while !left.is_empty() {
            let popped = bed.run(|txn| pick(txn, true));
            assert!(left.remove(&popped), "{popped:?} was not there any more");
        }
        assert!(bed.run(|txn| pick(txn, true)).is_empty());
    }
}
