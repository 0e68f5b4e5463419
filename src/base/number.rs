//! Numbers as text: what counts as a number in a request, and how a number is written in a reply.
//!
//! Integers are strict, so that text and number are one to one: no plus sign, no spaces, no leading
//! zeros. Doubles are read as C's `strtod` reads them, but the whole text must be used, blanks and
//! NaN are refused, and so is a value too large or too small to represent. Writing an integer goes
//! through a small array on the stack. How doubles are printed is in `float_text`.

pub use crate::base::float_text::{F64_TEXT_MAX, format_f64, format_g17, write_f64};

/// The longest decimal text of a 64-bit integer, with its sign.
const INT_TEXT_MAX: usize = 20;

/// A written integer, on the stack.
#[derive(Clone, Copy)]
pub struct IntText {
    digits: [u8; INT_TEXT_MAX],
    start: u8,
}

/// "00" to "99", so that two digits are written per division.
static PAIRS: [u8; 200] = pairs();

const fn pairs() -> [u8; 200] {
    let mut table = [0; 200];
    let mut n = 0;
    while n < 100 {
        table[2 * n] = b'0' + (n / 10) as u8;
        table[2 * n + 1] = b'0' + (n % 10) as u8;
        n += 1;
    }
    table
}

impl IntText {
    /// The decimal text of `value`.
    pub fn new(value: i64) -> IntText {
        let mut text = IntText::unsigned(value.unsigned_abs());
        if value < 0 {
            text.start -= 1;
            text.digits[usize::from(text.start)] = b'-';
        }
        text
    }

    /// The decimal text of an unsigned `value`.
    pub fn unsigned(mut value: u64) -> IntText {
        let mut digits = [0; INT_TEXT_MAX];
        let mut start = INT_TEXT_MAX;
        while value >= 100 {
            let pair = 2 * (value % 100) as usize;
            value /= 100;
            start -= 2;
            digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        }
        if value >= 10 {
            let pair = 2 * value as usize;
            start -= 2;
            digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        } else {
            start -= 1;
            digits[start] = b'0' + value as u8;
        }
        IntText { digits, start: start as u8 }
    }

    /// The text's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[usize::from(self.start)..]
    }
}

/// Appends the decimal text of `value`.
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    if (0..10).contains(&value) {
        out.push(b'0' + value as u8);
    } else {
        out.extend_from_slice(IntText::new(value).as_bytes());
    }
}

/// Appends the decimal text of an unsigned `value`.
pub fn write_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(IntText::unsigned(value).as_bytes());
}

/// Reads a signed integer in its one canonical form, or nothing.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => {
            let magnitude = parse_digits(digits)?;
            // "-0" is not how zero is written.
            (magnitude != 0).then_some(())?;
            0i64.checked_sub_unsigned(magnitude)
        }
        digits => i64::try_from(parse_digits(digits)?).ok(),
    }
}

/// Reads an unsigned integer as stream IDs allow: blanks and a plus sign before it, leading zeros.
pub fn parse_u64_loose(text: &[u8]) -> Option<u64> {
    let blanks = text.iter().take_while(|&&b| is_blank(b)).count();
    let text = &text[blanks..];
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0, append_digit)
}

fn parse_digits(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] if text.len() < INT_TEXT_MAX => {
            // Up to 19 digits cannot overflow.
            text.iter().try_fold(0u64, |value, b| {
                let digit = b.wrapping_sub(b'0');
                (digit < 10).then(|| value * 10 + u64::from(digit))
            })
        }
        [b'1'..=b'9', ..] if text.len() == INT_TEXT_MAX => text.iter().try_fold(0, append_digit),
        _ => None,
    }
}

fn append_digit(value: u64, byte: &u8) -> Option<u64> {
    let digit = byte.wrapping_sub(b'0');
    (digit < 10).then_some(())?;
    value.checked_mul(10)?.checked_add(u64::from(digit))
}

/// C's `isspace`: blank, tab, newline, vertical tab, form feed, carriage return.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Reads a double as scores and increments are given; nothing if it is NaN, too large or too small.
///
/// Accepts decimal and hexadecimal forms, `inf` and `infinity` with a sign and in any case.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (is_negative, body) = split_sign(text);
    let value = if is_infinity(body) {
        f64::INFINITY
    } else if matches!(body, [b'0', b'x' | b'X', ..]) {
        parse_hex_f64(&body[2..])?
    } else {
        let value = parse_decimal_f64(body)?;
        (value.is_finite() && (value != 0.0 || is_decimal_zero(body))).then_some(value)?
    };
    Some(if is_negative { -value } else { value })
}

/// Reads a double as the ends of a score range are given (ZRANGEBYSCORE, ZCOUNT ...).
///
/// This differs from [`parse_f64`]: nothing at all is 0, what follows a NUL byte is ignored, too
/// large is infinite, too small is 0, and there is no hexadecimal form.
pub fn parse_f64_bound(text: &[u8]) -> Option<f64> {
    let text = text.split(|&b| b == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let (is_negative, body) = split_sign(text);
    let value = if is_infinity(body) { f64::INFINITY } else { parse_decimal_f64(body)? };
    Some(if is_negative { -value } else { value })
}

/// Takes one leading sign off; true if it was a minus.
pub(super) fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', body @ ..] => (true, body),
        [b'+', body @ ..] => (false, body),
        body => (false, body),
    }
}

