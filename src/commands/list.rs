//! Lists: pushing, looking, and changing elements in their midst. Taking and moving them is in `list_moves`, how lists are kept in
//! `types::list`.

use crate::base::number::parse_i64;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{DenyOom, Fast, ReadOnly, Write};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::{Args, Reply};
use crate::types::list::{self, End, Side};
use std::ops::{ControlFlow, Range};

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("lindex", lindex)
        .arity(3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N), N the distance from the nearer end")
        .summary("Reads the element at a position.")
        .syntax("key@0 index:int"),
    Command::new("linsert", linsert)
        .arity(5)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::List)
        .since("2.2.0")
        .complexity("O(N)")
        .summary("Puts an element before or after another one.")
        .syntax("key@0 where<BEFORE | AFTER> pivot element"),
    Command::new("llen", llen)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1)])
        .group(Group::List)
        .since("1.0.0")
        .summary("Counts the elements of a list.")
        .syntax("key@0"),
    Command::new("lpos", lpos)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::List)
        .since("6.0.6")
        .complexity("O(N)")
        .summary("Finds the positions of an element.")
        .syntax("key@0 element [RANK rank:int] [COUNT num-matches:int] [MAXLEN len:int]"),
    Command::new("lpush", lpush)
        .arity(-3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N), N the elements")
        .summary("Puts elements at a list's front; the list may be missing.")
        .syntax("key@0 element..."),
    Command::new("lpushx", lpushx)
        .arity(-3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::List)
        .since("2.2.0")
        .complexity("O(N), N the elements")
        .summary("Puts elements at the front of a list that exists.")
        .syntax("key@0 element..."),
    Command::new("lrange", lrange)
        .arity(4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(S+N), S the distance of the first, N the elements")
        .summary("Reads the elements between two positions.")
        .syntax("key@0 start:int stop:int"),
    Command::new("lrem", lrem)
        .arity(4)
        .flags(&[Write])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N+M)")
        .summary("Removes elements equal to a value.")
        .syntax("key@0 count:int element"),
    Command::new("lset", lset)
        .arity(4)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N), N the distance from the nearer end")
        .summary("Replaces the element at a position.")
        .syntax("key@0 index:int element"),
    Command::new("ltrim", ltrim)
        .arity(4)
        .flags(&[Write])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Keeps only the elements between two positions.")
        .syntax("key@0 start:int stop:int"),
    Command::new("rpush", rpush)
        .arity(-3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N), N the elements")
        .summary("Puts elements at a list's end; the list may be missing.")
        .syntax("key@0 element..."),
    Command::new("rpushx", rpushx)
        .arity(-3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::List)
        .since("2.2.0")
        .complexity("O(N), N the elements")
        .summary("Puts elements at the end of a list that exists.")
        .syntax("key@0 element..."),
]);

fn lpush(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(call, reply, End::Front, true)
}

fn rpush(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(call, reply, End::Back, true)
}

fn lpushx(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(call, reply, End::Front, false)
}

fn rpushx(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(call, reply, End::Back, false)
}

fn push(call: &mut Call<'_>, reply: &mut Reply<'_>, end: End, creates: bool) -> Outcome {
    let key = call.key(1);
    let stored = list::load(&mut call.txn, &key)?;
    let len = if stored.is_some() || creates {
        let len = list::push(&mut call.txn, &key, stored.as_ref(), end, call.args.skip(2).iter())?;
        call.txn.note(Events::LIST, if end == End::Front { "lpush" } else { "rpush" }, &key);
        len
    } else {
        0
    };
    reply.integer(len as i64);
    Ok(())
}

fn llen(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = list::load(&mut call.txn, &key)?;
    reply.integer(stored.as_ref().map_or(Ok(0), list::len)? as i64);
    Ok(())
}

fn lrange(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (start, stop) = parse_range(call.args)?;
    let key = call.key(1);
    let Some(stored) = list::load(&mut call.txn, &key)? else {
        reply.array(0);
        return Ok(());
    };
    let range = element_range(start, stop, list::len(&stored)?);
    reply.array((range.end - range.start) as usize);
    list::walk(&mut call.txn, &stored, range, End::Front, |element| reply.bulk(element))
}

fn ltrim(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (start, stop) = parse_range(call.args)?;
    let key = call.key(1);
    if let Some(stored) = list::load(&mut call.txn, &key)? {
        let kept = element_range(start, stop, list::len(&stored)?);
        list::trim(&mut call.txn, &key, &stored, kept)?;
        call.txn.note_removal(Events::LIST, "ltrim", &key);
    }
    reply.ok();
    Ok(())
}

