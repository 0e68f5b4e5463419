//! What a committed command changes outside the data: its own connection, other connections, the server's settings.

use super::{KillFilter, Queued, Watched};
use crate::metrics::stats::Tally;
use crate::pubsub::{Kind, Name};
use crate::resp::{OwnedArgs, Proto};
use crate::tracking::Options;
use std::sync::Arc;

/// Whether a connection gets replies (CLIENT REPLY).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// Every reply is sent.
    On,
    /// None is.
    Off,
    /// The reply to the next command is left out.
    SkipNext,
    /// The reply to this command is left out.
    SkipThis,
}

/// One subscription begun or ended.
#[derive(Debug, Clone)]
pub struct SubscriptionChange {
    /// What the name is of.
    pub kind: Kind,
    /// The channel or pattern.
    pub name: Name,
    /// It begins.
    pub begins: bool,
}

/// One change, applied after the commit, in the order given.
#[derive(Debug, Clone)]
pub enum Effect {
    /// SELECT.
    Select(u32),
    /// HELLO.
    SetProto(Proto),
    /// AUTH was passed.
    Authenticate,
    /// CLIENT SETNAME; empty takes the name away.
    SetName(Arc<[u8]>),
    /// CLIENT SETINFO lib-name.
    SetLibName(Arc<[u8]>),
    /// CLIENT SETINFO lib-ver.
    SetLibVersion(Arc<[u8]>),
    /// MULTI.
    BeginMulti,
    /// A command between MULTI and EXEC.
    Queue(Queued),
    /// A command between MULTI and EXEC was refused.
    AbortMulti,
    /// A command ran inside EXEC: its number in the table, how long it took, and its error if it answered one. For statistics.
    Ran {
        /// The command.
        command: usize,
        /// How long it took, microseconds.
        duration_us: u64,
        /// The error, code first.
        error: Option<Box<[u8]>>,
    },
    /// Many commands within a script ran, or were refused.
    RanMany(Box<Tally>),
    /// A command that ran inside EXEC or a script was slow.
    Slow {
        /// Its words.
        args: OwnedArgs,
        /// Its whole name.
        command: &'static str,
        /// How long it took, microseconds.
        duration_us: u64,
        /// A script ran it.
        by_script: bool,
    },
    /// SLOWLOG RESET.
    ResetSlowLog,
    /// EXEC or DISCARD: the queue and the watches are gone.
    EndMulti,
    /// WATCH.
    Watch(Watched),
    /// UNWATCH.
    Unwatch,
    /// RESET.
    Reset,
    /// Close after the reply.
    Close,
    /// CLIENT REPLY.
    SetReplyMode(ReplyMode),
    /// CLIENT NO-EVICT.
    SetNoEvict(bool),
    /// CLIENT NO-TOUCH.
    SetNoTouch(bool),
    /// CLIENT KILL: whom.
    Kill(KillFilter),
    /// CLIENT UNBLOCK: whom, and with an error or as if its time were up.
    Unblock {
        /// The client's id.
        client: u64,
        /// Answer an error.
        with_error: bool,
    },
    /// MONITOR.
    Monitor,
    /// CLIENT PAUSE.
    Pause {
        /// Only what may change data is held back.
        writes_only: bool,
        /// Until when, unix milliseconds.
        until_ms: u64,
    },
    /// CLIENT UNPAUSE.
    Unpause,
    /// CONFIG SET: the checked changes, as name and value.
    Configure(Vec<(String, String)>),
    /// CONFIG RESETSTAT.
    ResetStatistics,
    /// SHUTDOWN.
    Shutdown,
    /// BGSAVE: make a checkpoint on the pool.
    Checkpoint,
    /// BGREWRITEAOF: cut the log on the pool.
    CutLog,
    /// SUBSCRIBE, UNSUBSCRIBE and their kin, also when nothing changes: its reply is sent even with CLIENT REPLY OFF.
    Subscriptions(Vec<SubscriptionChange>),
    /// PUBLISH, SPUBLISH.
    Publish {
        /// A channel or a shard channel.
        kind: Kind,
        /// Its name.
        channel: Name,
        /// What is said.
        payload: Box<[u8]>,
    },
    /// CLIENT TRACKING: how it tracks from now on, or no more.
    Track(Option<Arc<Options>>),
    /// CLIENT CACHING YES or NO, for the next command.
    ChooseCaching,
    /// DEBUG SLEEP and the like: hold this connection back for so long.
    Sleep(std::time::Duration),
}

impl Effect {
    /// Whether somebody may notice when it is applied. Statistics can wait until the group of their command is settled.
    pub fn acts(&self) -> bool {
        !matches!(self, Effect::Ran { .. } | Effect::RanMany(_))
    }
}
