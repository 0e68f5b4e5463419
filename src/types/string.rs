//! Strings: bytes of any kind, whole in the key's head or, when big, in chunks.
//!
//! A string of up to 64 KB is `Body::Whole`: one get, one put. A longer one lies in rows of 16 KB each (see `chunks`), so that APPEND,
//! SETRANGE and GETRANGE touch only the chunks they are about; its head counts the bytes. A string that was chunked once stays so
//! until it is overwritten.
//!
//! The note remembers what OBJECT ENCODING cannot tell from the bytes: 1 for a short string that Redis would keep `raw` (changed in
//! place, or too long to lie beside its key), 2 for one that is `embstr` although it reads as an integer.
//!
//! Locks: the caller's key is locked by its command.

mod chunks;

use crate::base::longdouble::LongDouble;
use crate::base::number::{IntText, parse_i64};
use crate::encoding::Family;
use crate::encoding::head::{Body, DataType, Spread};
use crate::keyspace::{Error, Key, NewHead, Outcome, Stored, Txn, fail};
use std::ops::Range;

/// Longer strings are chunked.
const WHOLE_BYTES_MAX: usize = 64 << 10;
/// Redis embeds a value in its object up to this length ...
const EMBEDDED_BYTES_MAX: usize = 44;
/// ... and beside its key up to this length of both.
const EMBEDDED_WITH_KEY_BYTES_MAX: usize = 41;
/// No longer text is an integer.
const INTEGER_TEXT_MAX: usize = 20;

const NOTE_BY_CONTENT: u8 = 0;
const NOTE_RAW: u8 = 1;
const NOTE_EMBEDDED: u8 = 2;

/// What OBJECT ENCODING answers for a string.
pub fn object_encoding(stored: &Stored) -> &'static str {
    let Body::Whole(bytes) = stored.body() else { return "raw" };
    match stored.note() {
        NOTE_RAW => "raw",
        NOTE_EMBEDDED => "embstr",
        _ if is_integer(bytes) => "int",
        _ if bytes.len() <= EMBEDDED_BYTES_MAX => "embstr",
        _ => "raw",
    }
}

fn is_integer(bytes: &[u8]) -> bool {
    bytes.len() <= INTEGER_TEXT_MAX && parse_i64(bytes).is_some()
}

/// The note of a value that was set as a whole.
fn note_of(key_len: usize, value: &[u8]) -> u8 {
    if key_len + value.len() <= EMBEDDED_WITH_KEY_BYTES_MAX || is_integer(value) {
        NOTE_BY_CONTENT
    } else {
        NOTE_RAW
    }
}

/// Loads a key that must be a string, if it exists.
pub fn load(txn: &mut Txn<'_>, key: &Key) -> Outcome<Option<Stored>> {
    txn.load_typed(key, DataType::String)
}

/// The length of a string in bytes.
pub fn len(stored: &Stored) -> u64 {
    match stored.body() {
        Body::Whole(bytes) => bytes.len() as u64,
        Body::Spread(spread) => spread.count,
    }
}

/// How many chunks a chunked string of `len` bytes has, if none is missing.
pub fn chunks_of(len: u64) -> u64 {
    chunks::chunks_of(len)
}

/// Refuses to go on when a worker would have to read so many bytes.
pub fn expect_read(txn: &Txn<'_>, bytes: u64) -> Outcome {
    chunks::expect_work(txn, bytes)
}

/// Gives the bytes of a range that lies within the string, piece by piece.
pub fn read(txn: &mut Txn<'_>, stored: &Stored, range: Range<u64>, mut take: impl FnMut(&[u8])) -> Outcome {
    match stored.body() {
        Body::Whole(bytes) => take(bytes.get(range.start as usize..range.end as usize).unwrap_or_default()),
        Body::Spread(spread) => chunks::read(txn, spread.place, range, take)?,
    }
    Ok(())
}

/// Makes a key this string, whatever it was. An expiry (unix milliseconds) that is not in the future leaves no key.
pub fn set(txn: &mut Txn<'_>, key: &Key, value: &[u8], expires_at_ms: Option<u64>) -> Outcome {
    if expires_at_ms.is_some_and(|at_ms| at_ms <= txn.now_ms()) {
        txn.delete(key)?;
        return Ok(());
    }
    if value.len() > WHOLE_BYTES_MAX {
        return set_built(txn, key, expires_at_ms, value);
    }
    let head = NewHead::new(DataType::String, Body::Whole(value)).noted(note_of(key.name().len(), value));
    txn.save(key, head.expiring(expires_at_ms))
}

