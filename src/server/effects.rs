//! What a committed command changes outside the data, applied to its connection and the server.

use super::connection::Connection;
use super::{Shared, retune, save, shown};
use crate::dispatch::node::Node;
use crate::dispatch::pauses::PauseMode;
use crate::resp::Proto;
use crate::session::{Effect, Multi, Queued, ReplyMode, Session, Watched};
use crate::tracking::Options;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Applies one effect. Effects come after the commit, in the order the handler gave them.
pub(super) fn apply(connection: &mut Connection, effect: Effect) {
    let shared = Rc::clone(&connection.shared);
    let node = &shared.node;
    let session = &mut connection.session;
    let client = Arc::clone(&session.client);
    match effect {
        Effect::Select(database) => {
            session.database = database;
            client.database.store(database, Ordering::Relaxed);
        }
        Effect::SetProto(proto) => {
            session.proto = proto;
            client.protocol.store(if proto == Proto::Resp3 { 3 } else { 2 }, Ordering::Relaxed);
            if let Some(outbox) = client.outbox() {
                outbox.set_proto(proto);
            }
        }
        Effect::Authenticate => session.authenticated = true,
        Effect::SetName(name) => client.labels.lock().name = name,
        Effect::SetLibName(name) => client.labels.lock().lib_name = name,
        Effect::SetLibVersion(version) => client.labels.lock().lib_version = version,
        Effect::BeginMulti => set_multi(session, Some(Multi::default())),
        Effect::Queue(queued) => queue(node, session, queued),
        Effect::AbortMulti => {
            if let Some(multi) = session.multi.as_mut() {
                Arc::make_mut(multi).aborted = true;
            }
        }
        Effect::Ran { command, duration_us, error } => {
            node.stats.ran(connection.worker, command, duration_us, error.is_some());
            client.commands.fetch_add(1, Ordering::Relaxed);
            if let Some(text) = error {
                node.stats.error(&text);
            }
        }
        Effect::RanMany(tally) => {
            node.stats.add(connection.worker, &tally);
            client.commands.fetch_add(tally.calls(), Ordering::Relaxed);
        }
        Effect::Slow { args, command, duration_us, by_script } => {
            shown::note_slow(&shared, &client, (command, args.args(), duration_us), by_script);
        }
        Effect::ResetSlowLog => node.slowlog.reset(),
        Effect::EndMulti => {
            set_multi(session, None);
            unwatch(&connection.shared, &mut connection.session);
        }
        Effect::Watch(watched) => watch(connection, watched),
        Effect::Unwatch => unwatch(&connection.shared, &mut connection.session),
        Effect::Reset => reset(connection),
        Effect::Close => connection.closing = true,
        Effect::SetReplyMode(mode) => session.reply_mode = mode,
        Effect::SetNoEvict(on) => client.no_evict.store(on, Ordering::Relaxed),
        Effect::SetNoTouch(on) => {
            session.no_touch = on;
            client.no_touch.store(on, Ordering::Relaxed);
        }
        Effect::Kill(filter) => {
            for victim in node.clients.matching(&filter) {
                if victim.id == client.id {
                    connection.closing = true;
                } else {
                    victim.end();
                }
            }
        }
        Effect::Unblock { client, with_error } => {
            let state = match with_error {
                true => crate::waiters::State::UnblockedByError,
                false => crate::waiters::State::UnblockedByTimeout,
            };
            node.keyspace.waiters().unblock(client, state);
        }
        Effect::Monitor => {
            client.monitors.store(true, Ordering::Relaxed);
            node.monitors.begin(client.make_outbox());
        }
        Effect::Pause { writes_only, until_ms } => {
            let mode = if writes_only { PauseMode::Write } else { PauseMode::All };
            node.pauses.begin(mode, until_ms, node.clock.now_ms());
        }
        Effect::Unpause => node.pauses.end(),
        Effect::Configure(pairs) => {
            node.config.apply(&pairs);
            retune::retune(node);
            shared.claims.look();
            if pairs.iter().any(|(name, _)| name == "timeout") {
                // Who is silent is measured by it from now on.
                node.clients.all().iter().for_each(|client| client.wake());
            }
        }
        Effect::ResetStatistics => {
            node.stats.reset();
            node.keyspace.figures().reset();
            node.traffic.reset();
            node.vitals.reset();
        }
        Effect::Shutdown => node.request_shutdown(),
        Effect::Checkpoint => save::start(&shared),
        Effect::CutLog => save::start_cut(&shared),
        Effect::Subscriptions(changes) => connection.change_subscriptions(changes),
        Effect::Publish { kind, channel, payload } => connection.publish(kind, &channel, &payload),
        Effect::Track(options) => track(&shared, session, options),
        Effect::ChooseCaching => session.has_chosen = true,
        Effect::Sleep(duration) => connection.delay = Some(duration),
    }
}

