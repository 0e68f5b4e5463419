//! Which key comes next: uniform, zipfian, the latest, or one after the other.
//!
//! [`Zipf`] draws ranks by rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone
//! discrete distributions", 1996): the integral of x^-theta is inverted at a random point, and the few points that fall between
//! the integral and the histogram are drawn again. It is exact for every theta, needs no table, and costs the same for ten keys
//! as for a billion. Ranks are *scrambled* by a fixed one-to-one map, so that the popular keys do not stand side by side, yet
//! are the same in every process; each key keeps its own probability.

use crate::base::random::Rng;
use std::sync::atomic::{AtomicU64, Ordering};

/// How keys are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pattern {
    /// Every key is equally likely.
    Uniform,
    /// The key of rank r is drawn with a probability proportional to r^-theta.
    Zipf {
        /// The skew; 0 is uniform.
        theta: f64,
        /// Whether ranks are spread over the key space; if not, key 0 is the most popular.
        scrambled: bool,
    },
    /// Zipfian by age: the newest key is the most popular.
    Latest {
        /// The skew.
        theta: f64,
    },
    /// 0, 1, 2 ... over all threads, and from the beginning again.
    Sequential,
}

/// What the threads of a run count together.
#[derive(Debug, Default)]
pub struct Counters {
    /// Keys there are: inserts add to it.
    pub newest: AtomicU64,
    /// The next key in sequence.
    pub next: AtomicU64,
}

/// One thread's choice of keys.
pub struct Picker<'a> {
    pattern: Pattern,
    count: u64,
    zipf: Zipf,
    scramble: Scramble,
    counters: &'a Counters,
}

impl<'a> Picker<'a> {
    /// Chooses among `count` keys.
    pub fn new(pattern: Pattern, count: u64, counters: &'a Counters) -> Picker<'a> {
        let count = count.max(1);
        let theta = match pattern {
            Pattern::Zipf { theta, .. } | Pattern::Latest { theta } => theta,
            Pattern::Uniform | Pattern::Sequential => 0.0,
        };
        Picker { pattern, count, zipf: Zipf::new(count, theta), scramble: Scramble::new(count), counters }
    }

    /// The number of the next key.
    pub fn pick(&mut self, rng: &mut Rng) -> u64 {
        match self.pattern {
            Pattern::Uniform => rng.below(self.count),
            Pattern::Zipf { scrambled: false, .. } => self.zipf.rank(rng),
            Pattern::Zipf { scrambled: true, .. } => self.scramble.number(self.zipf.rank(rng)),
            Pattern::Latest { .. } => {
                let newest = self.counters.newest.load(Ordering::Relaxed);
                newest.saturating_sub(1).saturating_sub(self.zipf.rank(rng))
            }
            Pattern::Sequential => self.counters.next.fetch_add(1, Ordering::Relaxed) % self.count,
        }
    }

    /// The number of a key that nobody has had.
    pub fn insert(&mut self) -> u64 {
        self.counters.newest.fetch_add(1, Ordering::Relaxed)
    }
}

/// Spreads `0..count` over itself, one to one: multiplied by about the golden section of `count`, neighbours come to lie far apart.
#[derive(Debug, Clone, Copy)]
struct Scramble {
    count: u64,
    factor: u64,
}

impl Scramble {
    fn new(count: u64) -> Scramble {
        let mut factor = ((count as f64) * 0.618_033_988_749_895) as u64 | 1;
        while greatest_common_divisor(factor, count) != 1 {
            factor += 2;
        }
        Scramble { count, factor }
    }

