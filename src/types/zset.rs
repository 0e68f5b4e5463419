//! Sorted sets: members with scores, in the order of the scores and, among equal ones, of the members' bytes.
//!
//! A small one is packed into its head in that order: member, score (8 bytes), member, score (see `encoding::packed`). One that has
//! outgrown `packed-max-bytes` is spread over two rows a member (see `encoding::score`): one found by the member, which holds the
//! score, and one that stands in the order of the scores. The head counts the members and remembers both ends (see `edges`). It stays
//! spread until it is emptied or overwritten.
//!
//! The note is 1 once the sorted set has passed Redis' limits for a listpack (`zset-max-listpack-entries`,
//! `zset-max-listpack-value`); then OBJECT ENCODING says `skiplist` for good, whatever the form here. Redis' listpack keeps no -0, so
//! it becomes 0 while the note is 0.
//!
//! Read in this order: `change` (ZADD, ZREM), `rows` and `edges` (the spread form), `range` (spans, counts, ranks), `take` (pops and
//! removed stretches), `build` (large ones made at once), `combine` (unions and intersections), `walk` (ZSCAN, ZRANDMEMBER).
//!
//! Operations take the head that the caller has loaded. Locks: the caller's key is locked by its command.

mod build;
mod change;
mod combine;
mod edges;
mod range;
mod rows;
mod take;
mod walk;

pub use change::{Added, Condition, Rule, add, remove};
pub use combine::{Aggregate, Operation, Source, combine, combine_into, count_common, load_source};
pub use edges::Side;
pub use range::{LexBound, LexRange, ScoreRange, Selection, Window, count, rank, visit_selected};
pub use take::{pop, remove_selected};
pub use walk::{for_each, page, pick};

use crate::encoding::head::{Body, DataType};
use crate::encoding::packed::{Packed, entry_len, varint_len, write_entry, write_varint};
use crate::encoding::score::{SCORE_LEN, decode_score, encode_score, order_of};
use crate::encoding::{Damaged, Family};
use crate::keyspace::{Key, NewHead, Outcome, Stored, Tuning, Txn};
use rows::Rows;
use smallvec::SmallVec;

/// A member and its score.
pub type Pair<'a> = (f64, &'a [u8]);
/// The same, on its own.
pub type OwnedPair = (f64, Vec<u8>);

/// The members of a packed sorted set in order, most often few enough for the stack.
type Pairs<'a> = SmallVec<[Pair<'a>; 32]>;

const NOTE_SKIPLIST: u8 = 1;

/// What OBJECT ENCODING answers for a sorted set.
pub fn object_encoding(stored: &Stored) -> &'static str {
    if is_skiplist(stored) { "skiplist" } else { "listpack" }
}

/// Whether Redis would keep this one as a skip list. It then shows scores in ZSCAN in another form.
pub fn is_skiplist(stored: &Stored) -> bool {
    stored.note() & NOTE_SKIPLIST != 0
}

/// Loads a key that must be a sorted set, if it exists.
pub fn load(txn: &mut Txn<'_>, key: &Key) -> Outcome<Option<Stored>> {
    txn.load_typed(key, DataType::Zset)
}

/// How many members a sorted set has.
pub fn len(stored: &Stored) -> Outcome<u64> {
    match stored.body() {
        Body::Whole(bytes) => Ok(Packed::decode(bytes)?.count() / 2),
        Body::Spread(spread) => Ok(spread.count),
    }
}

/// The score of a member, if it is there.
pub fn score(txn: &mut Txn<'_>, stored: &Stored, member: &[u8]) -> Outcome<Option<f64>> {
    match stored.body() {
        Body::Whole(bytes) => {
            let mut entries = Packed::decode(bytes)?.iter();
            while let Some(found) = entries.next() {
                let score = entries.next().unwrap_or(Err(Damaged("packed member without its score")));
                if found? == member {
                    return Ok(Some(decode_score(score?)?));
                }
            }
            Ok(None)
        }
        Body::Spread(spread) => {
            let row = spread.place.field_row(txn.keyspace().seed(), member);
            let score = txn.element(Family::Member, &row)?;
            Ok(score.as_deref().map(decode_score).transpose()?)
        }
    }
}

/// Reads a packed sorted set.
fn read_packed(bytes: &[u8]) -> Result<Pairs<'_>, Damaged> {
    let mut entries = Packed::decode(bytes)?.iter();
    let mut pairs = Pairs::new();
    while let Some(member) = entries.next() {
        let score = entries.next().unwrap_or(Err(Damaged("packed member without its score")))?;
        pairs.push((decode_score(score)?, member?));
    }
    Ok(pairs)
}

