//! MEMORY: what keys cost, and what the process' memory is used for.
//!
//! USAGE is an estimate from a few elements (`types::footprint`). STATS has Redis' fields in Redis' order; what has no meaning here
//! (replication, scripts, hash tables) is 0, and behind them come Tuff's own, `tuff.*`. Its *dataset* is what of the data is in memory:
//! the hot tier, the block cache and the memtables; everything else is overhead. The allocator's muzzy pages are always 0: it
//! gives pages back in one step.
//!
//! PURGE and MALLOC-STATS lock the allocator's arenas and run on the pool. No key is locked but USAGE's.

use crate::base::number::parse_i64;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::node::Node;
use crate::dispatch::spec::Flag::{Loading, ReadOnly, Stale};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command, docs};
use crate::encoding::Family;
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Outcome};
use crate::metrics::process::{Allocated, allocator_report, purge};
use crate::resp::{Args, Reply};
use crate::types::footprint::footprint;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([Command::container("memory", MEMORY_SUBCOMMANDS)
    .group(Group::Server)
    .since("4.0.0")
    .summary("What takes up memory.")]);

const MEMORY_SUBCOMMANDS: &[Command] = &[
    Command::new("doctor", memory_doctor)
        .arity(2)
        .group(Group::Server)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("4.0.0")
        .summary("Explains in words what is odd about memory use."),
    Command::new("help", memory_help)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::Server)
        .since("4.0.0")
        .summary("Lists what MEMORY can do."),
    Command::new("malloc-stats", memory_malloc_stats)
        .arity(2)
        .group(Group::Server)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("4.0.0")
        .complexity("Grows with the memory the allocator holds.")
        .summary("Shows the allocator's own report."),
    Command::new("purge", memory_purge)
        .arity(2)
        .group(Group::Server)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("4.0.0")
        .complexity("Grows with the memory the allocator holds.")
        .summary("Has the allocator give free pages back."),
    Command::new("stats", memory_stats)
        .arity(2)
        .group(Group::Server)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("4.0.0")
        .summary("Shows what memory is used for."),
    Command::new("usage", memory_usage)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(2)])
        .group(Group::Server)
        .since("4.0.0")
        .complexity("O(N)")
        .summary("Estimates the bytes a key takes.")
        .syntax("key@0 [SAMPLES count:int]"),
];

/// Elements read when SAMPLES does not say how many.
const SAMPLES: u64 = 5;

fn memory_help(_: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "memory", MEMORY_SUBCOMMANDS);
    Ok(())
}

