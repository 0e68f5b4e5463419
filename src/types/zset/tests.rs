//! A sorted set against a map: random operations, after each of which both kinds of rows, the count and both ends in the head must be
//! what the map says. And sets as sources, written here row by row as they lie on disk.

use super::rows::Rows;
use super::*;
use crate::base::random::Rng;
use crate::encoding::head::Spread;
use crate::encoding::packed::write_packed;
use crate::encoding::row::PLACE_LEN;
use crate::encoding::score::{read_score_row, write_element};
use crate::keyspace::Direction;
use crate::keyspace::testbed::Testbed;
use std::collections::BTreeMap;
use std::iter::once;
use std::ops::ControlFlow;

const ANY: Rule = Rule { condition: Condition::Any, only: None, increments: false };

fn spread_bed() -> Testbed {
    let bed = Testbed::open();
    bed.keyspace.tuning().set_packing(false, 0);
    bed
}

fn with_zset<T>(bed: &Testbed, work: impl FnOnce(&mut Txn<'_>, &Key, Option<&Stored>) -> Outcome<T>) -> T {
    bed.run(|txn| {
        let key = txn.key(0, b"zset");
        let stored = load(txn, &key)?;
        work(txn, &key, stored.as_ref())
    })
}

/// Compares everything stored with the model.
fn check(bed: &Testbed, model: &BTreeMap<Vec<u8>, f64>) {
    let mut sorted: Vec<OwnedPair> = model.iter().map(|(member, score)| (*score, member.clone())).collect();
    sorted.sort_by(|a, b| (order_of(a.0), &a.1).cmp(&(order_of(b.0), &b.1)));
    let elements: Vec<Vec<u8>> = sorted
        .iter()
        .map(|(score, member)| {
            let mut element = crate::encoding::row::RowKey::new();
            write_element(&mut element, *score, member);
            element.to_vec()
        })
        .collect();
    with_zset(bed, |txn, _, stored| {
        let Some(stored) = stored else {
            assert!(model.is_empty());
            return Ok(());
        };
        let Body::Spread(spread) = stored.body() else { panic!("packed although packing is off") };
        let rows = Rows::decode(spread)?;
        assert_eq!(rows.count, sorted.len() as u64);
        let (prefix, end) = (rows.place.prefix(), rows.place.end());
        let mut found = Vec::new();
        txn.scan(Family::Score, &prefix, &end, Direction::Up, |row, value| {
            let (score, member) = read_score_row(row, value)?;
            found.push((score, member.to_vec()));
            Ok(ControlFlow::Continue(()))
        })?;
        assert_eq!(found, sorted);
        for (score, member) in &sorted {
            assert_eq!(super::score(txn, stored, member)?, Some(*score));
        }
        let mut members = 0;
        txn.scan(Family::Member, &prefix, &end, Direction::Up, |_, _| {
            members += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        assert_eq!(members, sorted.len());
        let known = |rows: &[_]| rows.iter().map(|row: &crate::encoding::row::RowKey| row.to_vec()).collect();
        let (low, high): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (known(rows.low.rows()), known(rows.high.rows()));
        assert_eq!(low[..], elements[..low.len()]);
        assert!(elements[low.len()..].iter().all(|element| element[..] >= *rows.low.bound()));
        let backwards: Vec<_> = elements.iter().rev().cloned().collect();
        assert_eq!(high[..], backwards[..high.len()]);
        assert!(backwards[high.len()..].iter().all(|element| element[..] < *rows.high.bound()));
        let (first, _) = rows.limits();
        assert_eq!(first[PLACE_LEN..], elements[0][..first.len() - PLACE_LEN], "the low limit is tight");
        Ok(())
    });
}

#[test]
fn any_sequence_of_operations_leaves_the_rows_a_map_describes() {
    for seed in 0..12 {
        let (bed, mut rng) = (spread_bed(), Rng::new(seed));
        let mut model: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
        for _ in 0..120 {
            let mut member = vec![b'a' + rng.below(26) as u8, b'0' + rng.below(8) as u8];
            if seed % 3 == 0 && rng.below(4) == 0 {
                member.resize(90, b'x');
            }
            let score = [0.0, -0.0, 1.0, 2.5, f64::INFINITY, f64::NEG_INFINITY, -3.0][rng.below(7) as usize];
            let score = if rng.below(2) == 0 { score } else { rng.below(1000) as f64 };
            match rng.below(10) {
                0..=5 => {
                    with_zset(&bed, |txn, key, stored| {
                        add(txn, key, stored, ANY, once((score, &member[..])))
                    });
                    // An equal score changes nothing, and a listpack knows no -0.
                    model.entry(member).and_modify(|old| *old = score + 0.0).or_insert(score + 0.0);
                }
                6 => {
                    let removed = with_zset(&bed, |txn, key, stored| {
                        stored.map_or(Ok(0), |stored| remove(txn, key, stored, once(&member[..])))
                    });
                    assert_eq!(removed, u64::from(model.remove(&member).is_some()));
                }
                7 => {
                    let (min, max) = (score, score + rng.below(300) as f64);
                    let range = ScoreRange { min, min_excluded: false, max, max_excluded: true };
                    let before = model.len();
                    model.retain(|_, score| *score < min || *score >= max);
                    let removed = with_zset(&bed, |txn, key, stored| {
                        stored.map_or(Ok(0), |stored| {
                            remove_selected(txn, key, stored, Selection::Scores(range))
                        })
                    });
                    assert_eq!(removed, (before - model.len()) as u64);
                }
                which => {
                    let side = if which == 8 { Side::Low } else { Side::High };
                    let (count, mut popped) = (1 + rng.below(6), Vec::new());
                    with_zset(&bed, |txn, key, stored| {
                        stored.map_or(Ok(()), |stored| {
                            pop(txn, key, stored, side, count, |member, score| {
                                popped.push((order_of(score), member.to_vec()));
                            })
                        })
                    });
                    let mut all: Vec<_> =
                        model.iter().map(|(member, score)| (order_of(*score), member.clone())).collect();
                    all.sort();
                    if side == Side::High {
                        all.reverse();
                    }
                    all.truncate(count as usize);
                    assert_eq!(popped, all);
                    model.retain(|member, _| popped.iter().all(|(_, gone)| gone != member));
                }
            }
            check(&bed, &model);
        }
    }
}

#[test]
fn a_queue_reads_its_score_rows_once_in_several_pops() {
    let bed = spread_bed();
    let names: Vec<String> = (0..40).map(|number| format!("job:{number:03}")).collect();
    with_zset(&bed, |txn, key, stored| {
        add(txn, key, stored, ANY, names.iter().enumerate().map(|(at, name)| (at as f64, name.as_bytes())))
    });
    let mut known = Vec::new();
    for name in &names[..20] {
        let mut popped = Vec::new();
        with_zset(&bed, |txn, key, stored| {
            pop(txn, key, stored.unwrap(), Side::Low, 1, |member, _| popped = member.to_vec())
        });
        assert_eq!(popped, name.as_bytes());
        known.push(with_zset(&bed, |_, _, stored| match stored.unwrap().body() {
            Body::Spread(spread) => Ok(Rows::decode(spread)?.low.rows().len()),
            Body::Whole(_) => Ok(0),
        }));
    }
    assert_eq!(known[..9], [4, 3, 2, 1, 4, 3, 2, 1, 4]);
}

/// Writes a set as it lies on disk: packed, or a row a member.
fn write_set(txn: &mut Txn<'_>, name: &[u8], members: &[&[u8]], packed: bool) -> Outcome {
    let key = txn.key(0, name);
    let count = members.len() as u64;
    if packed {
        let mut bytes = Vec::new();
        write_packed(&mut bytes, count, members.iter().copied());
        return txn.save(&key, NewHead::new(DataType::Set, Body::Whole(&bytes)));
    }
    let place = txn.new_place(&key);
    for member in members {
        let row = place.field_row(txn.keyspace().seed(), member);
        txn.put_element(&key, Family::Set, &row, b"")?;
    }
    txn.save(&key, NewHead::new(DataType::Set, Body::Spread(Spread { place, count, extra: b"" })))
}

#[test]
fn members_of_a_set_have_the_score_one_in_either_form() {
    for packed in [true, false] {
        let bed = spread_bed();
        bed.run(|txn| {
            write_set(txn, b"set", &[b"a", b"b"], packed)?;
            let key = txn.key(0, b"zset");
            add(txn, &key, None, ANY, [(5.0, &b"b"[..]), (7.0, b"c"), (8.0, b"d")].into_iter()).map(|_| ())
        });
        let combined = |operation, names: [&[u8]; 2], weights: [f64; 2]| {
            let members = bed.run(|txn| {
                let mut sources = Vec::new();
                for (name, weight) in names.into_iter().zip(weights) {
                    let key = txn.key(0, name);
                    let mut source = load_source(txn, &key)?;
                    source.weight = weight;
                    sources.push(source);
                }
                combine(txn, operation, sources, Aggregate::Sum)
            });
            let show = |(score, member): &OwnedPair| format!("{} {score}", String::from_utf8_lossy(member));
            members.iter().map(show).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(combined(Operation::Union, [b"set", b"zset"], [2.0, 1.0]), "a 2, b 7, c 7, d 8");
        assert_eq!(combined(Operation::Intersection, [b"zset", b"set"], [1.0, 1.0]), "b 6");
        assert_eq!(combined(Operation::Difference, [b"set", b"zset"], [1.0, 1.0]), "a 1");
        assert_eq!(combined(Operation::Difference, [b"zset", b"set"], [1.0, 1.0]), "c 7, d 8");
    }
}

#[test]
fn names_are_found_by_seeking_where_all_scores_are_equal_and_by_walking_elsewhere() {
    let bed = spread_bed();
    let range = |min, max| {
        Selection::Names(LexRange { min: LexBound::Including(min), max: LexBound::Excluding(max) })
    };
    let count_names = |selection| with_zset(&bed, |txn, _, stored| count(txn, stored.unwrap(), selection));
    with_zset(&bed, |txn, key, stored| {
        add(txn, key, stored, ANY, [(7.0, &b"a"[..]), (7.0, b"b"), (7.0, b"c"), (7.0, b"d")].into_iter())
    });
    assert_eq!(count_names(range(b"b", b"d")), 2);
    with_zset(&bed, |txn, key, stored| add(txn, key, stored, ANY, once((9.0, &b"bb"[..]))));
    // The walk ends at the first name behind the range.
    assert_eq!(count_names(range(b"b", b"d")), 2);
    with_zset(&bed, |txn, key, stored| remove(txn, key, stored.unwrap(), once(&b"bb"[..])));
    assert_eq!(count_names(range(b"b", b"d")), 2);
}
