//! How doubles are printed: the shortest digits that read back as the same double.
//!
//! The digits come from Grisu2 (Florian Loitsch, "Printing Floating-Point Numbers Quickly and
//! Accurately with Integers", 2010): the double and the middles to its neighbours are multiplied by
//! a rounded power of ten, so that the leading digits fall out of 64-bit integers. Grisu2 is not
//! always the shortest or the closest (about one double in a thousand); Redis prints with the same
//! algorithm and the same table, and clients compare text, so an exact printer would be wrong here.
//! Integers up to 2^62 are printed plainly, other numbers as the layout in [`write_layout`] says.

use crate::base::number::IntText;

/// No double is printed in more bytes than this.
pub const F64_TEXT_MAX: usize = 32;

/// Most digits Grisu2 gives.
const DIGITS_MAX: usize = 18;

const FRACTION_BITS: u32 = 52;
const HIDDEN_BIT: u64 = 1 << FRACTION_BITS;

/// `fraction * 2^exponent`, without sign.
#[derive(Clone, Copy)]
struct Scaled {
    fraction: u64,
    exponent: i32,
}

impl Scaled {
    fn of(value: f64) -> Scaled {
        let bits = value.to_bits();
        let fraction = bits & (HIDDEN_BIT - 1);
        match ((bits >> FRACTION_BITS) & 0x7ff) as i32 {
            0 => Scaled { fraction, exponent: -1074 },
            biased => Scaled { fraction: fraction | HIDDEN_BIT, exponent: biased - 1075 },
        }
    }

    fn normalized(self) -> Scaled {
        let shift = self.fraction.leading_zeros();
        Scaled { fraction: self.fraction << shift, exponent: self.exponent - shift as i32 }
    }

    /// The middles to the next lower and the next higher double, in one common exponent.
    fn boundaries(self) -> (Scaled, Scaled) {
        let upper = Scaled { fraction: self.fraction * 2 + 1, exponent: self.exponent - 1 }.normalized();
        // Below a power of two the doubles lie twice as close.
        let shift = if self.fraction == HIDDEN_BIT { 2 } else { 1 };
        let fraction = (self.fraction << shift) - 1;
        let lower = fraction << (self.exponent - shift - upper.exponent);
        (Scaled { fraction: lower, exponent: upper.exponent }, upper)
    }

