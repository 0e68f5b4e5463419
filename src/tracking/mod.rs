//! Client-side caching: who has read which key, and is told when it changes (CLIENT TRACKING).
//!
//! A tracking client's reads are remembered under the lock of the key, before its value is looked at; a commit that changes a key takes
//! it out of the table and tells all who had read it, while it holds the key's lock: so a change is either seen by the read or told
//! after it. In broadcasting mode nothing is remembered; what begins with one of a client's prefixes is told, the keys of one
//! commit in one message.
//!
//! The table is bounded by `tracking-table-max-keys`: over it some key is forgotten, and those who had read it are told so. Ids of clients
//! that have gone stay in it until their keys change, or nobody tracks any more.
//!
//! While nobody tracks, a read costs a look at its session and a commit one load.
//!
//! Locks: `clients`, then the prefixes, then a shard of the table or an outbox. While an outbox is filled the first two may be held, shared.

mod aftermath;

pub use aftermath::Aftermath;

use crate::config::Config;
use crate::pubsub::{Message, Outbox, PubSub, Rests};
use crate::resp::{Proto, Reply};
use ahash::{AHashMap, RandomState};
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

const SHARDS: usize = 64;

/// Keys that one call may forget when the table is too full: some hundred microseconds of a worker's turn.
const FORGOTTEN_AT_ONCE: usize = 128;

/// Which reads are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Remembers {
    /// All of them.
    #[default]
    All,
    /// OPTIN: those of commands behind CLIENT CACHING YES.
    Chosen,
    /// OPTOUT: all but those of commands behind CLIENT CACHING NO.
    Others,
}

/// How a client tracks.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The client that gets the messages; 0: itself.
    pub redirect: u64,
    /// BCAST.
    pub broadcasts: bool,
    /// Sorted. Empty outside of BCAST, and there if all keys are meant.
    pub prefixes: Vec<Box<[u8]>>,
    /// OPTIN, OPTOUT or neither.
    pub remembers: Remembers,
    /// NOLOOP: it is not told of what it changes itself.
    pub no_loop: bool,
}

impl Options {
    /// True when the keys of a command that reads are to be remembered. `has_chosen`: CLIENT CACHING was said before it.
    pub fn remembers(&self, has_chosen: bool) -> bool {
        !self.broadcasts
            && match self.remembers {
                Remembers::All => true,
                Remembers::Chosen => has_chosen,
                Remembers::Others => !has_chosen,
            }
    }
}

/// A client that tracks.
struct Tracker {
    own: Arc<Outbox>,
    /// Who gets its messages instead.
    target: Option<Arc<Outbox>>,
    broken: Arc<AtomicBool>,
    no_loop: bool,
    prefixes: Vec<Box<[u8]>>,
}

type Readers = SmallVec<[u64; 2]>;
type Table = AHashMap<Box<[u8]>, Readers>;

#[derive(Default)]
struct Prefixes {
    by_name: AHashMap<Box<[u8]>, Vec<u64>>,
    /// How many prefixes there are of each length.
    lengths: BTreeMap<usize, usize>,
}

/// All clients that track, and what they have read.
pub struct Tracking {
    clients: RwLock<AHashMap<u64, Tracker>>,
    shards: Vec<Mutex<Table>>,
    hasher: RandomState,
    prefixes: RwLock<Prefixes>,
    /// Keys in the table, and the readers of all of them.
    keys: AtomicUsize,
    readers: AtomicUsize,
    /// Where the next key is forgotten when the table is full.
    next_shard: AtomicUsize,
    /// Up while anybody tracks: commits look at it.
    wanted: Arc<AtomicBool>,
    pubsub: Arc<PubSub>,
    config: Arc<Config>,
}

/// The figures of INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Clients that track.
    pub clients: usize,
    /// Keys in the table.
    pub keys: usize,
    /// Readers of keys, each counted once a key.
    pub readers: usize,
    /// Prefixes of clients that broadcast.
    pub prefixes: usize,
}

impl Tracking {
    /// Nobody tracks. `wanted` is up while anybody does.
    pub fn new(wanted: Arc<AtomicBool>, pubsub: Arc<PubSub>, config: Arc<Config>) -> Tracking {
        Tracking {
            clients: RwLock::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            prefixes: RwLock::default(),
            keys: AtomicUsize::new(0),
            readers: AtomicUsize::new(0),
            next_shard: AtomicUsize::new(0),
            wanted,
            pubsub,
            config,
        }
    }

