//! LCS: what two strings have in common, in order. How it is found is in `types::lcs`.
//!
//! The work grows with the product of the lengths, so all but short strings go to the pool; what is too much even there is refused
//! as in Redis, by the size of a table of four bytes a cell against `proto-max-bulk-len`.

use crate::base::number::parse_i64;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::ReadOnly;
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::encoding::head::DataType;
use crate::keyspace::{Error, Outcome, Stored, Txn, fail};
use crate::resp::{Args, Reply};
use crate::types::{lcs, string};
use std::ops::Range;

/// LCS.
pub const COMMANDS: &[Command] = &family([Command::new("lcs", longest_common)
    .arity(-3)
    .flags(&[ReadOnly])
    .keys(&[KeySpec::ro(1).to(1).access()])
    .group(Group::String)
    .since("7.0.0")
    .complexity("O(N*M)")
    .summary("Finds what two strings have in common, in order.")
    .syntax("key1@0 key2@0 [LEN] [IDX] [MINMATCHLEN min-match-len:int] [WITHMATCHLEN]")]);

/// Cells of the table that count as one step of work.
const STEP_CELLS: u64 = 64;
/// Redis counts in 32 bits.
const STRING_BYTES_MAX: u64 = u32::MAX as u64 - 1;

/// What is asked for besides the bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Options {
    len: bool,
    matches: bool,
    with_match_len: bool,
    match_len_min: u64,
}

fn options(words: Args<'_>) -> Outcome<Options> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if is(b"idx") {
            options.matches = true;
        } else if is(b"len") {
            options.len = true;
        } else if is(b"withmatchlen") {
            options.with_match_len = true;
        } else if is(b"minmatchlen") {
            let text = words.next().ok_or(Error::Syntax)?;
            let len_min = parse_i64(text).ok_or(Error::NotInteger)?;
            options.match_len_min = u64::try_from(len_min).unwrap_or(0);
        } else {
            return Err(Error::Syntax.into());
        }
    }
    if options.matches && options.len {
        return fail("ERR If you want both the length and indexes, please just use IDX.");
    }
    Ok(options)
}

fn longest_common(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (key_a, key_b) = (call.key(1), call.key(2));
    let (a, b) = (call.txn.load(&key_a)?, call.txn.load(&key_b)?);
    let is_other = |stored: &Stored| stored.data_type() != DataType::String;
    if a.iter().chain(&b).any(is_other) {
        return fail("ERR The specified keys must contain string values");
    }
    let options = options(call.args.skip(3))?;
    let (a_len, b_len) = (a.as_ref().map_or(0, string::len), b.as_ref().map_or(0, string::len));
    check_size(&call.txn, a_len, b_len)?;
    call.txn.expect_work(a_len.saturating_mul(b_len) / STEP_CELLS)?;
    // A string beside an empty one may be huge, and need not be read.
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) if a_len > 0 && b_len > 0 => {
            (bytes(&mut call.txn, &a)?, bytes(&mut call.txn, &b)?)
        }
        _ => (Vec::new(), Vec::new()),
    };
    if options.len {
        reply.integer(lcs::len(&a, &b) as i64);
        return Ok(());
    }
    let common = lcs::find(&a, &b);
    if options.matches {
        write_matches(&common, options, reply);
    } else {
        reply.bulk(&common.bytes);
    }
    Ok(())
}

/// Refuses what Redis refuses.
fn check_size(txn: &Txn<'_>, a_len: u64, b_len: u64) -> Outcome {
    if a_len >= STRING_BYTES_MAX || b_len >= STRING_BYTES_MAX {
        return fail("ERR String too long for LCS");
    }
    if lcs::table_bytes(a_len, b_len) > txn.keyspace().tuning().string_bytes_max() as u128 {
        return fail("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    }
    Ok(())
}

fn bytes(txn: &mut Txn<'_>, stored: &Stored) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::with_capacity(string::len(stored) as usize);
    string::read(txn, stored, 0..string::len(stored), |piece| bytes.extend_from_slice(piece))?;
    Ok(bytes)
}

fn write_matches(common: &lcs::Common, options: Options, reply: &mut Reply<'_>) {
    let long_enough = |found: &&lcs::Match| found.a.len() as u64 >= options.match_len_min;
    reply.map(2);
    reply.bulk_str("matches");
    reply.array(common.matches.iter().filter(long_enough).count());
    for found in common.matches.iter().filter(long_enough) {
        reply.array(if options.with_match_len { 3 } else { 2 });
        write_range(&found.a, reply);
        write_range(&found.b, reply);
        if options.with_match_len {
            reply.integer(found.a.len() as i64);
        }
    }
    reply.bulk_str("len");
    reply.integer(common.bytes.len() as i64);
}

/// First and last byte, both included.
fn write_range(range: &Range<usize>, reply: &mut Reply<'_>) {
    reply.array(2);
    reply.integer(range.start as i64);
    reply.integer(range.end as i64 - 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn read(line: &str) -> Option<Options> {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        options(OwnedArgs::from_slices(&words).args()).ok()
    }

    #[test]
    fn options_come_in_any_order_and_case_and_twice() {
        let all = Options { len: false, matches: true, with_match_len: true, match_len_min: 4 };
        assert_eq!(read("withMatchLen minmatchlen 3 IDX minmatchlen 4 idx"), Some(all));
        assert_eq!(read("LEN MINMATCHLEN -7"), Some(Options { len: true, ..Options::default() }));
        for wrong in ["LEN IDX", "MINMATCHLEN", "MINMATCHLEN x", "FOO", "LEN 3"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