    fn number(self, rank: u64) -> u64 {
        let offset = self.count / 3;
        match u32::try_from(self.count) {
            // Both factors are below 2^33 then, and the product with the offset fits.
            Ok(_) => (rank * (self.factor % self.count) + offset) % self.count,
            Err(_) => {
                let product = u128::from(rank) * u128::from(self.factor) + u128::from(offset);
                (product % u128::from(self.count)) as u64
            }
        }
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Ranks `0..count` of which rank r has a probability proportional to (r + 1)^-theta.
#[derive(Debug, Clone)]
pub struct Zipf {
    count: f64,
    theta: f64,
    /// The integral at the outer edges of the first and the last rank; the first is moved so that rank 1 has exactly its share.
    integral_first: f64,
    integral_last: f64,
    /// A point this close below its rank is always taken.
    close: f64,
}

impl Zipf {
    /// `count` ranks, at least 1; `theta` at least 0.
    pub fn new(count: u64, theta: f64) -> Zipf {
        let count = count.max(1) as f64;
        let theta = theta.max(0.0);
        let integral_first = integral(1.5, theta) - 1.0;
        let integral_last = integral(count + 0.5, theta);
        let close = 2.0 - integral_inverse(integral(2.5, theta) - height(2.0, theta), theta);
        Zipf { count, theta, integral_first, integral_last, close }
    }

    /// The next rank, 0 the most likely.
    pub fn rank(&self, rng: &mut Rng) -> u64 {
        loop {
            let unit = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            let area = self.integral_last + unit * (self.integral_first - self.integral_last);
            let x = integral_inverse(area, self.theta);
            let rank = (x + 0.5).floor().clamp(1.0, self.count);
            if rank - x <= self.close || area >= integral(rank + 0.5, self.theta) - height(rank, self.theta) {
                return rank as u64 - 1;
            }
        }
    }
}

/// x^-theta.
fn height(x: f64, theta: f64) -> f64 {
    (-theta * x.ln()).exp()
}

/// The integral of x^-theta, from 1 to `x`: (x^(1 - theta) - 1) / (1 - theta), and ln x where theta is 1.
fn integral(x: f64, theta: f64) -> f64 {
    let ln = x.ln();
    let power = (1.0 - theta) * ln;
    if power.abs() < 1e-8 { ln * (1.0 + power / 2.0) } else { power.exp_m1() / power * ln }
}

fn integral_inverse(area: f64, theta: f64) -> f64 {
    let part = ((1.0 - theta) * area).max(-1.0);
    let ln = if part.abs() < 1e-8 { area * (1.0 - part / 2.0) } else { part.ln_1p() / part * area };
    ln.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The probabilities of ranks by the definition.
    fn theory(count: u64, theta: f64) -> Vec<f64> {
        let weights: Vec<f64> = (1..=count).map(|rank| (rank as f64).powf(-theta)).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    }

    #[test]
    fn zipf_frequencies_are_those_of_theory() {
        const DRAWS: u64 = 400_000;
        for theta in [0.0, 0.5, 0.99, 1.0, 1.5] {
            for count in [1, 2, 10, 1000] {
                let (zipf, mut rng) = (Zipf::new(count, theta), Rng::new(count));
                let mut seen = vec![0u64; count as usize];
                (0..DRAWS).for_each(|_| seen[zipf.rank(&mut rng) as usize] += 1);
                for (rank, share) in theory(count, theta).iter().enumerate() {
                    let expected = share * DRAWS as f64;
                    // Five standard deviations; the draws are fixed by the seed, so this never fails by chance.
                    let slack = 5.0 * expected.sqrt() + 1.0;
                    let off = (seen[rank] as f64 - expected).abs();
                    assert!(
                        off <= slack,
                        "theta {theta}, {count} keys, rank {rank}: {} for {expected}",
                        seen[rank]
                    );
                }
            }
        }
    }

    #[test]
    fn a_billion_keys_need_no_table_and_the_first_has_its_share() {
        let (zipf, mut rng) = (Zipf::new(1_000_000_000, 0.99), Rng::new(1));
        // The sum of r^-0.99 up to a billion, by the Euler-Maclaurin formula: the integral from 1, half of both ends, and B2/2 times
        // the difference of the slopes there.
        let expected = 1.0 / (integral(1e9, 0.99) + 0.5 * (1.0 + height(1e9, 0.99)) + 0.99 / 12.0);
        let hits = (0..1_000_000).filter(|_| zipf.rank(&mut rng) == 0).count() as f64 / 1e6;
        assert!((hits - expected).abs() < 0.001, "{hits} for {expected}");
    }

    #[test]
    fn scrambling_is_one_to_one_and_parts_neighbours() {
        for count in [1, 2, 3, 10, 16, 999, 1000, 4096] {
            let mut numbers: Vec<u64> = (0..count).map(|rank| Scramble::new(count).number(rank)).collect();
            if count >= 10 {
                assert!(numbers[0].abs_diff(numbers[1]) > count / 4, "{count}: {numbers:?}");
            }
            numbers.sort_unstable();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>());
        }
        // More keys than 32 bits count: the longer multiplication.
        let large = Scramble::new(1 << 40);
        assert_ne!(large.number(1 << 39), large.number(0));
        assert!(large.number((1 << 40) - 1) < 1 << 40);
    }

    #[test]
    fn sequential_pickers_share_one_sequence() {
        let counters = Counters::default();
        let mut rng = Rng::new(1);
        let mut first = Picker::new(Pattern::Sequential, 4, &counters);
        let mut second = Picker::new(Pattern::Sequential, 4, &counters);
        let picks: Vec<u64> = (0..3).flat_map(|_| [first.pick(&mut rng), second.pick(&mut rng)]).collect();
        assert_eq!(picks, [0, 1, 2, 3, 0, 1]);
    }

    #[test]
    fn the_latest_key_is_the_most_popular_and_moves_with_inserts() {
        let counters = Counters { newest: 100.into(), ..Counters::default() };
        let (mut picker, mut rng) =
            (Picker::new(Pattern::Latest { theta: 0.99 }, 100, &counters), Rng::new(1));
        let mut hits =
            |picker: &mut Picker, key| (0..10_000).filter(|_| picker.pick(&mut rng) == key).count();
        assert!(hits(&mut picker, 99) > 1_000);
        assert_eq!(hits(&mut picker, 100), 0);
        assert_eq!(picker.insert(), 100);
        assert!(hits(&mut picker, 100) > 1_000);
    }

    #[test]
    fn uniform_reaches_every_key() {
        let counters = Counters::default();
        let (mut picker, mut rng) = (Picker::new(Pattern::Uniform, 50, &counters), Rng::new(1));
        let mut seen = [0u32; 50];
        (0..50_000).for_each(|_| seen[picker.pick(&mut rng) as usize] += 1);
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
