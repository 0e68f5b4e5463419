//! The 80-bit floating point of x86, in integers, for INCRBYFLOAT and HINCRBYFLOAT.
//!
//! Redis adds these as C `long double`; on x86 that is a 64-bit mantissa and a 15-bit exponent, and
//! the text of the sum shows it. A number here is `mantissa * 2^exponent`. Every operation finds
//! the exact result, or as many bits of it as can matter and a mark for "something more", and then
//! rounds once, to nearest, ties to even. Reading and printing decimal text go through big integers
//! where the value does not fit 128 bits. The longest text read is just under 5 KB, the longest
//! printed just under 5000 digits, so the cost is bounded.

use crate::base::number::{HexFloat, is_infinity, parse_exponent, round_shift, scan_hex_float, split_sign};

/// Texts of this many bytes or more are not read.
const TEXT_LEN_MAX: usize = 5 * 1024;
/// The exponent of the smallest subnormal's only bit.
const EXPONENT_MIN: i64 = -16445;
/// The greatest exponent of a 64-bit mantissa: beyond it lies infinity.
const EXPONENT_MAX: i64 = 16384 - 64;
/// Decimal exponents beyond these are certainly too large or too small.
const POWER_OF_TEN_MAX: i64 = 4_940;
const POWER_OF_TEN_MIN: i64 = -4_960;
/// Digits after the point in printed numbers.
const FRACTION_DIGITS: usize = 17;

/// An x87 extended-precision number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    is_negative: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `mantissa * 2^exponent`; zero is a mantissa of 0. The mantissa's top bit is set unless the
    /// exponent is [`EXPONENT_MIN`].
    Finite {
        mantissa: u64,
        exponent: i64,
    },
    Infinite,
    NotANumber,
}

