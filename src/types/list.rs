//! Lists: elements in order, pushed and popped at either end.
//!
//! A small list is packed into its head (see `encoding::packed`). One that has outgrown `packed-max-bytes` is spread: a row per element
//! under consecutive indexes, and a head that knows the first index and the count. A push or pop touches one row and the head,
//! whatever the length; rows left behind by pops lie outside the live indexes, in nobody's way. It stays spread until it is
//! emptied or overwritten.
//!
//! ```text
//! extra of a spread list = | first index 8, offset by 2^63 | bytes of a listpack with these elements 8 |
//! ```
//!
//! The note is 1 when OBJECT ENCODING answers `quicklist`; the rules are in `listpack`.
//!
//! Operations take the head that the caller has loaded. Locks: the caller's key is locked by its command.

mod listpack;

use crate::encoding::head::{Body, DataType, Spread, read_u64};
use crate::encoding::packed::{Packed, entry_len, varint_len, write_entry, write_varint};
use crate::encoding::row::Place;
use crate::encoding::{Damaged, Family};
use crate::keyspace::{Direction, Key, NewHead, Outcome, Stop, Stored, Txn};
use listpack::Limit;
use smallvec::SmallVec;
use std::ops::{ControlFlow, Range};

const NOTE_QUICKLIST: u8 = 1;
/// Up to so many elements are read one by one, through the memory tier; more in one scan.
const SINGLE_READS_MAX: u64 = 16;
const INDEX_OFFSET: u64 = 1 << 63;

/// One end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where LPUSH pushes.
    Front,
    /// Where RPUSH pushes.
    Back,
}

/// What OBJECT ENCODING answers for a list.
pub fn object_encoding(stored: &Stored) -> &'static str {
    if stored.note() & NOTE_QUICKLIST == 0 { "listpack" } else { "quicklist" }
}

/// Loads a key that must be a list, if it exists.
pub fn load(txn: &mut Txn<'_>, key: &Key) -> Outcome<Option<Stored>> {
    txn.load_typed(key, DataType::List)
}

/// How many elements a list has.
pub fn len(stored: &Stored) -> Outcome<u64> {
    match stored.body() {
        Body::Whole(bytes) => Ok(Packed::decode(bytes)?.count()),
        Body::Spread(spread) => Ok(spread.count),
    }
}

/// A packed list: how many elements, and their bytes as packed.
#[derive(Clone, Copy)]
struct PackedList<'a> {
    count: u64,
    entries: &'a [u8],
}

impl<'a> PackedList<'a> {
    fn decode(bytes: &'a [u8]) -> Result<PackedList<'a>, Damaged> {
        let count = Packed::decode(bytes)?.count();
        Ok(PackedList { count, entries: bytes.get(varint_len(count)..).unwrap_or_default() })
    }

    fn walk(bytes: &'a [u8]) -> Result<impl Iterator<Item = Result<&'a [u8], Damaged>>, Damaged> {
        Ok(Packed::decode(bytes)?.iter())
    }
}

/// A spread list as its head describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rows {
    place: Place,
    first: i64,
    count: u64,
    listpack_bytes: u64,
}

impl Rows {
    fn decode(spread: Spread<'_>) -> Result<Rows, Damaged> {
        let (first, bytes) =
            spread.extra.split_at_checked(8).ok_or(Damaged("list head without its first index"))?;
        let first = (read_u64(first)? ^ INDEX_OFFSET) as i64;
        Ok(Rows { place: spread.place, first, count: spread.count, listpack_bytes: read_u64(bytes)? })
    }

    fn extra(&self) -> [u8; 16] {
        let mut extra = [0; 16];
        extra[..8].copy_from_slice(&((self.first as u64) ^ INDEX_OFFSET).to_be_bytes());
        extra[8..].copy_from_slice(&self.listpack_bytes.to_be_bytes());
        extra
    }

