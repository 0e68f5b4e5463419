//! What is written before its head: large combinations, copies, and what stays when many leave; against the same done in memory.

use crate::base::random::Rng;
use crate::keyspace::testbed::Testbed;
use crate::keyspace::{Key, Outcome, Stored, Txn};
use crate::types::zset::{Aggregate, Condition, Rule};
use crate::types::{copy, list, set, zset};

const OPERATIONS: [set::Operation; 3] =
    [set::Operation::Union, set::Operation::Intersection, set::Operation::Difference];

fn add_set(txn: &mut Txn<'_>, key: &Key, members: &[String]) -> Outcome {
    let stored = set::load(txn, key)?;
    set::add(txn, key, stored.as_ref(), members.iter().map(|member| member.as_bytes())).map(drop)
}

fn add_zset(txn: &mut Txn<'_>, key: &Key, members: &[(f64, String)]) -> Outcome {
    let stored = zset::load(txn, key)?;
    let rule = Rule { condition: Condition::Any, only: None, increments: false };
    let pairs = members.iter().map(|(score, member)| (*score, member.as_bytes()));
    zset::add(txn, key, stored.as_ref(), rule, pairs).map(drop)
}

/// All members of a key in a comparable form, with OBJECT ENCODING's word and the count of the head.
fn content(txn: &mut Txn<'_>, key: &Key) -> Outcome<(Vec<String>, String, u64)> {
    let mut members = Vec::new();
    let text = |member: &[u8]| String::from_utf8_lossy(member).into_owned();
    let Some(stored) = txn.load(key)? else { return Ok((members, String::new(), 0)) };
    if set::load(txn, key).is_ok() {
        set::for_each(txn, &stored, |member| members.push(text(member)))?;
        members.sort();
        Ok((members, set::object_encoding(&stored).to_owned(), set::len(&stored)?))
    } else {
        zset::for_each(txn, &stored, |member, score| members.push(format!("{score} {}", text(member))))?;
        for (at, member) in members.iter().enumerate() {
            let name = member.split_once(' ').unwrap().1;
            assert!(zset::score(txn, &stored, name.as_bytes())?.is_some(), "member {at} has both rows");
        }
        let mut by_name = 0;
        zset::page(txn, &stored, 0, u64::MAX, |_, _| by_name += 1)?;
        assert_eq!(by_name, members.len(), "no member has only one row");
        Ok((members, zset::object_encoding(&stored).to_owned(), zset::len(&stored)?))
    }
}

/// What a random set of some kind has: none, few, many; numbers, words, long ones.
fn random_members(rng: &mut Rng) -> Vec<String> {
    let (len, range) = ([0, 3, 40, 200, 700][rng.below(5) as usize], 1 + rng.below(900));
    let kind = rng.below(3);
    let member = |number: u64| match kind {
        0 => number.to_string(),
        1 => format!("m{number}"),
        _ => format!("{number}{}", "x".repeat(number as usize % 90)),
    };
    (0..len).map(|_| member(rng.below(range))).collect()
}

fn load_all(txn: &mut Txn<'_>, keys: &[Key]) -> Outcome<Vec<Option<Stored>>> {
    keys.iter().map(|key| set::load(txn, key)).collect()
}

#[test]
fn sets_merged_row_by_row_are_those_combined_in_memory() {
    let mut rng = Rng::new(5);
    for round in 0..60 {
        let bed = Testbed::open();
        let names: Vec<String> = (0..1 + rng.below(4)).map(|number| format!("s{number}")).collect();
        for name in &names {
            let members = random_members(&mut rng);
            bed.run(|txn| add_set(txn, &txn.key(0, name.as_bytes()), &members));
        }
        for operation in OPERATIONS {
            let mut stored = [usize::MAX, 30].map(|rows_max| {
                bed.keyspace.tuning().set_batch_rows_max(rows_max);
                bed.run(|txn| {
                    let keys: Vec<Key> = names.iter().map(|name| txn.key(0, name.as_bytes())).collect();
                    let (sources, to) = (load_all(txn, &keys)?, txn.key(0, b"to"));
                    let count = set::combine_into(txn, &to, operation, &sources)?;
                    Ok((count, content(txn, &to)?))
                })
            });
            let [in_memory, merged] = &mut stored;
            assert_eq!(in_memory, merged, "round {round}: {operation:?}");
            assert_eq!(merged.0, merged.1.2);
        }
    }
}

