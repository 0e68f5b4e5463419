//! Consumer groups of streams on disk, all in the family `group`.
//!
//! ```text
//! group    | place 14 | 1 | name |                            ->  | number 4 | last id 16 | entries read 8 | pending 8 |
//!                                                                 | consumers 4 | consumers ever made 4 | low 16 | high 16 | gone 4 |
//! consumer | place 14 | 2 | group number 4 | name |           ->  | number 4 | pending 8 | seen at 8 | active at 8 |
//! pending  | place 14 | 3 | group number 4 | id 16 |          ->  | delivered at 8 | deliveries 8 | consumer's name |
//! owned    | place 14 | 4 | group number 4 | consumer number 4 | id 16 |  ->  empty
//! ```
//!
//! Groups of a stream, and consumers of a group, are numbered from 1 on; a number is not used twice, so RENAME of a stream and rows
//! of a group that is no more do no harm. Every pending entry has a `pending` row and an `owned` row. All pending ids of a group lie
//! from `low` to `high`; `gone` counts those that went since `low` was last moved up. Entries read: all ones when not known; active at:
//! all ones for never. Times are unix milliseconds.

use super::Damaged;
use super::row::{PLACE_LEN, Place, RowKey};
use super::stream::{ID_LEN, Id, Reader};

const GROUP: u8 = 1;
const CONSUMER: u8 = 2;
const PENDING: u8 = 3;
const OWNED: u8 = 4;
const UNKNOWN: u64 = u64::MAX;

/// What a group's row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRow {
    /// Its number.
    pub number: u32,
    /// The last entry that was delivered to it.
    pub last_id: Id,
    /// How many entries there were up to that one, if that is known.
    pub entries_read: Option<u64>,
    /// Entries delivered and not acknowledged.
    pub pending: u64,
    /// Consumers there are.
    pub consumers: u32,
    /// Consumers there have been: the number of the last.
    pub consumers_made: u32,
    /// No entry below this one is pending.
    pub low: Id,
    /// No entry above this one is pending.
    pub high: Id,
    /// Entries that were pending and went since `low` was moved.
    pub gone: u32,
}

impl GroupRow {
    /// The row's value.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(84);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.last_id.bytes());
        bytes.extend_from_slice(&self.entries_read.unwrap_or(UNKNOWN).to_be_bytes());
        bytes.extend_from_slice(&self.pending.to_be_bytes());
        bytes.extend_from_slice(&self.consumers.to_be_bytes());
        bytes.extend_from_slice(&self.consumers_made.to_be_bytes());
        bytes.extend_from_slice(&self.low.bytes());
        bytes.extend_from_slice(&self.high.bytes());
        bytes.extend_from_slice(&self.gone.to_be_bytes());
        bytes
    }

    /// Reads the row's value.
    pub fn decode(value: &[u8]) -> Result<GroupRow, Damaged> {
        let mut reader = Reader(value);
        Ok(GroupRow {
            number: reader.u32()?,
            last_id: reader.id()?,
            entries_read: Some(reader.u64()?).filter(|&read| read != UNKNOWN),
            pending: reader.u64()?,
            consumers: reader.u32()?,
            consumers_made: reader.u32()?,
            low: reader.id()?,
            high: reader.id()?,
            gone: reader.u32()?,
        })
    }
}

/// What a consumer's row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerRow {
    /// Its number within the group.
    pub number: u32,
    /// Entries delivered to it and not acknowledged.
    pub pending: u64,
    /// When it last asked for something, unix milliseconds.
    pub seen_at_ms: u64,
    /// When it last got something.
    pub active_at_ms: Option<u64>,
}

