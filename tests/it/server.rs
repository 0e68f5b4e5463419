//! Server processes for the tests: Tuff or the oracle, on a free loopback port, in a folder of their own.
//!
//! A `Server` waits until PING is answered, is ended by its own process id when dropped, and leaves its log in the panic
//! message of whoever fails. `kill` is kill -9, `start_again` starts it in the same folder with the same port.

use crate::client::Client;
use crate::value::Value;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const START_TIMEOUT_S: u64 = 60;
const EXIT_TIMEOUT_S: u64 = 60;

/// Which program a server runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    Tuff,
    Oracle,
}

/// A running (or killed) server process and its folder.
pub struct Server {
    program: Program,
    file: Option<PathBuf>,
    options: Vec<String>,
    port: u16,
    folder: PathBuf,
    child: Option<Child>,
}

/// True when the oracle plays Tuff's part too (`TUFF_SUBJECT=oracle`).
pub fn subject_is_oracle() -> bool {
    std::env::var("TUFF_SUBJECT").is_ok_and(|v| v == "oracle")
}

/// Options under which kill -9 loses nothing. Tuff promises this with `everysec`; Redis does not quite (it holds a write of its
/// log back while an fsync runs), so the oracle in Tuff's place syncs always.
pub fn durable_options() -> [&'static str; 4] {
    ["--appendonly", "yes", "--appendfsync", if subject_is_oracle() { "always" } else { "everysec" }]
}

/// The real redis-server: `TUFF_ORACLE`, or the copy that `make test` keeps in the cache folder.
fn oracle_path() -> PathBuf {
    if let Some(path) = std::env::var_os("TUFF_ORACLE") {
        return PathBuf::from(path);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let path = cache.unwrap_or_default().join("tuff/oracle/redis-server");
    assert!(
        path.is_file(),
        "these tests compare Tuff with a real redis-server 8.2, which is not at {}: run `make test` once, which fetches it, \
         or name one with TUFF_ORACLE=/path/to/redis-server",
        path.display()
    );
    path
}

impl Server {
    /// Tuff with `options` (such as `["--appendfsync", "always"]`); the oracle in its place when `TUFF_SUBJECT=oracle`.
    pub fn tuff(options: &[&str]) -> Server {
        Server::start(if subject_is_oracle() { Program::Oracle } else { Program::Tuff }, options)
    }

    /// The oracle with `options`.
    pub fn redis(options: &[&str]) -> Server {
        Server::start(Program::Oracle, options)
    }

    /// As `tuff`, with a configuration file.
    pub fn tuff_with_file(file: &Path, options: &[&str]) -> Server {
        let program = if subject_is_oracle() { Program::Oracle } else { Program::Tuff };
        Server::start_with(program, Some(file.to_owned()), options)
    }

    /// As `redis`, with a configuration file.
    pub fn redis_with_file(file: &Path, options: &[&str]) -> Server {
        Server::start_with(Program::Oracle, Some(file.to_owned()), options)
    }

    fn start(program: Program, options: &[&str]) -> Server {
        Server::start_with(program, None, options)
    }

    fn start_with(program: Program, file: Option<PathBuf>, options: &[&str]) -> Server {
        let options: Vec<String> = options.iter().map(|o| o.to_string()).collect();
        let mut server = Server { program, file, options, port: 0, folder: new_folder(), child: None };
        // Another process may take the free port between our look and the server's bind: so, a few tries.
        for _ in 0..3 {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if server.try_spawn() {
                return server;
            }
        }
        panic!("the server did not start; its log:\n{}", server.log());
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn program(&self) -> Program {
        self.program
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Changes the options of the next start.
    pub fn set_options(&mut self, options: &[&str]) {
        self.options = options.iter().map(|o| o.to_string()).collect();
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.port).unwrap_or_else(|e| panic!("no connection: {e}; the log:\n{}", self.log()))
    }

    /// What the server has written, its last 8 KiB.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(8192)..]).into_owned()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// kill -9, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&mut self) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits until the process has ended by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let limit = Instant::now() + Duration::from_secs(EXIT_TIMEOUT_S);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > limit {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the server did not end within {EXIT_TIMEOUT_S} s; its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the killed or ended server again, on the same folder.
    pub fn start_again(&mut self) {
        self.kill();
        assert!(self.try_spawn(), "the server did not start again; its log:\n{}", self.log());
    }

    /// Starts the process and waits for PING; false when the process ended instead.
    fn try_spawn(&mut self) -> bool {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let data = self.folder.join("data");
        fs::create_dir_all(&data).unwrap();
        let mut command = match self.program {
            Program::Tuff => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_tuff"));
                command.arg("server").args(&self.file);
                command
            }
            Program::Oracle => {
                let mut command = Command::new(oracle_path());
                command.args(&self.file).args(["--save", "", "--bind", "127.0.0.1", "--loglevel", "warning"]);
                command
            }
        };
        command.args(["--port", &self.port.to_string()]).arg("--dir").arg(&data).args(&self.options);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("{command:?} does not start: {e}")));

        let limit = Instant::now() + Duration::from_secs(START_TIMEOUT_S);
        while self.is_running() {
            if self.answers_ping() {
                return true;
            }
            assert!(Instant::now() < limit, "no PING within {START_TIMEOUT_S} s; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    fn answers_ping(&self) -> bool {
        let Ok(mut client) = Client::connect(self.port) else { return false };
        match client.run("PING") {
            Value::Simple(pong) => pong == b"PONG",
            Value::Error(text) => text.starts_with(b"NOAUTH"),
            _ => false,
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of {:?} on port {} ---\n{}", self.program, self.port, self.log());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A fresh folder under the system's temporary one.
fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tuff-it-{}-{number}", std::process::id()));
        if fs::create_dir(&folder).is_ok() {
            return folder;
        }
        assert!(folder.exists(), "{} cannot be made", folder.display());
    }
}

#[test]
fn a_server_keeps_its_folder_over_a_kill() {
    let mut server = Server::redis(&["--appendonly", "yes", "--appendfsync", "always"]);
    server.client().ok("SET k v");
    server.kill();
    assert!(!server.is_running());
    server.start_again();
    assert_eq!(server.client().run("GET k"), Value::Bulk(b"v".to_vec()));
}
