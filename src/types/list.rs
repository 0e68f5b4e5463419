//! Lists: elements in order, pushed and popped at either end, found and changed anywhere.
//!
//! A small list is packed into its head (`packed`). One that has outgrown `packed-max-bytes` is spread (`rows`): a row per element under
//! sparse ordered positions, and a head that knows the outermost ones and the count. A push or pop touches one row and the head,
//! whatever the length; rows that were popped lie outside the positions, in nobody's way. It stays spread until it is emptied,
//! overwritten, or cut to a small part of itself.
//!
//! Read in this order: this file (the ends), `rows`, `packed`, `edit` (the middle), `room` (what happens when there is no
//! room to insert). The note is 1 when OBJECT ENCODING answers `quicklist`; the rules are in `listpack`.
//!
//! Operations take the head that the caller has loaded. Locks: the caller's key is locked by its command.

mod edit;
pub(super) mod listpack;
mod packed;
mod room;
mod rows;
#[cfg(test)]
mod tests;

pub use edit::{Side, find, insert, remove, set};

use crate::encoding::Family;
use crate::encoding::head::{Body, DataType, Spread};
use crate::encoding::packed::{Packed, write_entry, write_varint};
use crate::keyspace::{Key, NewHead, Outcome, Stored, Txn};
use crate::types::pages::PAGE_ROWS;
use listpack::Limit;
use packed::PackedList;
use rows::{Rows, STRIDE};
use smallvec::SmallVec;
use std::ops::Range;

const NOTE_QUICKLIST: u8 = 1;
/// When more rows than this are cut off, and more than twice as many as are kept, the kept ones are written anew instead.
const CUT_ROWS_MAX: u64 = 1024;

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

    /// Before an addition to a list of so many elements and listpack bytes. As in Redis, the bytes added count without what a
    /// listpack puts around them.
    fn grow(&mut self, txn: &Txn<'_>, count: u64, listpack_bytes: u64) {
        if Limit::of(txn.keyspace().tuning().list_size_max()).is_passed(count, listpack_bytes) {
            self.note |= NOTE_QUICKLIST;
        }
    }

    /// The same for a packed list, whose listpack bytes are counted only when it may have come near the limit.
    fn grow_packed(&mut self, txn: &Txn<'_>, bytes: &[u8], count: u64, text_bytes: u64) -> Outcome {
        if self.is_quicklist() {
            return Ok(());
        }
        let old = PackedList::decode(bytes)?;
        let bound = listpack::bytes_bound(old.count, old.entries.len() as u64);
        if Limit::of(txn.keyspace().tuning().list_size_max()).is_passed(old.count + count, bound + text_bytes)
        {
            self.grow(txn, old.count + count, packed::listpack_bytes(bytes)? + text_bytes);
        }
        Ok(())
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
    let added = elements.len() as u64;
    txn.expect_work(added)?;
    let mut head = Unfinished::of(stored);
    let text_bytes: u64 = elements.clone().map(|element| element.len() as u64).sum();
    let bytes: &[u8] = match stored.map(Stored::body) {
        Some(Body::Spread(spread)) => {
            let mut rows = Rows::decode(spread)?;
            head.grow(txn, rows.count + added, rows.listpack_bytes + text_bytes);
            rows.push(txn, key, end, elements)?;
            save_rows(txn, key, head, rows)?;
            return Ok(rows.count);
        }
        Some(Body::Whole(bytes)) => bytes,
        None => b"\0",
    };
    head.grow_packed(txn, bytes, added, text_bytes)?;
    packed::push(txn, key, head, bytes, end, elements)
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
    let (front, back) = if end == End::Front { (count, 0) } else { (0, count) };
    match stored.body() {
        Body::Whole(bytes) => packed::cut(txn, key, stored, bytes, front, back, &mut visit),
        Body::Spread(spread) => {
            let rows = Rows::decode(spread)?;
            if is_better_written_anew(txn, rows.count - count, count) {
                rows.walk(txn, outermost(rows.count, end, count), end, |_, element| visit(element))?;
                return write_anew(txn, key, stored, rows, front..rows.count - back);
            }
            cut_rows(txn, key, stored, rows, front, back, &mut visit)
        }
    }
}

/// Keeps only the elements of a range that lies within the list. A list without elements is no more.
pub fn trim(txn: &mut Txn<'_>, key: &Key, stored: &Stored, kept: Range<u64>) -> Outcome {
    let len = len(stored)?;
    if kept.is_empty() || len == 0 {
        txn.delete(key)?;
        return Ok(());
    }
    let (front, back) = (kept.start, len.saturating_sub(kept.end));
    if front + back == 0 {
        // Nothing goes, and yet Redis takes it for a change: who watches the key learns of it.
        let head = Unfinished::of(Some(stored));
        return txn.save(key, head.with(stored.body()));
    }
    match stored.body() {
        Body::Whole(bytes) => packed::cut(txn, key, stored, bytes, front, back, &mut |_| ()),
        Body::Spread(spread) => {
            let rows = Rows::decode(spread)?;
            if is_better_written_anew(txn, len - front - back, front + back) {
                return write_anew(txn, key, stored, rows, kept);
            }
            cut_rows(txn, key, stored, rows, front, back, &mut |_| ())
        }
    }
}

/// The ranks of so many elements at an end.
fn outermost(len: u64, end: End, count: u64) -> Range<u64> {
    match end {
        End::Front => 0..count,
        End::Back => len - count..len,
    }
}