    /// The upper half of the product, rounded.
    fn times(self, other: Scaled) -> Scaled {
        let product = u128::from(self.fraction) * u128::from(other.fraction) + (1 << 63);
        Scaled { fraction: (product >> 64) as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

/// The power of ten that brings a number of this binary exponent to an exponent of -60 to -32.
fn power_of_ten(exponent: i32) -> (Scaled, i32) {
    // Two entries can qualify: which one is found first decides the digits, so the starting point
    // and the walk are part of the format.
    let approximate = (-f64::from(exponent + POWERS.len() as i32) * 0.30102999566398114) as i32;
    let mut at = ((approximate - POWER_FIRST) / POWER_STEP).clamp(0, POWERS.len() as i32 - 1);
    loop {
        let (fraction, power_exponent) = POWERS[at as usize];
        let step = match exponent + power_exponent + 64 {
            low if low < -60 && at + 1 < POWERS.len() as i32 => 1,
            high if high > -32 && at > 0 => -1,
            _ => return (Scaled { fraction, exponent: power_exponent }, POWER_FIRST + at * POWER_STEP),
        };
        at += step;
    }
}

/// Decimal digits and the power of ten of the last one.
struct Decimal {
    digits: [u8; DIGITS_MAX],
    len: usize,
    power: i32,
}

impl Decimal {
    fn push(&mut self, digit: u64) {
        let is_leading_zero = digit == 0 && self.len == 0;
        if !is_leading_zero && self.len < DIGITS_MAX {
            self.digits[self.len] = b'0' + digit as u8;
            self.len += 1;
        }
    }

    /// Lowers the last digit while that brings the number closer to the double.
    fn settle(&mut self, delta: u64, mut rest: u64, unit: u64, distance: u64) {
        while rest < distance
            && delta.wrapping_sub(rest) >= unit
            && (rest.wrapping_add(unit) < distance
                || distance - rest > rest.wrapping_add(unit).wrapping_sub(distance))
        {
            if let Some(last) = self.len.checked_sub(1) {
                self.digits[last] -= 1;
            }
            rest = rest.wrapping_add(unit);
        }
    }
}

/// The digits of a positive, finite, non-zero double.
fn shortest_digits(value: f64) -> Decimal {
    let number = Scaled::of(value);
    let (lower, upper) = number.boundaries();
    let (power, k) = power_of_ten(upper.exponent);
    let number = number.normalized().times(power);
    let mut upper = upper.times(power);
    let mut lower = lower.times(power);
    // The power is off by up to half a unit: stay safely inside.
    lower.fraction += 1;
    upper.fraction -= 1;

    let mut out = Decimal { digits: [0; DIGITS_MAX], len: 0, power: -k };
    let distance = upper.fraction - number.fraction;
    let mut delta = upper.fraction - lower.fraction;
    let shift = -upper.exponent as u32;
    let one = 1u64 << shift;
    let mut whole = upper.fraction >> shift;
    let mut part = upper.fraction & (one - 1);

    let mut unit = 1_000_000_000;
    for places in (0..10).rev() {
        out.push(whole / unit);
        whole %= unit;
        let rest = (whole << shift) + part;
        if rest <= delta {
            out.power += places;
            out.settle(delta, rest, unit << shift, distance);
            return out;
        }
        unit /= 10;
    }
    let mut scale = 1u64;
    loop {
        part = part.wrapping_mul(10);
        delta = delta.wrapping_mul(10);
        scale = scale.wrapping_mul(10);
        out.power -= 1;
        out.push(part >> shift);
        part &= one - 1;
        if part < delta || out.len == DIGITS_MAX {
            out.settle(delta, part, one, distance.wrapping_mul(scale));
            return out;
        }
    }
}

/// Appends a double as replies show it: `3`, `0.1`, `1e-7`, `1.5e+300`, `inf`, `-inf`, `nan`.
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    /// Within these bounds (2^62) Redis converts to an integer first.
    const INTEGER_MAX: f64 = 4_611_686_018_427_387_904.0;
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= INTEGER_MAX && value.trunc() == value {
        out.extend_from_slice(IntText::new(value as i64).as_bytes());
    } else {
        if value < 0.0 {
            out.push(b'-');
        }
        write_layout(out, &shortest_digits(value.abs()), value < 0.0);
    }
}

/// Lays the digits out: plainly where few zeros are needed, else with an exponent.
fn write_layout(out: &mut Vec<u8>, decimal: &Decimal, is_negative: bool) {
    let digits = &decimal.digits[..decimal.len];
    let count = digits.len() as i32;
    let power = decimal.power;
    // The exponent of the first digit.
    let first = power + count - 1;
    if power >= 0 && first < count + 7 {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', power as usize));
    } else if power < 0 && (power > -7 || first.abs() < 4) {
        let whole = count + power;
        if whole <= 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', -whole as usize));
            out.extend_from_slice(digits);
        } else {
            let (before, after) = digits.split_at(whole as usize);
            out.extend_from_slice(before);
            out.push(b'.');
            out.extend_from_slice(after);
        }
    } else {
        let kept = &digits[..digits.len().min(DIGITS_MAX - usize::from(is_negative))];
        out.push(kept[0]);
        if kept.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&kept[1..]);
        }
        out.extend_from_slice(if first < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(IntText::unsigned(u64::from(first.unsigned_abs())).as_bytes());
    }
}

/// A double as replies show it; see [`write_f64`].
pub fn format_f64(value: f64) -> String {
    let mut text = Vec::with_capacity(F64_TEXT_MAX);
    write_f64(&mut text, value);
    String::from_utf8(text).unwrap_or_default()
}

/// A double as C's `%.17g` prints it: what ZSCAN shows for a large sorted set, and Lua for numbers.
pub fn format_g17(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return format_f64(value);
    }
    let text = format!("{value:.16e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..17).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim_fraction(mantissa), exponent.abs());
    }
    let places = (16 - exponent) as usize;
    trim_fraction(&format!("{value:.places$}")).to_string()
}

