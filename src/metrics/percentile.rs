//! Percentiles from a histogram whose bucket `n` counts what took at most 2^n microseconds; the last bucket
//! takes the rest.
//!
//! Such a histogram says only between which powers of two a value lies. The answer is the upper bound of the
//! bucket in which the percentile falls: never too low, at most double. Pure; no lock.

/// The time within which this share (0 to 100) of all runs ended, microseconds: a power of two. 0 when nothing
/// ran. A percentile in the last bucket, which has no bound, answers that bucket's lower bound doubled.
pub fn percentile_us(buckets: &[u64], percent: f64) -> u64 {
    let total: u64 = buckets.iter().sum();
    if total == 0 {
        return 0;
    }
    // At least one, so that percentile 0 is the fastest run.
    let wanted = ((total as f64 * percent / 100.0).ceil() as u64).clamp(1, total);
    let mut seen = 0;
    let found = buckets.iter().position(|count| {
        seen += count;
        seen >= wanted
    });
    1 << found.unwrap_or(0).min(63)
}

#[cfg(test)]
mod tests {
    use super::percentile_us;

    #[test]
    fn a_percentile_is_the_bound_of_its_bucket() {
        let buckets = [50, 0, 49, 0, 0, 1];
        assert_eq!(percentile_us(&buckets, 0.0), 1);
        assert_eq!(percentile_us(&buckets, 50.0), 1);
        assert_eq!(percentile_us(&buckets, 51.0), 4);
        assert_eq!(percentile_us(&buckets, 99.0), 4);
        assert_eq!(percentile_us(&buckets, 99.9), 32);
        assert_eq!(percentile_us(&buckets, 100.0), 32);
    }

    #[test]
    fn nothing_and_one_run_have_percentiles_too() {
        assert_eq!(percentile_us(&[], 50.0), 0);
        assert_eq!(percentile_us(&[0, 0], 99.0), 0);
        assert_eq!(percentile_us(&[0, 1], 50.0), 2);
        assert_eq!(percentile_us(&[0, 1], 1e9), 2);
    }
}
