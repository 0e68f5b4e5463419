//! The metrics page: `GET /metrics` over HTTP, in Prometheus' text format.
//!
//! A scraper asks every few seconds and gets one page per connection; that much of HTTP is a head to read and
//! a head to write, so it is written out here. What a stranger can do is bounded: the bytes of a request, the
//! time of a connection, the number of connections. The page is collected on a blocking thread: some of
//! RocksDB's properties wait for its mutex. Counters are read one by one, without locks beyond a figure, so
//! they need not agree to the last digit.

use super::sync::WalSync;
use crate::dispatch::node::Node;
use crate::encoding::Family;
use crate::metrics::exposition::{CONTENT_TYPE, Durations, Exposition};
use crate::metrics::process::{Allocated, Cpu, resident_bytes};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// From accept to the last byte of the answer.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
/// Connections at the same time; later ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 16;
/// After an accept that failed (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers requests until the task is dropped.
pub async fn serve(listener: TcpListener, node: Arc<Node>, sync: Arc<WalSync>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (node, sync) = (Arc::clone(&node), Arc::clone(&sync));
        tokio::spawn(async move {
            let ended = tokio::time::timeout(CONNECTION_TIME_MAX, answer(stream, node, sync)).await;
            if let Ok(Err(error)) = ended {
                tracing::debug!(%error, "a connection for metrics ended");
            }
            drop(permit);
        });
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Page,
    OtherPath,
    OtherMethod,
    Nonsense,
}

