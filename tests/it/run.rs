//! What holds while commands run beside each other, the disk is slow or breaks, and clients come and go.
//!
//! Each test starts a server in this process, so that it can make the disk slow, full or broken (`store::Faults`), empty the
//! memory tiers, and read the server's own figures. A test is named after what it claims. Order is asserted, not speed: where
//! something must not wait for the disk, the disk is made so slow that waiting for it would turn the order of events round.

mod cold;
mod exec;
mod faults;
mod groups;
mod heavy;
mod placement;
mod ranks;
mod removal;
mod turns;
mod waiters;

use crate::client::{Client, encode};
use crate::value::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tuffdb::base::clock::Clock;
use tuffdb::config::Config;
use tuffdb::dispatch::node::Node;
use tuffdb::encoding::Family;
use tuffdb::encoding::row::Position;
use tuffdb::keyspace::{Direction, Figures, Keyspace, StripeId};
use tuffdb::server::Server;
use tuffdb::store::{Faults, Store, Tier};

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server in this process, on a free port, with a data folder of its own.
struct House {
    server: Option<Server>,
    folder: tempfile::TempDir,
    options: Vec<String>,
}

impl House {
    fn start(options: &[&str]) -> House {
        let folder = tempfile::tempdir().unwrap();
        let options = options.iter().map(|option| option.to_string()).collect();
        let mut house = House { server: None, folder, options };
        house.open();
        house
    }

    fn open(&mut self) {
        let dir = self.folder.path().to_str().unwrap();
        let mut words: Vec<String> =
            ["--port", "0", "--bind", "127.0.0.1", "--enable-debug-command", "yes", "--maxmemory", "256mb"]
                .map(String::from)
                .to_vec();
        words.extend(["--dir".to_string(), dir.to_string()]);
        words.extend(self.options.iter().cloned());
        let (config, _) = Config::load(&words).unwrap();
        let server = Server::start(Arc::new(config), tuffdb::commands::table(), Clock::system()).unwrap();
        self.server = Some(server);
    }

    /// Ends the server and starts it again in the same folder.
    fn restart(&mut self) {
        self.server.take().unwrap().end().unwrap();
        self.open();
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn node(&self) -> &Arc<Node> {
        self.server().node()
    }

    fn keyspace(&self) -> &Keyspace {
        &self.node().keyspace
    }

    fn store(&self) -> &Store {
        self.keyspace().store()
    }

    fn faults(&self) -> &Faults {
        self.store().faults()
    }

    fn figures(&self) -> &Figures {
        self.keyspace().figures()
    }

    fn client(&self) -> Client {
        Client::connect(self.server().addresses()[0].port()).unwrap()
    }

    /// A connection that has chosen a database.
    fn client_in(&self, database: u32) -> Client {
        let mut client = self.client();
        client.ok(&format!("SELECT {database}"));
        client
    }

    /// Makes every row cold: nothing is in the hot tier, the memtables or the block cache.
    fn chill(&self) {
        self.keyspace().hot().clear();
        self.store().chill().unwrap();
    }

    /// The stripe of a key.
    fn stripe(&self, key: &str) -> StripeId {
        StripeId::of(Position::of_key(self.keyspace().seed(), key.as_bytes()))
    }

    /// Another key on the same stripe.
    fn neighbour(&self, key: &str) -> String {
        let stripe = self.stripe(key);
        (0..).map(|n| format!("neighbour{n}")).find(|name| self.stripe(name) == stripe).unwrap()
    }

    /// Rows of a family on disk or in memory.
    fn rows(&self, family: Family) -> usize {
        let mut count = 0;
        self.store()
            .with_db(|db| {
                db.newest(Tier::Disk).scan(family, b"", &[u8::MAX; 80], Direction::Up, |_, _| {
                    count += 1;
                    Ok::<_, tuffdb::store::ReadError>(std::ops::ControlFlow::Continue(()))
                })
            })
            .unwrap()
            .unwrap();
        count
    }

    /// DBSIZE and the number of keys that SCAN finds must be the same.
    fn check_size(&self, database: u32) -> i64 {
        let mut client = self.client_in(database);
        let size = client.run("DBSIZE").integer();
        assert_eq!(size, count_by_scan(&mut client), "DBSIZE and SCAN disagree in database {database}");
        size
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self_heal(&server);
            let ended = server.end();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// A server ends only in good health.
fn self_heal(server: &Server) {
    let faults = server.node().keyspace.store().faults();
    faults.fail_wal(false, false);
    faults.delay_disk_reads(Duration::ZERO);
}

/// Distinct keys met by a whole SCAN.
fn count_by_scan(client: &mut Client) -> i64 {
    let (mut cursor, mut keys) = ("0".to_string(), std::collections::BTreeSet::new());
    loop {
        let page = client.call(&["SCAN", &cursor, "COUNT", "1000"]).items();
        keys.extend(page[1].items());
        cursor = page[0].text();
        if cursor == "0" {
            return keys.len() as i64;
        }
    }
}

/// Raises a flag when a test's body ends, with a panic or without: threads that look at it end, too.
struct RaiseAtEnd<'f>(&'f AtomicBool);

impl Drop for RaiseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until something holds; says what if it never does.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < limit, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends several commands at once.
fn send_burst(client: &mut Client, lines: &[&str]) {
    let mut request = Vec::new();
    for line in lines {
        encode(&line.split(' ').collect::<Vec<_>>(), &mut request);
    }
    client.send_raw(&request).unwrap();
}

/// Sends several commands at once and reads all replies.
fn burst(client: &mut Client, lines: &[&str]) -> Vec<Value> {
    send_burst(client, lines);
    lines.iter().map(|_| client.read()).collect()
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn pair(first: &str, second: &str) -> Value {
    Value::Array(vec![bulk(first), bulk(second)])
}

fn is_misconf(value: &Value) -> bool {
    matches!(value, Value::Error(text) if text.starts_with(b"MISCONF "))
}
