//! Keys read straight from a data folder, with nothing of Tuff but the names of rows: what a server is measured against.
//!
//! The folder is opened for reading only, with the options the server has and a block cache of the given size; each read is one
//! RocksDB get of a head row in logical database 0, value included, and waits for the disk if it must. Any number of threads may
//! read at once.

use super::faults::Faults;
use super::handle::Db;
use super::open::{Shared, StoreOptions, open_db};
use super::{ReadError, Unavailable};
use crate::encoding::Family;
use crate::encoding::row::{HashSeed, Namespace, Position, head_row};
use crate::encoding::system::{SEED_ROW, database_row};
use std::path::Path;
use std::sync::Arc;

/// An open data folder.
pub struct KeyReader {
    seed: HashSeed,
    namespace: Namespace,
    db: Db,
    /// The block cache lives here.
    _shared: Shared,
}

impl KeyReader {
    /// Opens the database in `path` (`<dir>/db` of a server). Fails where there is none.
    pub fn open(path: &Path, block_cache_bytes: usize) -> Result<KeyReader, Unavailable> {
        let options = StoreOptions { block_cache_bytes, ..StoreOptions::default() };
        let shared = Shared::new(&options);
        let db = open_db(path, &options, &shared, Arc::new(Faults::default()), true)?;
        let row = |row: &[u8]| {
            db.newest(super::Tier::Disk)
                .get(Family::System, row)
                .map_err(|error| Unavailable(error.to_string()))
        };
        let seed = row(SEED_ROW)?.and_then(|seed| seed.as_ref().try_into().ok());
        let seed = HashSeed(
            seed.ok_or_else(|| Unavailable("there is no hash seed: not a Tuff database".to_string()))?,
        );
        let namespace = row(&database_row(0))?.and_then(|namespace| namespace.as_ref().try_into().ok());
        let namespace = Namespace(namespace.map_or(0, u32::from_be_bytes));
        Ok(KeyReader { seed, namespace, db, _shared: shared })
    }

    /// Reads a key's head row; true when there is one.
    pub fn read(&self, key: &[u8]) -> Result<bool, ReadError> {
        self.db.has(Family::Keys, &head_row(self.namespace, Position::of_key(&self.seed, key), key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, Store};
    use super::*;

    #[test]
    fn keys_are_found_where_the_database_has_them_now() {
        let folder = tempfile::tempdir().unwrap();
        let (seed, namespace) = (HashSeed([7; 16]), Namespace(1 << 20));
        {
            let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
            let mut batch = Batch::default();
            store
                .with_db(|db| {
                    batch.put(db, Family::System, SEED_ROW, &seed.0);
                    batch.put(db, Family::System, &database_row(0), &namespace.0.to_be_bytes());
                    let row = head_row(namespace, Position::of_key(&seed, b"k"), b"k");
                    batch.put(db, Family::Keys, &row, b"\0\0v");
                    store.write(db, batch, true).unwrap();
                })
                .unwrap();
            store.close().unwrap();
        }
        let reader = KeyReader::open(folder.path(), 1 << 20).unwrap();
        assert!(reader.read(b"k").unwrap());
        assert!(!reader.read(b"other").unwrap());
    }

    #[test]
    fn a_folder_without_a_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(KeyReader::open(folder.path(), 1 << 20).is_err());
    }
}