/// Writes a fresh chunked string. On the pool its chunks go to the disk in small batches before its head (see keyspace/building),
/// so that no second copy of a huge value is in memory.
fn set_built(txn: &mut Txn<'_>, key: &Key, expires_at_ms: Option<u64>, value: &[u8]) -> Outcome {
    let count = value.len() as u64;
    chunks::expect_work(txn, count)?;
    let mut build = txn.begin_build(key, DataType::String, count);
    let place = build.place();
    for (row, chunk) in chunks::rows(place, value) {
        txn.build_row(&mut build, key, Family::Chunk, &row, chunk)?;
    }
    txn.end_build(build)?;
    let body = Body::Spread(Spread { place, count, extra: b"" });
    txn.save(key, NewHead::new(DataType::String, body).noted(NOTE_RAW).expiring(expires_at_ms))
}

/// Writes a fresh chunked string from parts, each given with its offset, in order. What lies between them is zeros.
fn set_chunked(txn: &mut Txn<'_>, key: &Key, expires_at_ms: Option<u64>, parts: &[(u64, &[u8])]) -> Outcome {
    let place = txn.new_place(key);
    let mut count = 0;
    for &(offset, bytes) in parts {
        count = chunks::write(txn, key, place, count, offset, bytes)?;
    }
    let body = Body::Spread(Spread { place, count, extra: b"" });
    txn.save(key, NewHead::new(DataType::String, body).noted(NOTE_RAW).expiring(expires_at_ms))
}

/// Changes when a string ends; a time that is not in the future deletes it.
pub fn set_expiry(txn: &mut Txn<'_>, key: &Key, stored: &Stored, expires_at_ms: Option<u64>) -> Outcome {
    if expires_at_ms.is_some_and(|at_ms| at_ms <= txn.now_ms()) {
        txn.delete(key)?;
        return Ok(());
    }
    if stored.expires_at_ms() == expires_at_ms {
        return Ok(());
    }
    txn.set_expiry(key, stored, expires_at_ms)
}

/// Adds bytes to the end of a string, which may be missing. Gives the new length.
pub fn append(txn: &mut Txn<'_>, key: &Key, bytes: &[u8]) -> Outcome<u64> {
    let Some(stored) = load(txn, key)? else {
        set(txn, key, bytes, None)?;
        return Ok(bytes.len() as u64);
    };
    let end = len(&stored);
    check_len(txn, end, bytes.len())?;
    write_at(txn, key, &stored, end, bytes)
}

/// Writes over a part of a string from an offset on; a gap before it becomes zeros. Gives the new length.
pub fn set_range(txn: &mut Txn<'_>, key: &Key, offset: u64, bytes: &[u8]) -> Outcome<u64> {
    let stored = load(txn, key)?;
    if bytes.is_empty() {
        return Ok(stored.as_ref().map_or(0, len));
    }
    check_len(txn, offset, bytes.len())?;
    if let Some(stored) = stored {
        return write_at(txn, key, &stored, offset, bytes);
    }
    let end = offset + bytes.len() as u64;
    if end > WHOLE_BYTES_MAX as u64 {
        set_chunked(txn, key, None, &[(offset, bytes)])?;
    } else {
        let head = NewHead::new(DataType::String, Body::Whole(b"")).noted(NOTE_RAW);
        txn.save_with(key, head, |out| overwrite(out, b"", offset as usize, bytes))?;
    }
    Ok(end)
}

