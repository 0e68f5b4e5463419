//! The `ttl` family: a time-ordered index of hints, so that the expirer finds due keys by reading from the front.
//!
//! ```text
//! row key | hint_at 8 | head row's key |      row value: empty
//! ```
//!
//! For every expiring key a row exists at or before its true expiry. A row may be out of date: the head says what is true.

use super::row::RowKey;

/// The row that reminds the expirer of a key at `hint_ms`.
pub fn hint_row(hint_ms: u64, head_row: &[u8]) -> RowKey {
    let mut row = RowKey::from_slice(&hint_ms.to_be_bytes());
    row.extend_from_slice(head_row);
    row
}

/// The first possible row of a time: where a scan from there begins, and the bound of one that ends there.
pub fn hint_bound(hint_ms: u64) -> [u8; 8] {
    hint_ms.to_be_bytes()
}

/// The time and the head row of a hint.
pub fn split_hint_row(row: &[u8]) -> Option<(u64, &[u8])> {
    let (time, head_row) = row.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*time), head_row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_row_is_the_time_then_the_head_row() {
        let row = hint_row(0x0102, b"head");
        assert_eq!(&row[..], b"\0\0\0\0\0\0\x01\x02head");
        assert_eq!(split_hint_row(&row), Some((0x0102, &b"head"[..])));
        assert_eq!(split_hint_row(b"short"), None);
    }
}
