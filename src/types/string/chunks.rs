//! The bytes of a big string: rows of 16 KB each.
//!
//! ```text
//! chunk n holds bytes n * 16384 .. (n + 1) * 16384, or fewer
//! ```
//!
//! A chunk may be shorter than its part of the string, or missing: the bytes it lacks are zeros. So SETRANGE far behind the end
//! writes one row. A chunk never holds bytes behind the string's end.
//!
//! A few chunks are read one by one, which goes through the memory tier; many in one scan, which leaves the tier alone.

use crate::encoding::row::{PLACE_LEN, Place, RowKey};
use crate::encoding::{Damaged, Family};
use crate::keyspace::{Direction, Key, Outcome, Txn};
use std::ops::{ControlFlow, Range};

const CHUNK_BYTES: u64 = 16 << 10;
/// Bytes that count as one step of work.
const STEP_BYTES: u64 = 1024;
/// Up to so many chunks are read one by one.
const SINGLE_READS_MAX: u64 = 64;

static ZEROS: [u8; CHUNK_BYTES as usize] = [0; CHUNK_BYTES as usize];

/// Cuts a range of bytes into the parts of single chunks: the chunk's number and the range within it.
fn pieces(range: Range<u64>) -> impl Iterator<Item = (u32, Range<usize>)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let number = at / CHUNK_BYTES;
        let chunk_start = number * CHUNK_BYTES;
        let end = range.end.min(chunk_start + CHUNK_BYTES);
        let piece = (number as u32, (at - chunk_start) as usize..(end - chunk_start) as usize);
        at = end;
        Some(piece)
    })
}

/// Gives a part of a chunk, zeros where the chunk lacks bytes.
fn give(chunk: &[u8], within: Range<usize>, take: &mut impl FnMut(&[u8])) {
    let known = chunk.len().clamp(within.start, within.end);
    take(chunk.get(within.start..known).unwrap_or_default());
    take(ZEROS.get(..within.end - known).unwrap_or_default());
}

/// How many rows a string of `len` bytes has, if none is missing.
pub(super) fn chunks_of(len: u64) -> u64 {
    len.div_ceil(CHUNK_BYTES)
}

/// Gives the bytes of a range in order.
pub(super) fn read(
    txn: &mut Txn<'_>,
    place: Place,
    range: Range<u64>,
    mut take: impl FnMut(&[u8]),
) -> Outcome {
    let bytes = range.end.saturating_sub(range.start);
    txn.expect_work(bytes / STEP_BYTES)?;
    let mut pieces = pieces(range.clone());
    if bytes <= SINGLE_READS_MAX * CHUNK_BYTES {
        for (number, within) in pieces {
            let chunk = txn.element(Family::Chunk, &place.chunk_row(number))?;
            give(chunk.as_deref().unwrap_or_default(), within, &mut take);
        }
        return Ok(());
    }
    let lower = place.chunk_row((range.start / CHUNK_BYTES) as u32);
    let upper = place.chunk_row(range.end.div_ceil(CHUNK_BYTES) as u32);
    txn.scan(Family::Chunk, &lower, &upper, Direction::Up, |row, chunk| {
        let found = row.get(PLACE_LEN..).and_then(|number| number.try_into().ok()).map(u32::from_be_bytes);
        let Some(found) = found else {
            return Err(Damaged("chunk without its number").into());
        };
        for (number, within) in pieces.by_ref() {
            if number == found {
                give(chunk, within, &mut take);
                break;
            }
            give(b"", within, &mut take);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    pieces.for_each(|(_, within)| give(b"", within, &mut take));
    Ok(())
}

/// Refuses to go on when a worker would have to copy so many bytes.
pub(super) fn expect_work(txn: &Txn<'_>, bytes: u64) -> Outcome {
    txn.expect_work(bytes / STEP_BYTES)
}

/// The rows of a whole string, with their keys.
pub(super) fn rows(place: Place, value: &[u8]) -> impl Iterator<Item = (RowKey, &[u8])> {
    let chunks = value.chunks(CHUNK_BYTES as usize).enumerate();
    chunks.map(move |(number, chunk)| (place.chunk_row(number as u32), chunk))
}

/// Writes bytes from an offset on into a string of `len` bytes. Gives the new length, which the caller saves.
pub(super) fn write(
    txn: &mut Txn<'_>,
    key: &Key,
    place: Place,
    len: u64,
    offset: u64,
    bytes: &[u8],
) -> Outcome<u64> {
    txn.expect_work(bytes.len() as u64 / STEP_BYTES)?;
    let end = offset + bytes.len() as u64;
    let mut rest = bytes;
    for (number, within) in pieces(offset..end) {
        let (piece, after) = rest.split_at_checked(within.len()).unwrap_or((rest, b""));
        rest = after;
        let row = place.chunk_row(number);
        let chunk_start = u64::from(number) * CHUNK_BYTES;
        if within.start == 0 && chunk_start + within.end as u64 >= len {
            txn.put_element(key, Family::Chunk, &row, piece)?;
            continue;
        }
        let mut chunk = txn.take_buffer();
        if chunk_start < len
            && let Some(old) = txn.element(Family::Chunk, &row)?
        {
            chunk.extend_from_slice(&old);
        }
        if chunk.len() < within.end {
            chunk.resize(within.end, 0);
        }
        if let Some(part) = chunk.get_mut(within) {
            part.copy_from_slice(piece);
        }
        txn.put_element(key, Family::Chunk, &row, &chunk)?;
        txn.return_buffer(chunk);
    }
    Ok(len.max(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_chunk_borders() {
        let cut = |range| pieces(range).collect::<Vec<_>>();
        assert_eq!(cut(0..1), [(0, 0..1)]);
        assert_eq!(cut(16383..16385), [(0, 16383..16384), (1, 0..1)]);
        assert_eq!(cut(16384..49152), [(1, 0..16384), (2, 0..16384)]);
        assert_eq!(cut(5..5), []);
        assert_eq!(cut((512 << 20) - 1..512 << 20), [(32767, 16383..16384)]);
    }

    #[test]
    fn bytes_a_chunk_lacks_are_zeros() {
        let given = |chunk: &[u8], within| {
            let mut all = Vec::new();
            give(chunk, within, &mut |bytes: &[u8]| all.extend_from_slice(bytes));
            all
        };
        assert_eq!(given(b"abc", 1..5), b"bc\0\0");
        assert_eq!(given(b"abc", 0..2), b"ab");
        assert_eq!(given(b"abc", 4..6), b"\0\0");
        assert_eq!(given(b"", 0..16384).len(), 16384);
    }
}
