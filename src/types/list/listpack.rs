//! When Redis would say `listpack` of a list, and when `quicklist`.
//!
//! Redis keeps a list in one listpack while it fits `list-max-listpack-size`, and then in a chain of them. It goes back to one when a
//! removal leaves a single listpack of at most half that size. How a chain is parted is not kept here, so the way back is decided
//! by the size of the whole list: the same answer for one listpack, and an earlier one when Redis would still have two small ones.

use crate::base::number::parse_i64;

/// Bytes of an empty listpack.
pub(in crate::types) const EMPTY_BYTES: u64 = 7;
/// More bytes than this no element takes beyond its own.
const ELEMENT_EXTRA_BYTES_MAX: u64 = 10;
/// A listpack bounded by its elements is bounded by these bytes, too.
const SAFE_BYTES_MAX: u64 = 8192;
/// The sizes that -1 to -5 stand for.
const CLASS_BYTES: [u64; 5] = [4096, 8192, 16384, 32768, 65536];

/// Bytes an element takes in a listpack: an integer or its length and text, then the length of all that once more.
pub(in crate::types) fn element_bytes(element: &[u8]) -> u64 {
    let len = element.len() as u64;
    let entry = match parse_i64(element) {
        Some(number) => return integer_bytes(number),
        None if len < 64 => 1 + len,
        None if len < 4096 => 2 + len,
        None => 5 + len,
    };
    entry
        + match entry {
            0..=127 => 1,
            128..=16_383 => 2,
            16_384..=2_097_151 => 3,
            2_097_152..=268_435_455 => 4,
            _ => 5,
        }
}

/// The same for an integer.
pub(in crate::types) fn integer_bytes(number: i64) -> u64 {
    match number {
        0..=127 => 2,
        -4096..=4095 => 3,
        -32_768..=32_767 => 4,
        -8_388_608..=8_388_607 => 5,
        -2_147_483_648..=2_147_483_647 => 6,
        _ => 10,
    }
}

/// No fewer bytes than a listpack of so many elements takes, whose packed form here takes `packed_bytes`.
pub(super) fn bytes_bound(count: u64, packed_bytes: u64) -> u64 {
    EMPTY_BYTES + packed_bytes + count * ELEMENT_EXTRA_BYTES_MAX
}

/// What one listpack may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// So many bytes.
    Bytes(u64),
    /// So many elements, and never more than `SAFE_BYTES_MAX`.
    Elements(u64),
}

impl Limit {
    /// What `list-max-listpack-size` says.
    pub(super) fn of(list_size_max: i64) -> Limit {
        match u64::try_from(list_size_max) {
            Ok(elements) => Limit::Elements(elements.max(1)),
            Err(_) => {
                let class = list_size_max.unsigned_abs().min(CLASS_BYTES.len() as u64) as usize - 1;
                Limit::Bytes(CLASS_BYTES.get(class).copied().unwrap_or(SAFE_BYTES_MAX))
            }
        }
    }

    /// Whether a listpack would be too large.
    pub(super) fn is_passed(self, count: u64, bytes: u64) -> bool {
        match self {
            Limit::Bytes(bytes_max) => bytes > bytes_max,
            Limit::Elements(count_max) => bytes > SAFE_BYTES_MAX || count > count_max,
        }
    }

    /// Whether a list that was too large is small enough to be one listpack again.
    pub(super) fn is_small_again(self, count: u64, bytes: u64) -> bool {
        match self {
            Limit::Bytes(bytes_max) => bytes <= bytes_max / 2,
            Limit::Elements(count_max) => count <= count_max / 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_take_what_listpacks_give_them() {
        let table = [("0", 2), ("127", 2), ("128", 3), ("-1", 3), ("4096", 4), ("40000", 5), ("-40000", 5)];
        for (element, bytes) in
            table.into_iter().chain([("8388608", 6), ("2147483648", 10), ("01", 4), ("", 2)])
        {
            assert_eq!(element_bytes(element.as_bytes()), bytes, "{element}");
        }
        assert_eq!(element_bytes(&[b'x'; 63]), 65);
        assert_eq!(element_bytes(&[b'x'; 64]), 67);
        assert_eq!(element_bytes(&[b'x'; 1000]), 1004);
        assert_eq!(element_bytes(&[b'x'; 5000]), 5007);
    }

    #[test]
    fn the_bound_is_no_fewer_than_the_bytes() {
        for len in [0, 1, 63, 64, 127, 128, 4095, 4096, 20_000, 3_000_000] {
            let element = vec![b'x'; len];
            assert!(EMPTY_BYTES + element_bytes(&element) <= bytes_bound(1, len as u64), "{len}");
        }
        assert!(EMPTY_BYTES + element_bytes(b"9223372036854775807") <= bytes_bound(1, 19));
    }

    #[test]
    fn limits_are_elements_or_size_classes() {
        assert_eq!(Limit::of(-2), Limit::Bytes(8192));
        assert_eq!(Limit::of(-9), Limit::Bytes(65536));
        assert_eq!(Limit::of(0), Limit::Elements(1));
        assert!(!Limit::of(3).is_passed(3, 100) && Limit::of(3).is_passed(4, 100));
        assert!(Limit::of(1000).is_passed(3, 8193));
        assert!(Limit::of(-2).is_small_again(5000, 4096) && !Limit::of(-2).is_small_again(1, 4097));
    }
}
