//! Stretches between two ranks, scores or names: read, stored, counted, removed.
//!
//! ZRANGE takes its kind of range and its direction as options; its older relatives have them in their names. All go through `range`.

use super::MemberList;
use super::combine::replace;
use crate::base::number::{parse_f64_bound, parse_i64};
use crate::dispatch::Call;
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::{Args, Reply};
use crate::types::zset::{self, LexBound, LexRange, OwnedPair, ScoreRange, Selection, Window};

/// How the two ends of a range are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ranks,
    Scores,
    Names,
}

/// What a command's name says already; the rest may come as options.
#[derive(Debug, Clone, Copy, Default)]
struct Named {
    kind: Option<Kind>,
    reversed: Option<bool>,
    /// The result is stored and not shown.
    stores: bool,
}

/// A range as a client asks for it.
#[derive(Debug, PartialEq)]
struct Asked<'a> {
    selection: Selection<'a>,
    window: Window,
    /// A LIMIT with a negative offset selects nothing.
    nothing: bool,
    with_scores: bool,
}

/// Reads both ends and the options behind them.
fn parse<'a>(args: Args<'a>, named: Named) -> Outcome<Asked<'a>> {
    let (mut kind, mut reversed, mut with_scores) = (named.kind, named.reversed, false);
    let (mut offset, mut limit) = (0, -1);
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let words_left = args.len() - at - 1;
        match word.to_ascii_lowercase().as_slice() {
            b"withscores" if !named.stores => with_scores = true,
            b"limit" if words_left >= 2 => {
                offset = parse_i64(args.at(at + 1)).ok_or(Error::NotInteger)?;
                limit = parse_i64(args.at(at + 2)).ok_or(Error::NotInteger)?;
                at += 2;
            }
            b"rev" if reversed.is_none() => reversed = Some(true),
            b"bylex" if kind.is_none() => kind = Some(Kind::Names),
            b"byscore" if kind.is_none() => kind = Some(Kind::Scores),
            _ => return Err(Error::Syntax.into()),
        }
        at += 1;
    }
    let (kind, reversed) = (kind.unwrap_or(Kind::Ranks), reversed.unwrap_or(false));
    if limit != -1 && kind == Kind::Ranks {
        return fail("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
    }
    if with_scores && kind == Kind::Names {
        return fail("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
    }
    let ends =
        if reversed && kind != Kind::Ranks { (args.at(1), args.at(0)) } else { (args.at(0), args.at(1)) };
    let selection = parse_selection(kind, ends.0, ends.1)?;
    // Ranks know no offset: LIMIT 0 -1 passes, whatever its offset.
    let (nothing, offset) = if kind == Kind::Ranks { (false, 0) } else { (offset < 0, offset.max(0) as u64) };
    let members_max = u64::try_from(limit).unwrap_or(u64::MAX);
    Ok(Asked { selection, window: Window { reversed, offset, members_max }, nothing, with_scores })
}

fn parse_selection<'a>(kind: Kind, min: &'a [u8], max: &'a [u8]) -> Outcome<Selection<'a>> {
    match kind {
        Kind::Ranks => {
            let start = parse_i64(min).ok_or(Error::NotInteger)?;
            let stop = parse_i64(max).ok_or(Error::NotInteger)?;
            Ok(Selection::Ranks(start, stop))
        }
        Kind::Scores => match (score_bound(min), score_bound(max)) {
            (Some((min, min_excluded)), Some((max, max_excluded))) => {
                Ok(Selection::Scores(ScoreRange { min, min_excluded, max, max_excluded }))
            }
            _ => fail("ERR min or max is not a float"),
        },
        Kind::Names => match (lex_bound(min), lex_bound(max)) {
            (Some(min), Some(max)) => Ok(Selection::Names(LexRange { min, max })),
            _ => fail("ERR min or max not valid string range item"),
        },
    }
}

/// A score, and whether it is not meant itself.
fn score_bound(text: &[u8]) -> Option<(f64, bool)> {
    match text {
        [b'(', score @ ..] => Some((parse_f64_bound(score)?, true)),
        score => Some((parse_f64_bound(score)?, false)),
    }
}

fn lex_bound(text: &[u8]) -> Option<LexBound<'_>> {
    // Redis reads the signs as C strings: what follows a zero byte is not looked at.
    match text {
        [b'-'] | [b'-', 0, ..] => Some(LexBound::Min),
        [b'+'] | [b'+', 0, ..] => Some(LexBound::Max),
        [b'[', name @ ..] => Some(LexBound::Including(name)),
        [b'(', name @ ..] => Some(LexBound::Excluding(name)),
        _ => None,
    }
}

pub(super) fn zrange(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(call, reply, None, None)
}

pub(super) fn zrevrange(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(call, reply, Some(Kind::Ranks), Some(true))
}

pub(super) fn zrangebyscore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(call, reply, Some(Kind::Scores), Some(false))
}

pub(super) fn zrevrangebyscore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(call, reply, Some(Kind::Scores), Some(true))
}

pub(super) fn zrangebylex(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(call, reply, Some(Kind::Names), Some(false))
}

