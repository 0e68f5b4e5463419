//! How fast a large write may go: it waits while RocksDB is behind with flushing and compacting, so that it is not others who meet a
//! write stall. Commands of the workers do not wait here; they have the room that is left.
//!
//! For threads of the pool. No lock is held while waiting.

use super::Store;
use super::handle::Db;
use std::time::Duration;

/// Files on level 0 of one family at which it waits; RocksDB slows everybody down at 20.
const LEVEL_0_FILES_MAX: u64 = 14;
/// Batches between two looks.
const BATCHES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(5);
/// After so many pauses it goes on for a while nevertheless: other writers could keep RocksDB busy for ever.
const PAUSES_MAX: u32 = 200;

/// The pace of one large write.
#[derive(Debug, Default)]
pub struct Pace {
    batches: u32,
}

impl Pace {
    /// Before a batch is written.
    pub fn wait(&mut self, store: &Store, db: &Db) {
        self.batches += 1;
        if !self.batches.is_multiple_of(BATCHES) {
            return;
        }
        for _ in 0..PAUSES_MAX {
            if store.is_failed() || !db.is_behind(LEVEL_0_FILES_MAX) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}
