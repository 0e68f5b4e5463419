//! A list kept whole in its head: its entries, one after the other (see `encoding::packed`).

use super::listpack;
use super::rows::Rows;
use super::{End, Unfinished, save_rows};
use crate::encoding::Damaged;
use crate::encoding::head::Body;
use crate::encoding::packed::{Packed, entry_len, varint_len, write_entry, write_packed, write_varint};
use crate::keyspace::{Key, Outcome, Stored, Txn};
use smallvec::SmallVec;

/// The elements of a packed list, most often few enough for the stack.
pub(super) type Elements<'a> = SmallVec<[&'a [u8]; 64]>;

/// A packed list: how many elements, and their bytes as packed.
#[derive(Clone, Copy)]
pub(super) struct PackedList<'a> {
    pub(super) count: u64,
    pub(super) entries: &'a [u8],
}

impl<'a> PackedList<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Result<PackedList<'a>, Damaged> {
        let count = Packed::decode(bytes)?.count();
        Ok(PackedList { count, entries: bytes.get(varint_len(count)..).unwrap_or_default() })
    }

    pub(super) fn walk(bytes: &'a [u8]) -> Result<impl Iterator<Item = Result<&'a [u8], Damaged>>, Damaged> {
        Ok(Packed::decode(bytes)?.iter())
    }

    pub(super) fn elements(bytes: &'a [u8]) -> Result<Elements<'a>, Damaged> {
        PackedList::walk(bytes)?.collect()
    }
}

/// Bytes of a listpack with the elements of a packed list.
pub(super) fn listpack_bytes(bytes: &[u8]) -> Result<u64, Damaged> {
    PackedList::walk(bytes)?
        .try_fold(listpack::EMPTY_BYTES, |sum, element| Ok(sum + listpack::element_bytes(element?)))
}

/// Pushes elements one after the other at an end of a packed list; it may have to be spread. Gives the new length.
pub(super) fn push<'e>(
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
    let mut rows = Rows::new(txn.new_place(key));
    rows.push(txn, key, End::Back, PackedList::elements(bytes)?.into_iter())?;
    rows.push(txn, key, end, elements)?;
    save_rows(txn, key, head, rows)?;
    Ok(count)
}

/// Saves a list of these elements, packed if they are few enough.
pub(super) fn save(txn: &mut Txn<'_>, key: &Key, head: Unfinished, elements: &[&[u8]]) -> Outcome {
    let (count, all) = (elements.len() as u64, elements.iter().copied());
    let len = varint_len(count) + all.clone().map(|element| entry_len(element.len())).sum::<usize>();
    if len <= txn.keyspace().tuning().packed_bytes_max() {
        return txn.save_with(key, head.with(Body::Whole(b"")), |out| write_packed(out, count, all));
    }
    let mut rows = Rows::new(txn.new_place(key));
    rows.push(txn, key, End::Back, all)?;
    save_rows(txn, key, head, rows)
}

/// Takes so many elements from both ends of a packed list that has more, and shows them to `visit`: those of the front, then those
/// of the back, the outermost first.
pub(super) fn cut(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    bytes: &[u8],
    front: u64,
    back: u64,
    visit: &mut dyn FnMut(&[u8]),
) -> Outcome {
    let mut head = Unfinished::of(Some(stored));
    let old = PackedList::decode(bytes)?;
    let elements = PackedList::elements(bytes)?;
    let cut_short = || Damaged("packed list shorter than its count");
    let (gone_in_front, rest) = elements.split_at_checked(front as usize).ok_or_else(cut_short)?;
    let kept = rest.len().checked_sub(back as usize).ok_or_else(cut_short)?;
    let (kept, gone_behind) = rest.split_at(kept);
    gone_in_front.iter().chain(gone_behind.iter().rev()).for_each(|element| visit(element));
    if head.is_quicklist() {
        let sizes = kept.iter().map(|element| listpack::element_bytes(element));
        head.shrink(txn, kept.len() as u64, listpack::EMPTY_BYTES + sizes.sum::<u64>());
    }
    let packed_len =
        |elements: &[&[u8]]| elements.iter().map(|element| entry_len(element.len())).sum::<usize>();
    let from = packed_len(gone_in_front);
    let entries = old.entries.get(from..from + packed_len(kept)).ok_or_else(cut_short)?;
    txn.save_with(key, head.with(Body::Whole(b"")), |out| {
        write_varint(out, kept.len() as u64);
        out.extend_from_slice(entries);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_list_gives_its_entries_as_they_are() {
        let mut bytes = Vec::new();
        write_packed(&mut bytes, 3, [&b"a"[..], b"127", b""].into_iter());
        let packed = PackedList::decode(&bytes).unwrap();
        assert_eq!((packed.count, packed.entries), (3, &b"\x01a\x03127\x00"[..]));
        assert_eq!(PackedList::elements(&bytes).unwrap()[..], [&b"a"[..], b"127", b""]);
        assert_eq!(listpack_bytes(&bytes), Ok(7 + 3 + 2 + 2));
        assert_eq!(PackedList::decode(b"\0").unwrap().count, 0);
    }
}
