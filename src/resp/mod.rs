//! The protocol: bytes to requests, replies to bytes. No sockets, no commands.
//!
//! A connection gives its query buffer to a [`decode::Decoder`], which answers where the next request
//! lies; the handler sees it as [`args::Args`], a view that copies nothing, and answers through a
//! [`reply::Reply`], which writes RESP2 or RESP3 as the client has chosen. [`parse`] reads replies
//! and serves tests and tools.

pub mod args;
pub mod decode;
pub mod parse;
pub mod reply;

pub use args::{Args, OwnedArgs};
pub use decode::{Decoded, Decoder, Limits, ProtocolError};
pub use reply::{Mark, Proto, Reply};
