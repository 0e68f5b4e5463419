//! Rows of a spread collection read a page at a time, for who goes through millions of them and does something else between.
//!
//! A page is some hundred rows in one piece of memory. Between two pages the collection may not change: it is read under its lock, or
//! from a snapshot.

use crate::encoding::Family;
use crate::encoding::row::{PLACE_LEN, Place, RowKey};
use crate::keyspace::{Direction, Outcome, Txn};
use std::ops::ControlFlow;

/// Rows of a page, if it does not become too long before.
pub const PAGE_ROWS: usize = 512;
const PAGE_BYTES: usize = 256 << 10;

/// The rows of one family of a collection, in order, each without the place it begins with.
pub struct Pages {
    family: Family,
    place: Place,
    page_rows: usize,
    /// Where the next page begins.
    from: RowKey,
    /// No row lies at or behind this.
    to: RowKey,
    bytes: Vec<u8>,
    /// Where each row's element ends and where its value ends.
    ends: Vec<(usize, usize)>,
    /// The row to be shown next, and where it begins.
    at: usize,
    start: usize,
    is_last: bool,
}

impl Pages {
    /// All rows.
    pub fn new(family: Family, place: Place, page_rows: usize) -> Pages {
        Pages::between(family, place, RowKey::from_slice(&place.prefix()), place.end(), page_rows)
    }

    /// The rows from `from` (included) to `to` (excluded).
    pub fn between(family: Family, place: Place, from: RowKey, to: RowKey, page_rows: usize) -> Pages {
        let (bytes, ends) = (Vec::new(), Vec::new());
        let is_last = from >= to;
        let page_rows = page_rows.max(1);
        Pages { family, place, page_rows, from, to, bytes, ends, at: 0, start: 0, is_last }
    }

    /// The next row's element and value; none behind the last.
    pub fn peek(&mut self, txn: &mut Txn<'_>) -> Outcome<Option<(&[u8], &[u8])>> {
        if self.at == self.ends.len() && !self.is_last {
            self.read(txn)?;
        }
        let Some(&(element_end, value_end)) = self.ends.get(self.at) else { return Ok(None) };
        Ok(Some((&self.bytes[self.start..element_end], &self.bytes[element_end..value_end])))
    }

    /// Goes on to the row behind the one that `peek` gives.
    pub fn advance(&mut self) {
        if let Some(&(_, value_end)) = self.ends.get(self.at) {
            self.start = value_end;
            self.at += 1;
        }
    }

    fn read(&mut self, txn: &mut Txn<'_>) -> Outcome {
        self.bytes.clear();
        self.ends.clear();
        (self.at, self.start) = (0, 0);
        let Pages { bytes, ends, page_rows, .. } = self;
        let mut is_last = true;
        txn.scan(self.family, &self.from, &self.to, Direction::Up, |row, value| {
            if ends.len() == *page_rows || bytes.len() >= PAGE_BYTES {
                is_last = false;
                return Ok(ControlFlow::Break(()));
            }
            bytes.extend_from_slice(row.get(PLACE_LEN..).unwrap_or_default());
            let element_end = bytes.len();
            bytes.extend_from_slice(value);
            ends.push((element_end, bytes.len()));
            Ok(ControlFlow::Continue(()))
        })?;
        self.is_last = is_last;
        if let Some(&(last_end, _)) = self.ends.last() {
            let last_start = self.ends.len().checked_sub(2).map_or(0, |at| self.ends[at].1);
            self.from = RowKey::from_slice(&self.place.prefix());
            self.from.extend_from_slice(&self.bytes[last_start..last_end]);
            // The lowest row behind it.
            self.from.push(0);
        }
        Ok(())
    }
}
