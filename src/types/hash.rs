//! Hashes: fields with values.
//!
//! A small hash is packed into its head: field, value, field, value, in the order they came (see `encoding::packed`). One that has
//! outgrown `packed-max-bytes` is spread: a row per field in the order of the fields' hashes, and a head that counts them. It stays
//! spread until it is emptied or overwritten. The change from packed to spread is one batch.
//!
//! The note is 1 once the hash has passed Redis' limits for a listpack (`hash-max-listpack-entries`, `hash-max-listpack-value`);
//! then OBJECT ENCODING says `hashtable` for good, whatever the form here.
//!
//! Operations take the head that the caller has loaded. Locks: the caller's key is locked by its command.

use crate::encoding::head::{Body, DataType, Spread};
use crate::encoding::packed::{Entries, Packed, entry_len, varint_len, write_packed};
use crate::encoding::row::POSITION_END;
use crate::encoding::{Damaged, Family};
use crate::keyspace::{Key, NewHead, Outcome, Stored, Txn};
use crate::types::pick::{Picks, pick_from, pick_rows};
use crate::types::positions;
use ahash::AHashMap;
use smallvec::SmallVec;
use std::ops::ControlFlow;

/// A field and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// The fields of a packed hash, most often few enough for the stack.
type PackedPairs<'a> = SmallVec<[Pair<'a>; 32]>;

const NOTE_HASHTABLE: u8 = 1;
/// Above so many fields, old and new, a hash is merged through an index.
const LINEAR_MAX: usize = 48;

/// What OBJECT ENCODING answers for a hash.
pub fn object_encoding(stored: &Stored) -> &'static str {
    if stored.note() & NOTE_HASHTABLE == 0 { "listpack" } else { "hashtable" }
}

/// Loads a key that must be a hash, if it exists.
pub fn load(txn: &mut Txn<'_>, key: &Key) -> Outcome<Option<Stored>> {
    txn.load_typed(key, DataType::Hash)
}

/// How many fields a hash has.
pub fn len(stored: &Stored) -> Outcome<u64> {
    match stored.body() {
        Body::Whole(bytes) => Ok(Packed::decode(bytes)?.count() / 2),
        Body::Spread(spread) => Ok(spread.count),
    }
}

/// Walks packed pairs in order.
struct Pairs<'a>(Entries<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.0.next()?;
        let value = self.0.next().unwrap_or(Err(Damaged("packed field without its value")));
        Some(field.and_then(|field| Ok((field, value?))))
    }
}

fn pairs_of(bytes: &[u8]) -> Result<Pairs<'_>, Damaged> {
    Ok(Pairs(Packed::decode(bytes)?.iter()))
}

/// Shows the value of a field, if there is one, to `read`.
pub fn get<T>(
    txn: &mut Txn<'_>,
    stored: &Stored,
    field: &[u8],
    read: impl FnOnce(Option<&[u8]>) -> T,
) -> Outcome<T> {
    match stored.body() {
        Body::Whole(bytes) => {
            for pair in pairs_of(bytes)? {
                let (found, value) = pair?;
                if found == field {
                    return Ok(read(Some(value)));
                }
            }
            Ok(read(None))
        }
        Body::Spread(spread) => {
            let row = spread.place.field_row(txn.keyspace().seed(), field);
            let value = txn.element(Family::Hash, &row)?;
            Ok(read(value.as_deref()))
        }
    }
}

/// Sets fields; a field that comes twice gets its last value. Gives how many are new.
pub fn set<'a>(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: Option<&'a Stored>,
    pairs: impl ExactSizeIterator<Item = Pair<'a>> + Clone,
) -> Outcome<u64> {
    txn.expect_work(pairs.len() as u64)?;
    let mut note = stored.map_or(0, Stored::note);
    let tuning = txn.keyspace().tuning();
    let value_bytes_max = tuning.hash_value_bytes_max();
    let is_long = |(field, value): Pair<'_>| field.len().max(value.len()) > value_bytes_max;
    if pairs.len() > tuning.hash_entries_max() || pairs.clone().any(is_long) {
        note |= NOTE_HASHTABLE;
    }
    let expires_at_ms = stored.and_then(Stored::expires_at_ms);
    let head = Unfinished { note, expires_at_ms };
    match stored.map(Stored::body) {
        None => set_packed(txn, key, head, PackedPairs::new(), pairs),
        Some(Body::Whole(bytes)) => {
            let old = pairs_of(bytes)?.collect::<Result<_, _>>()?;
            set_packed(txn, key, head, old, pairs)
        }
        Some(Body::Spread(spread)) => {
            let before = stored.map_or(0, Stored::note);
            set_rows(txn, key, head, spread, before, pairs)
        }
    }
}

/// What a head keeps besides its body.
#[derive(Clone, Copy)]
struct Unfinished {
    note: u8,
    expires_at_ms: Option<u64>,
}

impl Unfinished {
    /// With the count known, so is the note.
    fn counting(mut self, txn: &Txn<'_>, fields: u64) -> Unfinished {
        if fields > txn.keyspace().tuning().hash_entries_max() as u64 {
            self.note |= NOTE_HASHTABLE;
        }
        self
    }

