//! Lists. Small ones are packed into the head; larger ones are rows under contiguous 64-bit indexes, so that a push or a pop
//! touches one row and the head, and LRANGE is one short scan.
//!
//! The extra of a spread head is the index of the first element (as in its row) and the bytes the elements would take as a listpack,
//! which decide what OBJECT ENCODING answers:
//!
//! ```text
//! extra = | first index 8, offset by 2^63 | listpack bytes 8 |
//! ```
//!
//! The head knows where the first live row is: nobody walks over the tombstones of elements popped before.

use crate::base::number::parse_i64;
use crate::encoding::head::{Body, DataType, Spread, read_u64};
use crate::encoding::packed::{Packed, entry_len, varint_len, write_entry, write_varint};
use crate::encoding::row::Place;
use crate::encoding::{Damaged, Family};
use crate::keyspace::{Key, NewHead, Outcome, Stored, Tuning, Txn};
use crate::store::Direction;
use std::ops::ControlFlow;

/// Which end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The head: LPUSH, LPOP.
    Left,
    /// The tail: RPUSH, RPOP.
    Right,
}

/// The note of a list that has outgrown one listpack.
const QUICKLIST: u8 = 1;
/// Bytes of a listpack without elements.
const LISTPACK_HEADER: u64 = 7;

/// A spread list's whereabouts.
#[derive(Debug, Clone, Copy)]
struct Rows {
    place: Place,
    count: u64,
    first: i64,
    listpack_bytes: u64,
}

impl Rows {
    fn read(spread: &Spread<'_>) -> Result<Rows, Damaged> {
        let (first, bytes) = spread.extra.split_at_checked(8).ok_or(Damaged("list head without its first index"))?;
        let first = (read_u64(first)? ^ (1 << 63)) as i64;
        Ok(Rows { place: spread.place, count: spread.count, first, listpack_bytes: read_u64(bytes)? })
    }

    fn index(&self, offset: u64) -> i64 {
        self.first.wrapping_add(offset as i64)
    }

    /// Writes the head, or removes the key when nothing is left.
    fn save(&self, txn: &mut Txn<'_>, key: &Key, note: u8, expires_at_ms: Option<u64>) -> Outcome {
        if self.count == 0 {
            txn.delete(key)?;
            return Ok(());
        }
        let mut extra = [0; 16];
        extra[..8].copy_from_slice(&((self.first as u64) ^ (1 << 63)).to_be_bytes());
        extra[8..].copy_from_slice(&self.listpack_bytes.to_be_bytes());
        let body = Body::Spread(Spread { place: self.place, count: self.count, extra: &extra });
        txn.save(key, NewHead::new(DataType::List, body).noted(note).expiring(expires_at_ms))
    }
}

/// Elements of a list; 0 without one.
pub fn len(txn: &mut Txn<'_>, key: &Key) -> Outcome<u64> {
    match txn.load_typed(key, DataType::List)? {
        None => Ok(0),
        Some(stored) => count_of(&stored),
    }
}

fn count_of(stored: &Stored) -> Outcome<u64> {
    match stored.body() {
        Body::Whole(bytes) => Ok(Packed::decode(bytes)?.count()),
        Body::Spread(spread) => Ok(spread.count),
    }
}

/// Pushes elements one after the other; gives the new length. With `only_existing` a missing list stays missing (0).
pub fn push<'v>(
    txn: &mut Txn<'_>,
    key: &Key,
    end: End,
    only_existing: bool,
    values: impl Iterator<Item = &'v [u8]> + DoubleEndedIterator + Clone,
) -> Outcome<u64> {
    let stored = txn.load_typed(key, DataType::List)?;
    if stored.is_none() && only_existing {
        return Ok(0);
    }
    let tuning = txn.keyspace().tuning();
    let (note, expires_at_ms) = stored.as_ref().map_or((0, None), |stored| (stored.note(), stored.expires_at_ms()));
    let added = values.clone().count() as u64;
    let added_bytes: u64 = values.clone().map(listpack_entry_bytes).sum();
    let body = stored.as_ref().map_or(Body::Whole(b"\0"), Stored::body);
    match body {
        Body::Whole(bytes) => {
            let packed = Packed::decode(bytes)?;
            let old_bytes = listpack_bytes(packed)?;
            let count = packed.count() + added;
            let note = grown_note(note, tuning, count, old_bytes + added_bytes);
            let entries = &bytes[varint_len(packed.count())..];
            let size = varint_len(count) + entries.len() + values.clone().map(|value| entry_len(value.len())).sum::<usize>();
            if size <= tuning.packed_bytes_max() {
                let head = NewHead::new(DataType::List, Body::Whole(b"")).noted(note).expiring(expires_at_ms);
                txn.save_with(key, head, |out| {
                    write_varint(out, count);
                    // LPUSH a b puts b first.
                    if end == End::Left {
                        values.clone().rev().for_each(|value| write_entry(out, value));
                    }
                    out.extend_from_slice(entries);
                    if end == End::Right {
                        values.clone().for_each(|value| write_entry(out, value));
                    }
                })?;
                return Ok(count);
            }
            let place = txn.new_place(key);
            let mut rows = Rows { place, count: packed.count(), first: 0, listpack_bytes: old_bytes };
            for (offset, entry) in packed.iter().enumerate() {
                txn.put_element(key, Family::List, &place.index_row(offset as i64), entry?)?;
            }
            push_rows(txn, key, &mut rows, end, values)?;
            rows.save(txn, key, note, expires_at_ms)?;
            Ok(rows.count)
        }
        Body::Spread(spread) => {
            let mut rows = Rows::read(&spread)?;
            push_rows(txn, key, &mut rows, end, values)?;
            let note = grown_note(note, tuning, rows.count, rows.listpack_bytes);
            rows.save(txn, key, note, expires_at_ms)?;
            Ok(rows.count)
        }
    }
}