#[test]
fn sorted_sets_merged_row_by_row_are_those_combined_in_memory() {
    let mut rng = Rng::new(6);
    for round in 0..60 {
        let bed = Testbed::open();
        // As it is with real limits, what is written as it comes is no listpack, which would keep no -0.
        bed.keyspace.tuning().set_zset_entries_max(20);
        let names: Vec<String> = (0..1 + rng.below(4)).map(|number| format!("z{number}")).collect();
        for name in &names {
            let members = random_members(&mut rng);
            let is_set = rng.below(4) == 0;
            let scores = [0.0, -1.5, f64::INFINITY, f64::NEG_INFINITY, 7.0, 0.25];
            let scored: Vec<(f64, String)> =
                members.iter().map(|member| (scores[rng.below(6) as usize], member.clone())).collect();
            bed.run(|txn| {
                let key = txn.key(0, name.as_bytes());
                if is_set { add_set(txn, &key, &members) } else { add_zset(txn, &key, &scored) }
            });
        }
        for operation in OPERATIONS {
            let aggregate = [Aggregate::Sum, Aggregate::Min, Aggregate::Max][rng.below(3) as usize];
            let weights: Vec<f64> =
                names.iter().map(|_| [1.0, 0.0, -2.0, 3.0][rng.below(4) as usize]).collect();
            let stored = [usize::MAX, 30].map(|rows_max| {
                bed.keyspace.tuning().set_batch_rows_max(rows_max);
                bed.run(|txn| {
                    let mut sources = Vec::new();
                    for (name, weight) in names.iter().zip(&weights) {
                        let key = txn.key(0, name.as_bytes());
                        let mut source = zset::load_source(txn, &key)?;
                        source.weight = *weight;
                        sources.push(source);
                    }
                    let to = txn.key(0, b"to");
                    let count = zset::combine_into(txn, &to, operation, sources, aggregate)?;
                    Ok((count, content(txn, &to)?))
                })
            });
            assert_eq!(stored[0], stored[1], "round {round}: {operation:?} {aggregate:?} {weights:?}");
        }
    }
}

#[test]
fn a_large_sorted_set_made_at_once_can_be_popped_from_both_ends() {
    let bed = Testbed::open();
    bed.keyspace.tuning().set_batch_rows_max(50);
    let members: Vec<(f64, String)> = (0..300).map(|n| (f64::from(n * 37 % 300), format!("m{n}"))).collect();
    bed.run(|txn| add_zset(txn, &txn.key(0, b"z"), &members));
    let popped = bed.run(|txn| {
        let (from, to) = (txn.key(0, b"z"), txn.key(0, b"to"));
        let source = zset::load_source(txn, &from)?;
        zset::combine_into(txn, &to, zset::Operation::Union, vec![source], Aggregate::Sum)?;
        let mut popped = Vec::new();
        for side in [zset::Side::Low, zset::Side::High] {
            for _ in 0..3 {
                let stored = zset::load(txn, &to)?.unwrap();
                zset::pop(txn, &to, &stored, side, 1, |_, score| popped.push(score))?;
            }
        }
        Ok(popped)
    });
    assert_eq!(popped, [0.0, 1.0, 2.0, 299.0, 298.0, 297.0]);
}

