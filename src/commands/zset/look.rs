//! Single members: their scores and ranks, picked by chance, page by page.

use super::MemberList;
use crate::base::glob::glob_match;
use crate::base::number::{IntText, format_f64, format_g17, parse_i64, parse_u64_loose};
use crate::commands::page::PageOptions;
use crate::dispatch::Call;
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::{Args, Reply};
use crate::types::pick::Picks;
use crate::types::zset;

/// Members a page of ZSCAN goes through when the client does not say.
const PAGE_MEMBERS: u64 = 10;
/// ZRANDMEMBER with a negative count could go on for ever.
const RANDOM_REPLY_BYTES_MAX: usize = 512 << 20;

pub(super) fn zcard(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = zset::load(&mut call.txn, &key)?;
    reply.integer(stored.as_ref().map_or(Ok(0), zset::len)? as i64);
    Ok(())
}

fn write_score(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

pub(super) fn zscore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let score = match zset::load(&mut call.txn, &key)? {
        Some(stored) => zset::score(&mut call.txn, &stored, call.args.at(2))?,
        None => None,
    };
    write_score(reply, score);
    Ok(())
}

pub(super) fn zmscore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = zset::load(&mut call.txn, &key)?;
    let members = call.args.skip(2);
    call.txn.expect_work(members.len() as u64)?;
    reply.array(members.len());
    for member in members.iter() {
        let score = match &stored {
            Some(stored) => zset::score(&mut call.txn, stored, member)?,
            None => None,
        };
        write_score(reply, score);
    }
    Ok(())
}

pub(super) fn zrank(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    rank(call, reply, "zrank", false)
}

pub(super) fn zrevrank(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    rank(call, reply, "zrevrank", true)
}

fn rank(call: &mut Call<'_>, reply: &mut Reply<'_>, command: &'static str, reversed: bool) -> Outcome {
    if call.args.len() > 4 {
        return Err(Error::Arity(command.into()).into());
    }
    let with_score = match call.args.get(3) {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"withscore") => true,
        Some(_) => return Err(Error::Syntax.into()),
    };
    let key = call.key(1);
    let found = match zset::load(&mut call.txn, &key)? {
        Some(stored) => zset::rank(&mut call.txn, &stored, call.args.at(2), reversed)?,
        None => None,
    };
    match found {
        Some((rank, score)) if with_score => {
            reply.array(2);
            reply.integer(rank as i64);
            reply.double(score);
        }
        Some((rank, _)) => reply.integer(rank as i64),
        None if with_score => reply.null_array(),
        None => reply.null(),
    }
    Ok(())
}

/// Reads ZRANDMEMBER's count and WITHSCORES.
fn random_options(args: Args<'_>) -> Outcome<(Picks, bool)> {
    let count = parse_i64(args.at(0)).ok_or(Error::NotInteger)?;
    if count == i64::MIN {
        return fail(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
    }
    let with_scores = match args.get(1) {
        None => false,
        Some(word) if args.len() == 2 && word.eq_ignore_ascii_case(b"withscores") => true,
        Some(_) => return Err(Error::Syntax.into()),
    };
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return fail("ERR value is out of range");
    }
    let picks = if count < 0 { Picks::Any(count.unsigned_abs()) } else { Picks::Distinct(count as u64) };
    Ok((picks, with_scores))
}

pub(super) fn zrandmember(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.args.len() > 2 {
        return random_members(call, reply);
    }
    let key = call.key(1);
    let Some(stored) = zset::load(&mut call.txn, &key)? else {
        reply.null();
        return Ok(());
    };
    zset::pick(&mut call.txn, &stored, Picks::Any(1), |member, _| {
        reply.bulk(member);
        Ok(())
    })
}

fn random_members(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (picks, with_scores) = random_options(call.args.skip(2))?;
    let key = call.key(1);
    let Some(stored) = zset::load(&mut call.txn, &key)? else {
        reply.array(0);
        return Ok(());
    };
    let (start, mark) = (reply.len(), reply.deferred_array());
    let mut list = MemberList::new(reply, with_scores);
    match picks {
        Picks::Distinct(wanted) if wanted >= zset::len(&stored)? => {
            zset::for_each(&mut call.txn, &stored, |member, score| list.push(member, score))?;
        }
        _ => zset::pick(&mut call.txn, &stored, picks, |member, score| {
            list.push(member, score);
            if list.reply.len() - start > RANDOM_REPLY_BYTES_MAX {
                return fail("ERR value is out of range, the reply would be longer than 512 MB");
            }
            Ok(())
        })?,
    }
    let count = list.count;
    reply.fill_array(mark, count);
    Ok(())
}

pub(super) fn zscan(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some(cursor) = parse_u64_loose(call.args.at(2)) else { return fail("ERR invalid cursor") };
    let key = call.key(1);
    let Some(stored) = zset::load(&mut call.txn, &key)? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = PageOptions::read(call.args.skip(3), PAGE_MEMBERS)?;
    // Redis shows what stands in its listpack, and prints the scores of a skip list with all their digits.
    let text_of = if zset::is_skiplist(&stored) { format_g17 } else { format_f64 };
    // The cursor stands before the members but is known after them.
    let mut written = call.txn.take_buffer();
    let mut members = Reply::new(&mut written, reply.proto());
    let mut count = 0;
    let next = zset::page(&mut call.txn, &stored, cursor, options.rows, |member, score| {
        if options.pattern.is_some_and(|pattern| !glob_match(pattern, member, false)) {
            return;
        }
        members.bulk(member);
        members.bulk_str(&text_of(score));
        count += 2;
    })?;
    reply.array(2);
    reply.bulk(IntText::unsigned(next).as_bytes());
    reply.array(count);
    reply.raw(&written);
    call.txn.return_buffer(written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn args(line: &str) -> OwnedArgs {
        OwnedArgs::from_slices(&line.split_whitespace().map(str::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn a_negative_count_picks_with_repetition() {
        let read = |line: &str| random_options(args(line).args()).ok();
        assert_eq!(read("5"), Some((Picks::Distinct(5), false)));
        assert_eq!(read("-5 withSCORES"), Some((Picks::Any(5), true)));
        for wrong in
            ["x", "5 SCORES", "5 WITHSCORES x", "-9223372036854775808", "4611686018427387904 WITHSCORES"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
