//! Tuff: a Redis-protocol database for data larger than memory.
//!
//! One folder a floor, lowest first; a floor knows only those below it. docs/architecture.md draws the house.

pub mod base;
pub mod config;
pub mod metrics;
pub mod resp;
pub mod encoding;
pub mod store;
pub mod hot;
pub mod waiters;
pub mod keyspace;
pub mod types;
pub mod session;
pub mod dispatch;
pub mod commands;
pub mod server;
