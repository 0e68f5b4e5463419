//! COPY: a value under another key.
//!
//! A whole value is its head's bytes, saved again. A spread value gets a new place, and each of its rows is written there: a row
//! is the place, then what names the element within it, and that second part does not depend on the place.
//!
//! A family's rows are read in one scan before the first is written, for the scan and the writes are both the transaction's. Memory
//! is twice the value's size then; a worker refuses large values and leaves them to the pool.

use crate::encoding::head::{Body, DataType, Spread};
use crate::encoding::row::{PLACE_LEN, RowKey};
use crate::keyspace::{Direction, Key, NewHead, Outcome, Txn};
use std::ops::ControlFlow;

/// Bytes of a big string that count as one step of work.
const STRING_STEP_BYTES: u64 = 1024;

/// Copies a value with its expiry. False when there is nothing to copy, or something in the way and not `replace`.
pub fn copy(txn: &mut Txn<'_>, from: &Key, to: &Key, replace: bool) -> Outcome<bool> {
    txn.set_counting(true);
    let stored = txn.load(from)?;
    txn.set_counting(false);
    let Some(stored) = stored else { return Ok(false) };
    if !replace && txn.load(to)?.is_some() {
        return Ok(false);
    }
    txn.note_replaced(to)?;
    let body = match stored.body() {
        Body::Whole(bytes) => Body::Whole(bytes),
        Body::Spread(spread) => Body::Spread(copy_rows(txn, to, stored.data_type(), spread)?),
    };
    let head = NewHead::new(stored.data_type(), body).noted(stored.note());
    txn.save(to, head.expiring(stored.expires_at_ms()))?;
    Ok(true)
}

/// Writes a collection's rows under a new place, which the head returned points at.
fn copy_rows<'s>(
    txn: &mut Txn<'_>,
    to: &Key,
    data_type: DataType,
    spread: Spread<'s>,
) -> Outcome<Spread<'s>> {
    let steps = if data_type == DataType::String { spread.count / STRING_STEP_BYTES } else { spread.count };
    txn.expect_work(steps)?;
    let place = txn.new_place(to);
    for &family in data_type.families() {
        let mut rows = Rows::default();
        txn.scan(family, &spread.place.prefix(), &spread.place.end(), Direction::Up, |row, value| {
            rows.push(row.get(PLACE_LEN..).unwrap_or_default(), value);
            Ok(ControlFlow::Continue(()))
        })?;
        let mut row = RowKey::from_slice(&place.prefix());
        for (element, value) in rows.iter() {
            row.truncate(PLACE_LEN);
            row.extend_from_slice(element);
            txn.put_element(to, family, &row, value)?;
        }
    }
    Ok(Spread { place, ..spread })
}

/// Rows one after the other in one piece of memory.
#[derive(Default)]
struct Rows {
    bytes: Vec<u8>,
    /// Where each row's element ends and where its value ends.
    ends: Vec<(usize, usize)>,
}

impl Rows {
    fn push(&mut self, element: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(element);
        let element_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((element_end, self.bytes.len()));
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(element_end, value_end)| {
            let row = (&self.bytes[start..element_end], &self.bytes[element_end..value_end]);
            start = value_end;
            row
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathered_rows_come_back_in_order() {
        let mut rows = Rows::default();
        rows.push(b"a", b"one");
        rows.push(b"", b"");
        rows.push(b"c", b"");
        assert_eq!(rows.iter().collect::<Vec<_>>(), [(&b"a"[..], &b"one"[..]), (b"", b""), (b"c", b"")]);
    }
}