/// Bytes of a packed sorted set with these members.
fn packed_len(pairs: &[Pair<'_>]) -> usize {
    let entries: usize = pairs.iter().map(|(_, member)| entry_len(member.len()) + entry_len(SCORE_LEN)).sum();
    varint_len(2 * pairs.len() as u64) + entries
}

fn write_pairs(out: &mut Vec<u8>, pairs: &[Pair<'_>]) {
    write_varint(out, 2 * pairs.len() as u64);
    for (score, member) in pairs {
        write_entry(out, member);
        write_entry(out, &encode_score(*score));
    }
}

/// Brings members into their order.
fn sort(pairs: &mut [Pair<'_>]) {
    // Most often they are nearly sorted, which this sort likes.
    pairs.sort_by(|a, b| (order_of(a.0), a.1).cmp(&(order_of(b.0), b.1)));
}

/// What a head keeps besides its body.
#[derive(Clone, Copy)]
struct Unfinished {
    note: u8,
    expires_at_ms: Option<u64>,
}

impl Unfinished {
    fn of(stored: Option<&Stored>) -> Unfinished {
        Unfinished {
            note: stored.map_or(0, Stored::note),
            expires_at_ms: stored.and_then(Stored::expires_at_ms),
        }
    }

    fn is_skiplist(&self) -> bool {
        self.note & NOTE_SKIPLIST != 0
    }

    /// The score as it is kept.
    fn kept(&self, score: f64) -> f64 {
        // Adding 0 turns -0 into 0.
        if self.is_skiplist() { score } else { score + 0.0 }
    }

    fn with(self, body: Body<'_>) -> NewHead<'_> {
        NewHead::new(DataType::Zset, body).noted(self.note).expiring(self.expires_at_ms)
    }
}

/// Saves members in their order under a key whose old value is packed, gone, or to be replaced.
fn save_all(txn: &mut Txn<'_>, key: &Key, head: Unfinished, pairs: &[Pair<'_>]) -> Outcome {
    if packed_len(pairs) <= txn.keyspace().tuning().packed_bytes_max() {
        return txn.save_with(key, head.with(Body::Whole(b"")), |out| write_pairs(out, pairs));
    }
    let place = txn.new_place(key);
    let Some(mut rows) = Rows::new(place, pairs) else { return Ok(()) };
    for (score, member) in pairs {
        let row = rows.member_row(txn, member);
        rows.put(txn, key, *score, member, &row)?;
    }
    rows.save(txn, key, head)
}

/// Stores members, which come in any order and once each, under a key, whatever it was; no members are no key. Gives how many.
pub fn replace(txn: &mut Txn<'_>, key: &Key, members: &[OwnedPair]) -> Outcome<u64> {
    if members.is_empty() {
        txn.delete(key)?;
        return Ok(0);
    }
    txn.expect_work(members.len() as u64)?;
    let tuning = txn.keyspace().tuning();
    let longest = members.iter().map(|(_, member)| member.len()).max().unwrap_or(0);
    let mut head = Unfinished { note: 0, expires_at_ms: None };
    if members.len() > tuning.zset_entries_max() || longest > tuning.zset_value_bytes_max() {
        head.note = NOTE_SKIPLIST;
    }
    let mut pairs: Vec<Pair<'_>> =
        members.iter().map(|(score, member)| (head.kept(*score), &member[..])).collect();
    sort(&mut pairs);
    save_all(txn, key, head, &pairs)?;
    Ok(pairs.len() as u64)
}

/// Makes the scores what they are for a sorted set that was told to expect so many members and got these one by one: a -0 that came
/// while Redis still had a listpack is 0.
pub fn came_one_by_one(tuning: &Tuning, members: &mut [OwnedPair], expected: usize) {
    let room = tuning.zset_entries_max();
    if expected > room {
        return;
    }
    let fitting = members.iter_mut().take(room);
    for (score, _) in fitting.take_while(|(_, member)| member.len() <= tuning.zset_value_bytes_max()) {
        *score += 0.0;
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod layout_tests {
    use super::*;

    #[test]
    fn a_packed_sorted_set_is_member_and_eight_bytes_of_score_in_order() {
        let mut pairs: [Pair<'_>; 3] = [(1.5, b"b"), (f64::NEG_INFINITY, b"c"), (1.5, b"a")];
        sort(&mut pairs);
        let mut out = Vec::new();
        write_pairs(&mut out, &pairs);
        assert_eq!(
            out,
            b"\x06\x01c\x08\xff\xf0\0\0\0\0\0\0\x01a\x08\x3f\xf8\0\0\0\0\0\0\x01b\x08\x3f\xf8\0\0\0\0\0\0"
        );
        assert_eq!(out.len(), packed_len(&pairs));
        assert_eq!(read_packed(&out).unwrap()[..], pairs);
    }

    #[test]
    fn a_member_without_a_whole_score_is_damage() {
        for damaged in [&b"\x01\x01m"[..], b"\x02\x01m\x01x", b"\x02\x01m\x08\0\0"] {
            assert!(read_packed(damaged).is_err());
        }
    }

    #[test]
    fn minus_zero_stands_among_zeros_by_its_member() {
        let mut pairs: [Pair<'_>; 3] = [(0.0, b"b"), (-0.0, b"c"), (0.0, b"a")];
        sort(&mut pairs);
        assert_eq!(pairs.map(|pair| pair.1), [b"a", b"b", b"c"]);
    }

    #[test]
    fn a_listpack_keeps_no_minus_zero() {
        let kept = |note| Unfinished { note, expires_at_ms: None }.kept(-0.0).is_sign_negative();
        assert_eq!((kept(0), kept(NOTE_SKIPLIST)), (false, true));
    }
}
