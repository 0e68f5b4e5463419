//! The only source of chance.
//!
//! [`Rng`] is SplitMix64: one 64-bit counter stepped by an odd constant and scrambled by two
//! multiplications. It is fast, passes the usual batteries, and is *not* for secrets. Its whole
//! state is one word, so a clone taken before a command's first run lets a rerun draw the same
//! numbers. Secrets and seeds come from [`fill_entropy`].

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Read;

/// The step of the counter: 2^64 divided by the golden ratio, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A small seeded generator; clones continue with the same numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The generator of this seed; equal seeds give equal sequences.
    pub fn new(seed: u64) -> Rng {
        Rng { state: seed }
    }

    /// A generator with an unpredictable seed.
    pub fn from_entropy() -> Rng {
        let mut seed = [0; 8];
        fill_entropy(&mut seed);
        Rng::new(u64::from_le_bytes(seed))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number in `0..n`, every one equally likely; 0 if `n` is 0.
    ///
    /// The high half of a 128-bit product; draws whose low half falls into the uneven rest are
    /// taken again, which happens with probability below n / 2^64.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            let low = product as u64;
            if low >= n || low >= n.wrapping_neg() % n {
                return (product >> 64) as u64;
            }
        }
    }

    /// `len` lower-case hexadecimal digits.
    pub fn hex(&mut self, len: usize) -> String {
        let mut text = String::with_capacity(len);
        let mut word = 0;
        for at in 0..len {
            if at % 16 == 0 {
                word = self.next_u64();
            }
            text.push(char::from(b"0123456789abcdef"[(word & 15) as usize]));
            word >>= 4;
        }
        text
    }
}

/// Fills `out` with bytes an outsider cannot guess, from the operating system.
///
/// Where the system's device cannot be read, the standard library's randomly keyed hash stands in.
pub fn fill_entropy(out: &mut [u8]) {
    let from_system = File::open("/dev/urandom").and_then(|mut device| device.read_exact(out));
    if from_system.is_ok() {
        return;
    }
    for (at, chunk) in out.chunks_mut(8).enumerate() {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_usize(at);
        let word = hasher.finish().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::{Rng, fill_entropy};

    #[test]
    fn a_clone_repeats_the_sequence() {
        let mut first = Rng::new(7);
        first.next_u64();
        let mut second = first.clone();
        assert_eq!(
            (0..20).map(|_| first.next_u64()).collect::<Vec<_>>(),
            (0..20).map(|_| second.next_u64()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_sequence_is_the_published_splitmix64() {
        let mut rng = Rng::new(1234567);
        assert_eq!(rng.next_u64(), 6457827717110365317);
        assert_eq!(rng.next_u64(), 3203168211198807973);
    }

    #[test]
    fn below_stays_below_and_reaches_every_number_about_equally() {
        let mut rng = Rng::new(1);
        let mut seen = [0u32; 7];
        for _ in 0..70_000 {
            seen[rng.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (9_500..10_500).contains(&count)), "{seen:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        assert!(rng.below(u64::MAX) < u64::MAX);
    }

    #[test]
    fn hex_has_the_asked_length_and_alphabet() {
        let text = Rng::from_entropy().hex(41);
        assert_eq!(text.len(), 41);
        assert!(text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    }

    #[test]
    fn entropy_differs_from_call_to_call() {
        let (mut a, mut b) = ([0; 16], [0; 16]);
        fill_entropy(&mut a);
        fill_entropy(&mut b);
        assert_ne!(a, b);
    }
}