#[test]
fn a_large_copy_is_the_same_and_stands_alone() {
    let bed = Testbed::open();
    bed.keyspace.tuning().set_batch_rows_max(50);
    let members: Vec<(f64, String)> = (0..900).map(|n| (f64::from(n % 7), format!("m{n}"))).collect();
    bed.run(|txn| add_zset(txn, &txn.key(0, b"z"), &members));
    let copied = bed.run(|txn| copy::copy(txn, &txn.key(0, b"z"), &txn.key(0, b"copy"), false));
    assert!(copied);
    let all = |name: &[u8]| bed.run(|txn| content(txn, &txn.key(0, name)));
    let before = all(b"z");
    bed.run(|txn| txn.delete(&txn.key(0, b"z")));
    bed.keyspace.gc_round().unwrap();
    assert_eq!((all(b"copy"), all(b"z").2), (before, 0));
}

/// A bed on which what leaves few behind is written anew, or hardly ever.
fn bed_cutting(rows_max: usize) -> Testbed {
    let bed = Testbed::open();
    bed.keyspace.tuning().set_batch_rows_max(rows_max);
    bed
}

#[test]
fn stretches_and_pops_leave_the_same_whether_written_anew_or_not() {
    let members: Vec<(f64, String)> = (0..900).map(|n| (f64::from(n * 7 % 300), format!("m{n}"))).collect();
    let done = [usize::MAX / 100, 5].map(|rows_max| {
        let bed = bed_cutting(rows_max);
        bed.run(|txn| add_zset(txn, &txn.key(0, b"z"), &members));
        let mut seen = Vec::new();
        let selections = [
            zset::Selection::Ranks(100, 250),
            zset::Selection::Scores(zset::ScoreRange {
                min: 150.0,
                max: 250.0,
                min_excluded: true,
                max_excluded: false,
            }),
            zset::Selection::Ranks(0, 10),
            zset::Selection::Ranks(-60, -1),
            zset::Selection::Ranks(0, 40),
        ];
        for selection in selections {
            let removed = bed.run(|txn| {
                let key = txn.key(0, b"z");
                let stored = zset::load(txn, &key)?.unwrap();
                zset::remove_selected(txn, &key, &stored, selection)
            });
            seen.push(format!("{removed} {:?}", bed.run(|txn| content(txn, &txn.key(0, b"z")))));
        }
        for (side, count) in
            [(zset::Side::High, 120), (zset::Side::Low, 70), (zset::Side::Low, 3), (zset::Side::High, 1000)]
        {
            let popped = bed.run(|txn| {
                let (key, mut popped) = (txn.key(0, b"z"), Vec::new());
                let stored = zset::load(txn, &key)?.unwrap();
                zset::pop(txn, &key, &stored, side, count, |member, score| {
                    popped.push((score, member.to_vec()))
                })?;
                Ok(popped)
            });
            seen.push(format!("{popped:?} {:?}", bed.run(|txn| content(txn, &txn.key(0, b"z")))));
        }
        bed.keyspace.gc_round().unwrap();
        seen
    });
    assert_eq!(done[0], done[1]);
}

#[test]
fn a_sorted_set_all_of_which_is_selected_is_no_more_and_nothing_is_written_anew() {
    let all = zset::ScoreRange {
        min: f64::NEG_INFINITY,
        max: f64::INFINITY,
        min_excluded: false,
        max_excluded: false,
    };
    for selection in [zset::Selection::Ranks(0, -1), zset::Selection::Scores(all)] {
        for members in [1, 5, 900] {
            let bed = bed_cutting(5);
            bed.keyspace.tuning().set_packing(false, 0);
            let members: Vec<(f64, String)> = (0..members).map(|n| (f64::from(n), format!("m{n}"))).collect();
            bed.run(|txn| add_zset(txn, &txn.key(0, b"z"), &members));
            let (removed, writes) = bed.run(|txn| {
                let key = txn.key(0, b"z");
                let stored = zset::load(txn, &key)?.unwrap();
                let removed = zset::remove_selected(txn, &key, &stored, selection)?;
                Ok((removed, txn.writes()))
            });
            assert_eq!((removed, writes), (members.len() as u64, 1));
            assert!(!bed.run(|txn| Ok(txn.load(&txn.key(0, b"z"))?.is_some())));
        }
    }
}

