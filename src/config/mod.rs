//! The settings: what they are called, where they come from, what they are now.
//!
//! `directive` says what a directive is, `table_obeyed` and `table_accepted` list all of them, `lists` and `value` turn text
//! into values. `source` reads lines, `load` makes a `Config` of them, `getters` gives the rest of the server typed values,
//! `runtime` is CONFIG GET and SET, `rewrite` is CONFIG REWRITE.
//!
//! Lock rule: reading a setting takes no lock (a number is an atomic, a text an `ArcSwap`), so getters may be called on any
//! path. One mutex keeps CONFIG SET and CONFIG REWRITE of several connections apart; nobody calls out while holding it.

mod directive;
mod getters;
mod lists;
mod load;
mod rewrite;
mod runtime;
mod source;
mod table_accepted;
mod table_obeyed;
mod value;

pub use self::directive::{Standing, When};
pub use self::getters::{AppendFsync, ClientClass, DebugCommand, HotPolicy, LogLevel, OutputLimit};
pub use self::load::ConfigError;
pub use self::runtime::Checked;

use self::directive::{Directive, Value};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const TABLE_LEN: usize = table_obeyed::OBEYED.len() + table_accepted::ACCEPTED.len();

/// Every directive.
static TABLE: [Directive; TABLE_LEN] = join_tables();

/// Where `requirepass` is; some lines of a file set it under another name.
const REQUIREPASS: usize = directive::index_of(&TABLE, "requirepass");
const OUTPUT_LIMITS: usize = directive::index_of(&TABLE, "client-output-buffer-limit");
const DIR: usize = directive::index_of(&TABLE, "dir");

const fn join_tables() -> [Directive; TABLE_LEN] {
    let (obeyed, accepted) = (table_obeyed::OBEYED, table_accepted::ACCEPTED);
    let mut all = [obeyed[0]; TABLE_LEN];
    let mut index = 0;
    while index < TABLE_LEN {
        all[index] = if index < obeyed.len() { obeyed[index] } else { accepted[index - obeyed.len()] };
        index += 1;
    }
    all
}

/// The directive called so, in any case and by any of its names, and that name as the table spells it.
fn find(name: &str) -> Option<(usize, &'static str)> {
    TABLE.iter().enumerate().find_map(|(index, directive)| {
        let spelt = directive.names().find(|known| known.eq_ignore_ascii_case(name))?;
        Some((index, spelt))
    })
}

/// Something the operator should know: a setting without effect, a value raised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The settings of a server.
pub struct Config {
    cells: Box<[Cell]>,
    /// `client-output-buffer-limit`, ready for the path of every reply.
    output_limits: [[AtomicU64; 3]; 3],
    file: Option<PathBuf>,
    /// Where the process was when the settings were read; relative paths start here.
    folder: PathBuf,
    machine_bytes: u64,
    cores: usize,
    renamed: Vec<load::Renaming>,
    /// No more clients than this, whatever `maxclients` is set to.
    clients_max: AtomicU64,
    changing: Mutex<()>,
}

enum Cell {
    Number(AtomicI64),
    Text(ArcSwap<String>),
}

impl Default for Config {
    /// The defaults, without a file.
    fn default() -> Config {
        let cells = TABLE.iter().map(|directive| match directive.default() {
            Value::Number(number) => Cell::Number(AtomicI64::new(number)),
            Value::Text(text) => Cell::Text(ArcSwap::from_pointee(text)),
        });
        let config = Config {
            cells: cells.collect(),
            output_limits: Default::default(),
            file: None,
            folder: std::env::current_dir().unwrap_or_default(),
            machine_bytes: getters::machine_bytes(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            renamed: Vec::new(),
            clients_max: AtomicU64::new(u64::MAX),
            changing: Mutex::new(()),
        };
        config.store(OUTPUT_LIMITS, config.value(OUTPUT_LIMITS));
        config
    }
}

impl Config {
    /// The file the settings came from, absolute; nothing when there was none.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    fn number(&self, index: usize) -> i64 {
        match &self.cells[index] {
            Cell::Number(number) => number.load(Ordering::Relaxed),
            Cell::Text(_) => 0,
        }
    }

    fn text(&self, index: usize) -> Arc<String> {
        match &self.cells[index] {
            Cell::Text(text) => text.load_full(),
            Cell::Number(_) => Arc::default(),
        }
    }

    fn value(&self, index: usize) -> Value {
        match &self.cells[index] {
            Cell::Number(number) => Value::Number(number.load(Ordering::Relaxed)),
            Cell::Text(text) => Value::Text(text.load().to_string()),
        }
    }

    fn store(&self, index: usize, value: Value) {
        match (&self.cells[index], value) {
            (Cell::Number(cell), Value::Number(number)) => cell.store(number, Ordering::Relaxed),
            (Cell::Text(cell), Value::Text(text)) => {
                if index == OUTPUT_LIMITS {
                    let limits = lists::output_limits(&text);
                    for (cell, limit) in self.output_limits.as_flattened().iter().zip(limits.as_flattened()) {
                        cell.store(*limit, Ordering::Relaxed);
                    }
                }
                cell.store(Arc::new(text));
            }
            // A directive's kind never changes.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
