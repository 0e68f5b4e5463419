//! What the tier keeps per row, and what it costs.
//!
//! An [`Entry`] is one block of memory: a count of its readers, the length of the name, name and value in one piece. The table points
//! to it with eight bytes, so a hit touches the table once and this block once; a reader holds the block and not a copy. A
//! [`Probe`] is a name with its hash, which is computed once: what a lookup takes. A row known to be absent has no value.
//!
//! The charge of an entry is the memory it takes: the block, rounded up to the size the allocator hands out, and its part of the
//! table.

use std::ops::Deref;
use std::sync::Arc;
use triomphe::ThinArc;

use super::table::SLOT_BYTES;

/// What stands in a block before the name: count of readers, `Facts`, length.
const HEADER_BYTES: usize = 24;
/// A row's part of the table: its load wanders between 3/8 and 3/4, which is 1.85 slots for each entry on average.
const TABLE_BYTES: usize = SLOT_BYTES * 185 / 100;

/// What a row is known by: its kind (rows of different kinds are different ones) and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowName<'a> {
    /// The number of its family.
    pub kind: u8,
    /// Its key there.
    pub row: &'a [u8],
}

impl RowName<'_> {
    /// Bytes of the name in a block.
    pub(super) fn len(&self) -> usize {
        1 + self.row.len()
    }
}

/// A name of kind 0.
impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for RowName<'a> {
    fn from(row: &'a T) -> RowName<'a> {
        RowName { kind: 0, row: row.as_ref() }
    }
}

/// A name with its hash.
pub(super) struct Probe<'a> {
    pub(super) hash: u64,
    pub(super) name: RowName<'a>,
}

#[derive(Clone, Copy)]
struct Facts {
    name_len: u32,
    is_absent: bool,
}

/// A row, shared with whoever reads it.
#[derive(Clone)]
pub(super) struct Entry(ThinArc<Facts, u8>);

impl Entry {
    /// A block of its own; `None`: known absent. `scratch` is overwritten.
    pub(super) fn new(name: RowName<'_>, value: Option<&[u8]>, scratch: &mut Vec<u8>) -> Entry {
        scratch.clear();
        scratch.push(name.kind);
        scratch.extend_from_slice(name.row);
        scratch.extend_from_slice(value.unwrap_or_default());
        // Keys come from rows, whose length is limited far below.
        let facts = Facts { name_len: name.len() as u32, is_absent: value.is_none() };
        Entry(ThinArc::from_header_and_slice(facts, scratch))
    }

    /// The same row with another value.
    pub(super) fn with_value(&self, value: Option<&[u8]>, scratch: &mut Vec<u8>) -> Entry {
        Entry::new(self.name(), value, scratch)
    }

    pub(super) fn name(&self) -> RowName<'_> {
        RowName { kind: self.0.slice[0], row: &self.0.slice[1..self.name_len()] }
    }

    fn name_len(&self) -> usize {
        self.0.header.header.name_len as usize
    }

    /// The value; empty if the row is known absent.
    fn value(&self) -> &[u8] {
        &self.0.slice[self.name_len()..]
    }

    pub(super) fn is_absent(&self) -> bool {
        self.0.header.header.is_absent
    }

    /// Puts another value over the old one, if it is as long and nobody else reads it; else false.
    pub(super) fn overwrite(&mut self, value: Option<&[u8]>) -> bool {
        let (name_len, is_absent) = (self.name_len(), self.is_absent());
        let Some(value) = value.filter(|value| !is_absent && value.len() == self.value().len()) else {
            return false;
        };
        self.0.with_arc_mut(|shared| match triomphe::Arc::get_mut(shared) {
            Some(alone) => {
                alone.slice_mut()[name_len..].copy_from_slice(value);
                true
            }
            None => false,
        })
    }

    /// The memory it takes.
    pub(super) fn charge(&self) -> usize {
        block_charge(self.0.slice.len())
    }

    /// Where the block lies.
    pub(super) fn address(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }
}