impl LongDouble {
    /// Reads a number as increments are given; nothing if the text is not wholly a number, is NaN,
    /// or is too large or too small to represent. `inf` is read as infinity.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= TEXT_LEN_MAX {
            return None;
        }
        let (is_negative, body) = split_sign(text);
        if is_infinity(body) {
            return Some(LongDouble { is_negative, kind: Kind::Infinite });
        }
        let (rounded, is_zero) = match body {
            [b'0', b'x' | b'X', digits @ ..] => {
                let HexFloat { mantissa, exponent, is_inexact } = scan_hex_float(digits)?;
                (LongDouble::rounded(is_negative, mantissa, exponent, is_inexact), mantissa == 0)
            }
            digits => {
                let decimal = Decimal::scan(digits)?;
                (decimal.round(is_negative), decimal.digits.is_empty())
            }
        };
        // Out of range is an error of the text, unlike an infinity that was asked for.
        match rounded.kind {
            Kind::Finite { mantissa, .. } if mantissa != 0 || is_zero => Some(rounded),
            _ => None,
        }
    }

    /// The same value in extended precision; exact.
    pub fn from_f64(value: f64) -> LongDouble {
        let is_negative = value.is_sign_negative();
        if value.is_nan() {
            return LongDouble { is_negative, kind: Kind::NotANumber };
        }
        if value.is_infinite() {
            return LongDouble { is_negative, kind: Kind::Infinite };
        }
        let bits = value.to_bits();
        let fraction = u128::from(bits & ((1 << 52) - 1));
        match (bits >> 52 & 0x7ff) as i64 {
            0 => LongDouble::rounded(is_negative, fraction, -1074, false),
            biased => LongDouble::rounded(is_negative, fraction | 1 << 52, biased - 1075, false),
        }
    }

    /// The sum, correctly rounded.
    #[expect(clippy::should_implement_trait, reason = "a named step of a command, not an operator")]
    pub fn add(self, other: LongDouble) -> LongDouble {
        let (Kind::Finite { mantissa: a, exponent: a_exp }, Kind::Finite { mantissa: b, exponent: b_exp }) =
            (self.kind, other.kind)
        else {
            return self.add_special(other);
        };
        if a == 0 && b == 0 {
            return LongDouble { is_negative: self.is_negative && other.is_negative, ..self };
        }
        if a == 0 {
            return other;
        }
        if b == 0 {
            return self;
        }
        if (a_exp, a) < (b_exp, b) {
            return other.add(self);
        }
        // The larger gets 62 bits below its own and one above for a carry. Bits of the smaller that
        // fall off below them cannot decide the rounding except by not being nothing: they are
        // joined into the lowest bit.
        let large = u128::from(a) << 62;
        let (small, distance) = (u128::from(b) << 62, a_exp - b_exp);
        let small = match u32::try_from(distance) {
            Ok(shift @ 0..=127) => small >> shift | u128::from(small & ((1 << shift) - 1) != 0),
            _ => 1,
        };
        let sum = if self.is_negative == other.is_negative { large + small } else { large - small };
        let is_negative = self.is_negative && sum != 0;
        LongDouble::rounded(is_negative, sum, a_exp - 62, false)
    }

    fn add_special(self, other: LongDouble) -> LongDouble {
        let kinds = (self.kind, other.kind);
        let is_undefined = kinds.0 == Kind::NotANumber
            || kinds.1 == Kind::NotANumber
            || (kinds == (Kind::Infinite, Kind::Infinite) && self.is_negative != other.is_negative);
        if is_undefined {
            return LongDouble { is_negative: false, kind: Kind::NotANumber };
        }
        if self.kind == Kind::Infinite { self } else { other }
    }

    /// Whether this is an infinity or not a number, which commands refuse to store.
    pub fn is_nan_or_infinite(&self) -> bool {
        !matches!(self.kind, Kind::Finite { .. })
    }

    /// The nearest double; for bounds and timeouts, where the last bit does not matter.
    pub fn to_f64(&self) -> f64 {
        let magnitude = match self.kind {
            Kind::NotANumber => return f64::NAN,
            Kind::Infinite => f64::INFINITY,
            Kind::Finite { mantissa, exponent } => {
                let half = 2f64.powi((exponent / 2) as i32);
                mantissa as f64 * half * 2f64.powi((exponent - exponent / 2) as i32)
            }
        };
        if self.is_negative { -magnitude } else { magnitude }
    }

    /// The text as replies show it: plain decimal, at most 17 digits after the point (rounded to
    /// nearest, ties to even), no trailing zeros, no minus before a zero.
    pub fn format_human(&self) -> String {
        let Kind::Finite { mantissa, exponent } = self.kind else {
            let word = if self.kind == Kind::Infinite { "inf" } else { "nan" };
            return if self.is_negative { format!("-{word}") } else { word.to_string() };
        };
        let magnitude = if exponent >= 0 {
            BigUint::from(mantissa).shifted_left(exponent as usize).to_decimal()
        } else {
            // Below 2^64 * 10^17: fits 121 bits, and whatever is shifted further rounds to zero.
            let scaled = u128::from(mantissa) * 10u128.pow(FRACTION_DIGITS as u32);
            let drop = u32::try_from(-exponent).unwrap_or(u32::MAX);
            point_in(round_shift(scaled, drop, false))
        };
        if self.is_negative && magnitude != "0" { format!("-{magnitude}") } else { magnitude }
    }

    /// Rounds `mantissa * 2^exponent` (and a little more, if inexact) to 64 bits.
    fn rounded(is_negative: bool, mantissa: u128, exponent: i64, is_inexact: bool) -> LongDouble {
        let finite =
            |mantissa, exponent| LongDouble { is_negative, kind: Kind::Finite { mantissa, exponent } };
        if mantissa == 0 {
            return finite(0, EXPONENT_MIN);
        }
        // The exponent that leaves exactly 64 bits, unless that is below the range.
        let lowest = (exponent + i64::from(mantissa.ilog2()) - 63).max(EXPONENT_MIN);
        let kept = match u32::try_from(lowest - exponent) {
            Ok(drop) => round_shift(mantissa, drop, is_inexact),
            Err(_) => mantissa << (exponent - lowest),
        };
        // Rounding up can carry into a 65th bit, which leaves only zeros below it.
        let (kept, lowest) = if kept >> 64 != 0 { (kept >> 1, lowest + 1) } else { (kept, lowest) };
        if lowest > EXPONENT_MAX {
            return LongDouble { is_negative, kind: Kind::Infinite };
        }
        finite(kept as u64, lowest)
    }
}