pub(super) fn is_infinity(body: &[u8]) -> bool {
    body.eq_ignore_ascii_case(b"inf") || body.eq_ignore_ascii_case(b"infinity")
}

/// Reads `digits[.digits][e[+-]digits]` to the nearest double, infinite if too large.
fn parse_decimal_f64(body: &[u8]) -> Option<f64> {
    // The standard library knows words and signs too; only digits may begin a number here.
    matches!(body, [b'0'..=b'9' | b'.', ..]).then_some(())?;
    std::str::from_utf8(body).ok()?.parse().ok()
}

/// Whether every digit before the exponent is a zero.
fn is_decimal_zero(body: &[u8]) -> bool {
    body.iter().take_while(|b| !matches!(b, b'e' | b'E')).all(|b| matches!(b, b'0' | b'.'))
}

/// A hexadecimal float: `mantissa * 2^exponent`, with `is_inexact` if more bits followed.
pub(super) struct HexFloat {
    pub(super) mantissa: u128,
    pub(super) exponent: i64,
    pub(super) is_inexact: bool,
}

/// Reads what follows `0x`: hexadecimal digits with an optional point, then an optional `p` exponent.
pub(super) fn scan_hex_float(text: &[u8]) -> Option<HexFloat> {
    let end = text.iter().position(|b| matches!(b, b'p' | b'P'));
    let (digits, power) = match end {
        Some(end) => (&text[..end], parse_exponent(&text[end + 1..])?),
        None => (text, 0),
    };
    let mut float = HexFloat { mantissa: 0, exponent: power, is_inexact: false };
    let (mut digit_count, mut is_fraction) = (0, false);
    for &byte in digits {
        if byte == b'.' && !is_fraction {
            is_fraction = true;
            continue;
        }
        let digit = char::from(byte).to_digit(16)?;
        digit_count += 1;
        if float.mantissa >> 124 == 0 {
            float.mantissa = float.mantissa << 4 | u128::from(digit);
            float.exponent -= if is_fraction { 4 } else { 0 };
        } else {
            float.is_inexact |= digit != 0;
            float.exponent += if is_fraction { 0 } else { 4 };
        }
    }
    // Far outside of any format, but inside of shift counts.
    float.exponent = float.exponent.clamp(-1_000_000, 1_000_000);
    (digit_count > 0).then_some(float)
}

/// Reads a signed exponent; one beyond all use is cut to about 10^15.
pub(super) fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = split_sign(text);
    if digits.is_empty() {
        return None;
    }
    let magnitude = digits.iter().try_fold(0i64, |value, b| {
        let digit = b.wrapping_sub(b'0');
        (digit < 10).then(|| (value * 10 + i64::from(digit)).min(1_000_000_000_000_000))
    })?;
    Some(if is_negative { -magnitude } else { magnitude })
}

fn parse_hex_f64(text: &[u8]) -> Option<f64> {
    let HexFloat { mantissa, exponent, is_inexact } = scan_hex_float(text)?;
    if mantissa == 0 {
        return Some(0.0);
    }
    // The lowest bit kept is the 53rd from the top, or the lowest a subnormal has.
    let top = exponent + i64::from(mantissa.ilog2());
    let lowest = (top - 52).max(-1074);
    let value = match u32::try_from(lowest - exponent) {
        Ok(drop) => round_shift(mantissa, drop, is_inexact),
        // There are fewer than 53 bits: all are kept, moved up.
        Err(_) => mantissa << (exponent - lowest).min(52),
    };
    let is_too_large = top > 1023 || (top == 1023 && value >> 53 != 0);
    (value != 0 && !is_too_large).then(|| scale_by_power_of_two(value as f64, lowest))
}

/// `value / 2^drop` to the nearest integer, ties to even; `is_inexact` says that bits came after.
pub(super) fn round_shift(value: u128, drop: u32, is_inexact: bool) -> u128 {
    match drop {
        0 => value,
        1..=127 => {
            let kept = value >> drop;
            let rest = value & ((1 << drop) - 1);
            let half = 1 << (drop - 1);
            let is_up = rest > half || (rest == half && (is_inexact || kept & 1 == 1));
            kept + u128::from(is_up)
        }
        128 => u128::from(value > 1 << 127 || (value == 1 << 127 && is_inexact)),
        _ => 0,
    }
}

/// `value * 2^power` in steps that stay exact as long as the result is representable.
fn scale_by_power_of_two(mut value: f64, mut power: i64) -> f64 {
    let (up, down) = (2f64.powi(1000), 2f64.powi(-1000));
    while power > 1000 {
        value *= up;
        power -= 1000;
    }
    while power < -1000 {
        value *= down;
        power += 1000;
    }
    value * 2f64.powi(power as i32)
}

