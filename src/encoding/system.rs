//! The `system` family: a handful of rows about the database itself.
//!
//! ```text
//! | 'f' |                              -> format version 4
//! | 'h' |                              -> hash seed 16
//! | 'v' |                              -> first version not yet leased 8
//! | 'n' |                              -> first namespace never used 4
//! | 'd' | database 4 |                 -> its namespace 4      (absent: never flushed; the namespace equals the number)
//! | 'c' | namespace 4 | writer 2 |     -> keys 8 | expiring keys 8, both signed: what this writer has added less what it has removed
//! ```

use super::Damaged;
use super::row::{Namespace, RowKey};

/// The row of the format version.
pub const FORMAT_ROW: &[u8] = b"f";
/// The row of the hash seed.
pub const SEED_ROW: &[u8] = b"h";
/// The row of the version lease.
pub const VERSION_ROW: &[u8] = b"v";
/// The row of the namespace counter.
pub const NAMESPACE_ROW: &[u8] = b"n";

/// The first byte of database rows.
pub const DATABASE_PREFIX: &[u8] = b"d";
/// The first byte of counter rows.
pub const COUNTER_PREFIX: &[u8] = b"c";

/// How many keys a writer has added to a namespace, less those it has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Keys.
    pub keys: i64,
    /// Keys among them that have an expiry.
    pub expiring: i64,
}

/// The row that says to which namespace a logical database maps.
pub fn database_row(database: u32) -> RowKey {
    let mut row = RowKey::from_slice(DATABASE_PREFIX);
    row.extend_from_slice(&database.to_be_bytes());
    row
}

/// The database number of a database row.
pub fn split_database_row(row: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(row.strip_prefix(DATABASE_PREFIX)?.try_into().ok()?))
}

/// The counter row of a writer in a namespace.
pub fn counter_row(namespace: Namespace, writer: u16) -> RowKey {
    let mut row = RowKey::from_slice(COUNTER_PREFIX);
    row.extend_from_slice(&namespace.0.to_be_bytes());
    row.extend_from_slice(&writer.to_be_bytes());
    row
}

/// The bounds of a namespace's counter rows.
pub fn counters_of(namespace: Namespace) -> (RowKey, RowKey) {
    let mut from = RowKey::from_slice(COUNTER_PREFIX);
    from.extend_from_slice(&namespace.0.to_be_bytes());
    let to = super::row::successor(&from);
    (from, to)
}

/// Namespace and writer of a counter row.
pub fn split_counter_row(row: &[u8]) -> Option<(Namespace, u16)> {
    let rest = row.strip_prefix(COUNTER_PREFIX)?;
    let (namespace, writer) = rest.split_first_chunk::<4>()?;
    Some((Namespace(u32::from_be_bytes(*namespace)), u16::from_be_bytes(writer.try_into().ok()?)))
}

impl Count {
    /// The row value.
    pub fn encode(&self) -> [u8; 16] {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&self.keys.to_be_bytes());
        value[8..].copy_from_slice(&self.expiring.to_be_bytes());
        value
    }

    /// Reads a counter row's value.
    pub fn decode(value: &[u8]) -> Result<Count, Damaged> {
        let (keys, expiring) = value.split_at_checked(8).ok_or(Damaged("counter cut short"))?;
        let number = |bytes| super::head::read_u64(bytes).map(u64::cast_signed);
        Ok(Count { keys: number(keys)?, expiring: number(expiring)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_rows_are_as_drawn() {
        assert_eq!(&counter_row(Namespace(1), 0x0203)[..], b"c\0\0\0\x01\x02\x03");
        assert_eq!(split_counter_row(b"c\0\0\0\x01\x02\x03"), Some((Namespace(1), 0x0203)));
        assert_eq!([FORMAT_ROW, SEED_ROW, VERSION_ROW, NAMESPACE_ROW], [b"f", b"h", b"v", b"n"]);
        assert_eq!(&database_row(5)[..], b"d\0\0\0\x05");
        assert_eq!(split_database_row(b"d\0\0\0\x05"), Some(5));
        let count = Count { keys: 1, expiring: -2 };
        assert_eq!(count.encode(), *b"\0\0\0\0\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xfe");
        assert_eq!(Count::decode(&count.encode()), Ok(count));
        assert!(Count::decode(b"short").is_err());
    }
}
