//! The log: to standard output or to `logfile`, at `loglevel`, which CONFIG SET changes.
//!
//! A file is opened for each line, as Redis does it: whoever rotates logs renames the file, and the next line begins a new one.
//! Lines are rare, so this costs nothing. A line that cannot be written is lost; the server goes on.

use crate::config::{Config, LogLevel};
use crate::dispatch::node::SetLogLevel;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// What the lines' layer stands on.
type Filtered = Layered<reload::Layer<LevelFilter, Registry>, Registry>;

/// Starts logging for the whole process: once. A relative `logfile` is in the data folder, which is made if need be.
pub fn start(config: &Config) -> io::Result<SetLogLevel> {
    let (filter, handle) = reload::Layer::new(filter_of(config.loglevel()));
    let lines = fmt::layer::<Filtered>().with_target(false).with_ansi(false);
    let name = config.logfile();
    let lines: Box<dyn Layer<Filtered> + Send + Sync> = if name.is_empty() {
        Box::new(lines)
    } else {
        std::fs::create_dir_all(config.dir())?;
        let path = config.dir().join(name.as_str());
        open(&path)?;
        Box::new(lines.with_writer(move || LogFile(path.clone())))
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(Box::new(move |level| {
        if handle.reload(filter_of(level)).is_err() {
            tracing::error!("the log level cannot be changed");
        }
    }))
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug | LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

struct LogFile(PathBuf);

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        open(&self.0)?.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