fn parse_range(args: Args<'_>) -> Outcome<(i64, i64)> {
    let start = parse_i64(args.at(2)).ok_or(Error::NotInteger)?;
    let stop = parse_i64(args.at(3)).ok_or(Error::NotInteger)?;
    Ok((start, stop))
}

/// The elements from `start` to `stop`, both included and counted from the end when negative, of a list of `len` elements.
fn element_range(start: i64, stop: i64, len: u64) -> Range<u64> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_front = |index: i64| if index < 0 { len + index } else { index };
    let (start, stop) = (from_front(start).max(0), from_front(stop).min(len - 1));
    if start > stop { 0..0 } else { start as u64..stop as u64 + 1 }
}

/// Which element an index means, counted from the end when negative, of a list of `len` elements.
fn nth_element(index: i64, len: u64) -> Option<u64> {
    let nth = if index < 0 { len.checked_sub(index.unsigned_abs()) } else { Some(index.unsigned_abs()) };
    nth.filter(|&nth| nth < len)
}

fn lindex(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let Some(stored) = list::load(&mut call.txn, &key)? else {
        reply.null();
        return Ok(());
    };
    let index = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    match nth_element(index, list::len(&stored)?) {
        Some(nth) => {
            list::walk(&mut call.txn, &stored, nth..nth + 1, End::Front, |element| reply.bulk(element))
        }
        None => {
            reply.null();
            Ok(())
        }
    }
}

fn lset(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = list::load(&mut call.txn, &key)?.ok_or(Error::NoSuchKey)?;
    let index = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    // Redis cuts the index to 32 bits here, so that 2^32 means the first element; that is not followed.
    let nth = nth_element(index, list::len(&stored)?).ok_or(Error::IndexOutOfRange)?;
    list::set(&mut call.txn, &key, &stored, nth, call.args.at(3))?;
    call.txn.note(Events::LIST, "lset", &key);
    reply.ok();
    Ok(())
}

fn linsert(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let side = match call.args.at(2) {
        word if word.eq_ignore_ascii_case(b"before") => Side::Before,
        word if word.eq_ignore_ascii_case(b"after") => Side::After,
        _ => return Err(Error::Syntax.into()),
    };
    let key = call.key(1);
    let Some(stored) = list::load(&mut call.txn, &key)? else {
        reply.integer(0);
        return Ok(());
    };
    let (pivot, element) = (call.args.at(3), call.args.at(4));
    let len = list::insert(&mut call.txn, &key, &stored, side, pivot, element)?;
    if len.is_some() {
        call.txn.note(Events::LIST, "linsert", &key);
    }
    reply.integer(len.map_or(-1, |len| len as i64));
    Ok(())
}

fn lrem(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let count = parse_symmetric(call.args.at(2))?;
    let key = call.key(1);
    let Some(stored) = list::load(&mut call.txn, &key)? else {
        reply.integer(0);
        return Ok(());
    };
    let from = if count < 0 { End::Back } else { End::Front };
    let count_max = if count == 0 { u64::MAX } else { count.unsigned_abs() };
    let removed = list::remove(&mut call.txn, &key, &stored, from, count_max, call.args.at(3))?;
    if removed > 0 {
        call.txn.note_removal(Events::LIST, "lrem", &key);
    }
    reply.integer(removed as i64);
    Ok(())
}

