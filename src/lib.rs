//! Tuff: a Redis-protocol database for data larger than memory.
//!
//! One folder a floor, lowest first; a floor knows only those below it. docs/architecture.md draws the house.

pub mod base;
pub mod commands;
pub mod config;
pub mod dispatch;
pub mod encoding;
pub mod hot;
pub mod keyspace;
pub mod load;
pub mod metrics;
pub mod pubsub;
pub mod resp;
pub mod script;
pub mod server;
pub mod session;
pub mod store;
pub mod types;
pub mod waiters;
