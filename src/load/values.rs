//! Values: how long, and of which bytes.
//!
//! A value is random from its beginning and then one letter over and over; `random_percent` says where the one becomes the
//! other. 100 is a value that no compression makes smaller, 50 one that goes to about half. The bytes are drawn anew for each
//! value: a pool of prepared ones would repeat itself within a block of a database.

use crate::base::random::Rng;
use std::str::FromStr;

/// Longer values no server takes.
const VALUE_BYTES_MAX: u64 = 512 << 20;

/// What values are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// Bytes of the shortest and of the longest; every length between is equally likely.
    pub sizes: Sizes,
    /// The share of random bytes in each value.
    pub random_percent: u8,
}

/// A length, or a range of lengths: `64`, `100-2000`, `512mb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the shortest value.
    pub bytes_min: u64,
    /// Bytes of the longest value.
    pub bytes_max: u64,
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let (bytes_min, bytes_max) = (bytes(low)?, bytes(high)?);
        if bytes_min > bytes_max || bytes_max > VALUE_BYTES_MAX {
            return Err("a size is at most 512mb, and a range goes upwards".to_string());
        }
        Ok(Sizes { bytes_min, bytes_max })
    }
}

/// Bytes in words: `64`, `4kb`, `512mb`, `1gb` (powers of 1024).
pub fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return Err(format!("{text:?} is not a size such as 64, 4kb or 512mb")),
    };
    let number: u64 = digits.replace('_', "").parse().map_err(|_| format!("{text:?} is not a size"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text:?} is too large"))
}

impl Values {
    /// The length of the next value.
    pub fn len(&self, rng: &mut Rng) -> usize {
        let Sizes { bytes_min, bytes_max } = self.sizes;
        let more = if bytes_max > bytes_min { rng.below(bytes_max - bytes_min + 1) } else { 0 };
        (bytes_min + more) as usize
    }

    /// Appends a value of `len` bytes.
    pub fn write(&self, len: usize, rng: &mut Rng, out: &mut Vec<u8>) {
        let end = out.len() + len;
        let random_end = out.len() + len * usize::from(self.random_percent.min(100)) / 100;
        out.reserve(len);
        while out.len() < random_end {
            let word = rng.next_u64().to_le_bytes();
            out.extend_from_slice(&word[..word.len().min(random_end - out.len())]);
        }
        out.resize(end, b'x');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_numbers_units_and_ranges() {
        let sizes = |text: &str| text.parse::<Sizes>().map(|s| (s.bytes_min, s.bytes_max));
        assert_eq!(sizes("64"), Ok((64, 64)));
        assert_eq!(sizes("1kb-2KB"), Ok((1024, 2048)));
        assert_eq!(sizes("512mb"), Ok((512 << 20, 512 << 20)));
        for wrong in ["", "x", "-1", "9-8", "513mb", "1pb", "99999999999gb"] {
            assert!(sizes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_is_random_first_and_one_letter_then() {
        let values = Values { sizes: Sizes { bytes_min: 0, bytes_max: 0 }, random_percent: 50 };
        let mut out = b"before".to_vec();
        values.write(1001, &mut Rng::new(1), &mut out);
        assert_eq!(out.len(), 6 + 1001);
        assert!(out[506..].iter().all(|&b| b == b'x'));
        assert!(out[6..506].iter().filter(|&&b| b == b'x').count() < 20);
    }

    #[test]
    fn lengths_fill_the_range_with_both_ends() {
        let values = Values { sizes: Sizes { bytes_min: 3, bytes_max: 5 }, random_percent: 100 };
        let mut rng = Rng::new(1);
        let mut seen = [0; 6];
        (0..3000).for_each(|_| seen[values.len(&mut rng)] += 1);
        assert!(seen[..3] == [0, 0, 0] && seen[3..].iter().all(|&n| n > 800), "{seen:?}");
    }

    #[test]
    fn random_bytes_do_not_repeat() {
        let values = Values { sizes: Sizes { bytes_min: 64, bytes_max: 64 }, random_percent: 100 };
        let (mut rng, mut first, mut second) = (Rng::new(1), Vec::new(), Vec::new());
        values.write(64, &mut rng, &mut first);
        values.write(64, &mut rng, &mut second);
        assert_ne!(first, second);
    }
}
