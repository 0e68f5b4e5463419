//! How fast the same keys can be read without a server: reader threads that call a function for each key.
//!
//! The function is given by who starts it (src/main.rs: one RocksDB get in an opened data folder). Threads draw keys as
//! `tuff bench` does, one after the other and each key at once, so the best rate over all numbers of threads is what the disk and RocksDB
//! have to give on this machine: the limit to compare a server with.

use super::keys::{Counters, Pattern, Picker};
use super::report::json_latency;
use super::template::{Shape, write_key};
use super::values::{Sizes, Values, bytes};
use crate::base::random::Rng;
use clap::Args;
use hdrhistogram::Histogram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Reads past the server, for comparison (the server must not run).
#[derive(Debug, Clone, Args)]
pub struct LimitOptions {
    /// The server's data folder.
    #[arg(long)]
    pub dir: PathBuf,
    /// Numbers of reader threads to try.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32")]
    pub readers: Vec<usize>,
    /// Bytes of RocksDB's block cache.
    #[arg(long, default_value = "384mb", value_parser = bytes)]
    pub block_cache: u64,
    /// How long to read with each number of threads.
    #[arg(short, long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Different keys.
    #[arg(short, long, default_value_t = 1_000_000)]
    pub keys: u64,
    /// What key names begin with.
    #[arg(long, default_value = "key:")]
    pub key_prefix: String,
    /// Zipfian keys with this skew; uniform without.
    #[arg(long)]
    pub theta: Option<f64>,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

struct Reading {
    latency: Histogram<u64>,
    missing: u64,
}

/// Reads with each number of threads in turn and prints one line of JSON for each. `read` answers whether a key is there.
pub fn run(
    options: &LimitOptions,
    read: impl Fn(&[u8]) -> Result<bool, String> + Sync,
) -> Result<(), String> {
    for (round, &readers) in options.readers.iter().enumerate() {
        // Other keys each time: those of the round before are in the caches.
        let options = &LimitOptions { seed: options.seed + ((round as u64) << 32), ..options.clone() };
        let (all, seconds) = with_readers(options, readers.max(1), &read)?;
        println!(
            "{{\"readers\": {readers}, \"requests\": {}, \"rate\": {:.1}, \"missing\": {}, \"latency_us\": {}}}",
            all.latency.len(),
            all.latency.len() as f64 / seconds,
            all.missing,
            json_latency(&all.latency)
        );
    }
    Ok(())
}

fn with_readers(
    options: &LimitOptions,
    readers: usize,
    read: &(impl Fn(&[u8]) -> Result<bool, String> + Sync),
) -> Result<(Reading, f64), String> {
    let start = Instant::now();
    let until = start + Duration::try_from_secs_f64(options.seconds).map_err(|e| e.to_string())?;
    let mut seeds = Rng::new(options.seed);
    let readings: Result<Vec<Reading>, String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                let rng = Rng::new(seeds.next_u64());
                scope.spawn(move || read_until(options, until, rng, read))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a reader panicked".to_string())))
            .collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let mut all = Reading { latency: new_histogram()?, missing: 0 };
    for reading in readings? {
        all.latency.add(&reading.latency).map_err(|e| e.to_string())?;
        all.missing += reading.missing;
    }
    Ok((all, seconds))
}

fn read_until(
    options: &LimitOptions,
    until: Instant,
    mut rng: Rng,
    read: &impl Fn(&[u8]) -> Result<bool, String>,
) -> Result<Reading, String> {
    let counters = Counters::default();
    let pattern = options.theta.map_or(Pattern::Uniform, |theta| Pattern::Zipf { theta, scrambled: true });
    let mut picker = Picker::new(pattern, options.keys, &counters);
    let values = Values { sizes: Sizes { bytes_min: 0, bytes_max: 0 }, random_percent: 0 };
    let shape = Shape { key_prefix: options.key_prefix.clone().into_bytes(), fields: 1, values };
    let mut reading = Reading { latency: new_histogram()?, missing: 0 };
    let mut key = Vec::new();
    let mut now = Instant::now();
    while now < until {
        key.clear();
        write_key(&shape, picker.pick(&mut rng), &mut key);
        let is_there = read(&key)?;
        let end = Instant::now();
        reading.missing += u64::from(!is_there);
        reading.latency.saturating_record(((end - now).as_nanos() as u64).max(1));
        now = end;
    }
    Ok(reading)
}

fn new_histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn options(keys: u64, seconds: f64) -> LimitOptions {
        LimitOptions {
            dir: PathBuf::new(),
            readers: Vec::new(),
            block_cache: 0,
            seconds,
            keys,
            key_prefix: "k".to_string(),
            theta: None,
            seed: 1,
        }
    }

    #[test]
    fn no_reader_follows_another() {
        let drawn = Mutex::new(HashMap::new());
        let (all, _) = with_readers(&options(1 << 40, 0.02), 4, &|key: &[u8]| {
            *drawn.lock().unwrap().entry(key.to_vec()).or_insert(0) += 1;
            Ok(true)
        })
        .unwrap();
        assert_eq!(
            drawn.into_inner().unwrap().len() as u64,
            all.latency.len(),
            "of so many keys none comes twice"
        );
    }

    #[test]
    fn every_read_is_counted_and_so_are_the_missing() {
        let options = options(10, 0.02);
        let (calls, missed) = (AtomicU64::new(0), AtomicU64::new(0));
        let (all, _) = with_readers(&options, 3, &|key: &[u8]| {
            assert_eq!(key.len(), 13);
            calls.fetch_add(1, Ordering::Relaxed);
            let is_there = key != b"k000000000004";
            missed.fetch_add(u64::from(!is_there), Ordering::Relaxed);
            Ok(is_there)
        })
        .unwrap();
        assert_eq!(all.latency.len(), calls.load(Ordering::Relaxed));
        assert_eq!(all.missing, missed.load(Ordering::Relaxed));
        assert!(with_readers(&options, 2, &|_: &[u8]| Err("broken".to_string())).is_err());
    }
}