pub(super) fn zrevrangebylex(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(call, reply, Some(Kind::Names), Some(true))
}

fn range(call: &mut Call<'_>, reply: &mut Reply<'_>, kind: Option<Kind>, reversed: Option<bool>) -> Outcome {
    let asked = parse(call.args.skip(2), Named { kind, reversed, stores: false })?;
    let key = call.key(1);
    let Some(stored) = zset::load(&mut call.txn, &key)?.filter(|_| !asked.nothing) else {
        reply.array(0);
        return Ok(());
    };
    let mark = reply.deferred_array();
    let mut list = MemberList::new(reply, asked.with_scores);
    zset::visit_selected(&mut call.txn, &stored, asked.selection, asked.window, |member, score| {
        list.push(member, score);
    })?;
    let count = list.count;
    reply.fill_array(mark, count);
    Ok(())
}

pub(super) fn zrangestore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let asked = parse(call.args.skip(3), Named { stores: true, ..Named::default() })?;
    let source = call.key(2);
    let mut members: Vec<OwnedPair> = Vec::new();
    let stored = call.txn.counted(|txn| zset::load(txn, &source))?;
    if let Some(stored) = stored.filter(|_| !asked.nothing) {
        zset::visit_selected(&mut call.txn, &stored, asked.selection, asked.window, |member, score| {
            members.push((score, member.to_vec()));
        })?;
    }
    let known = if let Selection::Ranks(..) = asked.selection { members.len() } else { 0 };
    zset::came_one_by_one(call.txn.keyspace().tuning(), &mut members, known);
    let destination = call.key(1);
    let count = replace(call, &destination, &members, "zrangestore")?;
    reply.integer(count as i64);
    Ok(())
}

pub(super) fn zcount(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    count(call, reply, Kind::Scores)
}

pub(super) fn zlexcount(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    count(call, reply, Kind::Names)
}

fn count(call: &mut Call<'_>, reply: &mut Reply<'_>, kind: Kind) -> Outcome {
    let selection = parse_selection(kind, call.args.at(2), call.args.at(3))?;
    let key = call.key(1);
    let count = match zset::load(&mut call.txn, &key)? {
        Some(stored) => zset::count(&mut call.txn, &stored, selection)?,
        None => 0,
    };
    reply.integer(count as i64);
    Ok(())
}

pub(super) fn zremrangebyrank(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    remove(call, reply, Kind::Ranks)
}

pub(super) fn zremrangebyscore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    remove(call, reply, Kind::Scores)
}

pub(super) fn zremrangebylex(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    remove(call, reply, Kind::Names)
}

fn remove(call: &mut Call<'_>, reply: &mut Reply<'_>, kind: Kind) -> Outcome {
    let selection = parse_selection(kind, call.args.at(2), call.args.at(3))?;
    let key = call.key(1);
    let removed = match zset::load(&mut call.txn, &key)? {
        Some(stored) => zset::remove_selected(&mut call.txn, &key, &stored, selection)?,
        None => 0,
    };
    if removed > 0 {
        let event = match kind {
            Kind::Ranks => "zremrangebyrank",
            Kind::Scores => "zremrangebyscore",
            Kind::Names => "zremrangebylex",
        };
        call.txn.note_removal(Events::ZSET, event, &key);
    }
    reply.integer(removed as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn read(line: &str, check: impl Fn(Option<Asked<'_>>)) {
        let args = OwnedArgs::from_slices(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        check(parse(args.args(), Named::default()).ok());
    }

    #[test]
    fn a_reversed_range_names_its_highest_end_first() {
        read("(5 1 BYSCORE rev LIMIT 2 -7", |asked| {
            let range = ScoreRange { min: 1.0, min_excluded: false, max: 5.0, max_excluded: true };
            let window = Window { reversed: true, offset: 2, members_max: u64::MAX };
            let selection = Selection::Scores(range);
            assert_eq!(asked, Some(Asked { selection, window, nothing: false, with_scores: false }));
        });
        read("1 5 REV withscores", |asked| {
            let asked = asked.unwrap();
            assert_eq!((asked.selection, asked.with_scores), (Selection::Ranks(1, 5), true));
        });
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        for wrong in [
            "0 -1 LIMIT 0 1",
            "- + BYLEX WITHSCORES",
            "0 -1 BYSCORE BYLEX",
            "0 -1 REV REV",
            "0 -1 LIMIT 0",
            "a b",
            "a b BYSCORE",
            "a b BYLEX",
        ] {
            read(wrong, |asked| assert_eq!(asked, None, "{wrong}"));
        }
        read("0 -1 LIMIT 7 -1", |asked| assert_eq!(asked.unwrap().window, Window::ALL));
    }

    #[test]
    fn bounds_of_names_begin_with_a_sign() {
        assert_eq!(lex_bound(b"[a"), Some(LexBound::Including(b"a")));
        assert_eq!(lex_bound(b"("), Some(LexBound::Excluding(b"")));
        assert_eq!(lex_bound(b"-\0x"), Some(LexBound::Min));
        assert_eq!([lex_bound(b""), lex_bound(b"a"), lex_bound(b"+a")], [None; 3]);
    }
}