fn push_rows<'v>(
    txn: &mut Txn<'_>,
    key: &Key,
    rows: &mut Rows,
    end: End,
    values: impl Iterator<Item = &'v [u8]>,
) -> Outcome {
    for value in values {
        let index = match end {
            End::Left => {
                rows.first = rows.first.wrapping_sub(1);
                rows.first
            }
            End::Right => rows.index(rows.count),
        };
        rows.count += 1;
        rows.listpack_bytes += listpack_entry_bytes(value);
        txn.put_element(key, Family::List, &rows.place.index_row(index), value)?;
    }
    Ok(())
}

/// Takes up to `count` elements off one end, each given to `take` in the order popped. `None` when there is no list.
pub fn pop(
    txn: &mut Txn<'_>,
    key: &Key,
    end: End,
    count: u64,
    mut take: impl FnMut(&[u8]),
) -> Outcome<Option<u64>> {
    let Some(stored) = txn.load_typed(key, DataType::List)? else { return Ok(None) };
    let tuning = txn.keyspace().tuning();
    let (note, expires_at_ms) = (stored.note(), stored.expires_at_ms());
    match stored.body() {
        Body::Whole(bytes) => {
            let packed = Packed::decode(bytes)?;
            let taken = count.min(packed.count());
            if taken == 0 {
                return Ok(Some(0));
            }
            let entries = packed.iter().collect::<Result<Vec<_>, _>>()?;
            let (popped, rest) = match end {
                End::Left => entries.split_at(taken as usize),
                End::Right => {
                    let (rest, popped) = entries.split_at(entries.len() - taken as usize);
                    (popped, rest)
                }
            };
            match end {
                End::Left => popped.iter().for_each(|entry| take(entry)),
                End::Right => popped.iter().rev().for_each(|entry| take(entry)),
            }
            if rest.is_empty() {
                txn.delete(key)?;
            } else {
                let bytes = LISTPACK_HEADER + rest.iter().map(|entry| listpack_entry_bytes(entry)).sum::<u64>();
                let note = shrunk_note(note, tuning, rest.len() as u64, bytes);
                let head = NewHead::new(DataType::List, Body::Whole(b"")).noted(note).expiring(expires_at_ms);
                txn.save_with(key, head, |out| {
                    write_varint(out, rest.len() as u64);
                    rest.iter().for_each(|entry| write_entry(out, entry));
                })?;
            }
            Ok(Some(taken))
        }
        Body::Spread(spread) => {
            let mut rows = Rows::read(&spread)?;
            let taken = count.min(rows.count);
            txn.expect_work(taken)?;
            for _ in 0..taken {
                let index = match end {
                    End::Left => rows.first,
                    End::Right => rows.index(rows.count - 1),
                };
                let row = rows.place.index_row(index);
                let value = txn.element(Family::List, &row)?.ok_or(Damaged("list without one of its elements"))?;
                take(&value);
                rows.listpack_bytes = rows.listpack_bytes.saturating_sub(listpack_entry_bytes(&value));
                txn.delete_element(key, Family::List, &row)?;
                rows.count -= 1;
                if end == End::Left {
                    rows.first = rows.first.wrapping_add(1);
                }
            }
            if taken > 0 {
                let note = shrunk_note(note, tuning, rows.count, rows.listpack_bytes);
                rows.save(txn, key, note, expires_at_ms)?;
            }
            Ok(Some(taken))
        }
    }
}

