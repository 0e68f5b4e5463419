//! Tuff: a Redis-protocol database for data larger than memory.
//!
//! One folder a floor, lowest first; a floor knows only those below it. docs/architecture.md draws the house.

pub mod base;

pub mod encoding;


pub mod keyspace;
pub mod resp;
pub mod session;
pub mod store;
pub mod waiters;