    /// A client tracks from now on, in this way and no other. `broken` is raised when its target has gone.
    pub fn begin(
        &self,
        options: &Options,
        own: &Arc<Outbox>,
        target: Option<Arc<Outbox>>,
        broken: &Arc<AtomicBool>,
    ) {
        let mut clients = self.clients.write();
        broken.store(false, Ordering::Release);
        let mut prefixes = options.prefixes.clone();
        if options.broadcasts && prefixes.is_empty() {
            prefixes.push(Box::default());
        }
        let id = own.id();
        let tracker = Tracker {
            own: Arc::clone(own),
            target,
            broken: Arc::clone(broken),
            no_loop: options.no_loop,
            prefixes: prefixes.clone(),
        };
        if let Some(old) = clients.insert(id, tracker) {
            self.prefixes.write().leave(id, &old.prefixes);
        }
        self.prefixes.write().join(id, &prefixes);
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// A client tracks no more.
    pub fn end(&self, id: u64) {
        let mut clients = self.clients.write();
        let Some(old) = clients.remove(&id) else { return };
        self.prefixes.write().leave(id, &old.prefixes);
        if clients.is_empty() {
            self.wanted.store(false, Ordering::SeqCst);
            self.forget_all();
        }
    }

    /// A client is about to read a key, under the key's lock.
    pub fn remember(&self, id: u64, key: &[u8]) {
        let is_new = {
            let mut shard = self.shards[self.shard(key)].lock();
            let is_new = !shard.contains_key(key);
            let readers = if is_new {
                shard.entry(key.into()).or_default()
            } else {
                let Some(readers) = shard.get_mut(key) else { return };
                readers
            };
            if readers.contains(&id) {
                return;
            }
            readers.push(id);
            self.readers.fetch_add(1, Ordering::Relaxed);
            if is_new {
                self.keys.fetch_add(1, Ordering::Relaxed);
            }
            is_new
        };
        // With the one in `invalidate`: who looks at the stripes after this, finds them moved or is found in the table.
        fence(Ordering::SeqCst);
        if !is_new {
            return;
        }
        self.keep_limit();
    }

    /// Forgets some keys if there are more than `tracking-table-max-keys`. True if there are still more.
    pub fn keep_limit(&self) -> bool {
        let keys_max = self.config.tracking_table_keys_max();
        let is_over = || keys_max > 0 && self.keys.load(Ordering::Relaxed) as u64 > keys_max;
        for _ in 0..FORGOTTEN_AT_ONCE {
            if !is_over() || !self.forget_one() {
                return false;
            }
        }
        is_over()
    }

    /// Keys have changed, by this client's doing. Called under their locks.
    pub fn invalidate(&self, keys: &mut dyn Iterator<Item = &[u8]>, author: u64, rests: Rests) {
        fence(Ordering::SeqCst);
        let clients = self.clients.read();
        let prefixes = self.prefixes.read();
        // In the order of their names, each once: one command may change a key of two databases.
        let mut by_prefix: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
        for key in keys {
            if self.keys.load(Ordering::Relaxed) > 0
                && let Some(readers) = self.take(key)
            {
                let told =
                    |id: &&u64| !(**id == author && clients.get(id).is_some_and(|tracker| tracker.no_loop));
                for id in readers.iter().filter(told) {
                    self.tell(&clients, *id, Some(&[key]), rests);
                }
            }
            for (&len, _) in prefixes.lengths.range(..=key.len()) {
                if let Some((prefix, _)) = prefixes.by_name.get_key_value(&key[..len]) {
                    by_prefix.entry(prefix).or_default().insert(key);
                }
            }
        }
        for (prefix, keys) in by_prefix {
            let keys: Vec<&[u8]> = keys.into_iter().collect();
            for id in prefixes.by_name.get(prefix).into_iter().flatten() {
                let is_own = *id == author && clients.get(id).is_some_and(|tracker| tracker.no_loop);
                if !is_own {
                    self.tell(&clients, *id, Some(&keys), rests);
                }
            }
        }
    }

    /// Whole databases have changed: nothing that anybody holds is sure.
    pub fn invalidate_all(&self, rests: Rests) {
        let clients = self.clients.read();
        self.forget_all();
        for id in clients.keys() {
            self.tell(&clients, *id, None, rests);
        }
    }

    /// The figures of INFO.
    pub fn figures(&self) -> Figures {
        Figures {
            clients: self.clients.read().len(),
            keys: self.keys.load(Ordering::Relaxed),
            readers: self.readers.load(Ordering::Relaxed),
            prefixes: self.prefixes.read().by_name.len(),
        }
    }

    fn shard(&self, key: &[u8]) -> usize {
        (self.hasher.hash_one(key) % SHARDS as u64) as usize
    }

    fn take(&self, key: &[u8]) -> Option<Readers> {
        let readers = self.shards[self.shard(key)].lock().remove(key)?;
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.readers.fetch_sub(readers.len(), Ordering::Relaxed);
        Some(readers)
    }

    /// Makes room: some key is as good as changed. False when there is none.
    fn forget_one(&self) -> bool {
        let start = self.next_shard.fetch_add(1, Ordering::Relaxed);
        let clients = self.clients.read();
        for step in 0..SHARDS {
            let mut shard = self.shards[(start + step) % SHARDS].lock();
            let Some(key) = shard.keys().next().cloned() else { continue };
            let readers = shard.remove(&key).unwrap_or_default();
            drop(shard);
            self.keys.fetch_sub(1, Ordering::Relaxed);
            self.readers.fetch_sub(readers.len(), Ordering::Relaxed);
            for id in readers {
                self.tell(&clients, id, Some(&[&key]), Rests::default());
            }
            return true;
        }
        false
    }

    fn forget_all(&self) {
        for shard in &self.shards {
            let table = std::mem::take(&mut *shard.lock());
            self.keys.fetch_sub(table.len(), Ordering::Relaxed);
            self.readers.fetch_sub(table.values().map(|readers| readers.len()).sum(), Ordering::Relaxed);
        }
    }

    /// Tells a client of keys; without any, of everything.
    fn tell(&self, clients: &AHashMap<u64, Tracker>, id: u64, keys: Option<&[&[u8]]>, rests: Rests) {
        let Some(tracker) = clients.get(&id) else { return };
        let standing = self.pubsub.standing();
        let receiver = match &tracker.target {
            Some(target) if target.is_closed() => {
                tracker.broken.store(true, Ordering::Release);
                if tracker.own.proto() == Proto::Resp3 {
                    tracker.own.put(&broken_message(target.id()), Rests::default(), &standing);
                }
                return;
            }
            Some(target) => target,
            None => &tracker.own,
        };
        // What speaks RESP2 hears only as one that listens, and only for another.
        let listens = tracker.target.is_some() && receiver.subscriptions() > 0;
        match receiver.proto() {
            Proto::Resp2 if !listens => {}
            proto => receiver.put(&invalidation(keys, proto, tracker.own.proto()), rests, &standing),
        }
    }
}

impl Prefixes {
    fn join(&mut self, id: u64, names: &[Box<[u8]>]) {
        for name in names {
            if !self.by_name.contains_key(name) {
                *self.lengths.entry(name.len()).or_default() += 1;
            }
            self.by_name.entry(name.clone()).or_default().push(id);
        }
    }