    fn with(self, body: Body<'_>) -> NewHead<'_> {
        NewHead::new(DataType::Hash, body).noted(self.note).expiring(self.expires_at_ms)
    }
}

/// Sets fields of a packed hash, or of a missing one; it may have to be spread.
fn set_packed<'a>(
    txn: &mut Txn<'_>,
    key: &Key,
    head: Unfinished,
    old: PackedPairs<'a>,
    new: impl ExactSizeIterator<Item = Pair<'a>>,
) -> Outcome<u64> {
    let before = old.len();
    let all = merge(old, new);
    let fields = all.len() as u64;
    let head = head.counting(txn, fields);
    if packed_len(&all) <= txn.keyspace().tuning().packed_bytes_max() {
        save_packed(txn, key, head, &all)?;
    } else {
        let place = txn.new_place(key);
        for (field, value) in &all {
            let row = place.field_row(txn.keyspace().seed(), field);
            txn.put_element(key, Family::Hash, &row, value)?;
        }
        txn.save(key, head.with(Body::Spread(Spread { place, count: fields, extra: b"" })))?;
    }
    Ok(fields - before as u64)
}

/// Old pairs with new ones put over them or behind them.
fn merge<'a>(mut all: PackedPairs<'a>, new: impl ExactSizeIterator<Item = Pair<'a>>) -> PackedPairs<'a> {
    if all.len() + new.len() <= LINEAR_MAX || new.len() == 1 {
        for (field, value) in new {
            match all.iter_mut().find(|pair| pair.0 == field) {
                Some(pair) => pair.1 = value,
                None => all.push((field, value)),
            }
        }
        return all;
    }
    let mut index: AHashMap<&[u8], usize> = all.iter().enumerate().map(|(at, pair)| (pair.0, at)).collect();
    for (field, value) in new {
        let at = *index.entry(field).or_insert(all.len());
        match all.get_mut(at) {
            Some(pair) => pair.1 = value,
            None => all.push((field, value)),
        }
    }
    all
}

fn packed_len(pairs: &[Pair<'_>]) -> usize {
    let entries: usize =
        pairs.iter().map(|(field, value)| entry_len(field.len()) + entry_len(value.len())).sum();
    varint_len(2 * pairs.len() as u64) + entries
}

fn save_packed(txn: &mut Txn<'_>, key: &Key, head: Unfinished, pairs: &[Pair<'_>]) -> Outcome {
    txn.save_with(key, head.with(Body::Whole(b"")), |out| {
        let entries = pairs.iter().flat_map(|&(field, value)| [field, value]);
        write_packed(out, 2 * pairs.len() as u64, entries);
    })
}

/// Sets fields of a spread hash. The head is written only when it changes.
fn set_rows<'a>(
    txn: &mut Txn<'_>,
    key: &Key,
    head: Unfinished,
    spread: Spread<'_>,
    note_before: u8,
    pairs: impl Iterator<Item = Pair<'a>>,
) -> Outcome<u64> {
    let mut added = 0;
    for (field, value) in pairs {
        let row = spread.place.field_row(txn.keyspace().seed(), field);
        if txn.element(Family::Hash, &row)?.is_some() {
            txn.replace_element(key, Family::Hash, &row, value)?;
        } else {
            txn.insert_element(key, Family::Hash, &row, value)?;
            added += 1;
        }
    }
    let count = spread.count + added;
    let head = head.counting(txn, count);
    if added > 0 || head.note != note_before {
        txn.save(key, head.with(Body::Spread(Spread { count, ..spread })))?;
    }
    Ok(added)
}

/// Removes fields, showing `visit` what each had; a field that comes twice has nothing the second time. A hash without fields is
/// no more. Gives how many were removed.
pub fn take<'f>(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    fields: impl ExactSizeIterator<Item = &'f [u8]>,
    visit: impl FnMut(Option<&[u8]>),
) -> Outcome<u64> {
    txn.expect_work(fields.len() as u64)?;
    let head = Unfinished { note: stored.note(), expires_at_ms: stored.expires_at_ms() };
    match stored.body() {
        Body::Whole(bytes) => take_packed(txn, key, head, bytes, fields, visit),
        Body::Spread(spread) => take_rows(txn, key, head, spread, fields, visit),
    }
}

fn take_packed<'f>(
    txn: &mut Txn<'_>,
    key: &Key,
    head: Unfinished,
    bytes: &[u8],
    fields: impl Iterator<Item = &'f [u8]>,
    mut visit: impl FnMut(Option<&[u8]>),
) -> Outcome<u64> {
    let mut pairs: PackedPairs<'_> = pairs_of(bytes)?.collect::<Result<_, _>>()?;
    let before = pairs.len();
    for field in fields {
        let at = pairs.iter().position(|pair| pair.0 == field);
        visit(at.map(|at| pairs.remove(at).1));
    }
    if pairs.is_empty() {
        txn.delete(key)?;
    } else if pairs.len() < before {
        save_packed(txn, key, head, &pairs)?;
    }
    Ok((before - pairs.len()) as u64)
}