#[test]
fn lists_cut_in_many_places_are_the_same_whether_written_anew_or_not() {
    let elements: Vec<String> =
        (0..1500).map(|n| if n % 3 == 0 { "same".to_owned() } else { format!("e{n}") }).collect();
    let done = [usize::MAX / 100, 5].map(|rows_max| {
        let bed = bed_cutting(rows_max);
        let mut seen = Vec::new();
        let mut step = |work: &dyn Fn(&mut Txn<'_>, &Key, Option<&Stored>) -> Outcome| {
            let all = bed.run(|txn| {
                let key = txn.key(0, b"l");
                let stored = list::load(txn, &key)?;
                work(txn, &key, stored.as_ref())?;
                let stored = list::load(txn, &key)?.unwrap();
                let (len, mut all) = (list::len(&stored)?, Vec::new());
                list::walk(txn, &stored, 0..len, list::End::Front, |element| all.push(element.to_vec()))?;
                Ok((len, list::object_encoding(&stored), all))
            });
            seen.push(all);
        };
        let push = |txn: &mut Txn<'_>, key: &Key, stored: Option<&Stored>| {
            list::push(txn, key, stored, list::End::Back, elements.iter().map(|e| e.as_bytes())).map(drop)
        };
        step(&push);
        step(&|txn, key, stored| {
            list::remove(txn, key, stored.unwrap(), list::End::Back, 400, b"same").map(drop)
        });
        step(&|txn, key, stored| list::trim(txn, key, stored.unwrap(), 100..900));
        step(&push);
        step(&|txn, key, stored| list::pop(txn, key, stored.unwrap(), list::End::Front, 300, |_| ()));
        step(&|txn, key, stored| list::set(txn, key, stored.unwrap(), 77, b"set"));
        step(&|txn, key, stored| {
            list::remove(txn, key, stored.unwrap(), list::End::Front, 1000, b"same").map(drop)
        });
        seen
    });
    assert_eq!(done[0], done[1]);
}

#[test]
fn many_members_taken_by_chance_leave_the_others_and_each_is_as_likely() {
    let bed = bed_cutting(1);
    bed.keyspace.tuning().set_packing(false, 0);
    let mut taken_of = vec![0u32; 200];
    for round in 0..100 {
        // Other names lie at other positions; the chance of a testbed's runs is always the same.
        let members: Vec<String> = (0..200).map(|n| format!("{round}:{n}")).collect();
        bed.run(|txn| txn.delete(&txn.key(0, b"s")));
        bed.run(|txn| add_set(txn, &txn.key(0, b"s"), &members));
        let (mut taken, left) = bed.run(|txn| {
            let (key, mut taken) = (txn.key(0, b"s"), Vec::new());
            let stored = set::load(txn, &key)?.unwrap();
            let mut note = |member: &[u8]| taken.push(String::from_utf8_lossy(member).into_owned());
            assert!(set::take_many(txn, &key, &stored, 120, &mut note)?);
            Ok((taken, content(txn, &key)?))
        });
        assert_eq!((taken.len(), left.2), (120, 80));
        taken
            .iter()
            .for_each(|member| taken_of[member.split_once(':').unwrap().1.parse::<usize>().unwrap()] += 1);
        taken.extend(left.0);
        taken.sort();
        taken.dedup();
        assert_eq!(taken.len(), 200);
    }
    // 60 of 100 on average, with a deviation of 5.
    let spread = (taken_of.iter().min(), taken_of.iter().max());
    assert!(taken_of.iter().all(|&times| (30..=90).contains(&times)), "{spread:?}");
}