fn trim_fraction(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// The first power of ten in the table, and the step from one to the next.
const POWER_FIRST: i32 = -348;
const POWER_STEP: i32 = 8;

/// 10^-348 to 10^340 in steps of 10^8: fractions of 64 bits, rounded to nearest, and exponents of two.
#[rustfmt::skip]
static POWERS: [(u64, i32); 87] = [
    (0xfa8f_d5a0_081c_0288, -1220),
    (0xbaae_e17f_a23e_bf76, -1193),
    (0x8b16_fb20_3055_ac76, -1166),
    (0xcf42_894a_5dce_35ea, -1140),
    (0x9a6b_b0aa_5565_3b2d, -1113),
    (0xe61a_cf03_3d1a_45df, -1087),
    (0xab70_fe17_c79a_c6ca, -1060),
    (0xff77_b1fc_bebc_dc4f, -1034),
    (0xbe56_91ef_416b_d60c, -1007),
    (0x8dd0_1fad_907f_fc3c, -980),
    (0xd351_5c28_3155_9a83, -954),
    (0x9d71_ac8f_ada6_c9b5, -927),
    (0xea9c_2277_23ee_8bcb, -901),
    (0xaecc_4991_4078_536d, -874),
    (0x823c_1279_5db6_ce57, -847),
    (0xc210_9436_4dfb_5637, -821),
    (0x9096_ea6f_3848_984f, -794),
    (0xd774_85cb_2582_3ac7, -768),
    (0xa086_cfcd_97bf_97f4, -741),
    (0xef34_0a98_172a_ace5, -715),
    (0xb238_67fb_2a35_b28e, -688),
    (0x84c8_d4df_d2c6_3f3b, -661),
    (0xc5dd_4427_1ad3_cdba, -635),
    (0x936b_9fce_bb25_c996, -608),
    (0xdbac_6c24_7d62_a584, -582),
    (0xa3ab_6658_0d5f_daf6, -555),
    (0xf3e2_f893_dec3_f126, -529),
    (0xb5b5_ada8_aaff_80b8, -502),
    (0x8762_5f05_6c7c_4a8b, -475),
    (0xc9bc_ff60_34c1_3053, -449),
    (0x964e_858c_91ba_2655, -422),
    (0xdff9_7724_7029_7ebd, -396),
    (0xa6df_bd9f_b8e5_b88f, -369),
    (0xf8a9_5fcf_8874_7d94, -343),
    (0xb944_7093_8fa8_9bcf, -316),
    (0x8a08_f0f8_bf0f_156b, -289),
    (0xcdb0_2555_6531_31b6, -263),
    (0x993f_e2c6_d07b_7fac, -236),
    (0xe45c_10c4_2a2b_3b06, -210),
    (0xaa24_2499_6973_92d3, -183),
    (0xfd87_b5f2_8300_ca0e, -157),
    (0xbce5_0864_9211_1aeb, -130),
    (0x8cbc_cc09_6f50_88cc, -103),
    (0xd1b7_1758_e219_652c, -77),
    (0x9c40_0000_0000_0000, -50),
    (0xe8d4_a510_0000_0000, -24),
    (0xad78_ebc5_ac62_0000, 3),
    (0x813f_3978_f894_0984, 30),
    (0xc097_ce7b_c907_15b3, 56),
    (0x8f7e_32ce_7bea_5c70, 83),
    (0xd5d2_38a4_abe9_8068, 109),
    (0x9f4f_2726_179a_2245, 136),
    (0xed63_a231_d4c4_fb27, 162),
    (0xb0de_6538_8cc8_ada8, 189),
    (0x83c7_088e_1aab_65db, 216),
    (0xc45d_1df9_4271_1d9a, 242),
    (0x924d_692c_a61b_e758, 269),
    (0xda01_ee64_1a70_8dea, 295),
    (0xa26d_a399_9aef_774a, 322),
    (0xf209_787b_b47d_6b85, 348),
    (0xb454_e4a1_79dd_1877, 375),
    (0x865b_8692_5b9b_c5c2, 402),
    (0xc835_53c5_c896_5d3d, 428),
    (0x952a_b45c_fa97_a0b3, 455),
    (0xde46_9fbd_99a0_5fe3, 481),
    (0xa59b_c234_db39_8c25, 508),
    (0xf6c6_9a72_a398_9f5c, 534),
    (0xb7dc_bf53_54e9_bece, 561),
    (0x88fc_f317_f222_41e2, 588),
    (0xcc20_ce9b_d35c_78a5, 614),
    (0x9816_5af3_7b21_53df, 641),
    (0xe2a0_b5dc_971f_303a, 667),
    (0xa8d9_d153_5ce3_b396, 694),
    (0xfb9b_7cd9_a4a7_443c, 720),
    (0xbb76_4c4c_a7a4_4410, 747),
    (0x8bab_8eef_b640_9c1a, 774),
    (0xd01f_ef10_a657_842c, 800),
    (0x9b10_a4e5_e991_3129, 827),
    (0xe710_9bfb_a19c_0c9d, 853),
    (0xac28_20d9_623b_f429, 880),
    (0x8044_4b5e_7aa7_cf85, 907),
    (0xbf21_e440_03ac_dd2d, 933),
    (0x8e67_9c2f_5e44_ff8f, 960),
    (0xd433_179d_9c8c_b841, 986),
    (0x9e19_db92_b4e3_1ba9, 1013),
    (0xeb96_bf6e_badf_77d9, 1039),
    (0xaf87_023b_9bf0_ee6b, 1066),
];

#[cfg(test)]
mod tests {
    use super::{format_f64, format_g17};
    use crate::base::random::Rng;

    #[test]
    fn doubles_are_laid_out_as_redis_does() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (3.0e5, "300000"),
            (0.0001, "0.0001"),
            (0.00001, "0.00001"),
            (1e-7, "1e-7"),
            (1.2e-7, "1.2e-7"),
            (1.1754943508222875e-38, "1.1754943508222875e-38"),
            (1e17, "100000000000000000"),
            (4611686018427387904.0, "4611686018427387904"),
            (-4611686018427387904.0, "-4611686018427387904"),
            (4611686018427388928.0, "4611686018427389000"),
            (9e18, "9e+18"),
            (1e22, "1e+22"),
            (1.1111111111111111e254, "1.1111111111111111e+254"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (value, text) in cases {
            assert_eq!(format_f64(value), text);
        }
    }

    #[test]
    fn the_digits_are_those_of_grisu2_where_they_are_not_the_best() {
        // The text a real server shows, not the shortest or closest one.
        let cases = [
            (22479.381863372233, "2.2479381863372233e+4"),
            (-635266.9328675526, "-6.352669328675526e+5"),
            (74457990620609.88, "74457990620609.87"),
            (2.79236771758227e+21, "2792367717582270000000"),
            (9.813401318140067e+20, "981340131814006700000"),
            (-5.6303893827095706e+17, "-563038938270957056"),
            (-5.703712459035042e+16, "-57037124590350416"),
            (4.6610286190088877e+17, "466102861900888768"),
            (2.2094478288146627e+18, "2209447828814662656"),
        ];
        for (value, text) in cases {
            assert_eq!(format_f64(value), text);
        }
    }

    #[test]
    fn every_text_reads_back_as_the_same_double() {
        let mut rng = Rng::new(5);
        for _ in 0..50_000 {
            let value = f64::from_bits(rng.next_u64());
            if value.is_finite() {
                assert_eq!(format_f64(value).parse(), Ok(value));
                assert_eq!(format_g17(value).parse(), Ok(value));
            }
        }
    }

    #[test]
    fn seventeen_digits_are_those_of_printf() {
        let cases = [
            (0.00001, "1.0000000000000001e-05"),
            (1e17, "1e+17"),
            (1e16, "10000000000000000"),
            (-0.0, "-0"),
            (0.1, "0.10000000000000001"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (5e-324, "4.9406564584124654e-324"),
            (0.0001, "0.0001"),
            (3.0, "3"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in cases {
            assert_eq!(format_g17(value), text);
        }
    }
}
