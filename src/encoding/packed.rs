//! Small collections as one value: entries one after the other, in insertion order, each a varint length and its bytes.
//!
//! ```text
//! | count varint | len varint | bytes | len varint | bytes | ...
//! ```
//!
//! A hash packs field, value, field, value; a list its elements. The count is of entries (two per hash field). One get reads
//! the collection, one put writes it, deleting leaves no tombstone. The size is bounded by `packed-max-bytes`.

use super::Damaged;

/// The longest varint: seven bits a byte, 64 bits.
const VARINT_LEN_MAX: usize = 10;

/// Appends `number` as a little-endian base-128 varint.
pub fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes that `number` takes as a varint.
pub const fn varint_len(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Reads a varint from the front of `bytes`; gives the number and what follows.
pub fn read_varint(bytes: &[u8]) -> Result<(u64, &[u8]), Damaged> {
    let mut number = 0u64;
    for (index, &byte) in bytes.iter().take(VARINT_LEN_MAX).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((number, &bytes[index + 1..]));
        }
    }
    Err(Damaged("packed length without end"))
}

/// A packed collection as read from a head's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed<'a> {
    count: u64,
    entries: &'a [u8],
}

impl<'a> Packed<'a> {
    /// Reads the count; the entries are checked as they are walked.
    pub fn decode(payload: &'a [u8]) -> Result<Packed<'a>, Damaged> {
        let (count, entries) = read_varint(payload)?;
        Ok(Packed { count, entries })
    }

    /// A collection with nothing in it.
    pub const fn empty() -> Packed<'static> {
        Packed { count: 0, entries: b"" }
    }

    /// How many entries it holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// True when it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Walks the entries in order. A damaged entry ends the walk with an error.
    pub fn iter(&self) -> Entries<'a> {
        Entries { rest: self.entries }
    }
}

/// Iterator over packed entries.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    /// Walks entries that stand without a count before them.
    pub fn over(entries: &'a [u8]) -> Entries<'a> {
        Entries { rest: entries }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<&'a [u8], Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = read_varint(self.rest).and_then(|(len, rest)| {
            rest.split_at_checked(usize::try_from(len).unwrap_or(usize::MAX))
                .ok_or(Damaged("packed entry cut short"))
        });
        match read {
            Ok((entry, rest)) => {
                self.rest = rest;
                Some(Ok(entry))
            }
            Err(damaged) => {
                self.rest = b"";
                Some(Err(damaged))
            }
        }
    }
}

/// Appends one entry: its length, then its bytes.
pub fn write_entry(out: &mut Vec<u8>, entry: &[u8]) {
    write_varint(out, entry.len() as u64);
    out.extend_from_slice(entry);
}

/// Bytes that one entry takes.
pub const fn entry_len(bytes_len: usize) -> usize {
    varint_len(bytes_len as u64) + bytes_len
}

/// Appends a whole packed collection.
pub fn write_packed<'e>(out: &mut Vec<u8>, count: u64, entries: impl Iterator<Item = &'e [u8]>) {
    write_varint(out, count);
    for entry in entries {
        write_entry(out, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bytes_are_count_then_lengths_and_entries() {
        let mut bytes = Vec::new();
        let long = [b'x'; 130];
        write_packed(&mut bytes, 3, [&b"f"[..], b"", &long].into_iter());
        assert_eq!(&bytes[..5], b"\x03\x01f\x00\x82");
        assert_eq!(bytes.len(), 1 + entry_len(1) + entry_len(0) + entry_len(130));
        let packed = Packed::decode(&bytes).unwrap();
        let entries: Result<Vec<_>, _> = packed.iter().collect();
        assert_eq!((packed.count(), entries.unwrap()), (3, vec![&b"f"[..], b"", &long]));
    }

    #[test]
    fn a_packed_hash_is_field_value_field_value() {
        let mut bytes = Vec::new();
        write_packed(&mut bytes, 4, [&b"f"[..], b"one", b"g", b""].into_iter());
        assert_eq!(bytes, b"\x04\x01f\x03one\x01g\x00");
    }

    #[test]
    fn varints_of_every_width_come_back() {
        for number in (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, u64::MAX >> bit]) {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, number);
            assert_eq!(bytes.len(), varint_len(number));
            assert_eq!(read_varint(&bytes), Ok((number, &b""[..])));
        }
    }

    #[test]
    fn a_cut_entry_is_damage_not_a_panic() {
        let mut walk = Packed::decode(b"\x01\x05abc").unwrap().iter();
        assert!(walk.next().unwrap().is_err());
        assert_eq!(walk.next(), None);
        assert!(Packed::decode(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }
}