async fn answer(mut stream: TcpStream, node: Arc<Node>, sync: Arc<WalSync>) -> io::Result<()> {
    let Some(head) = read_head(&mut stream).await? else { return Ok(()) };
    let is_head = head.starts_with(b"HEAD ");
    let (status, kind, body) = match asked(&head) {
        Asked::Page => match tokio::task::spawn_blocking(move || collect(&node, &sync).text()).await {
            Ok(Ok(text)) => ("200 OK", CONTENT_TYPE, text),
            _ => ("500 Internal Server Error", "text/plain", "no page\n".to_owned()),
        },
        Asked::OtherPath => ("404 Not Found", "text/plain", "see /metrics\n".to_owned()),
        Asked::OtherMethod => ("405 Method Not Allowed", "text/plain", "GET or HEAD\n".to_owned()),
        Asked::Nonsense => ("400 Bad Request", "text/plain", "no HTTP request\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n",
        body.len(),
    );
    stream.write_all(head.as_bytes()).await?;
    if !is_head {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

/// Reads up to the blank line that ends a request's head, or as much as a head may have. Nothing when nothing
/// came.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(1 << 10);
    while head.len() < HEAD_BYTES_MAX && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let room = (HEAD_BYTES_MAX - head.len()) as u64;
        if (&mut *stream).take(room).read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok((!head.is_empty()).then_some(head))
}

/// Reads the request line: `GET /metrics?x HTTP/1.1`.
fn asked(head: &[u8]) -> Asked {
    if !head.windows(4).any(|end| end == b"\r\n\r\n") {
        return Asked::Nonsense;
    }
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, words.next()) else {
        return Asked::Nonsense;
    };
    let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    match (method, path) {
        _ if !version.starts_with(b"HTTP/1.") => Asked::Nonsense,
        (_, path) if path != b"/metrics" => Asked::OtherPath,
        (b"GET" | b"HEAD", _) => Asked::Page,
        _ => Asked::OtherMethod,
    }
}

fn collect(node: &Node, sync: &WalSync) -> Exposition {
    let mut page = Exposition::default();
    let build = [(env!("CARGO_PKG_VERSION"), 1.0)];
    page.gauges("tuff_build_info", "Always 1; the label is the version.", "version", build);
    let uptime_ms = node.clock.now_ms().saturating_sub(node.started_ms);
    page.gauge("tuff_uptime_seconds", "Time since the start.", uptime_ms as f64 / 1000.0);
    commands(node, &mut page);
    reads(node, &mut page);
    hot_tier(node, &mut page);
    runs(node, &mut page);
    storage(node, &mut page);
    compaction(node, &mut page);
    log(node, sync, &mut page);
    keys(node, &mut page);
    connections(node, &mut page);
    process(node, &mut page);
    page
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn commands(node: &Node, page: &mut Exposition) {
    let entries = node.table.entries().iter().map(|entry| (entry.name, node.stats.figures(entry.index)));
    let used: Vec<_> = entries.filter(|(_, figures)| figures.calls + figures.rejected > 0).collect();
    let calls = used.iter().map(|(name, figures)| (*name, figures.calls));
    page.counters("tuff_commands_total", "Commands run.", "command", calls);
    let failed = used.iter().map(|(name, figures)| (*name, figures.failed));
    page.counters("tuff_command_errors_total", "Commands that answered an error.", "command", failed);
    let rejected = used.iter().map(|(name, figures)| (*name, figures.rejected));
    page.counters("tuff_command_rejections_total", "Commands refused before they ran.", "command", rejected);
    let ran = used.iter().filter(|(_, figures)| figures.calls > 0);
    let durations = ran
        .map(|(name, figures)| (*name, Durations { buckets: &figures.buckets, sum_us: figures.duration_us }));
    page.histograms(
        "tuff_command_duration_seconds",
        "Time from a command to its reply.",
        "command",
        durations,
    );
    page.counters("tuff_errors_total", "Errors answered, by code.", "code", node.stats.errors());
}

fn reads(node: &Node, page: &mut Exposition) {
    let (figures, counts) = (node.keyspace.figures(), node.keyspace.hot().stats());
    let tiers = [
        ("hot", counts.hits + counts.absent_hits),
        ("memory", figures.memory_hits()),
        ("disk", figures.cold_runs()),
    ];
    let help = "Reads by the tier that answered: rows of the hot tier, rows of RocksDB's memory, runs that had to wait for \
                the disk (their rows are then read from memory and count there, too).";
    page.counters("tuff_reads_total", help, "tier", tiers);
    page.counter(
        "tuff_hot_absent_hits_total",
        "Reads the hot tier answered with: no such row.",
        counts.absent_hits,
    );
    page.counter("tuff_keyspace_hits_total", "Reads of a key that was there.", figures.key_hits());
    page.counter("tuff_keyspace_misses_total", "Reads of a key that was not.", figures.key_misses());
}

fn hot_tier(node: &Node, page: &mut Exposition) {
    let hot = node.keyspace.hot();
    let counts = hot.stats();
    page.gauge("tuff_hot_entries", "Rows in the hot tier, the known absent included.", hot.entries() as f64);
    page.gauge("tuff_hot_bytes", "Bytes of the hot tier.", hot.bytes() as f64);
    page.gauge("tuff_hot_budget_bytes", "Bytes the hot tier may use.", hot.budget_bytes() as f64);
    page.counter("tuff_hot_insertions_total", "Rows newly taken into the hot tier.", counts.insertions);
    page.counter("tuff_hot_evictions_total", "Rows that left the hot tier for others.", counts.evictions);
    page.counter("tuff_hot_rejections_total", "Rows too large for the hot tier.", counts.rejected);
}

fn runs(node: &Node, page: &mut Exposition) {
    let figures = node.keyspace.figures();
    let kinds = [
        ("cold", figures.cold_runs()),
        ("heavy", figures.heavy_runs()),
        ("parked", figures.parked_runs()),
        ("stalled", figures.stalled_runs()),
    ];
    let help = "Runs that did not end at once: a row on disk, sent to the pool, behind a lock, behind a write stall.";
    page.counters("tuff_runs_total", help, "kind", kinds);
    page.counter("tuff_conflicts_total", "Heavy runs repeated because of a change.", figures.conflicts());
    page.counter("tuff_last_resorts_total", "Heavy runs done under their locks.", figures.last_resorts());
    let (buckets, sum_us) = node.loop_lag.figures();
    let lag = Durations { buckets: &buckets, sum_us };
    page.histogram("tuff_worker_loop_lag_seconds", "How late the workers' loops came round.", lag);
    page.gauge("tuff_workers", "Worker threads.", node.workers as f64);
    let in_use = node.workers_in_use.load(Ordering::Relaxed);
    page.gauge("tuff_workers_in_use", "Worker threads that serve connections at present.", in_use as f64);
}

fn storage(node: &Node, page: &mut Exposition) {
    let store = node.keyspace.store();
    let (cached, capacity) = store.block_cache_bytes();
    page.gauge("tuff_block_cache_bytes", "Bytes in the block cache.", cached as f64);
    page.gauge("tuff_block_cache_capacity_bytes", "Bytes the block cache may use.", capacity as f64);
    page.gauge("tuff_memtable_bytes", "Bytes in memtables.", store.memtable_bytes() as f64);
    let (filter_bytes, filter_whole) = store.row_filter();
    let in_state = |is_whole: bool| if is_whole == filter_whole { filter_bytes as f64 } else { 0.0 };
    let states = [("whole", in_state(true)), ("filling", in_state(false))];
    page.gauges(
        "tuff_row_filter_bytes",
        "Bytes of the filter of rows, by whether it has all of them.",
        "state",
        states,
    );
    let by_family = |name: &str| {
        let all = store
            .with_db(|db| Family::ALL.map(|family| (family.name(), db.family_property(family, name) as f64)));
        all.map(Vec::from).unwrap_or_default()
    };
    let files = by_family("live-sst-files-size");
    page.gauges("tuff_table_file_bytes", "Bytes of table files in use.", "family", files);
    let rows = by_family("estimate-num-keys");
    page.gauges("tuff_rows_estimate", "RocksDB's estimate of its rows.", "family", rows);
    let memtables = by_family("num-immutable-mem-table");
    let levels = store.with_db(|db| db.level_files()).unwrap_or_default();
    let files: Vec<_> =
        ["0", "1", "2", "3", "4", "5", "6"].into_iter().zip(levels.map(|files| files as f64)).collect();
    page.gauges("tuff_level_files", "Table files on each level.", "level", files);
    page.gauges("tuff_memtables_waiting", "Memtables waiting to be flushed.", "family", memtables);
}

fn compaction(node: &Node, page: &mut Exposition) {
    let store = node.keyspace.store();
    let pending = store.with_db(|db| db.property("estimate-pending-compaction-bytes")).unwrap_or(0);
    page.gauge("tuff_pending_compaction_bytes", "Bytes that compaction has yet to rewrite.", pending as f64);
    // These are of the whole database; any family answers them.
    let whole = |name: &str| store.with_db(|db| db.family_property(Family::Keys, name)).unwrap_or(0) as f64;
    let figures = [
        ("tuff_write_stopped", "1 while RocksDB takes no writes.", "is-write-stopped"),
        (
            "tuff_delayed_write_bytes_per_second",
            "To how much writes are slowed; 0: not.",
            "actual-delayed-write-rate",
        ),
        ("tuff_compactions_running", "Compactions at work.", "num-running-compactions"),
        ("tuff_flushes_running", "Memtable flushes at work.", "num-running-flushes"),
        ("tuff_background_errors", "Errors of flushes and compactions.", "background-errors"),
        ("tuff_snapshots_open", "Snapshots heavy reads hold open.", "num-snapshots"),
    ];
    for (name, help, property) in figures {
        page.gauge(name, help, whole(property));
    }
}

fn log(node: &Node, sync: &WalSync, page: &mut Exposition) {
    let store = node.keyspace.store();
    page.gauge(
        "tuff_wal_sync_lag_seconds",
        "Age of the oldest unsynced write, at most.",
        sync.lag_us(node) as f64 / 1e6,
    );
    page.counter("tuff_wal_syncs_total", "Syncs of the log.", sync.syncs());
    page.gauge(
        "tuff_wal_flushed_sequence",
        "Handed to the operating system up to here.",
        store.flushed_sequence() as f64,
    );
    let (buckets, sum_us) = sync.writes().figures();
    let writes = Durations { buckets: &buckets, sum_us };
    page.histogram("tuff_wal_write_seconds", "How long workers took to hand the log to the system.", writes);
    page.gauge("tuff_wal_synced_sequence", "On stable storage up to here.", store.synced_sequence() as f64);
    page.counter("tuff_reopens_total", "Reopenings after a failed write.", store.reopens());
    page.gauge(
        "tuff_write_failed",
        "1 while the log cannot be written.",
        f64::from(u8::from(store.is_failed())),
    );
    page.counter("tuff_saves_total", "Checkpoints made.", read(&node.saves.count));
    let saved_s = read(&node.saves.last_success_s);
    page.gauge("tuff_last_save_timestamp_seconds", "When the last checkpoint was made.", saved_s as f64);
}

fn keys(node: &Node, page: &mut Exposition) {
    let databases = node.keyspace.databases();
    let used = || {
        let numbered = databases.iter().enumerate();
        numbered.filter(|(number, database)| *number == 0 || database.keys() > 0)
    };
    let all = used().map(|(number, database)| (number.to_string(), database.keys() as f64));
    page.gauges("tuff_keys", "Keys.", "db", all);
    let expiring = used().map(|(number, database)| (number.to_string(), database.expiring() as f64));
    page.gauges("tuff_expiring_keys", "Keys with an expiry.", "db", expiring);
    let figures = node.keyspace.figures();
    page.counter("tuff_changes_total", "Keys changed.", figures.changes());
    page.counter("tuff_expired_keys_total", "Keys removed because their time was up.", figures.expired());
    page.gauge(
        "tuff_gc_waiting",
        "Dead collections whose rows are not yet removed.",
        node.keyspace.store().dead().len() as f64,
    );
    page.counter(
        "tuff_gc_rows_removed_total",
        "Dead rows deleted one by one.",
        node.keyspace.gc_rows_removed(),
    );
    page.gauge("tuff_watched_keys", "Keys somebody watches.", node.keyspace.watches().len() as f64);
    page.gauge(
        "tuff_blocked_clients",
        "Clients in a blocking command.",
        node.keyspace.waiters().len() as f64,
    );
}

fn connections(node: &Node, page: &mut Exposition) {
    let traffic = &node.traffic;
    page.gauge("tuff_connected_clients", "Connections.", node.clients.len() as f64);
    page.counter("tuff_connections_accepted_total", "Connections accepted.", read(&traffic.accepted));
    page.counter("tuff_connections_refused_total", "Connections over maxclients.", read(&traffic.refused));
    page.counter("tuff_received_bytes_total", "Bytes read from clients.", read(&traffic.received_bytes));
    page.counter("tuff_sent_bytes_total", "Bytes written to clients.", read(&traffic.sent_bytes));
    let bytes: usize = node.clients.all().iter().map(|client| client.bytes()).sum();
    page.gauge("tuff_client_buffer_bytes", "Bytes of the clients' buffers.", bytes as f64);
}

fn process(node: &Node, page: &mut Exposition) {
    let (allocated, cpu) = (Allocated::read(), Cpu::read());
    page.gauge("tuff_allocated_bytes", "Bytes the allocator has handed out.", allocated.used as f64);
    page.gauge("tuff_resident_bytes", "Bytes of the process in memory.", resident_bytes() as f64);
    page.gauge(
        "tuff_memory_budget_bytes",
        "Bytes the process may use.",
        node.config.memory_bytes_max() as f64,
    );
    let modes = [("user", cpu.user_us), ("system", cpu.system_us)];
    page.seconds("tuff_cpu_seconds_total", "Processor time used.", "mode", modes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::commands;
    use crate::config::Config;
    use crate::hot::{HotTier, Policy};
    use crate::keyspace::Keyspace;
    use crate::store::{Store, StoreOptions};

    fn node(folder: &std::path::Path) -> Node {
        let clock = Clock::manual(1_000_000);
        let store = Store::open(folder, StoreOptions::default()).expect("a store");
        let hot = HotTier::new(1 << 20, Policy::Lru, clock.clone());
        let keyspace = Keyspace::open(Arc::new(store), hot, clock.clone(), 16, 1).expect("a keyspace");
        Node::new(commands::table(), Arc::new(Config::default()), keyspace, clock, 1)
    }

    /// One request and its whole answer. The client says no more after it.
    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("a request sent");
        stream.shutdown().await.expect("the end sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    #[test]
    fn a_scraper_gets_a_whole_page_and_others_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let node = Arc::new(node(folder.path()));
        node.stats.ran(0, 0, 3, false);
        node.stats.error(b"ERR no");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
            let address = listener.local_addr().expect("its address");
            tokio::spawn(serve(listener, node, Arc::default()));
            let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let (head, page) = answer.split_once("\r\n\r\n").expect("head and page");
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(head.contains(&format!("Content-Length: {}\r\n", page.len())), "{head}");
            for line in ["tuff_errors_total{code=\"ERR\"} 1", "tuff_keys{db=\"0\"} 0", "tuff_reopens_total 0"]
            {
                assert!(page.lines().any(|one| one == line), "no {line} in:\n{page}");
            }
            assert!(ask(address, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
            let head = ask(address, "HEAD /metrics HTTP/1.1\r\n\r\n").await;
            assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
            assert!(ask(address, "PUT /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
            assert!(ask(address, "GET /metrics HTTP").await.starts_with("HTTP/1.1 400 "));
            assert_eq!(ask(address, "").await, "");
        });
    }

    /// `name kind label` of each metric in the docs' tables.
    fn documented() -> Vec<String> {
        let rows = include_str!("../../docs/metrics.md").lines().filter(|line| line.starts_with("| `tuff_"));
        let row = |line: &str| {
            let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
            assert!(cells.len() >= 7 && !cells[5].is_empty(), "a metric without a meaning: {line}");
            cells[1..4].join(" ")
        };
        let mut all: Vec<String> = rows.map(row).collect();
        all.sort();
        all
    }

    /// The same of each metric on the page; the label of a histogram's buckets is its own affair.
    fn exposed(page: &str) -> Vec<String> {
        let kinds = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let row = |line: &str| {
            let name = line.split(' ').next().unwrap();
            let sample = page.lines().find(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ', '_']) && !rest.contains("{le="))
            });
            let label = sample.and_then(|sample| Some(sample.split_once('{')?.1.split_once('=')?.0));
            format!("{line} {}", label.unwrap_or(""))
        };
        let mut all: Vec<String> = kinds.map(row).collect();
        all.sort();
        all
    }

    #[test]
    fn the_page_of_the_docs_is_the_page_of_the_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let node = node(folder.path());
        // What has nothing to say is left out.
        node.stats.ran(0, 0, 3, true);
        node.stats.error(b"ERR no");
        let page = collect(&node, &WalSync::default()).text().expect("a page");
        assert_eq!(documented(), exposed(&page));
    }

    #[test]
    fn only_get_of_the_page_gets_the_page() {
        let asked = |line: &str| asked(format!("{line}\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(asked("GET /metrics HTTP/1.1"), Asked::Page);
        assert_eq!(asked("GET /metrics?name[]=x HTTP/1.0"), Asked::Page);
        assert_eq!(asked("GET / HTTP/1.1"), Asked::OtherPath);
        assert_eq!(asked("GET /metrics/ HTTP/1.1"), Asked::OtherPath);
        assert_eq!(asked("POST /metrics HTTP/1.1"), Asked::OtherMethod);
        assert_eq!(asked("POST /other HTTP/1.1"), Asked::OtherPath);
        for nonsense in ["", "GET", "GET /metrics", "GET /metrics HTTP/2", "GET /metrics HTTP/1.1 x", "*1"] {
            assert_eq!(asked(nonsense), Asked::Nonsense, "{nonsense}");
        }
    }

    #[test]
    fn a_head_without_an_end_is_no_request() {
        assert_eq!(asked(b"GET /metrics HTTP/1.1\r\n"), Asked::Nonsense);
        assert_eq!(asked(&[b'x'; HEAD_BYTES_MAX]), Asked::Nonsense);
    }
}
