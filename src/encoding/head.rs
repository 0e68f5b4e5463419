//! The value of a head row: what a key is, when it expires, and its whole value when that is small.
//!
//! ```text
//! | kind 1 | flags 1 | [expires_at 8 | hint_at 8] | payload |
//! kind   = type << 4 | form          type: 0 string, 1 list, 2 set, 3 zset, 4 hash, 5 stream;  form: 0 whole, 1 spread
//! flags  = bit 0: expires_at and hint_at follow;  bits 4-7: note (what OBJECT ENCODING must remember)
//! payload, whole  = a string's bytes, or a packed collection (see `packed`)
//! payload, spread = | namespace 4 | slot 2 | version 8 | count 8 | extra, by type |
//! ```
//!
//! Times are unix milliseconds. `hint_at` is the time under which the key's row stands in the `ttl` family, always at or before
//! `expires_at`, so that a longer expiry costs no second row.

use super::row::{PLACE_LEN, Place};
use super::{Damaged, Family};

/// A key's data type. The numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DataType {
    /// A string of bytes.
    String = 0,
    /// A list.
    List = 1,
    /// A set.
    Set = 2,
    /// A sorted set.
    Zset = 3,
    /// A hash.
    Hash = 4,
    /// A stream.
    Stream = 5,
}

impl DataType {
    /// The name TYPE answers.
    pub const fn name(self) -> &'static str {
        match self {
            DataType::String => "string",
            DataType::List => "list",
            DataType::Set => "set",
            DataType::Zset => "zset",
            DataType::Hash => "hash",
            DataType::Stream => "stream",
        }
    }

    /// The families in which the rows of a spread value of this type lie.
    pub const fn families(self) -> &'static [Family] {
        match self {
            DataType::String => &[Family::Chunk],
            DataType::List => &[Family::List],
            DataType::Set => &[Family::Set],
            DataType::Zset => &[Family::Member, Family::Score],
            DataType::Hash => &[Family::Hash],
            DataType::Stream => &[Family::Stream, Family::Group],
        }
    }

    pub(super) const fn from_number(number: u8) -> Option<DataType> {
        Some(match number {
            0 => DataType::String,
            1 => DataType::List,
            2 => DataType::Set,
            3 => DataType::Zset,
            4 => DataType::Hash,
            5 => DataType::Stream,
            _ => return None,
        })
    }
}

/// When a key expires, and under which time the expirer will find it. Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// The key is gone from this time on.
    pub at_ms: u64,
    /// The time of its row in the `ttl` family; at or before `at_ms`.
    pub hint_ms: u64,
}

/// What a head holds besides its type and expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// The whole value: a string's bytes, or a packed collection.
    Whole(&'a [u8]),
    /// The value lies in rows of its own.
    Spread(Spread<'a>),
}

/// The head of a collection (or big string) whose elements are rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread<'a> {
    /// Where the rows lie.
    pub place: Place,
    /// Elements; for a chunked string, bytes.
    pub count: u64,
    /// What the type keeps besides, see the type's own file.
    pub extra: &'a [u8],
}

/// A decoded head row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The key's type.
    pub data_type: DataType,
    /// Four bits that the type uses to remember what OBJECT ENCODING answers. 0 when nothing special.
    pub note: u8,
    /// When it expires, if ever.
    pub expiry: Option<Expiry>,
    /// Its value, or where that is.
    pub body: Body<'a>,
}

const SPREAD: u8 = 1;
const HAS_EXPIRY: u8 = 1;
const FIXED_LEN: usize = 2;
const EXPIRY_LEN: usize = 16;

