//! The random numbers of `math.random`: the 48-bit linear congruence of POSIX' lrand48.
//!
//! Redis ships its own generator so that a seed gives the same numbers everywhere; so do we. State `x` becomes
//! `x * 0x5DEECE66D + 0xB` modulo 2^48, and its upper 31 bits are the number drawn. Where a script begins when it has set no
//! seed is the host's to say: Redis goes on where the script before it has stopped.

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const ADDEND: u64 = 0xB;
const STATE_MASK: u64 = (1 << 48) - 1;
/// What a seed's low 16 bits are filled with.
const SEED_LOW: u64 = 0x330E;
/// The largest number that can be drawn.
const DRAWN_MAX: u32 = i32::MAX as u32;

/// A generator.
#[derive(Clone, Debug)]
pub struct Rand48 {
    state: u64,
}

impl Rand48 {
    /// The generator in any of its 2^48 states.
    pub fn at(state: u64) -> Rand48 {
        Rand48 { state: state & STATE_MASK }
    }

    /// The beginning of the sequence of `seed`.
    pub fn seeded(seed: i32) -> Rand48 {
        Rand48 { state: (u64::from(seed as u32) << 16) | SEED_LOW }
    }

    /// The next number, 0 to 2^31-1.
    pub fn draw(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(ADDEND) & STATE_MASK;
        (self.state >> 17) as u32
    }

    /// The next number as a fraction, from 0 to below 1.
    pub fn draw_fraction(&mut self) -> f64 {
        f64::from(self.draw() % DRAWN_MAX) / f64::from(DRAWN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Rand48;

    #[test]
    fn numbers_are_those_of_redis() {
        let two = |mut random: Rand48| [(); 2].map(|()| (random.draw_fraction() * 100.0).floor() as i64 + 1);
        assert_eq!(two(Rand48::seeded(0)), [18, 75]);
        assert_eq!(two(Rand48::seeded(5)), [53, 28]);
        assert_eq!(two(Rand48::seeded(i32::MIN)), [68, 25]);
        // Where a server that has run no script begins.
        assert_eq!(two(Rand48::at(0x1234_ABCD_330E)), [40, 85]);
    }
}