    /// The row index of the nth element; one past the last for the count.
    fn index(&self, nth: u64) -> i64 {
        self.first.wrapping_add_unsigned(nth)
    }
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

    fn is_quicklist(&self) -> bool {
        self.note & NOTE_QUICKLIST != 0
    }

    /// After a removal, with so much left.
    fn shrink(&mut self, txn: &Txn<'_>, count: u64, listpack_bytes: u64) {
        let limit = Limit::of(txn.keyspace().tuning().list_size_max());
        if limit.is_small_again(count, listpack_bytes) {
            self.note &= !NOTE_QUICKLIST;
        }
    }

    fn with(self, body: Body<'_>) -> NewHead<'_> {
        NewHead::new(DataType::List, body).noted(self.note).expiring(self.expires_at_ms)
    }
}

fn save_rows(txn: &mut Txn<'_>, key: &Key, head: Unfinished, rows: Rows) -> Outcome {
    let extra = rows.extra();
    txn.save(key, head.with(Body::Spread(Spread { place: rows.place, count: rows.count, extra: &extra })))
}

/// Pushes elements one after the other at an end of a list, which may be missing. Gives the new length.
pub fn push<'e>(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: Option<&Stored>,
    end: End,
    elements: impl DoubleEndedIterator<Item = &'e [u8]> + ExactSizeIterator + Clone,
) -> Outcome<u64> {
    txn.expect_work(elements.len() as u64)?;
    let mut head = Unfinished::of(stored);
    let limit = Limit::of(txn.keyspace().tuning().list_size_max());
    let added = elements.len() as u64;
    let text_bytes: u64 = elements.clone().map(|element| element.len() as u64).sum();
    match stored.map(Stored::body) {
        Some(Body::Spread(spread)) => {
            let mut rows = Rows::decode(spread)?;
            if limit.is_passed(rows.count + added, rows.listpack_bytes + text_bytes) {
                head.note |= NOTE_QUICKLIST;
            }
            push_rows(txn, key, &mut rows, end, elements)?;
            save_rows(txn, key, head, rows)?;
            Ok(rows.count)
        }
        body => {
            let bytes: &[u8] = match body {
                Some(Body::Whole(bytes)) => bytes,
                _ => b"\0",
            };
            let old = PackedList::decode(bytes)?;
            if !head.is_quicklist() {
                // The bound spares the walk when the list is far from the limit.
                let bound = listpack::bytes_bound(old.count, old.entries.len() as u64);
                if limit.is_passed(old.count + added, bound + text_bytes)
                    && limit.is_passed(old.count + added, listpack_bytes(bytes)? + text_bytes)
                {
                    head.note |= NOTE_QUICKLIST;
                }
            }
            push_packed(txn, key, head, bytes, end, elements)
        }
    }
}

/// Bytes of a listpack with the elements of a packed list.
fn listpack_bytes(bytes: &[u8]) -> Result<u64, Damaged> {
    PackedList::walk(bytes)?
        .try_fold(listpack::EMPTY_BYTES, |sum, element| Ok(sum + listpack::element_bytes(element?)))
}

fn push_rows<'e>(
    txn: &mut Txn<'_>,
    key: &Key,
    rows: &mut Rows,
    end: End,
    elements: impl Iterator<Item = &'e [u8]>,
) -> Outcome {
    for element in elements {
        let index = match end {
            End::Front => {
                rows.first = rows.first.wrapping_sub(1);
                rows.first
            }
            End::Back => rows.index(rows.count),
        };
        txn.put_element(key, Family::List, &rows.place.index_row(index), element)?;
        rows.count += 1;
        rows.listpack_bytes += listpack::element_bytes(element);
    }
    Ok(())
}