/// The connection ends: nothing watches or is queued for it any more.
pub(super) fn forget_session(shared: &Shared, session: &mut Session) {
    unwatch(shared, session);
    set_multi(session, None);
    if let Some(outbox) = session.client.outbox() {
        shared.node.pubsub.unsubscribe_all(outbox);
        shared.node.monitors.end(outbox);
        session.client.monitors.store(false, Ordering::Relaxed);
        track(shared, session, None);
    }
}

fn set_multi(session: &mut Session, multi: Option<Multi>) {
    let client = &session.client;
    client.queued.store(usize::from(multi.is_some()), Ordering::Relaxed);
    client.queued_bytes.store(0, Ordering::Relaxed);
    session.multi = multi.map(Arc::new);
}

fn queue(node: &Node, session: &mut Session, queued: Queued) {
    if let Some(multi) = session.multi.as_mut() {
        let multi = Arc::make_mut(multi);
        multi.bytes += queued.args.bytes();
        let subscribes = |name: &str| name == "reset" || name.ends_with("subscribe");
        multi.subscribes |= node.table.entry(queued.command).is_some_and(|entry| subscribes(entry.name));
        multi.queue.push(queued);
        session.client.queued.store(multi.queue.len() + 1, Ordering::Relaxed);
        session.client.queued_bytes.store(multi.bytes, Ordering::Relaxed);
    }
}

fn watch(connection: &mut Connection, watched: Watched) {
    let session = &mut connection.session;
    if session.watched.contains(&watched) {
        return;
    }
    let keyspace = &connection.shared.node.keyspace;
    keyspace.watch(watched.database, &watched.row, &session.watch_flag, watched.existed);
    session.watched.insert(watched);
    session.client.watched.store(session.watched.len(), Ordering::Relaxed);
}

fn unwatch(shared: &Shared, session: &mut Session) {
    if session.watched.is_empty() {
        return;
    }
    for watched in session.watched.drain() {
        shared.node.keyspace.watches().remove(&watched.row, &session.watch_flag);
    }
    // A fresh flag: a commit that still holds the old one can no longer harm.
    session.watch_flag = Arc::default();
    session.client.watched.store(0, Ordering::Relaxed);
}

fn track(shared: &Shared, session: &mut Session, options: Option<Arc<Options>>) {
    shared.node.track(&session.client, options.as_deref());
    if options.is_none() {
        session.has_chosen = false;
    }
    session.tracking = options;
}

fn reset(connection: &mut Connection) {
    forget_session(&connection.shared, &mut connection.session);
    connection.has_left = true;
    let authenticated = connection.shared.node.config.requirepass().is_empty();
    let client = Arc::clone(&connection.session.client);
    client.labels.lock().name = Arc::default();
    client.database.store(0, Ordering::Relaxed);
    client.protocol.store(2, Ordering::Relaxed);
    client.no_evict.store(false, Ordering::Relaxed);
    client.no_touch.store(false, Ordering::Relaxed);
    let session = &mut connection.session;
    session.database = 0;
    session.proto = Proto::Resp2;
    if let Some(outbox) = client.outbox() {
        outbox.set_proto(Proto::Resp2);
    }
    session.authenticated = authenticated;
    session.no_touch = false;
    session.reply_mode = ReplyMode::On;
}