/// Visits the elements from `start` to `stop` (both included, negative from the end). `begin` hears their number first.
pub fn range(
    txn: &mut Txn<'_>,
    key: &Key,
    start: i64,
    stop: i64,
    mut begin: impl FnMut(u64),
    mut visit: impl FnMut(&[u8]),
) -> Outcome {
    let Some(stored) = txn.load_typed(key, DataType::List)? else {
        begin(0);
        return Ok(());
    };
    let Some((from, count)) = resolve(start, stop, count_of(&stored)?) else {
        begin(0);
        return Ok(());
    };
    txn.expect_work(count)?;
    match stored.body() {
        Body::Whole(bytes) => {
            begin(count);
            for entry in Packed::decode(bytes)?.iter().skip(from as usize).take(count as usize) {
                visit(entry?);
            }
            Ok(())
        }
        Body::Spread(spread) => {
            let rows = Rows::read(&spread)?;
            let (lower, upper) = (rows.place.index_row(rows.index(from)), rows.place.index_row(rows.index(from + count)));
            begin(count);
            let mut seen = 0;
            txn.scan(Family::List, &lower, &upper, Direction::Up, |_, value| {
                visit(value);
                seen += 1;
                Ok(ControlFlow::Continue(()))
            })?;
            if seen == count { Ok(()) } else { Err(Damaged("list without one of its elements").into()) }
        }
    }
}

/// The first index and the number of elements a range means; `None` for none.
fn resolve(start: i64, stop: i64, len: u64) -> Option<(u64, u64)> {
    let len = i64::try_from(len).ok()?;
    let from_end = |index: i64| if index < 0 { len.saturating_add(index) } else { index };
    let start = from_end(start).max(0);
    let stop = from_end(stop).min(len - 1);
    if start > stop || start >= len { None } else { Some((start as u64, (stop - start + 1) as u64)) }
}

/// What OBJECT ENCODING answers.
pub fn object_encoding(stored: &Stored) -> &'static str {
    if stored.note() & QUICKLIST != 0 { "quicklist" } else { "listpack" }
}

/// Bytes an element takes in a listpack: its encoding, itself, and its length once more for the way back.
fn listpack_entry_bytes(value: &[u8]) -> u64 {
    let encoded = match parse_i64(value) {
        Some(number) if value.len() <= 20 => match number {
            0..=127 => 1,
            -4096..=4095 => 2,
            -32768..=32767 => 3,
            -8388608..=8388607 => 4,
            -2147483648..=2147483647 => 5,
            _ => 9,
        },
        _ => match value.len() as u64 {
            len @ ..=63 => 1 + len,
            len @ ..=4095 => 2 + len,
            len => 5 + len,
        },
    };
    let way_back = match encoded {
        ..=127 => 1,
        ..=16382 => 2,
        ..=2097150 => 3,
        ..=268435454 => 4,
        _ => 5,
    };
    encoded + way_back
}

fn listpack_bytes(packed: Packed<'_>) -> Outcome<u64> {
    let mut bytes = LISTPACK_HEADER;
    for entry in packed.iter() {
        bytes += listpack_entry_bytes(entry?);
    }
    Ok(bytes)
}

/// Elements and bytes one listpack may have, by `list-max-listpack-size`.
fn listpack_limits(tuning: &Tuning) -> (u64, u64) {
    match tuning.list_size_max() {
        count @ 0.. => (count as u64, 8192),
        class => (u64::MAX, 4096 << (class.unsigned_abs().clamp(1, 5) - 1)),
    }
}

fn grown_note(note: u8, tuning: &Tuning, count: u64, bytes: u64) -> u8 {
    let (count_max, bytes_max) = listpack_limits(tuning);
    if count > count_max || bytes > bytes_max { note | QUICKLIST } else { note }
}

/// A list that has shrunk to half of what a listpack may hold is one again.
fn shrunk_note(note: u8, tuning: &Tuning, count: u64, bytes: u64) -> u8 {
    let (count_max, bytes_max) = listpack_limits(tuning);
    if count <= count_max / 2 && bytes <= bytes_max / 2 { note & !QUICKLIST } else { note }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_as_redis_does() {
        assert_eq!(resolve(0, -1, 3), Some((0, 3)));
        assert_eq!(resolve(-100, 100, 3), Some((0, 3)));
        assert_eq!(resolve(-2, -1, 3), Some((1, 2)));
        assert_eq!(resolve(2, 1, 3), None);
        assert_eq!(resolve(3, 5, 3), None);
        assert_eq!(resolve(i64::MIN, i64::MAX, 3), Some((0, 3)));
        assert_eq!(resolve(0, -4, 3), None);
    }

    #[test]
    fn listpack_sizes_follow_the_encodings() {
        assert_eq!(listpack_entry_bytes(b"1"), 2);
        assert_eq!(listpack_entry_bytes(b"-1"), 3);
        assert_eq!(listpack_entry_bytes(b"70000"), 5);
        assert_eq!(listpack_entry_bytes(b"hello"), 7);
        assert_eq!(listpack_entry_bytes(&[b'x'; 100]), 103);
        assert_eq!(listpack_entry_bytes(&[b'x'; 200]), 204);
    }
}