/// Refuses a string that would end beyond what is allowed.
fn check_len(txn: &Txn<'_>, offset: u64, bytes_len: usize) -> Outcome {
    let bytes_max = txn.keyspace().tuning().string_bytes_max() as u64;
    match offset.checked_add(bytes_len as u64) {
        Some(end) if end <= bytes_max => Ok(()),
        _ => fail("ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
    }
}

/// Writes into an existing string, which keeps its expiry. Gives the new length.
fn write_at(txn: &mut Txn<'_>, key: &Key, stored: &Stored, offset: u64, bytes: &[u8]) -> Outcome<u64> {
    let expires_at_ms = stored.expires_at_ms();
    let end = len(stored).max(offset + bytes.len() as u64);
    match stored.body() {
        Body::Whole(old) if end > WHOLE_BYTES_MAX as u64 => {
            set_chunked(txn, key, expires_at_ms, &[(0, old), (offset, bytes)])?;
        }
        Body::Whole(old) => {
            let head = NewHead::new(DataType::String, Body::Whole(b"")).noted(NOTE_RAW);
            txn.save_with(key, head.expiring(expires_at_ms), |out| {
                overwrite(out, old, offset as usize, bytes);
            })?;
        }
        Body::Spread(spread) => {
            let count = chunks::write(txn, key, spread.place, spread.count, offset, bytes)?;
            if count != spread.count {
                let body = Body::Spread(Spread { count, ..spread });
                let head = NewHead::new(DataType::String, body).noted(NOTE_RAW);
                txn.save(key, head.expiring(expires_at_ms))?;
            }
        }
    }
    Ok(end)
}

/// Appends `old` to `out`, with `bytes` written over it from `offset` on and zeros in a gap.
fn overwrite(out: &mut Vec<u8>, old: &[u8], offset: usize, bytes: &[u8]) {
    let kept = old.len().min(offset);
    out.reserve(old.len().max(offset + bytes.len()));
    out.extend_from_slice(&old[..kept]);
    out.resize(out.len() + (offset - kept), 0);
    out.extend_from_slice(bytes);
    out.extend_from_slice(old.get(offset + bytes.len()..).unwrap_or_default());
}

/// Adds to an integer, which may be missing. Gives the sum.
pub fn increment(txn: &mut Txn<'_>, key: &Key, by: i64) -> Outcome<i64> {
    let stored = load(txn, key)?;
    let current = match stored.as_ref().map(Stored::body) {
        None => 0,
        Some(Body::Whole(bytes)) => parse_i64(bytes).ok_or(Error::NotInteger)?,
        Some(Body::Spread(_)) => return Err(Error::NotInteger.into()),
    };
    let Some(sum) = current.checked_add(by) else { return fail("ERR increment or decrement would overflow") };
    let text = IntText::new(sum);
    let head = NewHead::new(DataType::String, Body::Whole(text.as_bytes()));
    txn.save(key, head.expiring(stored.and_then(|stored| stored.expires_at_ms())))?;
    Ok(sum)
}

/// Adds the number in a text to a number, which may be missing. Gives the sum as text.
pub fn increment_float(txn: &mut Txn<'_>, key: &Key, by: &[u8]) -> Outcome<String> {
    let stored = load(txn, key)?;
    let current = match stored.as_ref().map(Stored::body) {
        None => b"0".as_slice(),
        Some(Body::Whole(bytes)) => bytes,
        Some(Body::Spread(_)) => return Err(Error::NotFloat.into()),
    };
    let current = LongDouble::parse(current).ok_or(Error::NotFloat)?;
    let sum = current.add(LongDouble::parse(by).ok_or(Error::NotFloat)?);
    if sum.is_nan_or_infinite() {
        return fail("ERR increment would produce NaN or Infinity");
    }
    let text = sum.format_human();
    let is_embedded = key.name().len() + text.len() <= EMBEDDED_WITH_KEY_BYTES_MAX;
    let note = if is_embedded { NOTE_EMBEDDED } else { NOTE_RAW };
    let head = NewHead::new(DataType::String, Body::Whole(text.as_bytes())).noted(note);
    txn.save(key, head.expiring(stored.as_ref().and_then(Stored::expires_at_ms)))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overwritten(old: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
        let mut out = b"head".to_vec();
        overwrite(&mut out, old, offset, bytes);
        out.split_off(4)
    }

    #[test]
    fn the_notes_on_disk_do_not_change() {
        assert_eq!((NOTE_BY_CONTENT, NOTE_RAW, NOTE_EMBEDDED), (0, 1, 2));
    }

    #[test]
    fn overwriting_keeps_what_lies_around() {
        assert_eq!(overwritten(b"Hello World", 6, b"Redis"), b"Hello Redis");
        assert_eq!(overwritten(b"abcdef", 2, b"XY"), b"abXYef");
        assert_eq!(overwritten(b"abc", 3, b"d"), b"abcd");
        assert_eq!(overwritten(b"abc", 2, b"XYZ"), b"abXYZ");
    }

    #[test]
    fn a_gap_is_filled_with_zeros() {
        assert_eq!(overwritten(b"ab", 4, b"x"), b"ab\0\0x");
        assert_eq!(overwritten(b"", 2, b"x"), b"\0\0x");
    }

    #[test]
    fn a_value_set_whole_is_noted_raw_when_it_and_its_key_do_not_fit_together() {
        assert_eq!(note_of(1, &[b'x'; 40]), NOTE_BY_CONTENT);
        assert_eq!(note_of(1, &[b'x'; 41]), NOTE_RAW);
        assert_eq!(note_of(100, b"12345"), NOTE_BY_CONTENT);
        assert_eq!(note_of(100, b"012345"), NOTE_RAW);
    }
}