    fn leave(&mut self, id: u64, names: &[Box<[u8]>]) {
        for name in names {
            let Some(ids) = self.by_name.get_mut(name) else { continue };
            ids.retain(|other| *other != id);
            if !ids.is_empty() {
                continue;
            }
            self.by_name.remove(name);
            if let Some(count) = self.lengths.get_mut(&name.len()) {
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(&name.len());
                }
            }
        }
    }
}

/// `invalidate` and the keys, as a push or as a message of a channel. Null for everything is the tracking client's own null.
fn invalidation(keys: Option<&[&[u8]]>, proto: Proto, own: Proto) -> Message {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Proto::Resp2);
    match proto {
        Proto::Resp3 => {
            reply.push(2);
            reply.bulk(b"invalidate");
        }
        Proto::Resp2 => {
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(b"__redis__:invalidate");
        }
    }
    match keys {
        Some(keys) => {
            reply.array(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
        None => reply.raw(if own == Proto::Resp3 { b"_\r\n" } else { b"$-1\r\n" }),
    }
    Message::raw(&out)
}

fn broken_message(id: u64) -> Message {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Proto::Resp2);
    reply.push(2);
    reply.bulk(b"tracking-redir-broken");
    reply.integer(id as i64);
    Message::raw(&out)
}

#[cfg(test)]
mod tests;
