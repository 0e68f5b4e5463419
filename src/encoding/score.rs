//! Scores: a sorted set's doubles, as bytes whose order is the scores' order, and the rows of spread sorted sets.
//!
//! ```text
//! score row  (family score)  | place 14 | ordered score 8 | member bytes |  ->  empty, or "-" when the score is -0
//! member row (family member) | place 14 | position 7 | member bytes |       ->  score 8: the double's bits
//! ```
//!
//! *Ordered*: the double's bits, big-endian, with the top bit flipped when it is not negative and all bits flipped when it is. Then
//! bytes compare as numbers do, infinities included. -0 equals 0, so it is ordered as 0; the row's value keeps its sign.

use super::Damaged;
use super::row::{PLACE_LEN, Place, RowKey};

/// Bytes of a score, ordered or not.
pub const SCORE_LEN: usize = 8;

const SIGN: u64 = 1 << 63;
/// The value of the score row of a member whose score is -0.
const MINUS: &[u8] = b"-";

/// A number that orders as the score does; -0 and 0 are the same.
pub fn order_of(score: f64) -> u64 {
    // Adding 0 turns -0 into 0.
    let bits = (score + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The score of an ordered number.
pub fn score_of(order: u64) -> f64 {
    f64::from_bits(if order & SIGN == 0 { !order } else { order & !SIGN })
}

/// A score in a packed sorted set or a member row: the double's bits, big-endian.
pub fn encode_score(score: f64) -> [u8; SCORE_LEN] {
    score.to_bits().to_be_bytes()
}

/// Reads what `encode_score` wrote.
pub fn decode_score(bytes: &[u8]) -> Result<f64, Damaged> {
    let bytes = bytes.try_into().map_err(|_| Damaged("score of a wrong width"))?;
    Ok(f64::from_bits(u64::from_be_bytes(bytes)))
}

/// What follows the place in a score row.
pub fn write_element(out: &mut RowKey, score: f64, member: &[u8]) {
    out.extend_from_slice(&order_of(score).to_be_bytes());
    out.extend_from_slice(member);
}

/// Order and member of what follows the place in a score row.
pub fn split_element(element: &[u8]) -> Result<(u64, &[u8]), Damaged> {
    let (order, member) =
        element.split_first_chunk::<SCORE_LEN>().ok_or(Damaged("score row without its score"))?;
    Ok((u64::from_be_bytes(*order), member))
}

/// The row of a member under its score.
pub fn score_row(place: &Place, score: f64, member: &[u8]) -> RowKey {
    place.element_row(order_of(score).to_be_bytes(), member)
}

/// The lowest possible row of this order.
pub fn row_at_order(place: &Place, order: u64) -> RowKey {
    place.element_row(order.to_be_bytes(), b"")
}

/// The value of a score row.
pub fn score_row_value(score: f64) -> &'static [u8] {
    if score == 0.0 && score.is_sign_negative() { MINUS } else { b"" }
}

/// Score and member of a score row.
pub fn read_score_row<'r>(row: &'r [u8], value: &[u8]) -> Result<(f64, &'r [u8]), Damaged> {
    let (order, member) = split_element(row.get(PLACE_LEN..).unwrap_or_default())?;
    let score = if value == MINUS { -0.0 } else { score_of(order) };
    Ok((score, member))
}

#[cfg(test)]
mod tests {
    use super::super::row::{Namespace, Version};
    use super::*;
    use crate::base::random::Rng;

    const PLACE: Place = Place { namespace: Namespace(1), slot: 2, version: Version(3) };

    #[test]
    fn a_score_row_is_place_ordered_score_member() {
        let check = |score, golden: &[u8]| {
            let row = score_row(&PLACE, score, b"m");
            assert_eq!(&row[..PLACE_LEN], PLACE.prefix());
            assert_eq!(&row[PLACE_LEN..], golden, "{score}");
            assert_eq!(read_score_row(&row, score_row_value(score)), Ok((score, &b"m"[..])));
        };
        check(0.0, b"\x80\0\0\0\0\0\0\0m");
        check(1.0, b"\xbf\xf0\0\0\0\0\0\0m");
        check(-1.0, b"\x40\x0f\xff\xff\xff\xff\xff\xffm");
        check(f64::INFINITY, b"\xff\xf0\0\0\0\0\0\0m");
        check(f64::NEG_INFINITY, b"\x00\x0f\xff\xff\xff\xff\xff\xffm");
    }

    #[test]
    fn minus_zero_stands_with_zero_and_keeps_its_sign_in_the_value() {
        assert_eq!(score_row(&PLACE, -0.0, b"m"), score_row(&PLACE, 0.0, b"m"));
        assert_eq!((score_row_value(-0.0), score_row_value(0.0)), (&b"-"[..], &b""[..]));
        let row = score_row(&PLACE, -0.0, b"m");
        assert!(read_score_row(&row, b"-").unwrap().0.is_sign_negative());
        assert!(read_score_row(&row, b"").unwrap().0.is_sign_positive());
    }

    #[test]
    fn a_stored_score_is_the_bits_of_the_double() {
        assert_eq!(encode_score(1.5), *b"\x3f\xf8\0\0\0\0\0\0");
        assert_eq!(encode_score(-0.0), *b"\x80\0\0\0\0\0\0\0");
        assert_eq!(decode_score(b"\x3f\xf8\0\0\0\0\0\0"), Ok(1.5));
        assert!(decode_score(b"\x3f\xf8").is_err());
    }

    #[test]
    fn bytes_order_as_scores_do() {
        let mut rng = Rng::new(11);
        let mut scores: Vec<f64> = (0..2000)
            .map(|_| f64::from_bits(rng.next_u64()))
            .filter(|score| !score.is_nan())
            .chain([0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, -5e-324])
            .collect();
        scores.sort_by(|a, b| a.partial_cmp(b).unwrap());
        for pair in scores.windows(2) {
            assert_eq!(pair[0].partial_cmp(&pair[1]).unwrap(), order_of(pair[0]).cmp(&order_of(pair[1])));
            assert_eq!(score_of(order_of(pair[0])), pair[0]);
        }
    }

    #[test]
    fn a_short_row_is_damage() {
        assert!(read_score_row(&PLACE.prefix(), b"").is_err());
        assert!(split_element(b"\x01").is_err());
    }
}
