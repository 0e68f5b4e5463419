//! The `tuff` program: reads the command line, starts what it asks for, and waits for the end.

use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use tuffdb::base::clock::Clock;
use tuffdb::config::Config;
use tuffdb::dispatch::node::SetLogLevel;
use tuffdb::dispatch::table::Table;
use tuffdb::load::LimitOptions;
use tuffdb::server::{PidFile, Server, logging, service_manager};
use tuffdb::store::KeyReader;

/// RocksDB allocates through it, too: one allocator, one set of figures.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "tuff", version, about = "Tuff, a Redis-protocol database for data larger than memory.")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve clients: tuff server [CONFIG] [--name value ...], the file first
    ///
    /// CONFIG is a file of directives as in redis.conf (conf/tuff.conf holds and explains all of them); `-` reads
    /// it from standard input. Every directive is an option, too, and the options win:
    ///
    ///     tuff server conf/tuff.conf --port 6380 --maxmemory 4gb --appendfsync always
    Server {
        /// A configuration file, then --name value ...
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CONFIG> <--NAME VALUE")]
        words: Vec<String>,
    },
    /// Put load on a server, Tuff or another, and measure it: tuff bench --load --ycsb B --port 6379
    Bench(Box<tuffdb::load::Options>),
    /// Read a data folder's keys through RocksDB alone, for tools/measure-cold.
    #[command(hide = true)]
    BenchStore(LimitOptions),
}

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Server { words } => run_server(&words),
        Command::Bench(options) => tuffdb::load::bench(&options),
        Command::BenchStore(options) => bench_store(&options),
    }
}

fn run_server(words: &[String]) -> ExitCode {
    let (config, warnings) = match Config::load(words) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut table = tuffdb::commands::table();
    if let Err(error) = config.rename_commands(|old, new| table.rename(old, new)) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let set_log_level = match logging::start(&config) {
        Ok(set) => set,
        Err(error) => {
            eprintln!("cannot open the log file {}: {error}", config.logfile());
            return ExitCode::FAILURE;
        }
    };
    let is_logged = !config.logfile().is_empty();
    tuffdb::metrics::process::tune_allocator();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match serve(Arc::new(config), table, set_log_level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Once: the log is seen where standard error is, unless it is a file.
            if is_logged {
                tracing::error!("{error}");
            }
            eprintln!("tuff: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench_store(options: &LimitOptions) -> ExitCode {
    let reader = KeyReader::open(&options.dir.join("db"), options.block_cache as usize);
    let done = reader.map_err(|error| error.to_string()).and_then(|reader| {
        tuffdb::load::limit::run(options, |key| reader.read(key).map_err(|error| error.to_string()))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tuff: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(
    config: Arc<Config>,
    table: Table,
    set_log_level: SetLogLevel,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut server = Server::start(Arc::clone(&config), table, Clock::system())?;
    server.node().set_log_level.get_or_init(|| set_log_level);
    let _pidfile = PidFile::write(&config);
    server.watch_signals()?;
    tracing::info!("{}", ready_line(server.addresses()));
    service_manager::tell_ready(&config);
    server.wait_for_shutdown();
    tracing::info!("shutting down");
    service_manager::tell_stopping(&config);
    server.end()?;
    Ok(())
}

/// One line that says where clients find the server.
fn ready_line(addresses: &[SocketAddr]) -> String {
    let names: Vec<_> = addresses
        .iter()
        .map(|address| match address.ip().is_unspecified() {
            true if address.is_ipv6() => format!("port {} of every IPv6 address", address.port()),
            true => format!("port {} of every IPv4 address", address.port()),
            false => address.to_string(),
        })
        .collect();
    format!("ready to accept connections on {}", names.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_the_addresses() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let own = ready_line(&addresses(&["127.0.0.1:6379", "[::1]:6379"]));
        assert_eq!(own, "ready to accept connections on 127.0.0.1:6379 and [::1]:6379");
        let all = ready_line(&addresses(&["0.0.0.0:1", "[::]:1"]));
        let expected =
            "ready to accept connections on port 1 of every IPv4 address and port 1 of every IPv6 address";
        assert_eq!(all, expected);
    }
}
