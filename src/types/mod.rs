//! What the data types do: operations on a `Txn`, without a word of protocol. `commands` says them, `encoding` stores them.

pub mod copy;
pub mod footprint;
pub mod hash;
pub mod keys;
#[cfg(test)]
mod large_tests;
pub mod lcs;
pub mod list;
mod merge;
mod pages;
pub mod pick;
pub mod positions;
pub mod scan;
pub mod set;
pub mod stream;
pub mod string;
pub mod zset;
