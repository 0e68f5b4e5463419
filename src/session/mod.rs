//! One connection as its commands see it, and the list of all of them.
//!
//! A handler reads its `Session` and changes nothing in it: what it wants changed it leaves as an `Effect`, which the
//! connection applies once the run has committed. So a handler may run twice and happen once.

mod clients;
mod effect;

pub use clients::{BROADCASTS, ClientInfo, ClientKind, Clients, KillFilter, TRACKS};
pub use effect::{Effect, ReplyMode, SubscriptionChange};

use crate::encoding::row::RowKey;
use crate::resp::{OwnedArgs, Proto};
use crate::tracking::Options;
use ahash::AHashSet;
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a command may know of its connection. Cheap to clone: a parked command takes a copy along.
#[derive(Clone)]
pub struct Session {
    /// The list entry of this connection; its id, addresses and name are there.
    pub client: Arc<ClientInfo>,
    /// The logical database SELECT chose.
    pub database: u32,
    /// RESP2 or RESP3.
    pub proto: Proto,
    /// AUTH has been passed, or none is needed.
    pub authenticated: bool,
    /// What MULTI has gathered, between MULTI and EXEC.
    pub multi: Option<Arc<Multi>>,
    /// What WATCH watches.
    pub watched: AHashSet<Watched>,
    /// Raised when something watched has changed.
    pub watch_flag: Arc<AtomicBool>,
    /// CLIENT TRACKING.
    pub tracking: Option<Arc<Options>>,
    /// CLIENT CACHING was said for the next command.
    pub has_chosen: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
}

/// The commands between MULTI and EXEC. The commands' names are resolved again by EXEC.
#[derive(Clone, Default)]
pub struct Multi {
    /// The queued requests.
    pub queue: Vec<Queued>,
    /// A command was refused when it was queued: EXEC will abort.
    pub aborted: bool,
    /// Bytes of the requests.
    pub bytes: usize,
    /// One of them changes what the connection has subscribed to.
    pub subscribes: bool,
}

/// A command between MULTI and EXEC.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its number in the table.
    pub command: usize,
    /// The request, whole.
    pub args: OwnedArgs,
}

/// A key WATCH watches; a set of them has each row once.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The logical database and name, for EXEC's locks.
    pub database: u32,
    /// The key's bytes.
    pub name: Arc<[u8]>,
    /// Its head row, under which the keyspace knows the watch.
    pub row: RowKey,
    /// When it expires, as of WATCH; unless it changes (and then the flag is up), that stays true.
    pub expires_at_ms: Option<u64>,
    /// There was such a key.
    pub existed: bool,
}

impl Borrow<[u8]> for Watched {
    fn borrow(&self) -> &[u8] {
        &self.row
    }
}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.row[..].hash(state);
    }
}

impl PartialEq for Watched {
    fn eq(&self, other: &Watched) -> bool {
        self.row == other.row
    }
}

impl Eq for Watched {}

impl Session {
    /// A fresh connection.
    pub fn new(client: Arc<ClientInfo>, authenticated: bool) -> Session {
        Session {
            client,
            database: 0,
            proto: Proto::Resp2,
            authenticated,
            multi: None,
            watched: AHashSet::new(),
            watch_flag: Arc::default(),
            tracking: None,
            has_chosen: false,
            no_touch: false,
            reply_mode: ReplyMode::On,
        }
    }

    /// True in RESP2's subscribe mode, in which only a few commands are allowed.
    pub fn only_listens(&self) -> bool {
        self.proto == Proto::Resp2 && self.client.kind() == ClientKind::PubSub
    }

    /// True when EXEC must answer null: something watched has changed, or has expired meanwhile.
    pub fn watch_broken(&self, now_ms: u64) -> bool {
        self.watch_flag.load(Ordering::Acquire)
            || self.watched.iter().any(|watched| watched.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms))
    }
}
