//! INFO: the server's state in sections of `name:value` lines, with Redis' names in Redis' order.
//!
//! Only true figures: a field of Redis that has no meaning here (forks, event loop cycles,
//! defragmentation ...) is left out. Kept as constants, because clients and dashboards look for them:
//! `redis_mode`, `loading`, `async_loading`, `evicted_keys` (leaving the hot tier deletes nothing; see
//! `hot_evictions`), the `sync_*` counts, `latest_fork_usec`, `total_forks`, `aof_enabled` (the log is always
//! on), `aof_rewrite_scheduled`, `connected_slaves` and the ids and offsets beside it, the memory of replicas, cluster
//! links and log buffers, the children's processor times, `cluster_enabled`, `active_defrag_running`, `avg_ttl`
//! and `subexpiry`. What Redis does not have is in the section `tuff`.
//!
//! Percentiles come from buckets of powers of two: they are the upper bound of the bucket, so up to double the
//! true time. Resident memory and processor time are up to a second old (see `metrics::vitals`): /proc is not read on a
//! worker. Every figure is read by itself, so they need not agree to the last digit. No key is touched, no
//! lock held beyond a figure.

use super::memory::Shares;
use crate::config::Config;
use crate::dispatch::node::Node;
use crate::dispatch::spec::Flag::{Loading, Stale};
use crate::dispatch::spec::{Category, Group, family};
use crate::dispatch::{Call, Command};
use crate::encoding::Family;
use crate::hot::Policy;
use crate::keyspace::Outcome;
use crate::metrics::percentile::percentile_us;
use crate::metrics::vitals::Totals;
use crate::pubsub::Kind;
use crate::resp::{Args, Reply};
use crate::session::ClientKind;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// INFO.
pub const COMMANDS: &[Command] = &family([Command::new("info", info)
    .arity(-1)
    .flags(&[Loading, Stale])
    .group(Group::Server)
    .acl(&[Category::Dangerous])
    .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
    .since("1.0.0")
    .summary("Describes the server's state, section by section.")
    .syntax("[section...]")]);

/// One section: how clients ask for it, and what writes it.
struct Section {
    name: &'static str,
    /// Shown when no section is named.
    is_default: bool,
    write: fn(&Node, &mut Page),
}

/// In the order in which they are shown.
const SECTIONS: &[Section] = &[
    Section { name: "server", is_default: true, write: server },
    Section { name: "clients", is_default: true, write: clients },
    Section { name: "memory", is_default: true, write: memory },
    Section { name: "persistence", is_default: true, write: persistence },
    Section { name: "stats", is_default: true, write: stats },
    Section { name: "replication", is_default: true, write: replication },
    Section { name: "cpu", is_default: true, write: cpu },
    Section { name: "modules", is_default: true, write: modules },
    Section { name: "commandstats", is_default: false, write: commandstats },
    Section { name: "errorstats", is_default: true, write: errorstats },
    Section { name: "latencystats", is_default: false, write: latencystats },
    Section { name: "cluster", is_default: true, write: cluster },
    Section { name: "keyspace", is_default: true, write: keyspace },
    Section { name: "tuff", is_default: true, write: tuff },
];

/// The text of a reply in the making.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn title(&mut self, title: &str) {
        let gap = if self.text.is_empty() { "" } else { "\r\n" };
        self.line(format_args!("{gap}# {title}"));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{line}\r\n");
    }

    fn field(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name}:{value}"));
    }

    /// Bytes, and once more for people.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.line(format_args!("{name}_human:{}", human(bytes)));
    }

    /// A ratio, and the difference it stands for, as Redis pairs them.
    fn ratio(&mut self, name: &str, bytes_name: &str, above: u64, below: u64) {
        self.field(name, format_args!("{:.2}", above as f64 / below.max(1) as f64));
        self.field(bytes_name, above as i64 - below as i64);
    }
}

fn info(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut page = Page::default();
    let words = call.args.skip(1);
    for section in SECTIONS.iter().filter(|section| is_wanted(section, words)) {
        (section.write)(call.node, &mut page);
    }
    reply.verbatim(b"txt", page.text.as_bytes());
    Ok(())
}

/// Whether the words after INFO ask for a section. Unknown words ask for nothing.
fn is_wanted(section: &Section, words: Args<'_>) -> bool {
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    (words.is_empty() && section.is_default)
        || words.iter().any(|word| {
            let all = is(word, "all") || is(word, "everything");
            is(word, section.name) || all || (is(word, "default") && section.is_default)
        })
}

