//! Figures for people: what the process uses, rates over the last moments, percentiles, and Prometheus' text.
//!
//! Nothing here knows of keys or connections, and of commands only their numbers. Who has figures hands them in: INFO (`commands::info`)
//! and the metrics page (`server::metrics_http`) collect them from the node. Read in this order: `process`
//! (what /proc and the allocator say), `vitals` (samples of that, taken in the background), `stats`
//! (how often commands run), `percentile`, `exposition`.

pub mod exposition;
pub mod percentile;
pub mod process;
pub mod stats;
pub mod vitals;