/// Puts the point 17 digits from the end and takes off zeros that say nothing.
fn point_in(scaled: u128) -> String {
    let unit = 10u128.pow(FRACTION_DIGITS as u32);
    let (whole, fraction) = (scaled / unit, scaled % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{fraction:0width$}", width = FRACTION_DIGITS);
    text.trim_end_matches('0').to_string()
}

/// A decimal text taken apart: digits (not characters) without outer zeros, times `10^power`.
struct Decimal {
    digits: Vec<u8>,
    power: i64,
}

impl Decimal {
    fn scan(text: &[u8]) -> Option<Decimal> {
        let end = text.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(text.len());
        let (number, exponent) = text.split_at(end);
        let mut power = match exponent {
            [] => 0,
            [_, exponent @ ..] => parse_exponent(exponent)?,
        };
        let (mut digits, mut digit_count, mut is_fraction) = (Vec::with_capacity(number.len()), 0, false);
        for &byte in number {
            if byte == b'.' && !is_fraction {
                is_fraction = true;
                continue;
            }
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            digit_count += 1;
            power -= i64::from(is_fraction);
            if digit != 0 || !digits.is_empty() {
                digits.push(digit);
            }
        }
        if digit_count == 0 {
            return None;
        }
        while digits.last() == Some(&0) {
            digits.pop();
            power += 1;
        }
        Some(Decimal { digits, power })
    }

    fn round(&self, is_negative: bool) -> LongDouble {
        let size = self.power + self.digits.len() as i64;
        if self.digits.is_empty() || size < POWER_OF_TEN_MIN {
            return LongDouble::rounded(is_negative, 0, 0, false);
        }
        if size > POWER_OF_TEN_MAX {
            return LongDouble { is_negative, kind: Kind::Infinite };
        }
        let mut number = BigUint::from_digits(&self.digits);
        let power = self.power.unsigned_abs() as usize;
        if self.power >= 0 {
            number.multiply_by_power_of_ten(power);
            let drop = number.bit_len().saturating_sub(128);
            let (top, is_inexact) = number.top_bits(drop);
            return LongDouble::rounded(is_negative, top, drop as i64, is_inexact);
        }
        let mut divisor = BigUint::from(1);
        divisor.multiply_by_power_of_ten(power);
        let (quotient, exponent, is_inexact) = divide(number, divisor);
        LongDouble::rounded(is_negative, quotient, exponent, is_inexact)
    }
}

/// Divides, bit by bit: at least 66 leading bits of the quotient, the exponent of the lowest, and
/// whether there is a rest.
fn divide(number: BigUint, divisor: BigUint) -> (u128, i64, bool) {
    // Bring both to one length; the quotient then lies between a half and two.
    let (number_bits, divisor_bits) = (number.bit_len(), divisor.bit_len());
    let shift = divisor_bits as i64 - number_bits as i64;
    let mut rest = number.shifted_left(shift.max(0) as usize);
    let divisor = divisor.shifted_left((-shift).max(0) as usize);
    let mut quotient = 0u128;
    for _ in 0..=66 {
        quotient <<= 1;
        if rest.subtract_if_not_less(&divisor) {
            quotient |= 1;
        }
        rest.double();
    }
    (quotient, -shift - 66, !rest.is_zero())
}

/// A natural number of any size: 64-bit limbs, lowest first, the highest not zero.
struct BigUint {
    limbs: Vec<u64>,
}

impl BigUint {
    fn from(value: u64) -> BigUint {
        BigUint { limbs: if value == 0 { Vec::new() } else { vec![value] } }
    }

    fn from_digits(digits: &[u8]) -> BigUint {
        let mut number = BigUint::from(0);
        for chunk in digits.chunks(19) {
            let value = chunk.iter().fold(0, |value, &digit| value * 10 + u64::from(digit));
            number.multiply_add(10u64.pow(chunk.len() as u32), value);
        }
        number
    }

    fn multiply_add(&mut self, factor: u64, addend: u64) {
        let mut carry = u128::from(addend);
        for limb in &mut self.limbs {
            let product = u128::from(*limb) * u128::from(factor) + carry;
            *limb = product as u64;
            carry = product >> 64;
        }
        if carry != 0 {
            self.limbs.push(carry as u64);
        }
    }

    fn multiply_by_power_of_ten(&mut self, power: usize) {
        for _ in 0..power / 19 {
            self.multiply_add(10u64.pow(19), 0);
        }
        self.multiply_add(10u64.pow((power % 19) as u32), 0);
    }

    fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    fn bit_len(&self) -> usize {
        self.limbs.last().map_or(0, |top| self.limbs.len() * 64 - top.leading_zeros() as usize)
    }

    fn shifted_left(self, bits: usize) -> BigUint {
        let mut limbs = vec![0; bits / 64];
        limbs.extend_from_slice(&self.limbs);
        let mut number = BigUint { limbs };
        number.multiply_add(1 << (bits % 64), 0);
        // Zero shifted stays zero, without limbs.
        number.drop_empty_limbs();
        number
    }

    fn double(&mut self) {
        self.multiply_add(2, 0);
    }

    /// Subtracts `other` if that leaves no debt; answers whether it did.
    fn subtract_if_not_less(&mut self, other: &BigUint) -> bool {
        let order = self.limbs.len().cmp(&other.limbs.len());
        if order.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev())).is_lt() {
            return false;
        }
        let mut borrow = false;
        for (at, limb) in self.limbs.iter_mut().enumerate() {
            let taken = other.limbs.get(at).copied().unwrap_or(0);
            let (value, under) = limb.overflowing_sub(taken);
            let (value, under_again) = value.overflowing_sub(u64::from(borrow));
            *limb = value;
            borrow = under || under_again;
        }
        self.drop_empty_limbs();
        true
    }

    fn drop_empty_limbs(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }

    /// The number without its lowest `drop` bits, which must leave 128 or fewer, and whether any of
    /// the dropped bits was set.
    fn top_bits(&self, drop: usize) -> (u128, bool) {
        let limb = |at: usize| u128::from(self.limbs.get(at).copied().unwrap_or(0));
        let (first, shift) = (drop / 64, drop % 64);
        let low = limb(first) >> shift | limb(first + 1) << 64 >> shift;
        let high = if shift == 0 { 0 } else { limb(first + 2) << (128 - shift) };
        let is_inexact = (0..first).any(|at| limb(at) != 0) || limb(first) & ((1 << shift) - 1) != 0;
        (low | high, is_inexact)
    }

    fn to_decimal(&self) -> String {
        const CHUNK: u64 = 10u64.pow(19);
        let mut limbs = self.limbs.clone();
        let mut chunks = Vec::new();
        while !limbs.is_empty() {
            let mut rest = 0u128;
            for limb in limbs.iter_mut().rev() {
                let value = rest << 64 | u128::from(*limb);
                *limb = (value / u128::from(CHUNK)) as u64;
                rest = value % u128::from(CHUNK);
            }
            chunks.push(rest as u64);
            while limbs.last() == Some(&0) {
                limbs.pop();
            }
        }
        let Some(first) = chunks.pop() else {
            return "0".to_string();
        };
        let mut text = first.to_string();
        for chunk in chunks.iter().rev() {
            text.push_str(&format!("{chunk:019}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::LongDouble;

    fn sum(a: &str, b: &str) -> Option<LongDouble> {
        Some(LongDouble::parse(a.as_bytes())?.add(LongDouble::parse(b.as_bytes())?))
    }

    #[test]
    fn sums_have_the_text_a_real_server_gives() {
        let cases = [
            ("0.1", "0.2", "0.3"),
            ("10.5", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "1.000000000000000005", "4.00000000000000001"),
            ("1", "-1", "0"),
            ("-1", "1", "0"),
            ("-0", "-0", "0"),
            ("0.00000000000000001", "0", "0.00000000000000001"),
            ("0.000000000000000005", "0", "0"),
            ("0.0000000000000000051", "0", "0.00000000000000001"),
            ("0.000000000000000015", "0", "0.00000000000000002"),
            ("-0.000000000000000001", "0", "0"),
            ("9007199254740993", "0", "9007199254740993"),
            ("18446744073709551615", "0", "18446744073709551615"),
            ("18446744073709551616", "1", "18446744073709551616"),
            ("18446744073709551617", "0", "18446744073709551616"),
            ("36893488147419103233", "0", "36893488147419103232"),
            ("36893488147419103235", "0", "36893488147419103236"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551615", "0.5", "18446744073709551616"),
            ("18446744073709551614", "0.5", "18446744073709551614"),
            ("1e30", "-1e30", "0"),
            ("1e30", "1", "1000000000000000000024696061952"),
            ("1e20", "0.5", "100000000000000000000"),
            ("1.1", "2.2", "3.3"),
            ("123456789.123456789", "0.000000001", "123456789.12345678999554366"),
            ("0.1", "-0.3", "-0.2"),
            ("0x1.8p1", "0x.8", "3.5"),
            ("0x1.8000000000000001p0", "0", "1.5"),
            ("1e18", "1e-17", "1000000000000000000"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("0x1p-63", "0x1p-64", "0"),
            ("0x1p-57", "0", "0.00000000000000001"),
            ("0x3p-58", "0", "0.00000000000000001"),
            ("1e-4950", "0", "0"),
            ("9223372036854775808", "0x0.ffffffffffffffffp-1", "9223372036854775808"),
            ("9223372036854775808", "-0x0.8p-1", "9223372036854775808"),
            ("0x1p63", "-0x1.0000000000000002p-2", "9223372036854775807.5"),
            ("0x1p64", "-0x1p-1", "18446744073709551616"),
            ("0x1p64", "-0x1.8p-1", "18446744073709551615"),
            ("0x1p64", "-0x1p-64", "18446744073709551616"),
            ("1.99999999999999999995", "0", "2"),
        ];
        for (a, b, text) in cases {
            assert_eq!(sum(a, b).unwrap().format_human(), text, "{a} + {b}");
            assert_eq!(sum(b, a).unwrap().format_human(), text, "{b} + {a}");
        }
    }

    #[test]
    fn very_large_numbers_are_printed_whole() {
        let large = sum("1e400", "0").unwrap().format_human();
        assert_eq!(large.len(), 401);
        assert!(large.starts_with("1000000000000000000028188068394758651458645343362905203862591069353968"));
        let greatest = sum("1e4932", "0").unwrap().format_human();
        assert_eq!(greatest.len(), 4933);
        assert!(
            greatest.starts_with("1000000000000000000006018949387963891323837774254533114773785041352533")
        );
        assert_eq!(sum(&large, "0").unwrap().format_human(), large);
    }

    #[test]
    fn what_is_not_a_number_or_out_of_range_is_refused() {
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
            "0x",
            "0x.p1",
            "0x1p",
            "0x1p+",
            "1e4933",
            "1e-4951",
            "1e-99999999999999999999",
            "1e99999999999999999999",
            "0x1p16384",
            "0x1p-16446",
            "0x1p-9999999999999",
            "1.18973149535723176509e4932",
            "1..2",
            "1e1e1",
            "--1",
            "1\0",
            "1_0",
            "infi",
        ];
        for text in refused {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(LongDouble::parse("1".repeat(5119).as_bytes()), None);
        assert!(LongDouble::parse(format!("0.{}", "1".repeat(5117)).as_bytes()).is_some());
        assert_eq!(LongDouble::parse(format!("0.{}", "1".repeat(5118)).as_bytes()), None);
        assert!(LongDouble::parse(b"0x1p-16445").is_some() && LongDouble::parse(b"0e1000000").is_some());
    }

    #[test]
    fn infinity_is_read_but_known_as_such() {
        for text in ["inf", "+INF", "-Infinity"] {
            assert!(LongDouble::parse(text.as_bytes()).unwrap().is_nan_or_infinite());
        }
        assert!(sum("inf", "-inf").unwrap().is_nan_or_infinite());
        assert!(sum("1e4932", "1e4932").unwrap().is_nan_or_infinite());
        assert!(!sum("1e4932", "-1e4932").unwrap().is_nan_or_infinite());
        assert_eq!(sum("-inf", "1").unwrap().format_human(), "-inf");
    }

    #[test]
    fn doubles_convert_exactly() {
        for value in [0.0, 1.5, -0.1, 5e-324, f64::MAX, -2.5e-300, 1e22] {
            assert_eq!(LongDouble::from_f64(value).to_f64(), value);
        }
        assert_eq!(LongDouble::from_f64(0.1).format_human(), "0.10000000000000001");
        assert!(LongDouble::from_f64(f64::NAN).is_nan_or_infinite());
        assert_eq!(LongDouble::parse(b"1e400").unwrap().to_f64(), f64::INFINITY);
    }
}