impl<'a> Head<'a> {
    /// A head without expiry or note.
    pub fn new(data_type: DataType, body: Body<'a>) -> Head<'a> {
        Head { data_type, note: 0, expiry: None, body }
    }

    /// Reads a head row's value.
    pub fn decode(value: &'a [u8]) -> Result<Head<'a>, Damaged> {
        let (&[kind, flags], mut rest) =
            value.split_first_chunk::<FIXED_LEN>().ok_or(Damaged("head too short"))?;
        let data_type = DataType::from_number(kind >> 4).ok_or(Damaged("head of an unknown type"))?;
        let mut expiry = None;
        if flags & HAS_EXPIRY != 0 {
            let (times, after) =
                rest.split_first_chunk::<EXPIRY_LEN>().ok_or(Damaged("head without its expiry"))?;
            let (at, hint) = times.split_at(8);
            expiry = Some(Expiry { at_ms: read_u64(at)?, hint_ms: read_u64(hint)? });
            rest = after;
        }
        let body = match kind & 0x0f {
            0 => Body::Whole(rest),
            SPREAD => {
                let place = Place::read(rest).ok_or(Damaged("spread head without its place"))?;
                let (_, rest) = rest.split_at(PLACE_LEN);
                let (count, extra) =
                    rest.split_first_chunk::<8>().ok_or(Damaged("spread head without its count"))?;
                Body::Spread(Spread { place, count: u64::from_be_bytes(*count), extra })
            }
            _ => return Err(Damaged("head of an unknown form")),
        };
        Ok(Head { data_type, note: flags >> 4, expiry, body })
    }

    /// Appends the row value to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let form = match self.body {
            Body::Whole(_) => 0,
            Body::Spread(_) => SPREAD,
        };
        out.push((self.data_type as u8) << 4 | form);
        out.push((self.note << 4) | u8::from(self.expiry.is_some()));
        if let Some(expiry) = self.expiry {
            out.extend_from_slice(&expiry.at_ms.to_be_bytes());
            out.extend_from_slice(&expiry.hint_ms.to_be_bytes());
        }
        match self.body {
            Body::Whole(bytes) => out.extend_from_slice(bytes),
            Body::Spread(spread) => {
                out.extend_from_slice(&spread.place.prefix());
                out.extend_from_slice(&spread.count.to_be_bytes());
                out.extend_from_slice(spread.extra);
            }
        }
    }

    /// True when the key is due at `now_ms`: reads hide it from then on.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expiry.is_some_and(|expiry| expiry.at_ms <= now_ms)
    }

    /// The rows that die with this head, if it has any.
    pub fn place(&self) -> Option<Place> {
        match self.body {
            Body::Whole(_) => None,
            Body::Spread(spread) => Some(spread.place),
        }
    }
}

/// Reads a big-endian u64 that fills `bytes`.
pub fn read_u64(bytes: &[u8]) -> Result<u64, Damaged> {
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| Damaged("integer of a wrong width"))?))
}

#[cfg(test)]
mod tests {
    use super::super::row::{Namespace, Version};
    use super::*;

    fn check(head: Head<'_>, golden: &[u8]) {
        let mut bytes = Vec::new();
        head.encode(&mut bytes);
        assert_eq!(bytes, golden);
        assert_eq!(Head::decode(golden), Ok(head));
    }

    #[test]
    fn types_keep_their_numbers() {
        let numbers = [0, 1, 2, 3, 4, 5].map(|number| DataType::from_number(number).map(DataType::name));
        assert_eq!(numbers, ["string", "list", "set", "zset", "hash", "stream"].map(Some));
    }

    #[test]
    fn a_chunked_string_head_counts_bytes_and_has_no_extra() {
        let place = Place { namespace: Namespace(1), slot: 2, version: Version(3) };
        let body = Body::Spread(Spread { place, count: 0x1_0001, extra: b"" });
        let head = Head { note: 1, ..Head::new(DataType::String, body) };
        check(head, b"\x01\x10\0\0\0\x01\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\x01\0\x01");
    }

    #[test]
    fn a_string_head_is_two_bytes_and_the_string() {
        check(Head::new(DataType::String, Body::Whole(b"hello")), b"\x00\x00hello");
    }

    #[test]
    fn an_expiring_head_carries_both_times() {
        let mut head = Head::new(DataType::Hash, Body::Whole(b""));
        head.expiry = Some(Expiry { at_ms: 0x0102, hint_ms: 0x0101 });
        head.note = 3;
        check(head, b"\x40\x31\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\x01\x01");
    }

    #[test]
    fn a_spread_head_carries_place_count_and_extra() {
        let place = Place { namespace: Namespace(1), slot: 2, version: Version(3) };
        let head = Head::new(DataType::List, Body::Spread(Spread { place, count: 4, extra: b"xy" }));
        check(head, b"\x11\x00\0\0\0\x01\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04xy");
    }

    #[test]
    fn damaged_heads_are_refused_at_every_length() {
        let mut bytes = Vec::new();
        let place = Place { namespace: Namespace(1), slot: 2, version: Version(3) };
        let mut head = Head::new(DataType::Hash, Body::Spread(Spread { place, count: 4, extra: b"" }));
        head.expiry = Some(Expiry { at_ms: 2, hint_ms: 1 });
        head.encode(&mut bytes);
        for len in 0..bytes.len() {
            assert!(Head::decode(&bytes[..len]).is_err(), "accepted a head cut at {len}");
        }
        assert!(Head::decode(b"\xf0\x00").is_err());
        assert!(Head::decode(b"\x02\x00").is_err());
    }
}
