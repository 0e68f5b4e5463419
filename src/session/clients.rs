//! The list of connections: what CLIENT LIST shows, what CLIENT KILL ends.
//!
//! Each connection owns a `ClientInfo` and keeps its figures current with relaxed stores; others only read them. The list itself
//! is one mutex, taken when a connection comes or goes and by CLIENT LIST and KILL.

use crate::base::clock::Clock;
use crate::pubsub::{Kind, Outbox};
use crate::resp::Proto;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

/// What kind of client a connection is, as CLIENT KILL TYPE names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// An ordinary one.
    Normal,
    /// One in subscribe mode.
    PubSub,
    /// A replica.
    Replica,
    /// The primary, seen from a replica.
    Primary,
}

/// One connection in the list. Byte figures are of its buffers.
#[derive(Debug)]
pub struct ClientInfo {
    /// Its id, never used twice.
    pub id: u64,
    /// The other end.
    pub address: SocketAddr,
    /// This end.
    pub local_address: SocketAddr,
    /// The socket's file descriptor.
    pub descriptor: i32,
    /// When it came, unix milliseconds.
    pub created_ms: u64,
    /// When it last sent something, unix milliseconds.
    pub active_ms: AtomicU64,
    /// The database it has selected.
    pub database: AtomicU32,
    /// 2 or 3.
    pub protocol: AtomicU32,
    /// Commands queued by MULTI, plus one; 0 when not in MULTI.
    pub queued: AtomicUsize,
    /// Bytes of queued commands.
    pub queued_bytes: AtomicUsize,
    /// Keys it watches.
    pub watched: AtomicUsize,
    /// Bytes that the query buffer takes, as of the last burst's end.
    pub query_bytes: AtomicUsize,
    /// Bytes in it: of a request that has not come whole.
    pub unread_bytes: AtomicUsize,
    /// Bytes of replies not yet sent.
    pub output_bytes: AtomicUsize,
    /// Bytes received since it came.
    pub received_bytes: AtomicU64,
    /// Bytes sent since it came.
    pub sent_bytes: AtomicU64,
    /// Commands run since it came.
    pub commands: AtomicU64,
    /// It waits in a blocking command.
    pub blocked: AtomicBool,
    /// CLIENT PAUSE holds its next command back, or WAIT its reply.
    pub postponed: AtomicBool,
    /// MONITOR.
    pub monitors: AtomicBool,
    /// CLIENT NO-EVICT.
    pub no_evict: AtomicBool,
    /// CLIENT NO-TOUCH.
    pub no_touch: AtomicBool,
    /// How it tracks keys: `TRACKS`, `BROADCASTS`, or 0.
    pub tracking: AtomicU32,
    /// Who gets its invalidation messages: -1 when it does not track, 0 itself, or a client's id.
    pub redirect: AtomicI64,
    /// That one has gone.
    pub redirect_broken: Arc<AtomicBool>,
    /// Name, library name and version, last command.
    pub labels: Mutex<Labels>,
    /// What it is sent unasked; there from its first subscription on.
    outbox: OnceLock<Arc<Outbox>>,
    killed: AtomicBool,
    /// Wakes the connection when it is killed. Only its own task waits, so there is room for one.
    waker: Mutex<Option<Waker>>,
}

/// What a client says of itself, and its last command.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    /// CLIENT SETNAME.
    pub name: Arc<[u8]>,
    /// CLIENT SETINFO lib-name.
    pub lib_name: Arc<[u8]>,
    /// CLIENT SETINFO lib-ver.
    pub lib_version: Arc<[u8]>,
    /// The last command, as `get` or `config|get`.
    pub command: &'static str,
}

/// Whom CLIENT KILL means; every given field must match.
#[derive(Debug, Clone, Default)]
pub struct KillFilter {
    /// These ids.
    pub ids: Vec<u64>,
    /// This address.
    pub address: Option<String>,
    /// This local address.
    pub local_address: Option<String>,
    /// Only clients of this kind.
    pub kind: Option<ClientKind>,
    /// Only clients of this user.
    pub user: Option<String>,
    /// Only clients at least this old, in seconds.
    pub age_seconds_min: Option<u64>,
    /// Spare this client.
    pub spare: Option<u64>,
}

/// CLIENT TRACKING is on.
pub const TRACKS: u32 = 1;
/// It is in broadcasting mode.
pub const BROADCASTS: u32 = 2;

impl ClientInfo {
    /// Tells the connection to end.
    pub fn end(&self) {
        self.killed.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the connection look again at what it waits for.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }

    /// It was told to end.
    pub fn is_ended(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Waits until the connection is told to end. For the connection's own task; costs next to nothing to begin and drop.
    pub async fn ended(&self) {
        poll_fn(|context| {
            let mut slot = self.waker.lock();
            if self.is_ended() {
                return Poll::Ready(());
            }
            if !slot.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *slot = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// It waits for something, or is held back.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed) || self.postponed.load(Ordering::Relaxed)
    }

    /// Bytes it holds in memory.
    pub fn bytes(&self) -> usize {
        let buffers = self.query_bytes.load(Ordering::Relaxed) + self.output_bytes.load(Ordering::Relaxed);
        let messages = self.outbox().map_or(0, |outbox| outbox.bytes());
        std::mem::size_of::<ClientInfo>() + buffers + messages + self.queued_bytes.load(Ordering::Relaxed)
    }

    /// What it is sent unasked, if it ever was to be sent such a thing.
    pub fn outbox(&self) -> Option<&Arc<Outbox>> {
        self.outbox.get()
    }

    /// The same for a connection that others want to send something: it may be waiting for its client meanwhile.
    pub fn make_outbox_from_outside(self: &Arc<ClientInfo>) -> &Arc<Outbox> {
        let outbox = self.make_outbox();
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
        outbox
    }

    /// The same, made if it is not there.
    pub fn make_outbox(self: &Arc<ClientInfo>) -> &Arc<Outbox> {
        self.outbox.get_or_init(|| {
            let proto = if self.protocol.load(Ordering::Relaxed) == 3 { Proto::Resp3 } else { Proto::Resp2 };
            let client = Arc::downgrade(self);
            Outbox::new(self.id, proto, move || {
                if let Some(client) = client.upgrade() {
                    client.end();
                }
            })
        })
    }

    /// How many subscriptions of a kind it has.
    pub fn subscriptions(&self, kind: Kind) -> usize {
        self.outbox().map_or(0, |outbox| outbox.count(kind))
    }

    /// Whether it listens or is an ordinary client.
    pub fn kind(&self) -> ClientKind {
        match self.outbox() {
            Some(outbox) if outbox.subscriptions() > 0 => ClientKind::PubSub,
            _ => ClientKind::Normal,
        }
    }
}

impl KillFilter {
    /// True when the filter means this client. Every connection is of the user `default` for now.
    pub fn matches(&self, client: &ClientInfo, now_ms: u64) -> bool {
        (self.ids.is_empty() || self.ids.contains(&client.id))
            && self.address.as_deref().is_none_or(|address| client.address.to_string() == address)
            && self.local_address.as_deref().is_none_or(|address| client.local_address.to_string() == address)
            && self.kind.is_none_or(|kind| client.kind() == kind)
            && self.user.as_deref().is_none_or(|user| user == "default")
            && self.age_seconds_min.is_none_or(|age| now_ms.saturating_sub(client.created_ms) / 1000 >= age)
            && self.spare != Some(client.id)
    }
}

/// All connections.
pub struct Clients {
    list: Mutex<BTreeMap<u64, Arc<ClientInfo>>>,
    next_id: AtomicU64,
    clock: Clock,
}

impl Clients {
    /// An empty list.
    pub fn new(clock: Clock) -> Clients {
        Clients { list: Mutex::default(), next_id: AtomicU64::new(1), clock }
    }

    /// A connection has come.
    pub fn add(&self, address: SocketAddr, local_address: SocketAddr, descriptor: i32) -> Arc<ClientInfo> {
        let now_ms = self.clock.now_ms();
        let client = Arc::new(ClientInfo {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            address,
            local_address,
            descriptor,
            created_ms: now_ms,
            active_ms: AtomicU64::new(now_ms),
            database: AtomicU32::new(0),
            protocol: AtomicU32::new(2),
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            watched: AtomicUsize::new(0),
            query_bytes: AtomicUsize::new(0),
            unread_bytes: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            postponed: AtomicBool::new(false),
            monitors: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            tracking: AtomicU32::new(0),
            redirect: AtomicI64::new(-1),
            redirect_broken: Arc::default(),
            labels: Mutex::default(),
            outbox: OnceLock::new(),
            killed: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        self.list.lock().insert(client.id, Arc::clone(&client));
        client
    }

    /// A connection has gone.
    pub fn remove(&self, id: u64) {
        self.list.lock().remove(&id);
    }

    /// All connections, oldest first.
    pub fn all(&self) -> Vec<Arc<ClientInfo>> {
        self.list.lock().values().cloned().collect()
    }

    /// One connection.
    pub fn get(&self, id: u64) -> Option<Arc<ClientInfo>> {
        self.list.lock().get(&id).cloned()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.lock().len()
    }

    /// True when nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those a filter means.
    pub fn matching(&self, filter: &KillFilter) -> Vec<Arc<ClientInfo>> {
        let now_ms = self.clock.now_ms();
        self.all().into_iter().filter(|client| filter.matches(client, now_ms)).collect()
    }
}