/// Reads a size in bytes: digits and an optional unit. `k`, `m`, `g` are powers of 1000, `kb`, `mb`,
/// `gb` of 1024, `b` is one, in any case. Too large is `u64::MAX`; no digits at all are 0.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let digit_count = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, unit) = text.split_at(digit_count);
    // Redis copies the digits into an array of 128 bytes.
    if digits.len() >= 128 {
        return None;
    }
    let factor = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1_000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let value = digits
        .iter()
        .fold(0u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(value.saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Rng;

    #[test]
    fn integers_are_written_as_the_standard_library_writes_them() {
        let mut rng = Rng::new(3);
        let edges = [0, 9, 10, 99, 100, -1, -10, i64::MAX, i64::MIN];
        let random = (0..2000).map(|_| {
            let bits = rng.below(64);
            rng.next_u64() as i64 >> bits
        });
        for value in edges.into_iter().chain(random) {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
            assert_eq!(parse_i64(&out), Some(value));
            assert_eq!(IntText::unsigned(value as u64).as_bytes(), (value as u64).to_string().as_bytes());
        }
    }

    #[test]
    fn an_integer_has_one_form_only() {
        let refused = [
            "",
            "-",
            "+1",
            "01",
            "-0",
            "-01",
            "00",
            " 1",
            "1 ",
            "1a",
            "--1",
            "1.0",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999",
            "100000000000000000000",
        ];
        for text in refused {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn stream_ids_are_read_more_loosely() {
        for (text, value) in [("007", 7), ("+8", 8), (" 9", 9), ("0", 0), ("18446744073709551615", u64::MAX)]
        {
            assert_eq!(parse_u64_loose(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "-", "-5", "+", "5 ", "18446744073709551616", "1x"] {
            assert_eq!(parse_u64_loose(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_are_read_as_scores_are() {
        let accepted = [
            ("+1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("1E3", 1000.0),
            ("007", 7.0),
            ("0e1000000", 0.0),
            ("inf", f64::INFINITY),
            ("+INF", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x10", 16.0),
            ("0X1p4", 16.0),
            ("0x1.8p1", 3.0),
            ("0x.8", 0.5),
            ("-0x1", -1.0),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1p-1074", 5e-324),
            ("0x1.8p-1075", 5e-324),
            ("0x1.fffffffffffff7p1023", f64::MAX),
            ("0x0p99999999999999999999", 0.0),
            ("4.9e-324", 5e-324),
            ("9007199254740993", 9007199254740992.0),
        ];
        for (text, value) in accepted {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        let refused = [
            "",
            " ",
            " 1",
            "1 ",
            ".",
            "1e",
            "1e+",
            "nan",
            "-nan",
            "nan(1)",
            "0x",
            "0x.p1",
            "0x1p",
            "0x1p+",
            "1e400",
            "-1e400",
            "2e-324",
            "1e-400",
            "0x1p1024",
            "0x1p-1075",
            "0x1p-99999999999999999999",
            "0x1p99999999999999999999",
            "0x1.fffffffffffff8p1023",
            "1_0",
            "1,5",
            "1\0",
            "--1",
            "+-1",
            "in",
            "infi",
            "1f",
            "1..2",
            "1e1e1",
        ];
        for text in refused {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
        }
        assert!(parse_f64(b"-0").is_some_and(|zero| zero.is_sign_negative()));
        assert_eq!(parse_f64("1".repeat(400).as_bytes()), None);
        assert_eq!(parse_f64(format!("0.{}", "0".repeat(5000)).as_bytes()), Some(0.0));
    }

    #[test]
    fn the_ends_of_a_score_range_are_read_otherwise() {
        let cases = [
            ("", Some(0.0)),
            ("1\0z", Some(1.0)),
            ("1e400", Some(f64::INFINITY)),
            ("1e-400", Some(0.0)),
            ("-INF", Some(f64::NEG_INFINITY)),
            ("+1", Some(1.0)),
            (".5", Some(0.5)),
            (" 1", None),
            ("0x1", None),
            ("nan", None),
            ("(1", None),
            ("-", None),
            ("1e", None),
        ];
        for (text, value) in cases {
            assert_eq!(parse_f64_bound(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn sizes_have_units_of_1000_and_of_1024() {
        let cases = [
            ("1k", 1000),
            ("1KB", 1024),
            ("3mb", 3 << 20),
            ("1M", 1_000_000),
            ("2g", 2_000_000_000),
            ("1Gb", 1 << 30),
            ("7b", 7),
            ("007", 7),
            ("", 0),
            ("mb", 0),
            ("18446744073709551616", u64::MAX),
            ("99999999999gb", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_memory(text.as_bytes()), Some(bytes), "{text}");
        }
        for text in ["-1", "+1", " 1", "1 gb", "1.5gb", "1t", "0x10", "1kbb"] {
            assert_eq!(parse_memory(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_memory(&[b'0'; 128]), None);
    }
}
