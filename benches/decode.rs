//! Finding requests in the bytes a client sent: `resp::Decoder`, without sockets and without a database.
//!
//! The throughput criterion prints is in requests. Run with `tools/cargo bench --bench decode`.
#![allow(clippy::panic, reason = "a benchmark that cannot run says so and ends")]

use criterion::{BenchmarkId, Criterion, Throughput};
use std::hint::black_box;
use tuffdb::resp::{Decoded, Decoder, Limits};

const LIMITS: Limits = Limits { bulk_len_max: 512 << 20, authenticated: true };

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decode(&mut criterion);
    criterion.final_summary();
}

fn decode(criterion: &mut Criterion) {
    let value = "v".repeat(64);
    let requests = [
        ("get", request(&["GET", "key:000000000001"])),
        ("set_64", request(&["SET", "key:000000000001", &value])),
        ("hset_10_fields", request(&hset_words())),
        ("inline_ping", b"PING\r\n".to_vec()),
    ];
    let mut group = criterion.benchmark_group("decode");
    for (name, request) in requests {
        for depth in [1, 16] {
            let burst = request.repeat(depth);
            group.throughput(Throughput::Elements(depth as u64));
            group.bench_with_input(BenchmarkId::new(name, depth), &burst, |bencher, burst| {
                let mut decoder = Decoder::new();
                bencher.iter(|| decode_all(&mut decoder, black_box(burst)));
            });
        }
    }
    group.finish();
}

/// Decodes a whole burst and gives how many argument bytes it had.
fn decode_all(decoder: &mut Decoder, mut bytes: &[u8]) -> usize {
    let mut argument_bytes = 0;
    while !bytes.is_empty() {
        decoder.reset();
        let Ok(Decoded::Complete { consumed }) = decoder.decode(bytes, &LIMITS) else {
            panic!("the benchmark's requests are whole");
        };
        argument_bytes += decoder.args(bytes).bytes_len();
        bytes = &bytes[consumed..];
    }
    argument_bytes
}

fn hset_words() -> Vec<&'static str> {
    let mut words = vec!["HSET", "user:1"];
    words.extend(["field", "value"].repeat(10));
    words
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}
