//! From a channel to who listens to it, by name or by pattern.
//!
//! Channels lie in shards by the hash of their name. The members of a channel are a list sorted by the connections' ids, shared
//! with the messages on their way and copied only when it changes meanwhile. Patterns lie by their literal beginning: a channel's name
//! is looked up once for each length of beginning there is, and only those found are matched.
//!
//! Locks: a shard or the patterns, never both, and nothing else under them.

use super::{Kind, Name, Outbox};
use crate::base::glob::{glob_match, literal_prefix};
use ahash::{AHashMap, RandomState};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SHARDS: usize = 64;

/// Who listens to one name, sorted by id.
pub(super) type Members = Arc<Vec<Arc<Outbox>>>;

type Channels = AHashMap<Name, Members>;

pub(super) struct Registry {
    /// Channels, and shard channels.
    spaces: [Vec<Mutex<Channels>>; 2],
    patterns: RwLock<Patterns>,
    counts: [AtomicUsize; 3],
    hasher: RandomState,
}

#[derive(Default)]
struct Patterns {
    by_beginning: AHashMap<Box<[u8]>, Channels>,
    /// How many beginnings there are of each length.
    lengths: BTreeMap<usize, usize>,
}

impl Default for Registry {
    fn default() -> Registry {
        let space = || (0..SHARDS).map(|_| Mutex::default()).collect();
        Registry {
            spaces: [space(), space()],
            patterns: RwLock::default(),
            counts: Default::default(),
            hasher: RandomState::new(),
        }
    }
}

impl Registry {
    fn shard(&self, kind: Kind, name: &[u8]) -> &Mutex<Channels> {
        let hash = self.hasher.hash_one(name) as usize;
        &self.spaces[usize::from(kind == Kind::Shard)][hash % SHARDS]
    }

    /// The name as it is kept, if it is: so that all subscribers share its bytes.
    pub(super) fn name(&self, kind: Kind, name: &[u8]) -> Name {
        let known = match kind {
            Kind::Pattern => {
                let patterns = self.patterns.read();
                let alike = patterns.by_beginning.get(literal_prefix(name));
                alike.and_then(|alike| alike.get_key_value(name)).map(|(name, _)| Arc::clone(name))
            }
            _ => self.shard(kind, name).lock().get_key_value(name).map(|(name, _)| Arc::clone(name)),
        };
        known.unwrap_or_else(|| name.into())
    }

    pub(super) fn insert(&self, kind: Kind, name: Name, outbox: &Arc<Outbox>) {
        let is_new = if kind == Kind::Pattern {
            let mut patterns = self.patterns.write();
            let Patterns { by_beginning, lengths } = &mut *patterns;
            let beginning = literal_prefix(&name);
            if !by_beginning.contains_key(beginning) {
                *lengths.entry(beginning.len()).or_default() += 1;
                by_beginning.insert(beginning.into(), Channels::default());
            }
            by_beginning.get_mut(beginning).is_some_and(|alike| join(alike, Arc::clone(&name), outbox))
        } else {
            join(&mut self.shard(kind, &name).lock(), name, outbox)
        };
        if is_new {
            self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&self, kind: Kind, name: &[u8], outbox: &Arc<Outbox>) {
        let is_gone = if kind == Kind::Pattern {
            let mut patterns = self.patterns.write();
            let Patterns { by_beginning, lengths } = &mut *patterns;
            let beginning = literal_prefix(name);
            let Some(alike) = by_beginning.get_mut(beginning) else { return };
            let is_gone = leave(alike, name, outbox);
            if alike.is_empty() {
                by_beginning.remove(beginning);
                if let Some(count) = lengths.get_mut(&beginning.len()) {
                    *count -= 1;
                    if *count == 0 {
                        lengths.remove(&beginning.len());
                    }
                }
            }
            is_gone
        } else {
            leave(&mut self.shard(kind, name).lock(), name, outbox)
        };
        if is_gone {
            self.counts[kind as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Visits who gets a message of this channel: those of the channel (no pattern), then those of each pattern.
    pub(super) fn for_receivers(
        &self,
        kind: Kind,
        channel: &[u8],
        mut visit: impl FnMut(Option<&Name>, &Members),
    ) {
        if self.count(kind) > 0
            && let Some(members) = self.members(kind, channel)
        {
            visit(None, &members);
        }
        if kind == Kind::Shard || self.count(Kind::Pattern) == 0 {
            return;
        }
        let patterns = self.patterns.read();
        for (&length, _) in patterns.lengths.range(..=channel.len()) {
            let Some(alike) = patterns.by_beginning.get(&channel[..length]) else { continue };
            for (pattern, members) in alike {
                if glob_match(pattern, channel, false) {
                    visit(Some(pattern), members);
                }
            }
        }
    }

    pub(super) fn members(&self, kind: Kind, channel: &[u8]) -> Option<Members> {
        self.shard(kind, channel).lock().get(channel).cloned()
    }

    pub(super) fn names(&self, kind: Kind) -> Vec<Name> {
        if kind == Kind::Pattern {
            let patterns = self.patterns.read();
            return patterns.by_beginning.values().flat_map(|alike| alike.keys().cloned()).collect();
        }
        let space = &self.spaces[usize::from(kind == Kind::Shard)];
        space.iter().flat_map(|shard| shard.lock().keys().cloned().collect::<Vec<_>>()).collect()
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize].load(Ordering::Acquire)
    }
}

/// True when it is the first of its name.
fn join(channels: &mut Channels, name: Name, outbox: &Arc<Outbox>) -> bool {
    let members = channels.entry(name).or_default();
    if let Err(place) = members.binary_search_by_key(&outbox.id(), |other| other.id()) {
        Arc::make_mut(members).insert(place, Arc::clone(outbox));
    }
    members.len() == 1
}

/// True when nobody listens any more.
fn leave(channels: &mut Channels, name: &[u8], outbox: &Arc<Outbox>) -> bool {
    let Some(members) = channels.get_mut(name) else { return false };
    if let Ok(place) = members.binary_search_by_key(&outbox.id(), |other| other.id()) {
        Arc::make_mut(members).remove(place);
    }
    let is_gone = members.is_empty();
    if is_gone {
        channels.remove(name);
    }
    is_gone
}
