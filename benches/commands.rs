//! Commands as a worker runs them, without sockets: decode, look up, lock, handler, commit, reply in a buffer.
//!
//! One thread, one database in a folder of its own. The log is written at the end of each burst of `BURST` commands, as a
//! connection does with a pipeline; it is never synced. A row that is only on disk is warmed in place, as the pool would do; anything
//! else that stands in a command's way ends the benchmark, for these are hot paths.
//!
//! Run with `tools/cargo bench --bench commands`, or with a part of a name behind it: `... -- hash`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot run says so and ends"
)]

use criterion::{Criterion, Throughput};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tuffdb::base::clock::Clock;
use tuffdb::base::random::Rng;
use tuffdb::config::Config;
use tuffdb::dispatch::heavy;
use tuffdb::dispatch::node::Node;
use tuffdb::dispatch::prepare::{Prepared, prepare};
use tuffdb::dispatch::run::{Bench, Pause, Request, Runner, attempt, dry};
use tuffdb::hot::{HotTier, Policy};
use tuffdb::keyspace::{Keyspace, RunIdentity};
use tuffdb::resp::OwnedArgs;
use tuffdb::session::Session;
use tuffdb::store::{Store, StoreOptions};

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Commands between two writes of the log.
const BURST: u64 = 16;
const KEYS: u64 = 100_000;
/// 16 fields of 20 and a few bytes stay below `packed-max-bytes`.
const PACKED_FIELDS: u64 = 16;
const SPREAD_FIELDS: u64 = 10_000;
const MEMBERS: u64 = 1_000_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    hot_get(&mut criterion);
    packed_hash(&mut criterion);
    spread_hash(&mut criterion);
    ranks(&mut criterion);
    commit(&mut criterion);
    criterion.final_summary();
}

fn hot_get(criterion: &mut Criterion) {
    let mut subject = Subject::new();
    let value = vec![b'v'; 64];
    for number in 0..KEYS {
        subject.run(&[b"SET", &key(number), &value]);
    }
    let keys: Vec<OwnedArgs> = (0..KEYS).map(|number| words(&[b"GET", &key(number)])).collect();
    let absent: Vec<OwnedArgs> = (0..1000).map(|number| words(&[b"GET", &key(KEYS + number)])).collect();
    let mut group = criterion.benchmark_group("get");
    group.throughput(Throughput::Elements(1));
    group.bench_function("hot_64", |bencher| bencher.iter(|| subject.run_one_of(&keys)));
    group.bench_function("known_absent", |bencher| bencher.iter(|| subject.run_one_of(&absent)));
    group.finish();
}

fn packed_hash(criterion: &mut Criterion) {
    let mut subject = Subject::new();
    for number in 0..PACKED_FIELDS {
        subject.run(&[b"HSET", b"h", &field(number), b"a value of 20 bytes.."]);
    }
    hash(criterion, "hash_packed", &mut subject, PACKED_FIELDS);
}

fn spread_hash(criterion: &mut Criterion) {
    let mut subject = Subject::new();
    for number in 0..SPREAD_FIELDS {
        subject.run(&[b"HSET", b"h", &field(number), b"a value of 20 bytes.."]);
    }
    hash(criterion, "hash_spread", &mut subject, SPREAD_FIELDS);
}

fn hash(criterion: &mut Criterion, name: &str, subject: &mut Subject, fields: u64) {
    let each = |command: &[u8], rest: &[&[u8]]| -> Vec<OwnedArgs> {
        (0..fields).map(|number| words(&[&[command, b"h", &field(number)][..], rest].concat())).collect()
    };
    let (get, set) = (each(b"HGET", &[]), each(b"HSET", &[b"another of 20 bytes.."]));
    let all = [words(&[b"HGETALL", b"h"])];
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group.bench_function("hget", |bencher| bencher.iter(|| subject.run_one_of(&get)));
    group.bench_function("hset_known_field", |bencher| bencher.iter(|| subject.run_one_of(&set)));
    if fields <= PACKED_FIELDS {
        group.bench_function("hgetall", |bencher| bencher.iter(|| subject.run_one_of(&all)));
    }
    group.finish();
}

/// A million members; the index is built by the first question, on the pool.
fn ranks(criterion: &mut Criterion) {
    let mut subject = Subject::new();
    let mut rng = Rng::new(3);
    let score = |rng: &mut Rng| rng.below(1 << 40).to_string().into_bytes();
    for number in 0..MEMBERS {
        subject.run(&[b"ZADD", b"z", &score(&mut rng), &field(number)]);
    }
    let first = [words(&[b"ZRANK", b"z", &field(0)])];
    subject.run_heavy(&first[0]);
    let each = |rng: &mut Rng, request: &dyn Fn(&mut Rng, u64) -> OwnedArgs| -> Vec<OwnedArgs> {
        let mut one = || {
            let number = rng.below(MEMBERS);
            request(rng, number)
        };
        (0..10_000).map(|_| one()).collect()
    };
    let rank = each(&mut rng, &|_, number| words(&[b"ZRANK", b"z", &field(number)]));
    let at = each(&mut rng, &|_, number| {
        let rank = number.to_string().into_bytes();
        words(&[b"ZRANGE", b"z", &rank, &rank])
    });
    let add = each(&mut rng, &|rng, number| words(&[b"ZADD", b"z", &score(rng), &field(number)]));
    let mut group = criterion.benchmark_group("zset_of_a_million");
    group.throughput(Throughput::Elements(1));
    group.bench_function("zrank", |bencher| bencher.iter(|| subject.run_one_of(&rank)));
    group.bench_function("zrange_one", |bencher| bencher.iter(|| subject.run_one_of(&at)));
    (0..50_000).for_each(|_| subject.run_one_of(&add));
    group.bench_function("zrank_after_changes", |bencher| bencher.iter(|| subject.run_one_of(&rank)));
    group.finish();
}

