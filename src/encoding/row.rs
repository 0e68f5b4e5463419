//! Row keys: where a thing lies. All integers are big-endian and of fixed width, so byte order is number order.
//!
//! ```text
//! head row (family keys)      | namespace 4 | position 7 | key bytes |
//! element row (hash ...)      | namespace 4 | slot 2 | version 8 | element |
//!   element of a hash         | position 7 | field bytes |
//!   element of a set          | position 7 | member bytes |
//!   element of a list         | list position 8, offset by 2^63 |
//!   element of a chunked string | chunk number 4 |
//! ```
//!
//! A *position* is 53 bits: the 14-bit cluster slot, then 39 bits of a keyed hash (SipHash-1-3). Keys lie in hash order, so a SCAN
//! cursor is the next position: stateless, and exact in a double, as some clients need. Fields lie in hash order too (the
//! position of a field has 53 hash bits), which gives HSCAN the same cursors and random picks a uniform space.

use super::recent;
use crate::base::hash::{key_slot, keyed_hash};
use smallvec::SmallVec;

/// A row key under construction. Most stay within the inline room.
pub type RowKey = SmallVec<[u8; ROW_KEY_INLINE]>;
const ROW_KEY_INLINE: usize = 64;

/// Bytes before the key in a head row: namespace and position.
pub const HEAD_PREFIX_LEN: usize = 11;
/// Bytes before the element in an element row: namespace, slot and version.
pub const PLACE_LEN: usize = 14;
/// Bytes of a position as written in a row key.
pub const POSITION_LEN: usize = 7;
/// One past the last position.
pub const POSITION_END: u64 = 1 << 53;

const HASH_BITS: u32 = 39;

/// The secret that keys every hash of this database; made once and kept in the `system` family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashSeed(pub [u8; 16]);

/// A physical namespace. Logical databases map to namespaces; FLUSHDB gives a database a fresh one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(pub u32);

/// The incarnation of a spread collection. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u64);

/// 53 bits that order keys within a namespace, or fields within a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(pub u64);

impl Position {
    /// Where a key lies: its cluster slot, then 39 hash bits.
    pub fn of_key(seed: &HashSeed, key: &[u8]) -> Position {
        recent::position_of(seed, key, || {
            let hash = keyed_hash(&seed.0, key) & ((1 << HASH_BITS) - 1);
            Position((u64::from(key_slot(key)) << HASH_BITS) | hash)
        })
    }

    /// Where a field or member lies within its collection: 53 hash bits.
    pub fn of_element(seed: &HashSeed, element: &[u8]) -> Position {
        Position(keyed_hash(&seed.0, element) >> 11)
    }

    /// The cluster slot within a key's position.
    pub fn slot(self) -> u16 {
        (self.0 >> HASH_BITS) as u16
    }

    /// The seven bytes written in a row key.
    pub fn bytes(self) -> [u8; POSITION_LEN] {
        let [_, rest @ ..] = self.0.to_be_bytes();
        rest
    }

    fn read(bytes: &[u8]) -> Option<Position> {
        let mut wide = [0; 8];
        wide[1..].copy_from_slice(bytes.get(..POSITION_LEN)?);
        Some(Position(u64::from_be_bytes(wide)))
    }
}

/// Where a spread collection's rows lie. The head carries it, so RENAME and MOVE change the head alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The namespace the collection was made in.
    pub namespace: Namespace,
    /// The slot of the key it was made under.
    pub slot: u16,
    /// Its incarnation.
    pub version: Version,
}

impl Place {
    /// The bytes every row of this collection begins with.
    pub fn prefix(&self) -> [u8; PLACE_LEN] {
        let mut bytes = [0; PLACE_LEN];
        bytes[..4].copy_from_slice(&self.namespace.0.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.slot.to_be_bytes());
        bytes[6..].copy_from_slice(&self.version.0.to_be_bytes());
        bytes
    }

    /// The row key just past the last row of this collection.
    pub fn end(&self) -> RowKey {
        successor(&self.prefix())
    }

    /// Reads the place back from the start of an element row's key or a head's payload.
    pub fn read(bytes: &[u8]) -> Option<Place> {
        let bytes: &[u8; PLACE_LEN] = bytes.get(..PLACE_LEN)?.try_into().ok()?;
        let [n0, n1, n2, n3, s0, s1, version @ ..] = *bytes;
        Some(Place {
            namespace: Namespace(u32::from_be_bytes([n0, n1, n2, n3])),
            slot: u16::from_be_bytes([s0, s1]),
            version: Version(u64::from_be_bytes(version)),
        })
    }

    /// The row of a hash's field.
    pub fn field_row(&self, seed: &HashSeed, field: &[u8]) -> RowKey {
        self.element_row(Position::of_element(seed, field).bytes(), field)
    }

    /// The lowest possible row of an element at or after `position`: where a scan with that cursor begins.
    pub fn element_at(&self, position: Position) -> RowKey {
        self.element_row(position.bytes(), b"")
    }

    /// The row of an element: what orders it, then what names it.
    pub(super) fn element_row<const ORDER_LEN: usize>(&self, order: [u8; ORDER_LEN], name: &[u8]) -> RowKey {
        row_of(self.prefix(), order, name)
    }

    /// The row of a list's element at a list position.
    pub fn index_row(&self, index: i64) -> RowKey {
        self.element_row(((index as u64) ^ (1 << 63)).to_be_bytes(), b"")
    }

    /// The row of a chunk of a big string.
    pub fn chunk_row(&self, number: u32) -> RowKey {
        self.element_row(number.to_be_bytes(), b"")
    }
}

