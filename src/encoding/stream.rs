//! Streams on disk: ids, entry rows, and what a stream's head keeps.
//!
//! ```text
//! entry row   | place 14 | id 16 |  ->  | node varint | field len varint | field | value len varint | value | ...
//! id          | milliseconds 8 | sequence 8 |
//! extra       | last id 16 | greatest deleted id 16 | first id 16 | entries ever added 8 | groups 4 | groups ever made 4 |
//!             | tail 64 | front 28 |
//! tail        | node 8 | first id 16 | last id 16 | hash of the first entry's fields 8 | live 4 | deleted 4 | bytes 8 |
//! front       | node 8 | last id 16 | live 4 |
//! ```
//!
//! The *node* of an entry is the number of the listpack in which Redis would keep it. Approximate trimming takes whole nodes, so who
//! trims must know where they end. The tail says what is needed to tell when the newest node is full; the front, how many entries
//! the oldest one has (0: not known), so that it need not be counted whenever something is added.

use super::Damaged;
use super::packed::{Entries, read_varint, write_entry, write_varint};
use super::row::{PLACE_LEN, Place, RowKey};

/// Bytes of an id.
pub const ID_LEN: usize = 16;
/// Bytes of a stream's extra.
pub const EXTRA_LEN: usize = 3 * ID_LEN + 16 + TAIL_LEN + FRONT_LEN;
const TAIL_LEN: usize = 8 + 2 * ID_LEN + 8 + 4 + 4 + 8;
const FRONT_LEN: usize = 8 + ID_LEN + 4;

/// The id of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id {
    /// Unix milliseconds, by custom.
    pub ms: u64,
    /// Tells entries of one millisecond apart.
    pub seq: u64,
}

impl Id {
    /// The lowest id; no entry has it.
    pub const MIN: Id = Id { ms: 0, seq: 0 };
    /// The highest id.
    pub const MAX: Id = Id { ms: u64::MAX, seq: u64::MAX };

    /// The next id, if there is one.
    pub fn next(self) -> Option<Id> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The id before this one, if there is one.
    pub fn previous(self) -> Option<Id> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// The bytes in a row; they are in the order of the ids.
    pub fn bytes(self) -> [u8; ID_LEN] {
        let mut bytes = [0; ID_LEN];
        bytes[..8].copy_from_slice(&self.ms.to_be_bytes());
        bytes[8..].copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }

    /// Reads an id from the start of `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Id, Damaged> {
        let (ms, rest) = bytes.split_first_chunk::<8>().ok_or(Damaged("stream id cut short"))?;
        let (seq, _) = rest.split_first_chunk::<8>().ok_or(Damaged("stream id cut short"))?;
        Ok(Id { ms: u64::from_be_bytes(*ms), seq: u64::from_be_bytes(*seq) })
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// The row of an entry; also the bound of a range of rows.
pub fn entry_row(place: &Place, id: Id) -> RowKey {
    place.element_row(id.bytes(), b"")
}

/// The id in an entry's row.
pub fn entry_id(row: &[u8]) -> Result<Id, Damaged> {
    Id::read(row.get(PLACE_LEN..).unwrap_or_default())
}

/// An entry's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The node it is in.
    pub node: u64,
    /// Field, value, field, value, each with its length.
    pub packed: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads an entry row's value.
    pub fn decode(value: &'a [u8]) -> Result<Entry<'a>, Damaged> {
        let (node, packed) = read_varint(value)?;
        Ok(Entry { node, packed })
    }

    /// Fields and values, one after the other.
    pub fn words(&self) -> Entries<'a> {
        Entries::over(self.packed)
    }

    /// Appends the value of an entry of these fields and values.
    pub fn encode<'w>(node: u64, words: impl Iterator<Item = &'w [u8]>, out: &mut Vec<u8>) {
        write_varint(out, node);
        words.for_each(|word| write_entry(out, word));
    }
}

/// The newest node of a stream, as Redis would keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail {
    /// Its number. Nodes are numbered from 1 on; 0 before the first.
    pub node: u64,
    /// The id of the entry it began with.
    pub first_id: Id,
    /// The id of the entry added last.
    pub last_id: Id,
    /// Hash of the fields of that entry.
    pub fields_hash: u64,
    /// Entries in it that are there.
    pub live: u32,
    /// Entries in it that were deleted.
    pub deleted: u32,
    /// Bytes of its listpack but for what says how many entries are live and deleted.
    pub bytes: u64,
}

/// The oldest node of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Front {
    /// Its number.
    pub node: u64,
    /// The id of its last entry.
    pub last_id: Id,
    /// Entries in it that are there; 0 when none of this is known.
    pub live: u32,
}

/// What a stream's head keeps beside place and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extra {
    /// The id last given.
    pub last_id: Id,
    /// The greatest id of an entry that XDEL has removed.
    pub deleted_id_max: Id,
    /// The id of the first entry; zero when there is none. No row of an entry that is there lies before it.
    pub first_id: Id,
    /// Entries ever added.
    pub entries_added: u64,
    /// Consumer groups there are.
    pub groups: u32,
    /// Consumer groups there have been: the number of the last.
    pub groups_made: u32,
    /// The newest node.
    pub tail: Tail,
    /// The oldest node.
    pub front: Front,
}