fn push_packed<'e>(
    txn: &mut Txn<'_>,
    key: &Key,
    head: Unfinished,
    bytes: &[u8],
    end: End,
    elements: impl DoubleEndedIterator<Item = &'e [u8]> + ExactSizeIterator + Clone,
) -> Outcome<u64> {
    let old = PackedList::decode(bytes)?;
    let count = old.count + elements.len() as u64;
    let added: usize = elements.clone().map(|element| entry_len(element.len())).sum();
    if varint_len(count) + old.entries.len() + added <= txn.keyspace().tuning().packed_bytes_max() {
        txn.save_with(key, head.with(Body::Whole(b"")), |out| {
            write_varint(out, count);
            match end {
                End::Front => {
                    elements.rev().for_each(|element| write_entry(out, element));
                    out.extend_from_slice(old.entries);
                }
                End::Back => {
                    out.extend_from_slice(old.entries);
                    elements.for_each(|element| write_entry(out, element));
                }
            }
        })?;
        return Ok(count);
    }
    let place = txn.new_place(key);
    let mut rows = Rows { place, first: 0, count: 0, listpack_bytes: listpack::EMPTY_BYTES };
    let all: SmallVec<[&[u8]; 64]> = PackedList::walk(bytes)?.collect::<Result<_, _>>()?;
    push_rows(txn, key, &mut rows, End::Back, all.into_iter())?;
    push_rows(txn, key, &mut rows, end, elements)?;
    save_rows(txn, key, head, rows)?;
    Ok(count)
}

/// Takes up to `count` elements from an end, showing each to `visit`, the outermost first. A list without elements is no more.
pub fn pop(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    end: End,
    count: u64,
    mut visit: impl FnMut(&[u8]),
) -> Outcome {
    let len = len(stored)?;
    let count = count.min(len);
    if count == 0 {
        return Ok(());
    }
    txn.expect_work(count)?;
    if count == len {
        walk(txn, stored, 0..len, end, visit)?;
        txn.delete(key)?;
        return Ok(());
    }
    match stored.body() {
        Body::Whole(bytes) => pop_packed(txn, key, stored, bytes, end, count, &mut visit),
        Body::Spread(spread) => pop_rows(txn, key, stored, Rows::decode(spread)?, end, count, &mut visit),
    }
}

/// The positions of so many elements at an end.
fn outermost(len: u64, end: End, count: u64) -> Range<u64> {
    match end {
        End::Front => 0..count,
        End::Back => len - count..len,
    }
}

/// Takes fewer elements than there are from a packed list.
fn pop_packed(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    bytes: &[u8],
    end: End,
    count: u64,
    visit: &mut dyn FnMut(&[u8]),
) -> Outcome {
    let mut head = Unfinished::of(Some(stored));
    let old = PackedList::decode(bytes)?;
    let (mut entries_len, mut removed) = (0, 0);
    walk(txn, stored, outermost(old.count, end, count), end, |element| {
        entries_len += entry_len(element.len());
        removed += if head.is_quicklist() { listpack::element_bytes(element) } else { 0 };
        visit(element);
    })?;
    let kept = match end {
        End::Front => old.entries.get(entries_len..),
        End::Back => old.entries.get(..old.entries.len().saturating_sub(entries_len)),
    };
    let kept = kept.ok_or(Damaged("packed list shorter than its elements"))?;
    let left = old.count - count;
    if head.is_quicklist() {
        let bytes_left = listpack_bytes(bytes)?.saturating_sub(removed);
        head.shrink(txn, left, bytes_left);
    }
    txn.save_with(key, head.with(Body::Whole(b"")), |out| {
        write_varint(out, left);
        out.extend_from_slice(kept);
    })
}

/// Takes fewer elements than there are from a spread list.
fn pop_rows(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    mut rows: Rows,
    end: End,
    count: u64,
    visit: &mut dyn FnMut(&[u8]),
) -> Outcome {
    let mut head = Unfinished::of(Some(stored));
    let popped = outermost(rows.count, end, count);
    let mut removed = 0;
    walk_rows(txn, rows, popped.clone(), end, |element| {
        removed += listpack::element_bytes(element);
        visit(element);
    })?;
    for nth in popped {
        txn.delete_element(key, Family::List, &rows.place.index_row(rows.index(nth)))?;
    }
    if end == End::Front {
        rows.first = rows.index(count);
    }
    rows.count -= count;
    rows.listpack_bytes = rows.listpack_bytes.saturating_sub(removed);
    head.shrink(txn, rows.count, rows.listpack_bytes);
    save_rows(txn, key, head, rows)
}