/// A row key of three parts. One that has room inline, as most have, does not grow step by step.
fn row_of<const A: usize, const B: usize>(first: [u8; A], second: [u8; B], rest: &[u8]) -> RowKey {
    let len = A + B + rest.len();
    if len > ROW_KEY_INLINE {
        return RowKey::from_vec([&first[..], &second, rest].concat());
    }
    let mut row = [0; ROW_KEY_INLINE];
    row[..A].copy_from_slice(&first);
    row[A..A + B].copy_from_slice(&second);
    row[A + B..len].copy_from_slice(rest);
    RowKey::from_buf_and_len(row, len)
}

/// The head row of a key.
pub fn head_row(namespace: Namespace, position: Position, key: &[u8]) -> RowKey {
    row_of(namespace.0.to_be_bytes(), position.bytes(), key)
}

/// A hash of a head row, for tables in memory: its position is one already, keyed with the database's seed. `None` for other bytes
/// that are shorter.
pub fn head_row_hash(row: &[u8]) -> Option<u64> {
    // Any odd number with bits everywhere: tables look at the highest bits, too, where the namespace is.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (_, bytes) = row.get(..HEAD_PREFIX_LEN)?.split_last_chunk()?;
    Some(u64::from_be_bytes(*bytes).wrapping_mul(SPREAD))
}

/// The lowest possible head row at or after `position`: where a SCAN with that cursor begins.
pub fn head_at(namespace: Namespace, position: Position) -> RowKey {
    row_of(namespace.0.to_be_bytes(), position.bytes(), b"")
}

/// The row key just past the last head of a namespace (and past its last element row).
pub fn namespace_end(namespace: Namespace) -> RowKey {
    successor(&namespace.0.to_be_bytes())
}

/// Namespace, position and key of a head row.
pub fn split_head_row(row: &[u8]) -> Option<(Namespace, Position, &[u8])> {
    let namespace = Namespace(u32::from_be_bytes(row.get(..4)?.try_into().ok()?));
    let position = Position::read(row.get(4..)?)?;
    Some((namespace, position, row.get(HEAD_PREFIX_LEN..)?))
}

/// Position and field of a hash's element row.
pub fn split_field_row(row: &[u8]) -> Option<(Position, &[u8])> {
    let position = Position::read(row.get(PLACE_LEN..)?)?;
    Some((position, row.get(PLACE_LEN + POSITION_LEN..)?))
}

/// The smallest byte string greater than every string that begins with `prefix`; all-ones prefixes get a longer one.
pub fn successor(prefix: &[u8]) -> RowKey {
    let mut end = RowKey::from_slice(prefix);
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    RowKey::from_elem(u8::MAX, prefix.len() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: HashSeed = HashSeed([7; 16]);

    #[test]
    fn a_head_row_is_namespace_position_key() {
        let row = head_row(Namespace(0x01020304), Position(0x0005_0607_0809_0a0b), b"key");
        assert_eq!(&row[..], b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0bkey");
        let (namespace, position, key) = split_head_row(&row).unwrap();
        assert_eq!((namespace.0, position.0, key), (0x01020304, 0x0005_0607_0809_0a0b, &b"key"[..]));
    }

    #[test]
    fn an_element_row_is_namespace_slot_version_element() {
        let place = Place { namespace: Namespace(1), slot: 0x3fff, version: Version(0x0102030405060708) };
        assert_eq!(
            &place.chunk_row(9)[..],
            b"\x00\x00\x00\x01\x3f\xff\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\x09"
        );
        assert_eq!(&place.index_row(-1)[PLACE_LEN..], b"\x7f\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(&place.index_row(0)[PLACE_LEN..], b"\x80\x00\x00\x00\x00\x00\x00\x00");
        assert_eq!(Place::read(&place.chunk_row(1)), Some(place));
    }

    #[test]
    fn a_field_row_carries_its_position_and_field() {
        let place = Place { namespace: Namespace(1), slot: 2, version: Version(3) };
        let row = place.field_row(&SEED, b"field");
        let (position, field) = split_field_row(&row).unwrap();
        assert_eq!((position, field), (Position::of_element(&SEED, b"field"), &b"field"[..]));
        assert!(position.0 < POSITION_END);
    }

    #[test]
    fn positions_are_written_in_seven_bytes_and_do_not_change() {
        let place = Place { namespace: Namespace(1), slot: 2, version: Version(3) };
        assert_eq!(
            &place.field_row(&SEED, b"field")[..],
            b"\0\0\0\x01\0\x02\0\0\0\0\0\0\0\x03\x02\xd2\xe1\xc3\x3a\x6e\x8efield"
        );
        let row = head_row(Namespace(1), Position::of_key(&SEED, b"foo"), b"foo");
        assert_eq!(&row[..], b"\0\0\0\x01\x17\xcb\x55\xee\xbb\xfe\x9dfoo");
    }

    #[test]
    fn a_key_position_begins_with_its_cluster_slot() {
        let position = Position::of_key(&SEED, b"foo");
        assert_eq!(position.slot(), 12182);
        assert!(position.0 < POSITION_END);
        assert_eq!(Position::of_key(&SEED, b"{foo}x").slot(), 12182);
    }

    #[test]
    fn the_successor_is_past_all_with_the_prefix_and_not_past_the_next() {
        assert_eq!(&successor(b"ab")[..], b"ac");
        assert_eq!(&successor(b"a\xff")[..], b"b");
        assert!(successor(b"\xff\xff")[..] > b"\xff\xff\xff"[..2]);
    }
}
