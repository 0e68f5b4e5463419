//! What a key costs: the bytes of all rows that are there because of it.
//!
//! ```text
//! key     its head row's key, and its row in `ttl` if it expires
//! value   its head row's value, and the rows of its elements
//! row     its key and value as they are, and 8 bytes that RocksDB adds to each (sequence and kind)
//! ```
//!
//! That is what the disk holds before compression, and about what the key would take in memory if all of it were hot. Rows of
//! elements are read for a few elements only, and the rest are taken to be like them. A score row is about as long as its member
//! row, so of a sorted set only the latter are read; a chunked string's rows follow from its length (holes count as if full).
//!
//! Locks: the caller's key is locked by its command, or the answer is an estimate in that respect, too.

use super::list::{self, End};
use super::stream::{self, groups};
use super::string;
use crate::encoding::Family;
use crate::encoding::head::{Body, DataType, Spread};
use crate::encoding::row::{PLACE_LEN, Place};
use crate::keyspace::{Direction, Key, Outcome, Stored, Txn};
use std::ops::ControlFlow;

/// What RocksDB adds to each row.
const ROW_BYTES: u64 = 8;
/// The time before the head row's key in a row of `ttl`.
const HINT_BYTES: u64 = 8;
/// A list's position, or a string's chunk number at most.
const POSITION_BYTES: u64 = 8;

/// Bytes of a key's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Of what finds it.
    pub key_bytes: u64,
    /// Of what it holds.
    pub value_bytes: u64,
}

impl Footprint {
    /// Both.
    pub fn bytes(&self) -> u64 {
        self.key_bytes.saturating_add(self.value_bytes)
    }
}

/// What a key costs. At most `samples` of its elements are read, all of them when it is 0.
pub fn footprint(txn: &mut Txn<'_>, key: &Key, stored: &Stored, samples: u64) -> Outcome<Footprint> {
    let row_key = key.row().len() as u64 + ROW_BYTES;
    let hint = stored.expires_at_ms().map_or(0, |_| row_key + HINT_BYTES);
    let elements = match stored.body() {
        Body::Whole(_) => 0,
        Body::Spread(spread) => {
            let sampled = if samples == 0 { spread.count } else { samples.min(spread.count) };
            elements(txn, key, stored, spread, sampled)?
        }
    };
    Ok(Footprint { key_bytes: row_key + hint, value_bytes: stored.len() as u64 + elements })
}

/// Bytes of all element rows, from the first `sampled` of them.
fn elements(txn: &mut Txn<'_>, key: &Key, stored: &Stored, spread: Spread<'_>, sampled: u64) -> Outcome<u64> {
    let position_row = PLACE_LEN as u64 + POSITION_BYTES + ROW_BYTES;
    match stored.data_type() {
        DataType::String => Ok(spread.count + string::chunks_of(spread.count) * position_row),
        DataType::List => {
            let mut bytes = 0;
            list::walk(txn, stored, 0..sampled, End::Front, |element| {
                bytes += element.len() as u64 + position_row;
            })?;
            Ok(scaled(bytes, sampled, spread.count))
        }
        DataType::Zset => Ok(2 * rows(txn, Family::Member, spread.place, sampled, spread.count)?),
        DataType::Stream => {
            let entries = rows(txn, Family::Stream, spread.place, sampled, spread.count)?;
            let Some(stream) = stream::load(txn, key)? else { return Ok(entries) };
            let count = groups::row_count(txn, &stream)?;
            let sampled = if sampled == spread.count { count } else { sampled };
            Ok(entries + rows(txn, Family::Group, spread.place, sampled, count)?)
        }
        other => other
            .families()
            .iter()
            .try_fold(0, |sum, &family| Ok(sum + rows(txn, family, spread.place, sampled, spread.count)?)),
    }
}