/// Takes a step of the node's vitals. Called every `TICK_PERIOD_MS` in the background, not on a worker.
pub fn tick(node: &Node) {
    let totals = Totals {
        commands: node.stats.calls(),
        received_bytes: read(&node.traffic.received_bytes),
        sent_bytes: read(&node.traffic.sent_bytes),
    };
    node.vitals.tick(node.clock.mono_us(), node.clock.now_ms(), totals);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

/// The setting `maxmemory` itself: 0 when the server chooses (see `memory_budget_bytes`).
fn maxmemory(config: &Config) -> u64 {
    let found = config.get(&[b"maxmemory".as_slice()]).into_iter().next();
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

fn ok_or_err(is_ok: bool) -> &'static str {
    if is_ok { "ok" } else { "err" }
}

/// Bytes as Redis writes them for people: two decimals from a kilobyte on.
fn human(bytes: u64) -> String {
    let units = [("P", 50), ("T", 40), ("G", 30), ("M", 20), ("K", 10)];
    match units.iter().find(|(_, power)| bytes >> power > 0) {
        Some((unit, power)) => format!("{:.2}{unit}", bytes as f64 / (1u64 << power) as f64),
        None => format!("{bytes}B"),
    }
}

fn server(node: &Node, page: &mut Page) {
    let host = node.vitals.host();
    let uptime_s = node.clock.now_ms().saturating_sub(node.started_ms) / 1000;
    page.title("Server");
    page.field("redis_version", crate::base::REDIS_VERSION);
    page.field("redis_mode", "standalone");
    page.field("os", &host.os);
    page.field("arch_bits", usize::BITS);
    page.field("monotonic_clock", "POSIX clock_gettime");
    page.field("multiplexing_api", "epoll");
    page.field("process_id", std::process::id());
    page.field("process_supervised", if node.config.is_supervised() { "systemd" } else { "no" });
    page.field("run_id", &node.run_id);
    page.field("tcp_port", read(&node.port));
    page.field("server_time_usec", node.clock.now_us());
    page.field("uptime_in_seconds", uptime_s);
    page.field("uptime_in_days", uptime_s / 86_400);
    page.field("executable", &host.executable);
    page.field("config_file", node.config.file().map(|path| path.display().to_string()).unwrap_or_default());
    page.field("tuff_version", env!("CARGO_PKG_VERSION"));
}

fn clients(node: &Node, page: &mut Page) {
    let clients = node.clients.all();
    let blocked = clients.iter().filter(|client| client.is_blocked()).count();
    let watching = clients.iter().filter(|client| client.watched.load(Relaxed) > 0).count();
    let listening = clients.iter().filter(|client| client.kind() == ClientKind::PubSub).count();
    let input = clients.iter().map(|client| client.query_bytes.load(Relaxed)).max().unwrap_or(0);
    let output = clients.iter().map(|client| client.output_bytes.load(Relaxed)).max().unwrap_or(0);
    page.title("Clients");
    page.field("connected_clients", clients.len());
    page.field("maxclients", node.config.maxclients());
    page.field("client_recent_max_input_buffer", input);
    page.field("client_recent_max_output_buffer", output);
    page.field("blocked_clients", blocked);
    page.field("tracking_clients", node.tracking.figures().clients);
    page.field("pubsub_clients", listening);
    page.field("watching_clients", watching);
    page.field("total_watched_keys", node.keyspace.watches().len());
}

fn memory(node: &Node, page: &mut Page) {
    let host = node.vitals.host();
    let shares = Shares::read(node);
    let allocated = shares.allocated;
    let sample = node.vitals.sample(allocated.used, node.clock.now_ms());
    page.title("Memory");
    page.bytes("used_memory", allocated.used);
    page.bytes("used_memory_rss", sample.resident_bytes);
    page.bytes("used_memory_peak", sample.peak_bytes);
    page.field("used_memory_peak_time", sample.peak_at_s);
    let peak_percent = allocated.used as f64 * 100.0 / sample.peak_bytes.max(1) as f64;
    page.field("used_memory_peak_perc", format_args!("{peak_percent:.2}%"));
    page.field("used_memory_overhead", shares.overhead());
    page.field("used_memory_startup", shares.started);
    page.field("used_memory_dataset", shares.dataset());
    page.field("used_memory_dataset_perc", format_args!("{:.2}%", shares.dataset_percent()));
    page.field("allocator_allocated", allocated.used);
    page.field("allocator_active", allocated.active);
    page.field("allocator_resident", allocated.resident);
    page.bytes("total_system_memory", host.memory_bytes);
    let libraries = node.keyspace.libraries();
    let (script_bytes, library_bytes) = (node.scripts.text_bytes() as u64, libraries.text_bytes() as u64);
    page.field("used_memory_scripts_eval", script_bytes);
    page.field("number_of_cached_scripts", node.scripts.len());
    page.field("number_of_functions", libraries.function_count());
    page.field("number_of_libraries", libraries.iter().len());
    page.field("used_memory_functions", library_bytes);
    page.bytes("used_memory_scripts", script_bytes + library_bytes);
    page.bytes("maxmemory", maxmemory(&node.config));
    page.field("maxmemory_policy", node.config.maxmemory_policy());
    page.ratio("allocator_frag_ratio", "allocator_frag_bytes", allocated.active, allocated.used);
    page.ratio("allocator_rss_ratio", "allocator_rss_bytes", allocated.resident, allocated.active);
    page.ratio("rss_overhead_ratio", "rss_overhead_bytes", sample.resident_bytes, allocated.resident);
    page.ratio("mem_fragmentation_ratio", "mem_fragmentation_bytes", sample.resident_bytes, allocated.used);
    page.field("mem_not_counted_for_evict", 0);
    page.field("mem_replication_backlog", 0);
    page.field("mem_total_replication_buffers", 0);
    page.field("mem_replica_full_sync_buffer", 0);
    page.field("mem_clients_slaves", 0);
    page.field("mem_clients_normal", shares.clients);
    page.field("mem_cluster_links", 0);
    page.field("mem_aof_buffer", 0);
    page.field("mem_allocator", &host.allocator);
    page.field("active_defrag_running", 0);
    page.field("lazyfree_pending_objects", node.keyspace.store().dead().len());
}

fn persistence(node: &Node, page: &mut Page) {
    let saves = &node.saves;
    let changes = node.keyspace.figures().changes().saturating_sub(read(&saves.changes_at_last));
    let last_s = match read(&saves.count) {
        0 => -1,
        _ => (read(&saves.last_duration_us) / 1_000_000) as i64,
    };
    page.title("Persistence");
    page.field("loading", 0);
    page.field("async_loading", 0);
    page.field("rdb_changes_since_last_save", changes);
    page.field("rdb_bgsave_in_progress", u8::from(saves.in_progress.load(Relaxed)));
    page.field("rdb_last_save_time", read(&saves.last_success_s));
    page.field("rdb_last_bgsave_status", ok_or_err(!saves.last_failed.load(Relaxed)));
    page.field("rdb_last_bgsave_time_sec", last_s);
    page.field("rdb_saves", read(&saves.count));
    page.field("aof_enabled", 1);
    page.field("aof_rewrite_in_progress", u8::from(saves.cutting.load(Relaxed)));
    page.field("aof_rewrite_scheduled", 0);
    page.field("aof_last_bgrewrite_status", ok_or_err(!saves.cut_failed.load(Relaxed)));
    page.field("aof_rewrites", read(&saves.cuts));
    page.field("aof_last_write_status", ok_or_err(!node.keyspace.store().is_failed()));
    // Not in Redis: why writes are refused, for as long as they are.
    if let Some(reason) = node.keyspace.store().failure() {
        page.field("aof_last_write_error", reason.replace(['\r', '\n'], " "));
    }
}

fn stats(node: &Node, page: &mut Page) {
    let (figures, traffic, rates) = (node.keyspace.figures(), &node.traffic, node.vitals.rates());
    page.title("Stats");
    page.field("total_connections_received", read(&traffic.accepted));
    page.field("total_commands_processed", node.stats.calls());
    page.field("instantaneous_ops_per_sec", rates.commands);
    page.field("total_net_input_bytes", read(&traffic.received_bytes));
    page.field("total_net_output_bytes", read(&traffic.sent_bytes));
    let kilobytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    page.field("instantaneous_input_kbps", kilobytes(rates.received_bytes));
    page.field("instantaneous_output_kbps", kilobytes(rates.sent_bytes));
    page.field("rejected_connections", read(&traffic.refused));
    page.field("sync_full", 0);
    page.field("sync_partial_ok", 0);
    page.field("sync_partial_err", 0);
    page.field("expired_keys", figures.expired());
    page.field("evicted_keys", 0);
    page.field("evicted_scripts", node.scripts.evicted());
    page.field("keyspace_hits", figures.key_hits());
    page.field("keyspace_misses", figures.key_misses());
    page.field("pubsub_channels", node.pubsub.count(Kind::Channel));
    page.field("pubsub_patterns", node.pubsub.count(Kind::Pattern));
    page.field("pubsubshard_channels", node.pubsub.count(Kind::Shard));
    let tracking = node.tracking.figures();
    page.field("tracking_total_keys", tracking.keys);
    page.field("tracking_total_items", tracking.readers);
    page.field("tracking_total_prefixes", tracking.prefixes);
    page.field("latest_fork_usec", 0);
    page.field("total_forks", 0);
    page.field("total_error_replies", node.stats.error_total());
    page.field("client_query_buffer_limit_disconnections", read(&traffic.query_limit_closed));
    page.field("client_output_buffer_limit_disconnections", read(&traffic.output_limit_closed));
}

fn replication(node: &Node, page: &mut Page) {
    page.title("Replication");
    page.field("role", "master");
    page.field("connected_slaves", 0);
    page.field("master_failover_state", "no-failover");
    page.field("master_replid", &node.run_id);
    page.field("master_replid2", "0000000000000000000000000000000000000000");
    page.field("master_repl_offset", 0);
    page.field("second_repl_offset", -1);
    page.field("repl_backlog_active", 0);
}

fn cpu(node: &Node, page: &mut Page) {
    let cpu = node.vitals.sample(0, 0).cpu;
    let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    page.title("CPU");
    page.field("used_cpu_sys", seconds(cpu.system_us));
    page.field("used_cpu_user", seconds(cpu.user_us));
    page.field("used_cpu_sys_children", seconds(0));
    page.field("used_cpu_user_children", seconds(0));
}

fn modules(_node: &Node, page: &mut Page) {
    page.title("Modules");
}

fn commandstats(node: &Node, page: &mut Page) {
    page.title("Commandstats");
    for entry in node.table.entries() {
        let figures = node.stats.figures(entry.index);
        if figures.calls + figures.rejected + figures.failed == 0 {
            continue;
        }
        let each_us = figures.duration_us as f64 / figures.calls.max(1) as f64;
        page.line(format_args!(
            "cmdstat_{}:calls={},usec={},usec_per_call={each_us:.2},rejected_calls={},failed_calls={}",
            entry.name, figures.calls, figures.duration_us, figures.rejected, figures.failed,
        ));
    }
}

fn errorstats(node: &Node, page: &mut Page) {
    page.title("Errorstats");
    for (code, count) in node.stats.errors() {
        page.line(format_args!("errorstat_{code}:count={count}"));
    }
}

fn latencystats(node: &Node, page: &mut Page) {
    page.title("Latencystats");
    if !node.config.latency_tracking() {
        return;
    }
    let wanted = node.config.latency_percentiles();
    for entry in node.table.entries() {
        let buckets = node.stats.figures(entry.index).buckets;
        if buckets.iter().any(|&count| count > 0) {
            page.line(format_args!(
                "latency_percentiles_usec_{}:{}",
                entry.name,
                percentiles(&buckets, &wanted)
            ));
        }
    }
}

fn percentiles(buckets: &[u64], wanted: &[f64]) -> String {
    let one = |percent: &f64| {
        let name = format!("{percent:.6}");
        let name = name.trim_end_matches('0').trim_end_matches('.');
        format!("p{name}={:.3}", percentile_us(buckets, *percent) as f64)
    };
    wanted.iter().map(one).collect::<Vec<_>>().join(",")
}

fn cluster(_node: &Node, page: &mut Page) {
    page.title("Cluster");
    page.field("cluster_enabled", 0);
}

fn keyspace(node: &Node, page: &mut Page) {
    page.title("Keyspace");
    for (number, database) in node.keyspace.databases().iter().enumerate() {
        let (keys, expiring) = (database.keys(), database.expiring());
        if keys > 0 {
            page.line(format_args!("db{number}:keys={keys},expires={expiring},avg_ttl=0,subexpiry=0"));
        }
    }
}

/// Where reads were answered, what the tiers hold, what stood in the way of runs, how far the log has come.
fn tuff(node: &Node, page: &mut Page) {
    let (keyspace, figures) = (&node.keyspace, node.keyspace.figures());
    let (hot, store) = (keyspace.hot(), keyspace.store());
    let counts = hot.stats();
    page.title("Tuff");
    page.field("workers", node.workers);
    page.field("workers_in_use", node.workers_in_use.load(Relaxed));
    page.field("connections_moved", read(&node.traffic.moved));
    page.field("memory_budget_bytes", node.config.memory_bytes_max());
    page.field("hot_hits", counts.hits);
    page.field("hot_absent_hits", counts.absent_hits);
    page.field("hot_misses", counts.misses);
    page.field("hot_hit_ratio", hit_ratio(counts.hits + counts.absent_hits, counts.misses));
    page.field("memory_hits", figures.memory_hits());
    // A run that ends because rows are on disk counts once, however many they are; warmed, it finds them in memory.
    page.field("cold_runs", figures.cold_runs());
    page.field("heavy_runs", figures.heavy_runs());
    page.field("parked_runs", figures.parked_runs());
    page.field("stalled_runs", figures.stalled_runs());
    page.field("conflicts", figures.conflicts());
    page.field("last_resorts", figures.last_resorts());
    page.field("hot_entries", hot.entries());
    page.field("hot_bytes", hot.bytes());
    page.field("hot_budget_bytes", hot.budget_bytes());
    page.field("hot_policy", if hot.policy() == Policy::Lru { "lru" } else { "lfu" });
    page.field("hot_insertions", counts.insertions);
    page.field("hot_evictions", counts.evictions);
    page.field("hot_rejected", counts.rejected);
    let (cached, capacity) = store.block_cache_bytes();
    page.field("block_cache_bytes", cached);
    page.field("block_cache_capacity_bytes", capacity);
    page.field("memtable_bytes", store.memtable_bytes());
    let (filter_bytes, filter_whole) = store.row_filter();
    page.field("row_filter_bytes", filter_bytes);
    page.field("row_filter_whole", u8::from(filter_whole));
    let property = |name: &str| store.with_db(|db| db.family_property(Family::Keys, name)).unwrap_or(0);
    page.field("open_snapshots", property("num-snapshots"));
    page.field("writes_stopped", property("is-write-stopped"));
    page.field("wal_flushed_sequence", store.flushed_sequence());
    page.field("wal_synced_sequence", store.synced_sequence());
    page.field("epoch", store.epoch());
    page.field("reopens", store.reopens());
    page.field("gc_waiting", store.dead().len());
    page.field("gc_rows_removed", keyspace.gc_rows_removed());
    page.field("loop_lag_max_usec", node.loop_lag.max_us());
}

fn hit_ratio(hits: u64, misses: u64) -> String {
    format!("{:.4}", hits as f64 / (hits + misses).max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn wanted(line: &str) -> Vec<&'static str> {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let words = OwnedArgs::from_slices(&words);
        SECTIONS
            .iter()
            .filter(|section| is_wanted(section, words.args()))
            .map(|section| section.name)
            .collect()
    }

    #[test]
    fn sections_are_chosen_by_name_in_any_case_and_shown_in_their_own_order() {
        assert_eq!(wanted("KEYSPACE nosuch Server server"), ["server", "keyspace"]);
        assert_eq!(wanted("nosuch"), [""; 0]);
        assert_eq!(wanted("all").len(), SECTIONS.len());
        assert_eq!(wanted("everything").len(), SECTIONS.len());
        let default = wanted("");
        assert_eq!(default, wanted("default"));
        assert!(
            !default.contains(&"commandstats")
                && !default.contains(&"latencystats")
                && default.contains(&"tuff")
        );
        assert_eq!(wanted("default commandstats").len(), default.len() + 1);
    }

    #[test]
    fn sections_are_parted_by_one_blank_line_and_end_without() {
        let mut page = Page::default();
        page.title("A");
        page.field("x", 1);
        page.title("B");
        page.bytes("y", 1536);
        assert_eq!(page.text, "# A\r\nx:1\r\n\r\n# B\r\ny:1536\r\ny_human:1.50K\r\n");
    }

    #[test]
    fn bytes_for_people_are_as_in_redis() {
        let said: Vec<String> = [0, 1023, 1024, 796_024, 2_193_784, 25_276_502_016].map(human).into();
        assert_eq!(said, ["0B", "1023B", "1.00K", "777.37K", "2.09M", "23.54G"]);
        assert_eq!(human(u64::MAX), "16384.00P");
    }

    #[test]
    fn ratios_never_divide_by_zero() {
        assert_eq!(hit_ratio(0, 0), "0.0000");
        assert_eq!(hit_ratio(3, 1), "0.7500");
        let mut page = Page::default();
        page.ratio("r", "b", 3, 0);
        page.ratio("r", "b", 1, 4);
        assert_eq!(page.text, "r:3.00\r\nb:3\r\nr:0.25\r\nb:-3\r\n");
    }

    #[test]
    fn percentiles_are_written_as_in_redis() {
        let buckets = [0, 90, 0, 0, 10];
        assert_eq!(percentiles(&buckets, &[50.0, 99.0, 99.9]), "p50=2.000,p99=16.000,p99.9=16.000");
        assert_eq!(
            percentiles(&buckets, &[0.0, 33.333_333_3, 100.0]),
            "p0=2.000,p33.333333=2.000,p100=16.000"
        );
    }
}
