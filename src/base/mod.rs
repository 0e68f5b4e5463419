//! The lowest layer: time, chance, and the small pure algorithms every other layer leans on.
//!
//! Nothing here knows of keys, clients or files. The clock and the random numbers come from this
//! folder and nowhere else, so that a test can move the one and repeat the other.

pub mod clock;
pub mod float_text;
pub mod glob;
pub mod hash;
pub mod longdouble;
pub mod number;
pub mod prefetch;
pub mod priority;
pub mod random;
pub mod words;

/// The version of Redis whose commands, replies and error texts are spoken.
pub const REDIS_VERSION: &str = "8.2.3";