fn memory_usage(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let samples = samples(call.args.skip(3))?;
    call.txn.set_quiet(true);
    call.txn.set_counting(false);
    call.txn.mute(Events::KEY_MISS);
    let key = call.key(2);
    match call.txn.load(&key)? {
        None => reply.null(),
        Some(stored) => {
            let bytes = footprint(&mut call.txn, &key, &stored, samples)?.bytes();
            reply.integer(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
    Ok(())
}

/// How many elements are read; 0 for all.
fn samples(words: Args<'_>) -> Outcome<u64> {
    let (mut words, mut samples) = (words.iter(), SAMPLES);
    while let Some(word) = words.next() {
        let (true, Some(count)) = (word.eq_ignore_ascii_case(b"samples"), words.next()) else {
            return Err(Error::Syntax.into());
        };
        let count = parse_i64(count).ok_or(Error::NotInteger)?;
        samples = u64::try_from(count).map_err(|_| Error::Syntax)?;
    }
    Ok(samples)
}

fn memory_purge(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.txn.leave_worker()?;
    purge();
    reply.ok();
    Ok(())
}

fn memory_malloc_stats(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.txn.leave_worker()?;
    reply.verbatim(b"txt", allocator_report().as_bytes());
    Ok(())
}

/// Where the process' memory is, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shares {
    pub(super) allocated: Allocated,
    resident: u64,
    peak: u64,
    pub(super) started: u64,
    budget: u64,
    pub(super) clients: u64,
    client_count: u64,
    hot: u64,
    hot_budget: u64,
    hot_reads: u64,
    hot_misses: u64,
    block_cache: u64,
    block_cache_budget: u64,
    memtables: u64,
    row_filter: u64,
    writes_stopped: bool,
}

impl Shares {
    pub(super) fn read(node: &Node) -> Shares {
        let allocated = Allocated::read();
        let sample = node.vitals.sample(allocated.used, node.clock.now_ms());
        let clients = node.clients.all();
        let (hot, store) = (node.keyspace.hot(), node.keyspace.store());
        let counts = hot.stats();
        let (block_cache, block_cache_budget) = store.block_cache_bytes();
        let stopped = store.with_db(|db| db.family_property(Family::Keys, "is-write-stopped"));
        Shares {
            allocated,
            resident: sample.resident_bytes,
            peak: sample.peak_bytes,
            started: node.vitals.started_bytes(),
            budget: node.config.memory_bytes_max(),
            clients: clients.iter().map(|client| client.bytes() as u64).sum(),
            client_count: clients.len() as u64,
            hot: hot.bytes() as u64,
            hot_budget: hot.budget_bytes() as u64,
            hot_reads: counts.hits + counts.absent_hits + counts.misses,
            hot_misses: counts.misses,
            block_cache: block_cache as u64,
            block_cache_budget: block_cache_budget as u64,
            memtables: store.memtable_bytes() as u64,
            row_filter: store.row_filter().0 as u64,
            writes_stopped: stopped.unwrap_or(0) > 0,
        }
    }

    /// What of the data is in memory.
    pub(super) fn dataset(&self) -> u64 {
        self.hot + self.block_cache + self.memtables
    }

    /// What is none of the data.
    pub(super) fn overhead(&self) -> u64 {
        self.allocated.used.saturating_sub(self.dataset())
    }

    /// How much of what was taken since the start is data.
    pub(super) fn dataset_percent(&self) -> f64 {
        (ratio(self.dataset(), self.grown()) * 100.0).min(100.0)
    }

    /// What the allocator has handed out since the start.
    fn grown(&self) -> u64 {
        self.allocated.used.saturating_sub(self.started)
    }
}

fn ratio(above: u64, below: u64) -> f64 {
    above as f64 / below.max(1) as f64
}

fn difference(above: u64, below: u64) -> i64 {
    above as i64 - below as i64
}

/// A map in the making; counts its pairs.
struct Pairs<'r, 'b> {
    reply: &'r mut Reply<'b>,
    count: usize,
}

impl Pairs<'_, '_> {
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.number(name, i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn number(&mut self, name: &str, value: i64) {
        self.reply.bulk_str(name);
        self.reply.integer(value);
        self.count += 1;
    }

    fn double(&mut self, name: &str, value: f64) {
        self.reply.bulk_str(name);
        self.reply.double(value);
        self.count += 1;
    }

    /// A ratio, and the difference it stands for.
    fn pair(&mut self, name: &str, ratio_word: &str, above: u64, below: u64) {
        self.double(&format!("{name}{ratio_word}"), ratio(above, below));
        self.number(&format!("{name}.bytes"), difference(above, below));
    }
}

fn memory_stats(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let shares = Shares::read(call.node);
    let mark = reply.deferred_map();
    let mut pairs = Pairs { reply, count: 0 };
    write_shares(call.node, &shares, &mut pairs);
    write_allocator(&shares, &mut pairs);
    pairs.bytes("tuff.budget", shares.budget);
    pairs.bytes("tuff.hot-tier.bytes", shares.hot);
    pairs.bytes("tuff.hot-tier.budget", shares.hot_budget);
    pairs.bytes("tuff.block-cache.bytes", shares.block_cache);
    pairs.bytes("tuff.block-cache.budget", shares.block_cache_budget);
    pairs.bytes("tuff.memtables.bytes", shares.memtables);
    pairs.bytes("tuff.row-filter.bytes", shares.row_filter);
    let count = pairs.count;
    reply.fill_map(mark, count);
    Ok(())
}

fn write_shares(node: &Node, shares: &Shares, pairs: &mut Pairs<'_, '_>) {
    let used = shares.allocated.used;
    pairs.bytes("peak.allocated", shares.peak);
    pairs.bytes("total.allocated", used);
    pairs.bytes("startup.allocated", shares.started);
    pairs.bytes("replication.backlog", 0);
    pairs.bytes("replica.fullsync.buffer", 0);
    pairs.bytes("clients.slaves", 0);
    pairs.bytes("clients.normal", shares.clients);
    for nothing in ["cluster.links", "aof.buffer", "lua.caches", "functions.caches", "script.VMs"] {
        pairs.bytes(nothing, 0);
    }
    let mut keys = 0;
    for (number, database) in node.keyspace.databases().iter().enumerate() {
        keys += database.keys();
        if database.keys() > 0 {
            pairs.count += 1;
            pairs.reply.bulk_str(&format!("db.{number}"));
            pairs.reply.map(2);
            for nothing in ["overhead.hashtable.main", "overhead.hashtable.expires"] {
                pairs.reply.bulk_str(nothing);
                pairs.reply.integer(0);
            }
        }
    }
    pairs.bytes("overhead.db.hashtable.lut", 0);
    pairs.bytes("overhead.db.hashtable.rehashing", 0);
    pairs.bytes("overhead.total", shares.overhead());
    pairs.bytes("db.dict.rehashing.count", 0);
    pairs.bytes("keys.count", keys);
    pairs.bytes("keys.bytes-per-key", shares.grown() / keys.max(1) * u64::from(keys > 0));
    pairs.bytes("dataset.bytes", shares.dataset());
    pairs.double("dataset.percentage", shares.dataset_percent());
    pairs.double("peak.percentage", ratio(used, shares.peak) * 100.0);
}

fn write_allocator(shares: &Shares, pairs: &mut Pairs<'_, '_>) {
    let allocated = shares.allocated;
    pairs.bytes("allocator.allocated", allocated.used);
    pairs.bytes("allocator.active", allocated.active);
    pairs.bytes("allocator.resident", allocated.resident);
    pairs.bytes("allocator.muzzy", 0);
    pairs.pair("allocator-fragmentation", ".ratio", allocated.active, allocated.used);
    pairs.pair("allocator-rss", ".ratio", allocated.resident, allocated.active);
    pairs.pair("rss-overhead", ".ratio", shares.resident, allocated.resident);
    pairs.pair("fragmentation", "", shares.resident, allocated.used);
}

fn memory_doctor(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let findings = diagnose(&Shares::read(call.node));
    let text = match findings.as_slice() {
        [] => "Nothing about memory looks wrong.\n".to_owned(),
        [finding] => format!("One thing about memory looks odd:\n\n * {finding}\n"),
        all => {
            let lines: String = all.iter().map(|finding| format!(" * {finding}\n")).collect();
            format!("{} things about memory look odd:\n\n{lines}", all.len())
        }
    };
    reply.verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// Below this nothing is worth a word, bytes.
const ODD_BYTES_MIN: u64 = 10 << 20;
/// With fewer reads a hit ratio says nothing.
const ODD_READS_MIN: u64 = 10_000;

/// What looks odd, one sentence or two each.
fn diagnose(shares: &Shares) -> Vec<String> {
    let allocated = shares.allocated;
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / f64::from(1 << 20));
    let exceeds = |above: u64, below: u64, percent: u64| {
        above > below.saturating_mul(percent) / 100 && above.saturating_sub(below) > ODD_BYTES_MIN
    };
    let mut findings = Vec::new();
    if exceeds(shares.resident, shares.budget, 110) {
        let (resident, budget) = (megabytes(shares.resident), megabytes(shares.budget));
        findings.push(format!("The process takes {resident}, but maxmemory allows it {budget}."));
    }
    if exceeds(shares.peak, allocated.used, 150) {
        let (peak, used) = (megabytes(shares.peak), megabytes(allocated.used));
        findings.push(format!(
            "At its peak it used {peak}, now {used}. The system may still count the difference as its memory; MEMORY PURGE gives \
             it back."
        ));
    }
    if exceeds(allocated.active, allocated.used, 140) {
        let holes = megabytes(allocated.active - allocated.used);
        findings
            .push(format!("The allocator's pages have holes of {holes} together. A restart closes them."));
    }
    if exceeds(allocated.resident, allocated.active, 140) {
        let free = megabytes(allocated.resident - allocated.active);
        findings.push(format!("The allocator keeps {free} of free pages. MEMORY PURGE gives them back."));
    }
    if shares.clients > ODD_BYTES_MIN && shares.clients > shares.budget / 10 {
        let (bytes, count) = (megabytes(shares.clients), shares.client_count);
        findings.push(format!(
            "The buffers of {count} clients take {bytes}: they send long pipelines, or read their replies slowly. CLIENT LIST shows \
             which."
        ));
    }
    let is_full = shares.hot > shares.hot_budget / 10 * 9;
    if is_full && shares.hot_reads > ODD_READS_MIN && shares.hot_misses > shares.hot_reads / 5 {
        let percent = shares.hot_misses * 100 / shares.hot_reads;
        findings.push(format!(
            "The hot tier is full, and {percent} % of all reads miss it: the keys in use do not fit. Raise maxmemory, or \
             hot-tier-percent."
        ));
    }
    if shares.writes_stopped {
        findings.push("RocksDB takes no writes: the disk does not keep up with them.".to_owned());
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    const MB: u64 = 1 << 20;

    fn healthy() -> Shares {
        Shares {
            allocated: Allocated { used: 500 * MB, active: 550 * MB, resident: 600 * MB },
            resident: 620 * MB,
            peak: 510 * MB,
            started: 5 * MB,
            budget: 1024 * MB,
            clients: 2 * MB,
            client_count: 50,
            hot: 500 * MB,
            hot_budget: 512 * MB,
            hot_reads: 1_000_000,
            hot_misses: 10_000,
            ..Shares::default()
        }
    }

    #[test]
    fn the_doctor_finds_nothing_in_good_health_and_in_an_empty_server() {
        assert_eq!(diagnose(&healthy()), [""; 0]);
        let used = Allocated { used: MB, active: 3 * MB, resident: 9 * MB };
        let fresh = Shares { allocated: used, resident: 20 * MB, peak: 2 * MB, ..healthy() };
        assert_eq!(diagnose(&fresh), [""; 0]);
    }

    #[test]
    fn the_doctor_names_each_thing_that_is_odd() {
        let sick = |change: fn(&mut Shares), word: &str| {
            let mut shares = healthy();
            change(&mut shares);
            let findings = diagnose(&shares);
            assert!(findings.len() == 1 && findings[0].contains(word), "{word}: {findings:?}");
        };
        sick(|shares| shares.resident = 1200 * MB, "maxmemory");
        sick(|shares| shares.peak = 900 * MB, "peak");
        sick(|shares| (shares.allocated.active, shares.allocated.resident) = (800 * MB, 810 * MB), "holes");
        sick(|shares| shares.allocated.resident = 900 * MB, "PURGE");
        sick(|shares| shares.clients = 300 * MB, "CLIENT LIST");
        sick(|shares| shares.hot_misses = 300_000, "hot tier");
        sick(|shares| shares.writes_stopped = true, "disk");
    }

    #[test]
    fn samples_may_be_given_again_and_are_not_negative() {
        let read = |line: &str| {
            let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
            samples(OwnedArgs::from_slices(&words).args()).ok()
        };
        assert_eq!((read(""), read("SAMPLES 0"), read("samples 7 SAMPLES 9")), (Some(5), Some(0), Some(9)));
        for wrong in ["SAMPLES", "SAMPLES -1", "SAMPLES x", "FOO 1", "SAMPLES 1 SAMPLES"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