/// Whether it is less work to write what is kept under a new place, and let the old rows die, than to delete what goes.
fn is_better_written_anew(txn: &Txn<'_>, kept: u64, gone: u64) -> bool {
    let many = txn.keyspace().tuning().cut_rows_max(kept + gone);
    (gone > CUT_ROWS_MAX && kept < gone / 2) || gone > many
}

/// Takes fewer elements than there are from both ends of a spread list. Of an uneven one, the row behind those that go is read as
/// well: it is the new first, or last.
fn cut_rows(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    mut rows: Rows,
    front: u64,
    back: u64,
    visit: &mut dyn FnMut(&[u8]),
) -> Outcome {
    txn.expect_work(front + back)?;
    let before = rows;
    let mut removed = 0;
    for (end, count) in [(End::Front, front), (End::Back, back)] {
        if count == 0 {
            continue;
        }
        let more = u64::from(!before.even);
        let mut gone: SmallVec<[i64; 16]> = SmallVec::new();
        let mut next = None;
        before.walk(txn, outermost(before.count, end, count + more), end, |position, element| {
            if gone.len() as u64 == count {
                next = Some(position);
                return;
            }
            gone.push(position);
            removed += listpack::element_bytes(element);
            visit(element);
        })?;
        let steps = count as i64 * STRIDE;
        match end {
            End::Front => rows.first = next.unwrap_or(before.first + steps),
            End::Back => rows.last = next.unwrap_or(before.last - steps),
        }
        for position in gone {
            txn.delete_element(key, Family::List, &rows.place.index_row(position))?;
        }
    }
    rows.count -= front + back;
    rows.listpack_bytes = rows.listpack_bytes.saturating_sub(removed);
    rows.look_whether_even(before.even);
    let mut head = Unfinished::of(Some(stored));
    head.shrink(txn, rows.count, rows.listpack_bytes);
    save_rows(txn, key, head, rows)
}

/// Writes the elements of a range anew, and lets all old rows die with their place.
fn write_anew(txn: &mut Txn<'_>, key: &Key, stored: &Stored, rows: Rows, kept: Range<u64>) -> Outcome {
    let count = kept.end - kept.start;
    txn.expect_work(count)?;
    if count > txn.keyspace().tuning().batch_rows_max() as u64 {
        let mut nth = 0;
        return write_rows_anew(txn, key, stored, &rows, |_| {
            nth += 1;
            kept.contains(&(nth - 1))
        });
    }
    let mut anew = Anew::new(count);
    rows.walk(txn, kept, End::Front, |_, element| anew.add(element))?;
    anew.save(txn, key, stored)
}

/// Writes the elements that stay, by their positions, anew under a place of their own, as they come. Some must stay.
fn write_rows_anew(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    rows: &Rows,
    mut stays: impl FnMut(i64) -> bool,
) -> Outcome {
    let mut build = txn.begin_build(key, DataType::List, rows.count);
    let mut anew = Rows::new(build.place());
    let mut pages = rows.pages(PAGE_ROWS);
    while let Some((element, value)) = pages.peek(txn)? {
        if stays(rows::position_in(element)?) {
            let position = anew.next_position(End::Back).ok_or_else(rows::miscounted)?;
            txn.build_row(&mut build, key, Family::List, &anew.place.index_row(position), value)?;
            anew.grow(End::Back, position, value);
        }
        pages.advance();
    }
    txn.end_build(build)?;
    let mut head = Unfinished::of(Some(stored));
    head.shrink(txn, anew.count, anew.listpack_bytes);
    save_rows(txn, key, head, anew)
}

/// A list being written anew, as if packed.
struct Anew {
    bytes: Vec<u8>,
    count: u64,
    listpack_bytes: u64,
}

impl Anew {
    /// `count` elements will be added.
    fn new(count: u64) -> Anew {
        let mut bytes = Vec::new();
        write_varint(&mut bytes, count);
        Anew { bytes, count, listpack_bytes: listpack::EMPTY_BYTES }
    }

    fn add(&mut self, element: &[u8]) {
        write_entry(&mut self.bytes, element);
        self.listpack_bytes += listpack::element_bytes(element);
    }

    fn save(self, txn: &mut Txn<'_>, key: &Key, stored: &Stored) -> Outcome {
        let mut head = Unfinished::of(Some(stored));
        head.shrink(txn, self.count, self.listpack_bytes);
        packed::push(txn, key, head, &self.bytes, End::Back, std::iter::empty()).map(|_| ())
    }
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
        Body::Spread(spread) => Rows::decode(spread)?.walk(txn, range, from, |_, element| visit(element)),
    }
}

/// Takes the element at an end of one list and puts it at an end of another one, or the same; the source has elements. Gives the
/// element.
pub fn relocate(
    txn: &mut Txn<'_>,
    (source, stored, from): (&Key, &Stored, End),
    (destination, to): (&Key, End),
) -> Outcome<Vec<u8>> {
    load(txn, destination)?;
    let mut moved = Vec::new();
    if source.row() == destination.row() && len(stored)? == 1 {
        walk(txn, stored, 0..1, from, |element| moved.extend_from_slice(element))?;
        // It goes round to where it was; the list is changed nevertheless, and keeps its expiry.
        txn.save(source, Unfinished::of(Some(stored)).with(stored.body()))?;
        return Ok(moved);
    }
    pop(txn, source, stored, from, 1, |element| moved.extend_from_slice(element))?;
    let stored = load(txn, destination)?;
    push(txn, destination, stored.as_ref(), to, std::iter::once(&moved[..]))?;
    Ok(moved)
}
