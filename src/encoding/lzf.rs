//! LZF, the compression of strings in Redis' dumps: short runs of literals, and references to what stands at most 8 KB before.
//!
//! ```text
//! | 000LLLLL | L+1 literals |                        L + 1 = 1..32
//! | LLLooooo | oooooooo |                            L + 2 bytes from o + 1 back; L = 1..6
//! | 111ooooo | LLLLLLLL | oooooooo |                 the same, with L + 9
//! ```
//!
//! The compressor looks for three equal bytes through a table of the last place of each hash of three bytes. Which of the possible
//! encodings comes out depends on that table and on when it is filled; ours follows Redis', so that dumps are equal.

const HASH_BITS: u32 = 16;
const LITERALS_MAX: usize = 1 << 5;
const DISTANCE_MAX: usize = 1 << 13;
const MATCH_MAX: usize = (1 << 8) + (1 << 3);

/// The slot of the three bytes at `at`.
fn slot(bytes: &[u8], at: usize) -> usize {
    let three = bytes.get(at..at + 3).unwrap_or(&[0; 3]);
    let hash = three.iter().fold(0u32, |hash, &byte| hash << 8 | u32::from(byte));
    let mixed = (hash >> (24 - HASH_BITS)).wrapping_sub(hash.wrapping_mul(5));
    (mixed & ((1 << HASH_BITS) - 1)) as usize
}

/// Compresses; nothing if the result would not be shorter than `len_max`.
pub fn compress(bytes: &[u8], len_max: usize) -> Option<Vec<u8>> {
    if bytes.is_empty() || len_max == 0 {
        return None;
    }
    // Places, counted from 0; 0 also says that there is none, so nothing refers to the first byte.
    let mut places = vec![0u32; 1 << HASH_BITS];
    let mut out = vec![0];
    let (mut at, mut literals) = (0, 0);
    let end = bytes.len();
    while at + 2 < end {
        let slot_of_three = slot(bytes, at);
        let before = places[slot_of_three] as usize;
        places[slot_of_three] = at as u32;
        let matches = before > 0
            && before < at
            && at - before - 1 < DISTANCE_MAX
            && bytes[before..before + 3] == bytes[at..at + 3];
        if !matches {
            if out.len() >= len_max {
                return None;
            }
            out.push(bytes[at]);
            at += 1;
            literals += 1;
            end_full_run(&mut out, &mut literals);
            continue;
        }
        if out.len() - usize::from(literals == 0) + 4 >= len_max {
            return None;
        }
        end_run(&mut out, literals);
        literals = 0;
        let len_max_here = (end - at - 2).min(MATCH_MAX);
        let len = match_len(bytes, before, at, len_max_here);
        write_reference(&mut out, at - before - 1, len);
        out.push(0);
        at += len;
        if at + 2 >= end {
            break;
        }
        // The last two places within the match are remembered, the others not.
        for place in at - 2..at {
            places[slot(bytes, place)] = place as u32;
        }
    }
    if out.len() + 3 > len_max {
        return None;
    }
    for &byte in &bytes[at..] {
        out.push(byte);
        literals += 1;
        end_full_run(&mut out, &mut literals);
    }
    end_run(&mut out, literals);
    Some(out)
}

/// How many bytes are equal, at least 3: at most `len_max`, but Redis looks at the first 18 without asking.
fn match_len(bytes: &[u8], before: usize, at: usize, len_max: usize) -> usize {
    let unchecked = if len_max > 16 { 18 } else { 0 };
    let mut len = 3;
    while (len <= unchecked || len < len_max) && bytes[before + len] == bytes[at + len] {
        len += 1;
    }
    len
}

fn write_reference(out: &mut Vec<u8>, distance: usize, len: usize) {
    let (high, code) = ((distance >> 8) as u8, len - 2);
    if code < 7 {
        out.push(high + ((code as u8) << 5));
    } else {
        out.push(high + (7 << 5));
        out.push((code - 7) as u8);
    }
    out.push(distance as u8);
}

/// Writes the length of the run of literals that ends here before them; a run of none takes its place back.
fn end_run(out: &mut Vec<u8>, literals: usize) {
    if literals == 0 {
        out.pop();
        return;
    }
    let start = out.len() - literals - 1;
    out[start] = (literals - 1) as u8;
}

fn end_full_run(out: &mut Vec<u8>, literals: &mut usize) {
    if *literals == LITERALS_MAX {
        end_run(out, *literals);
        *literals = 0;
        out.push(0);
    }
}

/// Expands to exactly `len` bytes; nothing if the input is not that.
pub fn expand(input: &[u8], len: usize) -> Option<Vec<u8>> {
    // A byte of input makes 88 bytes at most, so a lie about the length is found before memory is taken.
    if len > input.len().saturating_mul(MATCH_MAX / 3 + 1) {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut rest = input.iter().copied();
    while let Some(control) = rest.next() {
        let control = usize::from(control);
        if control < LITERALS_MAX {
            for _ in 0..=control {
                out.push(rest.next()?);
            }
        } else {
            let mut count = control >> 5;
            if count == 7 {
                count += usize::from(rest.next()?);
            }
            let distance = (control & 0x1F) << 8 | usize::from(rest.next()?);
            let from = out.len().checked_sub(distance + 1)?;
            for place in from..from + count + 2 {
                out.push(out[place]);
            }
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::{compress, expand};
    use crate::base::random::Rng;

    #[test]
    fn a_run_of_literals_and_references_as_drawn() {
        assert_eq!(expand(b"\x02abc", 3).unwrap(), b"abc");
        assert_eq!(expand(b"\x02abc\x20\x02", 6).unwrap(), b"abcabc");
        assert_eq!(expand(b"\x00a\xe0\x01\x00", 11).unwrap(), b"aaaaaaaaaaa");
        assert_eq!(compress(&[b'a'; 40], 36).unwrap(), b"\x01aa\xe0\x1b\x00\x01aa");
        assert_eq!(compress(b"abcdefghijklmnopqrstuvwxyz", 22), None);
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let mut rng = Rng::new(7);
        for round in 0..400 {
            let letters = 1 + round % 7;
            let len = (rng.next_u64() % 3000) as usize;
            let bytes: Vec<u8> = (0..len).map(|_| b'a' + (rng.next_u64() % letters) as u8).collect();
            if let Some(small) = compress(&bytes, len.saturating_sub(4)) {
                assert!(small.len() < len);
                assert_eq!(expand(&small, len).as_deref(), Some(&bytes[..]), "round {round}");
                assert_eq!(expand(&small, len + 1), None);
                assert_eq!(expand(&small, len - 1), None);
            }
        }
    }

    #[test]
    fn damaged_input_is_refused() {
        for input in [&b"\x02ab"[..], b"\x20\x00", b"\xe0", b"\xe0\x01", b"\x00a\x20\x05"] {
            assert_eq!(expand(input, 5), None, "{input:?}");
        }
        assert_eq!(expand(b"\x00a", usize::MAX), None);
        let mut rng = Rng::new(9);
        for _ in 0..2000 {
            let input: Vec<u8> = (0..rng.next_u64() % 40).map(|_| rng.next_u64() as u8).collect();
            let len = (rng.next_u64() % 400) as usize;
            assert!(expand(&input, len).is_none_or(|out| out.len() == len));
        }
    }
}