/// The memory that a row will take.
pub(super) fn charge(name: RowName<'_>, value_len: Option<usize>) -> usize {
    block_charge(name.len() + value_len.unwrap_or(0))
}

fn block_charge(len: usize) -> usize {
    TABLE_BYTES + size_class(HEADER_BYTES + len)
}

/// The value of a row, as one of its readers holds it: a part of the tier's block, or a block of its own.
#[derive(Clone)]
pub struct RowValue(Held);

#[derive(Clone)]
enum Held {
    InTier(Entry),
    Alone(Arc<[u8]>),
}

impl RowValue {
    pub(super) fn of(entry: &Entry) -> RowValue {
        RowValue(Held::InTier(entry.clone()))
    }
}

impl Deref for RowValue {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::InTier(entry) => entry.value(),
            Held::Alone(bytes) => bytes,
        }
    }
}

impl From<Arc<[u8]>> for RowValue {
    fn from(bytes: Arc<[u8]>) -> RowValue {
        RowValue(Held::Alone(bytes))
    }
}

impl From<&[u8]> for RowValue {
    fn from(bytes: &[u8]) -> RowValue {
        RowValue(Held::Alone(Arc::from(bytes)))
    }
}

impl PartialEq for RowValue {
    fn eq(&self, other: &RowValue) -> bool {
        **self == **other
    }
}

impl Eq for RowValue {}

impl std::fmt::Debug for RowValue {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(out)
    }
}

/// The block size jemalloc answers a request of `bytes` with: multiples of 16 up to 128, then four
/// steps per doubling.
fn size_class(bytes: usize) -> usize {
    if bytes <= 8 {
        return 8;
    }
    let doubling = usize::BITS - (bytes - 1).leading_zeros();
    let step = 1usize << doubling.saturating_sub(3).max(4);
    bytes.saturating_add(step - 1) & !(step - 1)
}

#[cfg(test)]
mod tests {
    use super::{Entry, HEADER_BYTES, RowValue, charge, size_class};

    fn entry(key: &[u8], value: Option<&[u8]>) -> Entry {
        Entry::new(key.into(), value, &mut Vec::new())
    }

    #[test]
    fn size_classes_are_the_allocators() {
        let classes = [1, 8, 9, 17, 33, 49, 128, 129, 161, 250, 257, 320, 321, 1025, 5000, 16384, 16385]
            .map(size_class);
        assert_eq!(
            classes,
            [8, 8, 16, 32, 48, 64, 128, 160, 192, 256, 320, 320, 384, 1280, 5120, 16384, 20480]
        );
    }

    #[test]
    fn a_block_is_header_key_and_value() {
        let entry = entry(b"key", Some(b"value"));
        let text = entry.value().as_ptr() as usize - entry.address() as usize;
        assert_eq!((text, entry.name().row, entry.value()), (HEADER_BYTES + 4, &b"key"[..], &b"value"[..]));
        assert_eq!(entry.charge(), charge(b"key".into(), Some(5)));
    }

    #[test]
    fn absent_is_not_empty() {
        let (absent, empty) = (entry(b"k", None), entry(b"k", Some(b"")));
        assert_eq!((absent.is_absent(), empty.is_absent()), (true, false));
        assert_eq!(absent.value(), empty.value());
    }

    #[test]
    fn overwrite_reuses_the_block_only_if_it_is_alone_and_as_long() {
        let mut held = entry(b"k", Some(b"abc"));
        let at = held.address();
        assert!(held.overwrite(Some(b"xyz")));
        assert_eq!((held.value(), held.address()), (&b"xyz"[..], at));
        assert!(!held.overwrite(Some(b"longer")) && !held.overwrite(None));
        let reader = RowValue::of(&held);
        assert!(!held.overwrite(Some(b"123")));
        assert_eq!((&*reader, held.value()), (&b"xyz"[..], &b"xyz"[..]));
        drop(reader);
        assert!(held.overwrite(Some(b"123")));
        assert!(!entry(b"k", None).overwrite(Some(b"")));
    }
}