fn take_rows<'f>(
    txn: &mut Txn<'_>,
    key: &Key,
    head: Unfinished,
    spread: Spread<'_>,
    fields: impl Iterator<Item = &'f [u8]>,
    mut visit: impl FnMut(Option<&[u8]>),
) -> Outcome<u64> {
    let mut removed = 0;
    for field in fields {
        let row = spread.place.field_row(txn.keyspace().seed(), field);
        let value = txn.element(Family::Hash, &row)?;
        visit(value.as_deref());
        if value.is_some() {
            txn.delete_element(key, Family::Hash, &row)?;
            removed += 1;
        }
    }
    let count = spread.count.saturating_sub(removed);
    if count == 0 {
        txn.delete(key)?;
    } else if removed > 0 {
        txn.save(key, head.with(Body::Spread(Spread { count, ..spread })))?;
    }
    Ok(removed)
}

/// Visits every field with its value: in the order they came when packed, else in the order of their positions.
pub fn for_each(txn: &mut Txn<'_>, stored: &Stored, mut visit: impl FnMut(&[u8], &[u8])) -> Outcome {
    match stored.body() {
        Body::Whole(bytes) => {
            for pair in pairs_of(bytes)? {
                let (field, value) = pair?;
                visit(field, value);
            }
            Ok(())
        }
        Body::Spread(spread) => {
            txn.expect_work(spread.count)?;
            positions::walk(txn, Family::Hash, spread.place, 0..POSITION_END, |_, field, value| {
                visit(field, value);
                ControlFlow::Continue(())
            })
        }
    }
}

/// Visits about `rows` fields from a cursor on; a packed hash whole. Gives the next cursor, 0 at the end. Fields of one position are
/// never parted, so no field that stays is missed.
pub fn page(
    txn: &mut Txn<'_>,
    stored: &Stored,
    cursor: u64,
    rows: u64,
    visit: impl FnMut(&[u8], &[u8]),
) -> Outcome<u64> {
    let Body::Spread(spread) = stored.body() else {
        for_each(txn, stored, visit)?;
        return Ok(0);
    };
    positions::page(txn, Family::Hash, spread.place, spread.count, cursor, rows, visit)
}

/// Picks fields by chance, each as likely as any other, and shows them with their values to `visit`.
pub fn pick(
    txn: &mut Txn<'_>,
    stored: &Stored,
    picks: Picks,
    mut visit: impl FnMut(&[u8], &[u8]) -> Outcome,
) -> Outcome {
    match stored.body() {
        Body::Whole(bytes) => {
            let pairs: PackedPairs<'_> = pairs_of(bytes)?.collect::<Result<_, _>>()?;
            pick_from(txn, pairs.into_vec(), picks, |&(field, value)| visit(field, value))
        }
        Body::Spread(spread) => pick_rows(txn, Family::Hash, spread, picks, visit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged<'a>(old: &[Pair<'a>], new: &[Pair<'a>]) -> Vec<Pair<'a>> {
        merge(old.iter().copied().collect(), new.iter().copied()).into_vec()
    }

    #[test]
    fn a_known_field_keeps_its_place_and_a_new_one_comes_last() {
        let old: [Pair<'_>; 2] = [(b"a", b"1"), (b"b", b"2")];
        assert_eq!(
            merged(&old, &[(b"c", b"3"), (b"a", b"4")]),
            [(&b"a"[..], &b"4"[..]), (b"b", b"2"), (b"c", b"3")]
        );
        assert_eq!(merged(&[], &[(b"x", b"1"), (b"x", b"2")]), [(&b"x"[..], &b"2"[..])]);
    }

    #[test]
    fn many_fields_merge_as_few_do() {
        let names: Vec<String> = (0..200).map(|n| format!("f{}", n * 7 % 90)).collect();
        let pairs: Vec<Pair<'_>> = names.iter().map(|name| (name.as_bytes(), name.as_bytes())).collect();
        let (old, new) = (&pairs[..40], &pairs[40..]);
        let mut one_by_one: PackedPairs<'_> = old.iter().copied().collect();
        for &pair in new {
            one_by_one = merge(one_by_one, [pair].into_iter());
        }
        assert_eq!(merged(old, new), one_by_one.into_vec());
    }

    #[test]
    fn the_packed_length_is_foreseen() {
        let long = [b'x'; 200];
        let pairs: [Pair<'_>; 2] = [(b"f", b""), (b"g", &long)];
        let mut out = Vec::new();
        write_packed(&mut out, 4, pairs.iter().flat_map(|&(field, value)| [field, value]));
        assert_eq!(out.len(), packed_len(&pairs));
        let back: Result<Vec<_>, _> = pairs_of(&out).unwrap().collect();
        assert_eq!(back.unwrap(), pairs);
    }

    #[test]
    fn a_field_without_value_is_damage() {
        let mut pairs = pairs_of(b"\x01\x01f").unwrap();
        assert!(pairs.next().unwrap().is_err());
    }
}
