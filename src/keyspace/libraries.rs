//! The libraries of functions: an immutable map, replaced as a whole by the commit of who changes it, alone in the keyspace.
//!
//! Whoever runs a function takes the map as it is (`Txn::libraries`) and keeps it for the run. Each loading of a library has an `id`
//! of its own, by which threads that have compiled it know whether theirs is still the one.
//!
//! Function names are unique whatever their case, library names are not.

use super::{Keyspace, Mode, Outcome, Stop, Txn};
use crate::encoding::Family;
use crate::encoding::library::{LIBRARY_PREFIX, Library, library_row};
use crate::encoding::row::successor;
use crate::store::{Batch, Db, Direction, ReadError, View};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A library that can be called.
#[derive(Debug)]
pub struct LoadedLibrary {
    /// Unlike that of any other loading in this process, never 0.
    pub id: u64,
    /// What was loaded.
    pub content: Library,
}

impl LoadedLibrary {
    /// A loading of its own.
    pub fn new(content: Library) -> Arc<LoadedLibrary> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Arc::new(LoadedLibrary { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), content })
    }
}

/// All libraries at one time.
#[derive(Debug, Clone, Default)]
pub struct Libraries {
    by_name: BTreeMap<Box<[u8]>, Arc<LoadedLibrary>>,
    /// By the function's name in lower case: its library, and its number there.
    functions: HashMap<Box<[u8]>, (Arc<LoadedLibrary>, usize), ahash::RandomState>,
    /// Of the commit that made this map: who has looked at it is not answered before that is in the log.
    sequence: u64,
}

impl Libraries {
    /// The library of this name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<LoadedLibrary>> {
        self.by_name.get(name)
    }

    /// All libraries, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<LoadedLibrary>> {
        self.by_name.values()
    }

    /// The library of the function of this name in any case, and the function's number there.
    pub fn find_function(&self, name: &[u8]) -> Option<(&Arc<LoadedLibrary>, usize)> {
        let found = match self.functions.get(name) {
            Some(found) => Some(found),
            None => self.functions.get(&name.to_ascii_lowercase()[..]),
        };
        found.map(|(library, number)| (library, *number))
    }

    /// How many functions there are.
    pub fn function_count(&self) -> usize {
        self.functions.len()
    }

    /// Bytes of all libraries' code.
    pub fn text_bytes(&self) -> usize {
        self.iter().map(|library| library.content.code.len()).sum()
    }

    /// Adds a library; there must be none of its name. The error is the name of a function that another one has.
    pub fn add(&mut self, loaded: Arc<LoadedLibrary>) -> Result<(), Box<[u8]>> {
        for function in &loaded.content.functions {
            if self.find_function(&function.name).is_some() {
                return Err(function.name.clone());
            }
        }
        for (number, function) in loaded.content.functions.iter().enumerate() {
            // Of names that differ in case only, the first is the one that can be called.
            let place = self.functions.entry(function.name.to_ascii_lowercase().into());
            place.or_insert_with(|| (Arc::clone(&loaded), number));
        }
        self.by_name.insert(loaded.content.name.clone(), loaded);
        Ok(())
    }

    /// Removes a library. False if there is none of this name.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(gone) = self.by_name.remove(name) else { return false };
        self.functions.retain(|_, (library, _)| !Arc::ptr_eq(library, &gone));
        true
    }

    /// Reads the libraries of a database. A row that does not decode is left out, and logged.
    pub(super) fn read(view: &View<'_>) -> Result<Libraries, ReadError> {
        let mut libraries = Libraries::default();
        let end = successor(LIBRARY_PREFIX);
        view.scan(Family::System, LIBRARY_PREFIX, &end, Direction::Up, |row, value| {
            let added = match Library::decode(row, value) {
                Ok(library) => libraries
                    .add(LoadedLibrary::new(library))
                    .map_err(|name| format!("function {} twice", String::from_utf8_lossy(&name))),
                Err(damaged) => Err(damaged.to_string()),
            };
            if let Err(reason) = added {
                tracing::error!(row = %String::from_utf8_lossy(row), reason, "a library of functions is not loaded");
            }
            Ok::<_, ReadError>(ControlFlow::Continue(()))
        })?;
        Ok(libraries)
    }

    /// Writes what makes `self` of `old`.
    pub(super) fn write(&self, old: &Libraries, batch: &mut Batch, db: &Db) {
        for name in old.by_name.keys().filter(|name| !self.by_name.contains_key(*name)) {
            batch.delete(db, Family::System, &library_row(name));
        }
        for (name, loaded) in &self.by_name {
            if old.get(name).is_none_or(|before| before.id != loaded.id) {
                batch.put(db, Family::System, &library_row(name), &loaded.content.encode());
            }
        }
    }
}

impl Keyspace {
    /// The libraries as they are now.
    pub fn libraries(&self) -> Arc<Libraries> {
        self.libraries.load_full()
    }

    pub(super) fn install_libraries(&self, mut libraries: Arc<Libraries>, sequence: u64) {
        Arc::make_mut(&mut libraries).sequence = sequence;
        self.libraries.store(libraries);
    }
}

impl Txn<'_> {
    /// The libraries as this run sees them. Its reply waits until they are in the log, unless it is an `Err`.
    pub fn libraries(&mut self) -> Arc<Libraries> {
        if let Some(libraries) = &self.changed_libraries {
            return Arc::clone(libraries);
        }
        let libraries = self.keyspace.libraries();
        self.scratch.sequence = self.scratch.sequence.max(libraries.sequence);
        libraries
    }

    /// Replaces the libraries; only alone in the keyspace.
    pub fn set_libraries(&mut self, libraries: Libraries) -> Outcome {
        if self.mode != Mode::Alone {
            return Err(Stop::Alone);
        }
        self.changed_libraries = Some(Arc::new(libraries));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Libraries, LoadedLibrary};
    use crate::encoding::library::{Function, Library};
    use std::sync::Arc;

    fn library(name: &str, functions: &[&str]) -> Arc<LoadedLibrary> {
        let function = |name: &&str| Function { name: name.as_bytes().into(), description: None, flags: 0 };
        let functions = functions.iter().map(function).collect();
        LoadedLibrary::new(Library { name: name.as_bytes().into(), code: Box::default(), functions })
    }

    #[test]
    fn functions_are_found_in_any_case_and_are_unique() {
        let mut libraries = Libraries::default();
        libraries.add(library("a", &["f", "Go"])).unwrap();
        let (found, number) = libraries.find_function(b"gO").unwrap();
        assert_eq!((&found.content.name[..], number), (&b"a"[..], 1));
        assert_eq!(libraries.add(library("b", &["x", "GO"])).unwrap_err()[..], *b"GO");
        assert!(libraries.find_function(b"x").is_none() && libraries.get(b"b").is_none());
        libraries.add(library("A", &["h"])).unwrap();
        assert_eq!((libraries.iter().len(), libraries.function_count()), (2, 3));
        assert!(libraries.remove(b"a") && !libraries.remove(b"a"));
        assert!(libraries.find_function(b"f").is_none() && libraries.find_function(b"h").is_some());
    }
}