impl ConsumerRow {
    /// The row's value.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(28);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.pending.to_be_bytes());
        bytes.extend_from_slice(&self.seen_at_ms.to_be_bytes());
        bytes.extend_from_slice(&self.active_at_ms.unwrap_or(UNKNOWN).to_be_bytes());
        bytes
    }

    /// Reads the row's value.
    pub fn decode(value: &[u8]) -> Result<ConsumerRow, Damaged> {
        let mut reader = Reader(value);
        Ok(ConsumerRow {
            number: reader.u32()?,
            pending: reader.u64()?,
            seen_at_ms: reader.u64()?,
            active_at_ms: Some(reader.u64()?).filter(|&at_ms| at_ms != UNKNOWN),
        })
    }
}

/// What the row of a pending entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingRow<'a> {
    /// When it was last delivered, unix milliseconds.
    pub delivered_at_ms: u64,
    /// How often.
    pub deliveries: u64,
    /// To whom.
    pub consumer: &'a [u8],
}

impl<'a> PendingRow<'a> {
    /// The row's value.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.consumer.len());
        bytes.extend_from_slice(&self.delivered_at_ms.to_be_bytes());
        bytes.extend_from_slice(&self.deliveries.to_be_bytes());
        bytes.extend_from_slice(self.consumer);
        bytes
    }

    /// Reads the row's value.
    pub fn decode(value: &'a [u8]) -> Result<PendingRow<'a>, Damaged> {
        let mut reader = Reader(value);
        let (delivered_at_ms, deliveries) = (reader.u64()?, reader.u64()?);
        Ok(PendingRow { delivered_at_ms, deliveries, consumer: reader.0 })
    }
}

fn row(place: &Place, kind: u8, numbers: &[u32]) -> RowKey {
    let mut row = RowKey::from_slice(&place.prefix());
    row.push(kind);
    numbers.iter().for_each(|number| row.extend_from_slice(&number.to_be_bytes()));
    row
}

/// The row of a group.
pub fn group_row(place: &Place, name: &[u8]) -> RowKey {
    let mut row = row(place, GROUP, &[]);
    row.extend_from_slice(name);
    row
}

/// Where the rows of all groups of a stream begin and end.
pub fn group_rows(place: &Place) -> (RowKey, RowKey) {
    (row(place, GROUP, &[]), row(place, GROUP + 1, &[]))
}

/// The group's name in its row.
pub fn group_name(row: &[u8]) -> &[u8] {
    row.get(PLACE_LEN + 1..).unwrap_or_default()
}

/// The row of a consumer.
pub fn consumer_row(place: &Place, group: u32, name: &[u8]) -> RowKey {
    let mut row = row(place, CONSUMER, &[group]);
    row.extend_from_slice(name);
    row
}

/// Where the rows of all consumers of a group begin and end.
pub fn consumer_rows(place: &Place, group: u32) -> (RowKey, RowKey) {
    (row(place, CONSUMER, &[group]), row(place, CONSUMER, &[group + 1]))
}

/// The consumer's name in its row.
pub fn consumer_name(row: &[u8]) -> &[u8] {
    row.get(PLACE_LEN + 5..).unwrap_or_default()
}

/// The row of a pending entry.
pub fn pending_row(place: &Place, group: u32, id: Id) -> RowKey {
    let mut row = row(place, PENDING, &[group]);
    row.extend_from_slice(&id.bytes());
    row
}

/// The row just past a group's last pending entry.
pub fn pending_end(place: &Place, group: u32) -> RowKey {
    row(place, PENDING, &[group + 1])
}

/// The row that says whose a pending entry is.
pub fn owned_row(place: &Place, group: u32, consumer: u32, id: Id) -> RowKey {
    let mut row = row(place, OWNED, &[group, consumer]);
    row.extend_from_slice(&id.bytes());
    row
}

/// The row just past the last pending entry of a consumer.
pub fn owned_end(place: &Place, group: u32, consumer: u32) -> RowKey {
    row(place, OWNED, &[group, consumer + 1])
}

/// The row just past the last pending entry of all consumers of a group.
pub fn owned_end_of_group(place: &Place, group: u32) -> RowKey {
    row(place, OWNED, &[group + 1])
}