/// Bytes of a family's `count` rows under a place, from the first `sampled` of them.
fn rows(txn: &mut Txn<'_>, family: Family, place: Place, sampled: u64, count: u64) -> Outcome<u64> {
    txn.expect_work(sampled)?;
    let (mut seen, mut bytes) = (0, 0);
    txn.scan(family, &place.prefix(), &place.end(), Direction::Up, |row, value| {
        seen += 1;
        bytes += (row.len() + value.len()) as u64 + ROW_BYTES;
        Ok(if seen < sampled { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(scaled(bytes, seen, count))
}

/// What `count` rows take if `seen` of them take so many bytes.
fn scaled(bytes: u64, seen: u64, count: u64) -> u64 {
    let all = u128::from(bytes) * u128::from(count) / u128::from(seen.max(1));
    u64::try_from(all).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::stream::Id;
    use crate::keyspace::testbed::Testbed;
    use crate::types::hash;

    /// What a key costs, read with 5 samples and whole.
    fn both(bed: &Testbed, name: &[u8]) -> (Footprint, Footprint) {
        bed.run(|txn| {
            let key = txn.key(0, name);
            let stored = txn.load(&key)?.unwrap();
            Ok((footprint(txn, &key, &stored, 5)?, footprint(txn, &key, &stored, 0)?))
        })
    }

    #[test]
    fn a_string_costs_its_two_rows_or_its_chunks() {
        let bed = Testbed::open();
        bed.run(|txn| {
            let (plain, expiring, big) = (txn.key(0, b"p"), txn.key(0, b"e"), txn.key(0, b"b"));
            string::set(txn, &plain, b"hello", None)?;
            string::set(txn, &expiring, b"hello", Some(2_000_000))?;
            string::set(txn, &big, &[b'x'; 100_000], None)
        });
        // Namespace, position, name, RocksDB's part; kind, flags, value.
        assert_eq!(both(&bed, b"p").0, Footprint { key_bytes: 4 + 7 + 1 + 8, value_bytes: 2 + 5 });
        assert_eq!(both(&bed, b"e").0, Footprint { key_bytes: 20 + 28, value_bytes: 2 + 16 + 5 });
        assert_eq!(both(&bed, b"b").0.value_bytes, 2 + 22 + 100_000 + 7 * 30);
    }

    #[test]
    fn elements_alike_cost_the_same_sampled_and_read_one_by_one() {
        let bed = Testbed::open();
        bed.keyspace.tuning().set_packing(false, 0);
        bed.run(|txn| {
            let (hash_key, list_key) = (txn.key(0, b"h"), txn.key(0, b"l"));
            let fields: Vec<String> = (100..400).map(|number| format!("f{number}")).collect();
            let pairs: Vec<(&[u8], &[u8])> =
                fields.iter().map(|field| (field.as_bytes(), &b"v"[..])).collect();
            hash::set(txn, &hash_key, None, pairs.iter().copied())?;
            list::push(txn, &list_key, None, End::Back, std::iter::repeat_n(&b"element"[..], 300)).map(|_| ())
        });
        let (sampled, whole) = both(&bed, b"h");
        assert_eq!(sampled, whole);
        assert_eq!(whole.value_bytes, 2 + 22 + 300 * (14 + 7 + 4 + 1 + 8));
        let (sampled, whole) = both(&bed, b"l");
        assert_eq!(sampled, whole);
        assert_eq!(whole.value_bytes, 2 + 22 + 25 + 300 * (14 + 8 + 7 + 8));
    }

    #[test]
    fn the_rows_of_a_streams_groups_are_counted_apart_from_its_entries() {
        let bed = Testbed::open();
        let key = |txn: &mut Txn<'_>| txn.key(0, b"s");
        bed.run(|txn| {
            let key = key(txn);
            let mut stream = stream::Stream::new(txn, &key);
            let words = [&b"f"[..], b"v"];
            for seq in 1..=1_000 {
                stream.add(txn, &key, Id { ms: 1, seq }, words.iter().copied())?;
            }
            stream.save(txn, &key)
        });
        let before = both(&bed, b"s");
        bed.run(|txn| {
            let key = key(txn);
            let mut stream = stream::load(txn, &key)?.unwrap();
            assert!(groups::create(txn, &key, &mut stream, b"g", Id::MIN, None)?);
            stream.save(txn, &key)
        });
        let after = both(&bed, b"s");
        for (before, after) in [(before.0, after.0), (before.1, after.1)] {
            let group = after.value_bytes - before.value_bytes;
            assert!((1..200).contains(&group), "{group} bytes for a group");
        }
    }

    #[test]
    fn the_rest_is_taken_to_be_like_the_sample() {
        assert_eq!(scaled(100, 5, 5), 100);
        assert_eq!(scaled(100, 5, 1_000_000), 20_000_000);
        assert_eq!(scaled(0, 0, 7), 0);
        assert_eq!(scaled(u64::MAX, 1, u64::MAX), u64::MAX);
    }
}