impl Extra {
    /// Reads a stream head's extra.
    pub fn decode(bytes: &[u8]) -> Result<Extra, Damaged> {
        let bytes: &[u8; EXTRA_LEN] =
            bytes.try_into().map_err(|_| Damaged("stream head with an extra of a wrong length"))?;
        let mut reader = Reader(bytes);
        Ok(Extra {
            last_id: reader.id()?,
            deleted_id_max: reader.id()?,
            first_id: reader.id()?,
            entries_added: reader.u64()?,
            groups: reader.u32()?,
            groups_made: reader.u32()?,
            tail: Tail {
                node: reader.u64()?,
                first_id: reader.id()?,
                last_id: reader.id()?,
                fields_hash: reader.u64()?,
                live: reader.u32()?,
                deleted: reader.u32()?,
                bytes: reader.u64()?,
            },
            front: Front { node: reader.u64()?, last_id: reader.id()?, live: reader.u32()? },
        })
    }

    /// The bytes in the head.
    pub fn encode(&self) -> [u8; EXTRA_LEN] {
        let mut writer = Writer { bytes: [0; EXTRA_LEN], len: 0 };
        for id in [self.last_id, self.deleted_id_max, self.first_id] {
            writer.put(&id.bytes());
        }
        writer.put(&self.entries_added.to_be_bytes());
        writer.put(&self.groups.to_be_bytes());
        writer.put(&self.groups_made.to_be_bytes());
        writer.put(&self.tail.node.to_be_bytes());
        writer.put(&self.tail.first_id.bytes());
        writer.put(&self.tail.last_id.bytes());
        writer.put(&self.tail.fields_hash.to_be_bytes());
        writer.put(&self.tail.live.to_be_bytes());
        writer.put(&self.tail.deleted.to_be_bytes());
        writer.put(&self.tail.bytes.to_be_bytes());
        writer.put(&self.front.node.to_be_bytes());
        writer.put(&self.front.last_id.bytes());
        writer.put(&self.front.live.to_be_bytes());
        writer.bytes
    }
}

/// Reads numbers of fixed width one after the other.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Damaged("stream row cut short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Damaged> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damaged> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    pub(super) fn id(&mut self) -> Result<Id, Damaged> {
        Id::read(&self.take::<ID_LEN>()?)
    }
}

struct Writer {
    bytes: [u8; EXTRA_LEN],
    len: usize,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::{Namespace, Version};
    use super::*;

    #[test]
    fn an_entry_row_is_place_milliseconds_sequence() {
        let place = Place { namespace: Namespace(1), slot: 2, version: Version(3) };
        let row = entry_row(&place, Id { ms: 0x0102, seq: 5 });
        assert_eq!(&row[..], b"\0\0\0\x01\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x05");
        assert_eq!(entry_id(&row), Ok(Id { ms: 0x0102, seq: 5 }));
        assert!(entry_id(&row[..29]).is_err());
    }

    #[test]
    fn an_entry_is_its_node_then_fields_and_values() {
        let mut bytes = Vec::new();
        Entry::encode(200, [&b"f"[..], b"one", b"g", b""].into_iter(), &mut bytes);
        assert_eq!(bytes, b"\xc8\x01\x01f\x03one\x01g\0");
        let entry = Entry::decode(&bytes).unwrap();
        let words: Result<Vec<_>, _> = entry.words().collect();
        assert_eq!((entry.node, words.unwrap()), (200, vec![&b"f"[..], b"one", b"g", b""]));
        assert!(Entry::decode(b"").is_err());
    }

    #[test]
    fn the_extra_is_ids_counts_and_the_newest_node() {
        let extra = Extra {
            last_id: Id { ms: 1, seq: 2 },
            deleted_id_max: Id { ms: 3, seq: 4 },
            first_id: Id { ms: 5, seq: 6 },
            entries_added: 7,
            groups: 8,
            groups_made: 9,
            tail: Tail {
                node: 10,
                first_id: Id { ms: 11, seq: 12 },
                last_id: Id { ms: 13, seq: 14 },
                fields_hash: 15,
                live: 16,
                deleted: 17,
                bytes: 18,
            },
            front: Front { node: 19, last_id: Id { ms: 20, seq: 21 }, live: 22 },
        };
        let mut golden = Vec::new();
        (1..=7u64).for_each(|number| golden.extend(number.to_be_bytes()));
        (8..=9u32).for_each(|number| golden.extend(number.to_be_bytes()));
        (10..=15u64).for_each(|number| golden.extend(number.to_be_bytes()));
        (16..=17u32).for_each(|number| golden.extend(number.to_be_bytes()));
        (18..=21u64).for_each(|number| golden.extend(number.to_be_bytes()));
        golden.extend(22u32.to_be_bytes());
        assert_eq!(extra.encode()[..], golden);
        assert_eq!(Extra::decode(&golden), Ok(extra));
        for len in 0..golden.len() {
            assert!(Extra::decode(&golden[..len]).is_err(), "accepted an extra cut at {len}");
        }
    }

    #[test]
    fn ids_follow_one_another_and_end() {
        let id = |ms, seq| Id { ms, seq };
        assert_eq!(id(1, 2).next(), Some(id(1, 3)));
        assert_eq!(id(1, u64::MAX).next(), Some(id(2, 0)));
        assert_eq!((Id::MAX.next(), Id::MIN.previous()), (None, None));
        assert_eq!(id(2, 0).previous(), Some(id(1, u64::MAX)));
        assert_eq!(id(5, 7).to_string(), "5-7");
        assert!(id(1, u64::MAX).bytes() < id(2, 0).bytes());
    }
}