/// The id at the end of a `pending` or `owned` row.
pub fn id_in(row: &[u8]) -> Result<Id, Damaged> {
    let start = row.len().checked_sub(ID_LEN).ok_or(Damaged("stream id cut short"))?;
    Id::read(&row[start..])
}

#[cfg(test)]
mod tests {
    use super::super::row::{Namespace, Version};
    use super::*;

    const PLACE: Place = Place { namespace: Namespace(1), slot: 2, version: Version(3) };
    const ID: Id = Id { ms: 4, seq: 5 };
    const ID_BYTES: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5];

    fn after_place(row: &RowKey) -> &[u8] {
        assert_eq!(row[..PLACE_LEN], PLACE.prefix());
        &row[PLACE_LEN..]
    }

    #[test]
    fn rows_of_groups_are_kind_numbers_and_name_or_id() {
        assert_eq!(after_place(&group_row(&PLACE, b"g")), b"\x01g");
        assert_eq!(after_place(&consumer_row(&PLACE, 7, b"c")), b"\x02\0\0\0\x07c");
        assert_eq!(after_place(&pending_row(&PLACE, 7, ID)), [&b"\x03\0\0\0\x07"[..], &ID_BYTES].concat());
        let owned = owned_row(&PLACE, 7, 8, ID);
        assert_eq!(after_place(&owned), [&b"\x04\0\0\0\x07\0\0\0\x08"[..], &ID_BYTES].concat());
        assert_eq!(id_in(&owned), Ok(ID));
        assert_eq!(group_name(&group_row(&PLACE, b"g")), b"g");
        assert_eq!(consumer_name(&consumer_row(&PLACE, 7, b"c")), b"c");
        assert!(owned < owned_end(&PLACE, 7, 8) && owned_end(&PLACE, 7, 8) < owned_end_of_group(&PLACE, 7));
    }

    #[test]
    fn a_group_a_consumer_and_a_pending_entry_come_back_as_they_were() {
        let group = GroupRow {
            number: 1,
            last_id: Id { ms: 2, seq: 3 },
            entries_read: None,
            pending: 4,
            consumers: 5,
            consumers_made: 6,
            low: Id { ms: 7, seq: 8 },
            high: Id { ms: 9, seq: 10 },
            gone: 11,
        };
        let mut golden = 1u32.to_be_bytes().to_vec();
        [2, 3, u64::MAX, 4].iter().for_each(|number| golden.extend(number.to_be_bytes()));
        [5u32, 6].iter().for_each(|number| golden.extend(number.to_be_bytes()));
        [7u64, 8, 9, 10].iter().for_each(|number| golden.extend(number.to_be_bytes()));
        golden.extend(11u32.to_be_bytes());
        assert_eq!(group.encode(), golden);
        assert_eq!(GroupRow::decode(&golden), Ok(group));

        let consumer = ConsumerRow { number: 1, pending: 2, seen_at_ms: 3, active_at_ms: Some(4) };
        let mut golden = 1u32.to_be_bytes().to_vec();
        [2u64, 3, 4].iter().for_each(|number| golden.extend(number.to_be_bytes()));
        assert_eq!(consumer.encode(), golden);
        assert_eq!(ConsumerRow::decode(&golden), Ok(consumer));
        let never = ConsumerRow { active_at_ms: None, ..consumer };
        assert_eq!(ConsumerRow::decode(&never.encode()), Ok(never));

        let pending = PendingRow { delivered_at_ms: 1, deliveries: 2, consumer: b"c" };
        assert_eq!(pending.encode(), b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02c");
        assert_eq!(PendingRow::decode(&pending.encode()), Ok(pending));
        assert!(PendingRow::decode(&[0; 15]).is_err() && GroupRow::decode(&[0; 83]).is_err());
        assert!(ConsumerRow::decode(&[0; 27]).is_err());
    }
}
