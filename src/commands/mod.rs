//! The commands, one file a family: each a table of specs at the top, then their handlers.

pub mod client;
mod client_filter;
mod client_line;
mod client_pause;
mod client_tracking;
pub mod command;
pub mod config;
pub mod connection;
pub mod database;
pub mod debug;
pub mod expire;
pub mod function;
pub mod hash;
pub mod info;
pub mod keys;
pub mod lcs;
pub mod list;
pub mod list_moves;
pub mod lolwut;
pub mod memory;
pub mod monitor;
pub mod object;
mod page;
pub mod pubsub;
pub mod scan;
pub mod script;
mod script_host;
pub mod server;
pub mod set;
pub mod slowlog;
pub mod stream;
pub mod string;
pub mod transaction;
mod wait;
pub mod zset;

use crate::base::number::parse_i64;
use crate::dispatch::Command;
use crate::dispatch::table::Table;
use crate::keyspace::{Error, Outcome};

/// A count that must not be below zero; Redis calls that positive.
fn not_negative(text: &[u8]) -> Outcome<u64> {
    let count = parse_i64(text).and_then(|count| u64::try_from(count).ok());
    Ok(count.ok_or(Error::text("ERR value is out of range, must be positive"))?)
}

/// All families.
pub const FAMILIES: &[&[Command]] = &[
    string::COMMANDS,
    lcs::COMMANDS,
    hash::COMMANDS,
    list::COMMANDS,
    list_moves::COMMANDS,
    set::COMMANDS,
    zset::COMMANDS,
    stream::COMMANDS,
    keys::COMMANDS,
    expire::COMMANDS,
    object::COMMANDS,
    scan::COMMANDS,
    database::COMMANDS,
    transaction::COMMANDS,
    pubsub::COMMANDS,
    connection::COMMANDS,
    client::COMMANDS,
    command::COMMANDS,
    config::COMMANDS,
    info::COMMANDS,
    server::COMMANDS,
    slowlog::COMMANDS,
    script::COMMANDS,
    function::COMMANDS,
    debug::COMMANDS,
    memory::COMMANDS,
    monitor::COMMANDS,
    lolwut::COMMANDS,
];

/// The table of all commands.
pub fn table() -> Table {
    Table::new(FAMILIES)
}