fn commit(criterion: &mut Criterion) {
    let mut subject = Subject::new();
    let value = vec![b'v'; 64];
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(1));
    let sets: Vec<OwnedArgs> = (0..KEYS).map(|number| words(&[b"SET", &key(number), &value])).collect();
    group.bench_function("set_64", |bencher| bencher.iter(|| subject.run_one_of(&sets)));
    let increments: Vec<OwnedArgs> =
        (0..1000).map(|number| words(&[b"INCR", format!("counter:{number}").as_bytes()])).collect();
    group.bench_function("incr", |bencher| bencher.iter(|| subject.run_one_of(&increments)));
    let (push, pop) = ([words(&[b"RPUSH", b"l", &value])], [words(&[b"LPOP", b"l"])]);
    group.throughput(Throughput::Elements(2));
    group.bench_function("rpush_and_lpop", |bencher| {
        bencher.iter(|| {
            subject.run_one_of(&push);
            subject.run_one_of(&pop);
        });
    });
    group.finish();
}

fn key(number: u64) -> Vec<u8> {
    format!("key:{number:012}").into_bytes()
}

fn field(number: u64) -> Vec<u8> {
    format!("field:{number:08}").into_bytes()
}

fn words(words: &[&[u8]]) -> OwnedArgs {
    OwnedArgs::from_slices(words)
}

/// A node with one connection, without sockets and background threads.
struct Subject {
    node: Node,
    session: Session,
    bench: Bench,
    rng: Rng,
    out: Vec<u8>,
    sequence: u64,
    commands: u64,
    // Removed when everything above has let go of it.
    _folder: tempfile::TempDir,
}

impl Subject {
    fn new() -> Subject {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (config, _) = Config::load::<&str>(&[]).expect("the defaults are valid");
        let clock = Clock::system();
        let store = Store::open(folder.path(), StoreOptions::default()).expect("a new database");
        let hot = HotTier::new(256 << 20, Policy::Lru, clock.clone());
        let keyspace = Keyspace::open(Arc::new(store), hot, clock.clone(), 16, 1).expect("a new keyspace");
        let node = Node::new(tuffdb::commands::table(), Arc::new(config), keyspace, clock, 1);
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let session = Session::new(node.clients.add(nowhere, nowhere, -1), true);
        let (bench, rng) = (Bench::default(), Rng::new(1));
        Subject { node, session, bench, rng, out: Vec::new(), sequence: 0, commands: 0, _folder: folder }
    }

    fn run(&mut self, request: &[&[u8]]) {
        self.run_one_of(&[words(request)]);
    }

    /// Runs a request as the pool does.
    fn run_heavy(&mut self, request: &OwnedArgs) {
        let args = request.args();
        let Prepared::Run(entry) = prepare(&self.node, &self.session, args) else {
            panic!("the benchmark's requests are valid");
        };
        let now_us = self.node.clock.now_us();
        let run = RunIdentity { now_ms: now_us / 1000, now_us, seed: 1 };
        let request =
            Request { session: &self.session, entry, args, run: &run, waiter: None, looks_again: None };
        assert!(heavy::run(&self.node, &request, false, &mut self.out).is_ok(), "{} did not run", entry.name);
    }

    /// Runs one of these requests, drawn by chance.
    fn run_one_of(&mut self, requests: &[OwnedArgs]) {
        let args = requests[self.rng.below(requests.len() as u64) as usize].args();
        let Prepared::Run(entry) = prepare(&self.node, &self.session, args) else {
            panic!("the benchmark's requests are valid");
        };
        let now_us = self.node.clock.now_us();
        let run = RunIdentity { now_ms: now_us / 1000, now_us, seed: self.rng.next_u64() };
        let request =
            Request { session: &self.session, entry, args, run: &run, waiter: None, looks_again: None };
        let runner = Runner { node: &self.node, worker: 0 };
        loop {
            match attempt(&runner, &mut self.bench, &request, &mut self.out) {
                Ok(ran) => {
                    assert!(!ran.failed, "{}", String::from_utf8_lossy(&self.out));
                    self.sequence = self.sequence.max(ran.sequence);
                    break;
                }
                Err(Pause::Stall) => std::thread::yield_now(),
                // A file that has just been flushed: its filter is read once.
                Err(Pause::Cold(_)) => dry(&self.node, &request),
                Err(_) => panic!("{} left the hot path", entry.name),
            }
        }
        self.commands += 1;
        if self.commands.is_multiple_of(BURST) {
            self.node.keyspace.store().flush_wal(self.sequence).expect("the log can be written");
            self.out.clear();
        }
    }
}