/// Shows the elements of a range that lies within the list to `visit`, beginning at the range's front or back.
pub fn walk(
    txn: &mut Txn<'_>,
    stored: &Stored,
    range: Range<u64>,
    from: End,
    mut visit: impl FnMut(&[u8]),
) -> Outcome {
    let wanted = range.end.saturating_sub(range.start);
    txn.expect_work(wanted)?;
    match stored.body() {
        Body::Whole(bytes) => {
            let elements = PackedList::walk(bytes)?.skip(range.start as usize).take(wanted as usize);
            match from {
                End::Front => {
                    for element in elements {
                        visit(element?);
                    }
                }
                End::Back => {
                    let elements: SmallVec<[&[u8]; 16]> = elements.collect::<Result<_, _>>()?;
                    elements.into_iter().rev().for_each(visit);
                }
            }
            Ok(())
        }
        Body::Spread(spread) => walk_rows(txn, Rows::decode(spread)?, range, from, visit),
    }
}

fn walk_rows(
    txn: &mut Txn<'_>,
    rows: Rows,
    range: Range<u64>,
    from: End,
    mut visit: impl FnMut(&[u8]),
) -> Outcome {
    let wanted = range.end.saturating_sub(range.start);
    let damaged = || Stop::Unavailable("a list has fewer elements than its head counts".to_owned());
    if wanted <= SINGLE_READS_MAX {
        for step in 0..wanted {
            let nth = match from {
                End::Front => range.start + step,
                End::Back => range.end - 1 - step,
            };
            let element = txn.element(Family::List, &rows.place.index_row(rows.index(nth)))?;
            visit(&element.ok_or_else(damaged)?);
        }
        return Ok(());
    }
    let (lower, upper) =
        (rows.place.index_row(rows.index(range.start)), rows.place.index_row(rows.index(range.end)));
    let direction = match from {
        End::Front => Direction::Up,
        End::Back => Direction::Down,
    };
    let mut seen = 0;
    txn.scan(Family::List, &lower, &upper, direction, |_, element| {
        seen += 1;
        visit(element);
        Ok(ControlFlow::Continue(()))
    })?;
    if seen == wanted { Ok(()) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::packed::write_packed;
    use crate::encoding::row::{Namespace, Version};

    #[test]
    fn the_extra_is_first_index_and_listpack_bytes() {
        let place = Place { namespace: Namespace(1), slot: 2, version: Version(3) };
        let rows = Rows { place, first: -2, count: 5, listpack_bytes: 0x0102 };
        let extra = rows.extra();
        assert_eq!(extra, *b"\x7f\xff\xff\xff\xff\xff\xff\xfe\0\0\0\0\0\0\x01\x02");
        assert_eq!(Rows::decode(Spread { place, count: 5, extra: &extra }), Ok(rows));
        assert!(Rows::decode(Spread { place, count: 5, extra: &extra[..15] }).is_err());
        assert_eq!((rows.index(0), rows.index(5)), (-2, 3));
    }

    #[test]
    fn a_packed_list_gives_its_entries_as_they_are() {
        let mut bytes = Vec::new();
        write_packed(&mut bytes, 3, [&b"a"[..], b"127", b""].into_iter());
        let packed = PackedList::decode(&bytes).unwrap();
        assert_eq!((packed.count, packed.entries), (3, &b"\x01a\x03127\x00"[..]));
        assert_eq!(listpack_bytes(&bytes), Ok(7 + 3 + 2 + 2));
        assert_eq!(PackedList::decode(b"\0").unwrap().count, 0);
    }
}
