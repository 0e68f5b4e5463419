//! COPY: a value under another key.
//!
//! A whole value is its head's bytes, saved again. A spread value gets a new place, and each of its rows is written there: a row
//! is the place, then what names the element within it, and that second part does not depend on the place.
//!
//! Rows are read a page at a time, and those of a large value written as they come (`Txn::begin_build`); a worker leaves it to the
//! pool.

use super::pages::{PAGE_ROWS, Pages};
use crate::encoding::Family;
use crate::encoding::head::{Body, DataType, Spread};
use crate::encoding::row::{PLACE_LEN, Place, RowKey};
use crate::keyspace::{Key, NewHead, Outcome, Txn};

/// Bytes of a big string that count as one step of work.
const STRING_STEP_BYTES: u64 = 1024;

/// Copies a value with its expiry. False when there is nothing to copy, or something in the way and not `replace`.
pub fn copy(txn: &mut Txn<'_>, from: &Key, to: &Key, replace: bool) -> Outcome<bool> {
    let Some(stored) = txn.counted(|txn| txn.load(from))? else { return Ok(false) };
    if !replace && txn.load(to)?.is_some() {
        return Ok(false);
    }
    txn.note_replaced(to)?;
    let body = match stored.body() {
        Body::Whole(bytes) => Body::Whole(bytes),
        Body::Spread(spread) => {
            let data_type = stored.data_type();
            let step_bytes = if data_type == DataType::String { STRING_STEP_BYTES } else { 1 };
            let steps = spread.count / step_bytes;
            let place = copy_rows(txn, to, data_type, data_type.families(), spread.place, steps)?;
            Body::Spread(Spread { place, ..spread })
        }
    };
    let head = NewHead::new(stored.data_type(), body).noted(stored.note());
    txn.save(to, head.expiring(stored.expires_at_ms()))?;
    Ok(true)
}

/// Writes the rows of these families that lie under a place, about `steps` of each, under a new one, which is returned.
pub(super) fn copy_rows(
    txn: &mut Txn<'_>,
    to: &Key,
    data_type: DataType,
    families: &[Family],
    from: Place,
    steps: u64,
) -> Outcome<Place> {
    txn.expect_work(steps)?;
    let mut build = txn.begin_build(to, data_type, steps.saturating_mul(families.len() as u64));
    let place = build.place();
    let mut row = RowKey::from_slice(&place.prefix());
    for &family in families {
        let mut pages = Pages::new(family, from, PAGE_ROWS);
        while let Some((element, value)) = pages.peek(txn)? {
            row.truncate(PLACE_LEN);
            row.extend_from_slice(element);
            txn.build_row(&mut build, to, family, &row, value)?;
            pages.advance();
        }
    }
    txn.end_build(build)?;
    Ok(place)
}