/// An integer whose negative is one, too.
fn parse_symmetric(word: &[u8]) -> Outcome<i64> {
    match parse_i64(word).ok_or(Error::NotInteger)? {
        i64::MIN => {
            fail("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
        }
        number => Ok(number),
    }
}

/// The options of LPOS.
#[derive(Debug, PartialEq, Eq)]
struct Search {
    from: End,
    /// Matches passed over before the first that counts.
    passed_over: u64,
    /// With COUNT the reply is an array of at most so many.
    count_max: Option<u64>,
    elements_max: u64,
}

fn parse_search(args: Args<'_>) -> Outcome<Search> {
    let mut search = Search { from: End::Front, passed_over: 0, count_max: None, elements_max: u64::MAX };
    let all_if_zero = |number: u64| if number == 0 { u64::MAX } else { number };
    let not_negative = |word: &[u8]| parse_i64(word).and_then(|number| u64::try_from(number).ok());
    for pair in (3..args.len()).step_by(2) {
        let (option, Some(word)) = (args.at(pair), args.get(pair + 1)) else {
            return Err(Error::Syntax.into());
        };
        if option.eq_ignore_ascii_case(b"rank") {
            let rank = parse_symmetric(word)?;
            search.from = if rank < 0 { End::Back } else { End::Front };
            search.passed_over = match rank.unsigned_abs().checked_sub(1) {
                Some(passed_over) => passed_over,
                None => {
                    return fail(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                         or use negative to start from the end of the list",
                    );
                }
            };
        } else if option.eq_ignore_ascii_case(b"count") {
            let Some(count) = not_negative(word) else { return fail("ERR COUNT can't be negative") };
            search.count_max = Some(all_if_zero(count));
        } else if option.eq_ignore_ascii_case(b"maxlen") {
            let Some(len) = not_negative(word) else { return fail("ERR MAXLEN can't be negative") };
            search.elements_max = all_if_zero(len);
        } else {
            return Err(Error::Syntax.into());
        }
    }
    Ok(search)
}

fn lpos(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let search = parse_search(call.args)?;
    let key = call.key(1);
    let stored = list::load(&mut call.txn, &key)?;
    let mut passed_over = 0;
    let mut matches_until = |count_max: u64, visit: &mut dyn FnMut(u64)| {
        let Some(stored) = &stored else { return Ok(()) };
        let mut matches = 0;
        let (wanted, from) = (call.args.at(2), search.from);
        list::find(&mut call.txn, stored, wanted, from, search.elements_max, |index| {
            if passed_over < search.passed_over {
                passed_over += 1;
                return ControlFlow::Continue(());
            }
            matches += 1;
            visit(index);
            if matches < count_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    };
    match search.count_max {
        Some(count_max) => {
            let mark = reply.deferred_array();
            let mut count = 0;
            matches_until(count_max, &mut |index| {
                reply.integer(index as i64);
                count += 1;
            })?;
            reply.fill_array(mark, count);
        }
        None => {
            let mut found = None;
            matches_until(1, &mut |index| found = Some(index))?;
            match found {
                Some(index) => reply.integer(index as i64),
                None => reply.null(),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Stop;
    use crate::resp::OwnedArgs;

    #[test]
    fn ranges_count_from_either_end_and_stay_within_the_list() {
        let check = |start, stop, expected: Range<u64>| {
            assert_eq!(element_range(start, stop, 8), expected, "{start} {stop}");
        };
        check(0, 0, 0..1);
        check(-2, -1, 6..8);
        check(-100, 1, 0..2);
        check(5, 100, 5..8);
        check(100, 200, 0..0);
        check(3, 1, 0..0);
        check(0, -100, 0..0);
        check(i64::MIN, i64::MAX, 0..8);
        check(i64::MAX, -1, 0..0);
    }

    #[test]
    fn an_index_means_an_element_from_either_end_or_none() {
        let table = [(0, Some(0)), (7, Some(7)), (8, None), (-1, Some(7)), (-8, Some(0)), (-9, None)];
        for (index, expected) in table.into_iter().chain([(i64::MIN, None), (i64::MAX, None)]) {
            assert_eq!(nth_element(index, 8), expected, "{index}");
        }
    }

    fn searched(line: &str) -> Result<Search, String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse_search(OwnedArgs::from_slices(&words).args()).map_err(|stop| match stop {
            Stop::Error(error) => error.to_string(),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn a_search_is_read_from_its_options_the_last_of_each_kind_counts() {
        let plain = Search { from: End::Front, passed_over: 0, count_max: None, elements_max: u64::MAX };
        assert_eq!(searched("LPOS l a"), Ok(plain));
        let full = Search { from: End::Back, passed_over: 2, count_max: Some(5), elements_max: 9 };
        assert_eq!(searched("LPOS l a rank 1 MAXLEN 9 COUNT 5 RANK -3"), Ok(full));
        let all = searched("LPOS l a COUNT 0 MAXLEN 0").unwrap();
        assert_eq!((all.count_max, all.elements_max), (Some(u64::MAX), u64::MAX));
        assert_eq!(searched("LPOS l a RANK"), Err("ERR syntax error".into()));
        assert_eq!(searched("LPOS l a COUNT x"), Err("ERR COUNT can't be negative".into()));
    }
}
