//! The `gc` family: what is dead and waits to be removed from disk, so that DEL and FLUSHDB are O(1).
//!
//! ```text
//! row key | 1 | version 8 |     row value | type 1 | namespace 4 | slot 2 | version 8 | count 8 |    a dead collection
//! row key | 2 | namespace 4 |   row value: empty                                                     a dead namespace
//! row key | 3 | namespace 4 | slot 2 | version 8 |   row value: the namespace 4 it lives in             an exile
//! ```
//!
//! An *exile* is a living collection whose rows lie in a namespace that its key has left (MOVE, or RENAME never: that stays
//! at home). Removing a dead namespace spares its exiles.

use super::Damaged;
use super::head::{DataType, read_u64};
use super::row::{Namespace, PLACE_LEN, Place, RowKey};

const COLLECTION: u8 = 1;
const NAMESPACE: u8 = 2;
const EXILE: u8 = 3;

/// A collection whose rows are to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadCollection {
    /// Its type tells in which families its rows lie.
    pub data_type: DataType,
    /// Where they lie.
    pub place: Place,
    /// About how many there are.
    pub count: u64,
}

impl DeadCollection {
    /// Its row key in the `gc` family.
    pub fn row(&self) -> RowKey {
        let mut row = RowKey::from_slice(&[COLLECTION]);
        row.extend_from_slice(&self.place.version.0.to_be_bytes());
        row
    }

    /// Its row value.
    pub fn encode(&self) -> RowKey {
        let mut value = RowKey::from_slice(&[self.data_type as u8]);
        value.extend_from_slice(&self.place.prefix());
        value.extend_from_slice(&self.count.to_be_bytes());
        value
    }
}

/// A row of the `gc` family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GcRow {
    /// A dead collection.
    Collection(DeadCollection),
    /// A dead namespace.
    Namespace(Namespace),
    /// A living collection outside its namespace.
    Exile(Place),
}

impl GcRow {
    /// Reads a row of the family.
    pub fn decode(row: &[u8], value: &[u8]) -> Result<GcRow, Damaged> {
        let (&kind, rest) = row.split_first().ok_or(Damaged("empty gc row"))?;
        match kind {
            COLLECTION => {
                let (&number, value) = value.split_first().ok_or(Damaged("gc row without a type"))?;
                let data_type = DataType::from_number(number).ok_or(Damaged("gc row of an unknown type"))?;
                let place = Place::read(value).ok_or(Damaged("gc row without a place"))?;
                let count = read_u64(&value[PLACE_LEN..])?;
                Ok(GcRow::Collection(DeadCollection { data_type, place, count }))
            }
            NAMESPACE => {
                let bytes = rest.try_into().map_err(|_| Damaged("gc row of a cut namespace"))?;
                Ok(GcRow::Namespace(Namespace(u32::from_be_bytes(bytes))))
            }
            EXILE => Place::read(rest).map(GcRow::Exile).ok_or(Damaged("gc row of a cut exile")),
            _ => Err(Damaged("gc row of an unknown kind")),
        }
    }
}

/// The row key of a dead namespace.
pub fn dead_namespace_row(namespace: Namespace) -> RowKey {
    let mut row = RowKey::from_slice(&[NAMESPACE]);
    row.extend_from_slice(&namespace.0.to_be_bytes());
    row
}

/// The row key of an exile.
pub fn exile_row(place: &Place) -> RowKey {
    let mut row = RowKey::from_slice(&[EXILE]);
    row.extend_from_slice(&place.prefix());
    row
}

/// The bounds of all exiles.
pub fn all_exiles() -> ([u8; 1], [u8; 1]) {
    ([EXILE], [EXILE + 1])
}

/// The bounds of all exiles of a namespace.
pub fn exiles_of(namespace: Namespace) -> (RowKey, RowKey) {
    let mut from = RowKey::from_slice(&[EXILE]);
    from.extend_from_slice(&namespace.0.to_be_bytes());
    let to = super::row::successor(&from);
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::super::row::Version;
    use super::*;

    #[test]
    fn gc_rows_come_back_as_they_were() {
        let place = Place { namespace: Namespace(1), slot: 2, version: Version(3) };
        let dead = DeadCollection { data_type: DataType::Hash, place, count: 4 };
        assert_eq!(&dead.row()[..], b"\x01\0\0\0\0\0\0\0\x03");
        assert_eq!(&dead.encode()[..], b"\x04\0\0\0\x01\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04");
        assert_eq!(GcRow::decode(&dead.row(), &dead.encode()), Ok(GcRow::Collection(dead)));
        assert_eq!(&dead_namespace_row(Namespace(9))[..], b"\x02\0\0\0\x09");
        assert_eq!(GcRow::decode(&dead_namespace_row(Namespace(9)), b""), Ok(GcRow::Namespace(Namespace(9))));
        assert_eq!(&exile_row(&place)[..], b"\x03\0\0\0\x01\0\x02\0\0\0\0\0\0\0\x03");
        assert_eq!(GcRow::decode(&exile_row(&place), b""), Ok(GcRow::Exile(place)));
        assert!(GcRow::decode(b"", b"").is_err() && GcRow::decode(b"\x09", b"").is_err());
    }
}
