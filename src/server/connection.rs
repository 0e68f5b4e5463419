//! One connection: read a burst, run its commands, flush the log once, write once.
//!
//! Commands run synchronously on the worker: where they can, as members of the worker's group (`dispatch::group`), which is settled when
//! the first connection wants its replies out; until then their requests stay in the buffer, for a group that stalls is run
//! again. What pauses a run is seen to in `pause`; until it is over, the connection's later commands wait. Replies gather in `output` and are let go by `flush`, which first sees to it that
//! the log is flushed (with `appendfsync always`: synced) up to the highest sequence that any of them could have seen. If that
//! fails, every one of them becomes an error.

use super::effects::{apply, forget_session};
use super::messages::filled;
use super::sending::Sending;
use super::worker::Desk;
use super::{Local, Shared};
use crate::base::random::Rng;
use crate::dispatch::group::{Settled, Ticket};
use crate::dispatch::prepare::{Prepared, may_speak, misconf_text, prepare};
use crate::dispatch::run::{self, Bench, Pause, Ran, Request, Runner};
use crate::dispatch::table::Entry;
use crate::keyspace::RunIdentity;
use crate::pubsub::Receipt;
use crate::resp::{Decoded, Decoder, Limits, OwnedArgs, Reply};
use crate::session::{ClientKind, Effect, Queued, ReplyMode, Session};
use bytes::{Buf, BytesMut};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Read at a time, at least.
const READ_BYTES: usize = 16 << 10;
/// So many bytes of requests are taken from a client that does not read its replies.
const BESIDE_BYTES_MAX: usize = 64 << 20;
/// Replies beyond this are flushed in the middle of a burst.
const FLUSH_BYTES: usize = 1 << 20;
/// Room of so many bytes is made before it is taken.
const CLAIMED_BYTES_MIN: usize = 16 << 20;
/// When so much of a request has come, the query buffer gets room for all of it: what a buffer leaves behind when it moves stays with
/// the allocator for a while, so a huge one must not move late.
const BELIEVED_BYTES: usize = 4 << 20;
/// A connection with more to run or to send lets the worker's others go first after so much of it.
const TURN_US: u64 = 100;
/// Its commands stay in an open group for so much longer, turn after turn: of a row that they all write the group writes one.
const GROUP_US: u64 = 1000;
/// An idle connection gives back buffers larger than this.
const KEEP_BYTES: usize = 64 << 10;

/// Buffers, session and socket of one connection.
pub(super) struct Connection {
    pub(super) shared: Rc<Local>,
    pub(super) worker: usize,
    /// Decides which worker serves it.
    pub(super) seat: usize,
    pub(super) bench: Rc<RefCell<Bench>>,
    pub(super) rng: Rng,
    pub(super) stream: TcpStream,
    pub(super) session: Session,
    pub(super) decoder: Decoder,
    pub(super) input: BytesMut,
    pub(super) output: Vec<u8>,
    /// Replies that may go and have not gone yet, and for whom they wait no longer (`sending`).
    pub(super) sending: Sending,
    /// Commands of an open group, and where to learn what becomes of it.
    members: Vec<Member>,
    pub(super) ticket: Option<Ticket>,
    /// When the first of them came.
    joined_us: u64,
    /// Room that the query buffer is to get before more is read.
    claimed: usize,
    /// Bytes at the front of `input` that `members` stand for.
    pub(super) ahead: usize,
    /// The group stalled: its commands are run by themselves.
    pub(super) alone: bool,
    /// Replies in `output` that are not let go yet, and up to where the log must be flushed for them.
    pub(super) replies: usize,
    pub(super) sequence: u64,
    pub(super) epoch: u64,
    /// Hold the replies back for so long (WAIT, DEBUG SLEEP).
    pub(super) delay: Option<Duration>,
    /// Close once the replies are sent.
    pub(super) closing: bool,
    /// A message of this connection is still on its way.
    pub(super) posted: Option<Receipt>,
    /// A subscription has ended: what it brought stands before the reply that says so.
    pub(super) has_left: bool,
    /// The last flush gave up its replies.
    pub(super) has_retracted: bool,
    pub(super) last_command: usize,
    /// The time as of the last command's end, monotonic and unix, microseconds: one look at the clock per command.
    mono_us: u64,
    /// Since when it has kept its worker, if it has not waited for its client since.
    turn_began_us: Option<u64>,
    now_us: u64,
}

/// A command that has run as one of a group.
struct Member {
    command: usize,
    ran: Ran,
    /// Where its reply begins.
    start: usize,
    duration_us: u64,
}

/// What became of the next request in the buffer.
enum Step {
    /// There is no whole request.
    Empty,
    /// The group it comes behind has stalled: begin again with that.
    Again,
    /// It is answered.
    Done,
    /// CLIENT PAUSE holds it back.
    HeldBack,
    /// It is on its way and something stands in it.
    Paused(usize, OwnedArgs, RunIdentity, Pause),
}

/// Why a connection ends, when not by its own wish.
pub(super) type Ended = io::Result<()>;

impl Connection {
    pub(super) fn new(at: &Desk, seat: usize, stream: TcpStream, session: Session) -> Connection {
        Connection {
            shared: Rc::clone(&at.shared),
            worker: at.worker,
            seat,
            bench: Rc::clone(&at.bench),
            rng: Rng::from_entropy(),
            stream,
            session,
            decoder: Decoder::new(),
            input: BytesMut::new(),
            output: Vec::new(),
            sending: Sending::default(),
            members: Vec::new(),
            ticket: None,
            joined_us: 0,
            claimed: 0,
            ahead: 0,
            alone: false,
            replies: 0,
            sequence: 0,
            epoch: 0,
            delay: None,
            closing: false,
            posted: None,
            has_left: false,
            has_retracted: false,
            last_command: usize::MAX,
            mono_us: 0,
            turn_began_us: None,
            now_us: 0,
        }
    }

    /// Serves the connection to its end, or until it goes to another worker.
    pub(super) async fn serve(mut self) {
        let ended = match self.converse().await {
            Ok(Some(worker)) => return self.depart(worker),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        // Whatever ended the connection: what it has begun is brought to an end.
        self.settle();
        if let Err(error) = ended
            && !matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        {
            tracing::debug!(client = self.session.client.id, %error, "a connection ended");
        }
        end(&self.shared, &mut self.session);
    }

    /// Until the connection ends or, with its number, goes to another worker.
    async fn converse(&mut self) -> io::Result<Option<usize>> {
        loop {
            self.burst().await?;
            self.flush_with_messages().await?;
            if self.alone {
                // The group stalled when its replies were wanted.
                continue;
            }
            if self.closing || self.session.client.is_ended() {
                return Ok(None);
            }
            self.rest();
            self.shared.placement.burst(self.worker);
            if let Some(worker) = self.destination() {
                return Ok(Some(worker));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// True when nothing is under way.
    pub(super) fn is_at_rest(&self) -> bool {
        let has_sent = self.output.is_empty() && self.sending.is_over();
        self.members.is_empty() && self.ticket.is_none() && has_sent && self.posted.is_none()
    }

    /// Runs every whole request in the buffer.
    async fn burst(&mut self) -> Ended {
        self.look_at_clock();
        let mut turn_began_us = *self.turn_began_us.get_or_insert(self.mono_us);
        while !self.closing {
            if self.mono_us.saturating_sub(turn_began_us) > TURN_US {
                self.let_others_go_first().await;
                turn_began_us = self.mono_us;
                self.turn_began_us = Some(turn_began_us);
            }
            match self.step() {
                Step::Empty => return Ok(()),
                Step::Done | Step::Again => {}
                Step::HeldBack => {
                    self.wait_for_unpause().await?;
                    self.look_at_clock();
                }
                Step::Paused(command, args, run, pause) => {
                    self.pause(command, args, run, pause).await?;
                    self.look_at_clock();
                }
            }
            self.posted = self.posted.or_else(|| self.shared.node.pubsub.overdue());
            if self.posted.is_some() {
                // Nobody waits meanwhile for what its group holds.
                self.settle();
                self.wait_for_post().await;
                self.look_at_clock();
            }
            self.collect_messages();
            if self.delay.is_some() {
                // What comes behind WAIT is run when that is over.
                self.flush().await?;
                self.look_at_clock();
            } else if self.output.len() + self.sending.bytes() > FLUSH_BYTES {
                self.flush().await?;
            }
            self.note_messages_sent();
        }
        Ok(())
    }

    /// Takes the next request from the buffer and runs it as far as it goes without waiting.
    fn step(&mut self) -> Step {
        loop {
            if self.input.len() == self.ahead {
                return Step::Empty;
            }
            if self.members.last().is_some_and(|member| member.ran.ends_multi) && !self.settle() {
                return Step::Again;
            }
            let limits = Limits {
                bulk_len_max: self.shared.node.config.bulk_len_max(),
                authenticated: may_speak(&self.shared.node, &self.session),
            };
            match self.decoder.decode(&self.input[self.ahead..], &limits) {
                Ok(Decoded::Incomplete { wanted }) => {
                    // Only a claim: room grows with what really arrives, in steps that copy little.
                    let here = self.input.len() - self.ahead;
                    if self.input.capacity() - self.input.len() < READ_BYTES {
                        // With room to read on behind it: making some later would move all of it.
                        let rest = wanted.saturating_sub(here) + READ_BYTES;
                        let room_max = if here < BELIEVED_BYTES { FLUSH_BYTES.max(3 * here) } else { rest };
                        let room = rest.min(room_max);
                        if room < CLAIMED_BYTES_MIN {
                            self.input.reserve(room);
                        } else {
                            self.claimed = room;
                        }
                    }
                    return Step::Empty;
                }
                Ok(Decoded::Empty { consumed }) => self.advance(consumed),
                Ok(Decoded::Complete { consumed }) => {
                    self.foresee(consumed, &limits);
                    let step = self.run_decoded(consumed);
                    match step {
                        Step::Again => {}
                        // It is still in the buffer.
                        Step::HeldBack => self.decoder.begin_anew(),
                        // It has been taken out of it.
                        Step::Paused(..) => self.decoder.reset(),
                        _ => self.advance(consumed),
                    }
                    if self.members.last().is_some_and(|member| member.ran.urgent) && !self.settle() {
                        return Step::Again;
                    }
                    return step;
                }
                Err(error) => {
                    if !self.settle() {
                        return Step::Again;
                    }
                    if self.session.reply_mode == ReplyMode::On {
                        let text = [b"ERR ", &*error.text()].concat();
                        let start = self.output.len();
                        Reply::new(&mut self.output, self.session.proto).error_bytes(&text);
                        self.note_error(start);
                        self.replies += 1;
                    }
                    self.closing = true;
                    return Step::Empty;
                }
            }
        }
    }

    /// Before a request is run: asks for what those behind it will touch, if that has not been done.
    fn foresee(&mut self, consumed: usize, limits: &Limits) {
        let behind = &self.input[self.ahead + consumed..];
        if !self.decoder.is_ahead() && !behind.is_empty() {
            let (node, decoder) = (&self.shared.node, &mut self.decoder);
            self.bench.borrow_mut().lookahead.look(node, &self.session, decoder, behind, limits);
        }
    }

    /// Ends this connection's turn in the worker's loop. Others may join an open group meanwhile. It is settled by whoever wants its
    /// replies out, or comes back after long enough.
    async fn let_others_go_first(&mut self) {
        tokio::task::yield_now().await;
        self.look_at_clock();
        let is_settled = self.ticket.as_ref().is_some_and(|ticket| ticket.get().is_some());
        if is_settled || self.mono_us.saturating_sub(self.joined_us) > GROUP_US {
            self.settle();
            self.look_at_clock();
        }
    }

    fn look_at_clock(&mut self) {
        self.mono_us = self.shared.node.clock.mono_us();
        self.now_us = self.shared.node.clock.now_us();
    }

    /// Goes past a request; as long as there are members, its bytes stay.
    fn advance(&mut self, consumed: usize) {
        if self.members.is_empty() {
            self.input.advance(consumed);
        } else {
            self.ahead += consumed;
        }
        self.decoder.reset();
    }

    fn run_decoded(&mut self, consumed: usize) -> Step {
        let shared = Rc::clone(&self.shared);
        let node = &shared.node;
        if self.is_held_back() {
            return if self.settle() { Step::HeldBack } else { Step::Again };
        }
        let args = self.decoder.args(&self.input[self.ahead..]);
        let prepared = prepare(node, &self.session, args);
        if let Prepared::Run(entry) = prepared {
            let run = run::identify(self.now_us, &mut self.rng);
            let request =
                Request { session: &self.session, entry, args, run: &run, waiter: None, looks_again: None };
            // Who is sent messages gets them exactly where they belong among its replies.
            let may_join = !self.alone
                && self.session.reply_mode == ReplyMode::On
                && self.session.client.outbox().is_none();
            if may_join && run::can_join(node, &request) {
                let runner = Runner { node, worker: self.worker };
                let start = self.output.len();
                let joined = run::join(&runner, &mut self.bench.borrow_mut(), &request, &mut self.output);
                return match joined {
                    Ok(ran) => self.joined(entry, ran, start),
                    Err(pause) => {
                        if !self.settle() {
                            return Step::Again;
                        }
                        let args = self.decoder.take_args(&mut self.input, consumed);
                        Step::Paused(entry.index, args, run, pause)
                    }
                };
            }
        }
        if self.ticket.is_none() {
            return self.run_alone(consumed, prepared);
        }
        if !self.settle() {
            return Step::Again;
        }
        // The session may be another one now.
        let prepared = prepare(node, &self.session, self.decoder.args(&self.input));
        self.run_alone(consumed, prepared)
    }

    /// A command has run in the worker's group, or only read beside it.
    fn joined(&mut self, entry: &Entry, ran: Ran, start: usize) -> Step {
        let duration_us = self.lap();
        if ran.overlaps && self.members.is_empty() {
            self.shared.placement.met(self.worker);
        }
        if !ran.pending && self.members.is_empty() {
            self.finish(entry, ran, start, duration_us);
            self.note_if_slow(entry, duration_us, Connection::decoded_request);
            return Step::Done;
        }
        if self.ticket.is_none() {
            self.ticket = Some(self.bench.borrow().group.ticket());
            self.joined_us = self.mono_us;
        }
        self.members.push(Member { command: entry.index, ran, start, duration_us });
        Step::Done
    }

    /// Microseconds since the last command's end.
    fn lap(&mut self) -> u64 {
        let ended_us = self.shared.node.clock.mono_us();
        let duration_us = ended_us.saturating_sub(self.mono_us);
        (self.mono_us, self.now_us) = (ended_us, self.now_us + duration_us);
        duration_us
    }

    /// Runs a request that is no member of a group. There are no members.
    fn run_alone(&mut self, consumed: usize, prepared: Prepared<'_>) -> Step {
        let shared = Rc::clone(&self.shared);
        let node = &shared.node;
        let args = self.decoder.args(&self.input);
        if is_http(args.at(0)) {
            tracing::warn!(
                client = self.session.client.id,
                "closed: it speaks HTTP, perhaps a cross-protocol attack"
            );
            // As in Redis, what was answered before in this burst is not told either.
            self.output.clear();
            self.replies = 0;
            self.closing = true;
            return Step::Empty;
        }
        match prepared {
            Prepared::Run(entry) => {
                let run = run::identify(self.now_us, &mut self.rng);
                let request = Request {
                    session: &self.session,
                    entry,
                    args,
                    run: &run,
                    waiter: None,
                    looks_again: None,
                };
                let runner = Runner { node, worker: self.worker };
                let start = self.output.len();
                let mut bench = self.bench.borrow_mut();
                if !run::looks_at_nothing(node, entry) {
                    // Those of other connections: what runs alone sees what is committed.
                    bench.group.settle(&node.keyspace, &node.clock);
                }
                let attempted = run::attempt(&runner, &mut bench, &request, &mut self.output);
                drop(bench);
                match attempted {
                    Ok(ran) => {
                        let duration_us = self.lap();
                        self.finish(entry, ran, start, duration_us);
                        self.note_if_slow(entry, duration_us, Connection::decoded_request);
                        Step::Done
                    }
                    Err(pause) => {
                        // Nobody waits while a group is open.
                        self.bench.borrow_mut().group.settle(&node.keyspace, &node.clock);
                        let args = self.decoder.take_args(&mut self.input, consumed);
                        Step::Paused(entry.index, args, run, pause)
                    }
                }
            }
            Prepared::Queue(entry) => {
                let queued = Queued { command: entry.index, args: OwnedArgs::from_args(args) };
                self.show_command(entry);
                let start = self.output.len();
                Reply::new(&mut self.output, self.session.proto).simple("QUEUED");
                self.answered(start, Ran { effects: vec![Effect::Queue(queued)], ..Ran::default() });
                Step::Done
            }
            Prepared::Refuse(entry, text) => {
                if let Some(entry) = entry {
                    self.show_command(entry);
                }
                self.refuse(entry, &text);
                Step::Done
            }
        }
    }

    /// Answers an error to what is not run at all.
    pub(super) fn refuse(&mut self, entry: Option<&Entry>, text: &[u8]) {
        let start = self.output.len();
        Reply::new(&mut self.output, self.session.proto).error_bytes(text);
        if let Some(entry) = entry {
            self.shared.node.stats.rejected(self.worker, entry.index);
        }
        self.note_error(start);
        if self.session.multi.is_none() {
            // CLIENT CACHING was for this one.
            self.session.has_chosen = false;
        }
        let effects = match self.session.multi {
            _ if entry.is_some_and(|entry| entry.name == "exec") => vec![Effect::EndMulti],
            Some(_) => vec![Effect::AbortMulti],
            None => Vec::new(),
        };
        self.answered(start, Ran { effects, failed: true, ..Ran::default() });
    }

    /// Brings the group to its end that this connection has members in, if any, and their replies with it. False when the group
    /// has stalled: its requests are in the buffer again, and will be run alone.
    pub(super) fn settle(&mut self) -> bool {
        let Some(ticket) = self.ticket.take() else { return true };
        if ticket.get().is_none() {
            let node = &self.shared.node;
            self.bench.borrow_mut().group.settle(&node.keyspace, &node.clock);
        }
        let members = std::mem::take(&mut self.members);
        match ticket.get() {
            Some(Settled::Committed { sequence, share_us, .. }) => {
                self.sequence = self.sequence.max(*sequence);
                self.finish_all(members, *share_us);
            }
            Some(Settled::Failed(reason)) => {
                self.output.truncate(members.first().map_or(usize::MAX, |member| member.start));
                let mut failed = Vec::with_capacity(members.len());
                for member in members {
                    let start = self.output.len();
                    Reply::new(&mut self.output, self.session.proto).error(&misconf_text(reason));
                    // An EXEC that could not be written has ended its transaction nevertheless.
                    let mut effects = member.ran.effects;
                    effects.retain(|effect| matches!(effect, Effect::EndMulti));
                    let ran = Ran { failed: true, effects, ..Ran::default() };
                    failed.push(Member { ran, start, ..member });
                }
                self.finish_all(failed, 0);
            }
            Some(Settled::Stalled) | None => {
                self.output.truncate(members.first().map_or(usize::MAX, |member| member.start));
                self.ahead = 0;
                self.decoder.begin_anew();
                self.alone = true;
                return false;
            }
        }
        self.input.advance(std::mem::take(&mut self.ahead));
        true
    }

    fn finish_all(&mut self, mut members: Vec<Member>, share_us: u64) {
        let shared = Rc::clone(&self.shared);
        for (number, Member { command, ran, start, duration_us }) in members.drain(..).enumerate() {
            let (entry, duration_us) = (&shared.node.table.entries()[command], duration_us + share_us);
            self.finish(entry, ran, start, duration_us);
            self.note_if_slow(entry, duration_us, |own| own.request_of_member(number));
        }
        self.members = members;
    }

    /// A command has run: its statistics, then its effects.
    pub(super) fn finish(&mut self, entry: &Entry, ran: Ran, start: usize, duration_us: u64) {
        self.shared.node.stats.ran(self.worker, entry.index, duration_us, ran.failed);
        let commands = &self.session.client.commands;
        // Only this connection writes it.
        commands.store(commands.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if ran.failed && !self.hands_on_error(&ran, start) {
            self.note_error(start);
        }
        self.show_command(entry);
        let resets = ran.effects.iter().any(|effect| matches!(effect, Effect::ResetStatistics));
        self.answered(start, ran);
        if resets {
            // It is the first of the new count.
            self.shared.node.stats.ran(self.worker, entry.index, duration_us, false);
        }
        let session = &mut self.session;
        if session.has_chosen && session.multi.is_none() && !entry.name.starts_with("client|") {
            session.has_chosen = false;
        }
    }

    /// A reply stands in `output` from `start` on.
    fn answered(&mut self, start: usize, ran: Ran) {
        let mode = self.session.reply_mode;
        if ran.epoch != 0 {
            // Replies of two openings in one burst: the earlier ones may rest on what is lost, so none is let go.
            self.epoch = if self.epoch == 0 || self.epoch == ran.epoch { ran.epoch } else { u64::MAX };
        }
        self.sequence = self.sequence.max(ran.sequence);
        // What is said of subscriptions is a message, and messages are always sent.
        let is_message = ran.effects.iter().any(|effect| matches!(effect, Effect::Subscriptions(_)));
        let is_on = ran.effects.iter().any(|effect| matches!(effect, Effect::SetReplyMode(ReplyMode::On)));
        if mode == ReplyMode::SkipNext {
            // Used up; what the command itself says holds for the next.
            self.session.reply_mode = ReplyMode::On;
        }
        for effect in ran.effects {
            apply(self, effect);
        }
        let left = std::mem::take(&mut self.has_left);
        let start = if left { self.collect_messages_before(start) } else { start };
        let silent = self.session.reply_mode == ReplyMode::Off || (mode == ReplyMode::SkipNext && !is_on);
        if silent && !is_message {
            self.output.truncate(start);
        } else if self.output.len() > start {
            self.replies += 1;
        }
    }

    /// Between two bursts: figures for CLIENT LIST, and large buffers given back.
    fn rest(&mut self) {
        let client = &self.session.client;
        client.query_bytes.store(self.input.capacity(), Ordering::Relaxed);
        client.unread_bytes.store(self.input.len(), Ordering::Relaxed);
        if self.output.capacity() > KEEP_BYTES {
            self.output = Vec::new();
        }
        if self.input.is_empty() && self.input.capacity() > KEEP_BYTES {
            self.input = BytesMut::new();
        }
    }

    /// Reads more; false when the client has gone or was told to.
    async fn read(&mut self) -> io::Result<bool> {
        let client = Arc::clone(&self.session.client);
        if self.claimed > 0 {
            self.shared.claims.claim(self.claimed).await;
            self.input.reserve(std::mem::take(&mut self.claimed));
        }
        if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
        // Who listens is silent for good reason.
        let listens = client.kind() == ClientKind::PubSub || client.monitors.load(Ordering::Relaxed);
        let shared = Rc::clone(&self.shared);
        let timeout_seconds = || if listens { 0 } else { shared.node.config.timeout_seconds() };
        let has_waited = Cell::new(false);
        let read = tokio::select! {
            biased;
            read = self.read_some() => Some(read?),
            () = client.ended() => Some(0),
            () = filled(&client) => None,
            () = silence_of(timeout_seconds) => Some(0),
            () = note_wait(&has_waited) => None,
        };
        if has_waited.get() {
            self.turn_began_us = None;
        }
        let Some(read) = read else { return Ok(true) };
        // What MULTI has queued counts too: it has not been run yet.
        let queued_bytes = self.session.multi.as_ref().map_or(0, |multi| multi.bytes);
        if self.input.len() + queued_bytes > self.shared.node.config.query_buffer_bytes_max() {
            self.shared.node.traffic.query_limit_closed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(client = client.id, "closed: its query buffer is over the limit");
            return Ok(false);
        }
        Ok(read > 0)
    }

    /// Reads what has come, and counts it; 0 when the client has closed its side.
    pub(super) async fn read_some(&mut self) -> io::Result<usize> {
        let read = self.stream.read_buf(&mut self.input).await?;
        self.note_received(read);
        Ok(read)
    }

    /// Takes what has come while replies go out: a client may send all its requests before it reads. False when nothing more will
    /// come, or this is enough.
    pub(super) fn read_beside(&mut self) -> io::Result<bool> {
        self.input.reserve(READ_BYTES);
        match self.stream.try_read_buf(&mut self.input) {
            Ok(0) => return Ok(false),
            Ok(read) => self.note_received(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
        let client = &self.session.client;
        client.query_bytes.store(self.input.capacity(), Ordering::Relaxed);
        Ok(self.input.len() < BESIDE_BYTES_MAX.min(self.shared.node.config.query_buffer_bytes_max()))
    }

    fn note_received(&self, read: usize) {
        let (node, client) = (&self.shared.node, &self.session.client);
        client.active_ms.store(node.clock.now_ms(), Ordering::Relaxed);
        client.received_bytes.fetch_add(read as u64, Ordering::Relaxed);
        node.traffic.received_bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}

/// A connection is over: nothing knows of it any more.
pub(super) fn end(shared: &Shared, session: &mut Session) {
    forget_session(shared, session);
    if let Some(outbox) = session.client.outbox()
        && outbox.close()
    {
        shared.node.traffic.output_limit_closed.fetch_add(1, Ordering::Relaxed);
    }
    shared.node.clients.remove(session.client.id);
}

/// A browser led here by a hostile page sends these first; nothing it says after may be taken for commands.
fn is_http(word: &[u8]) -> bool {
    matches!(word.first(), Some(b'P' | b'p' | b'H' | b'h'))
        && (word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:"))
}

/// Notes that it was asked, and is never ready: behind others, that they have to be waited for.
async fn note_wait(has_waited: &Cell<bool>) {
    poll_fn(|_| {
        has_waited.set(true);
        Poll::Pending
    })
    .await
}

/// Lasts for so many seconds, or for ever if there are none; begins anew when woken to find another number.
async fn silence_of(seconds: impl Fn() -> u64) {
    let (mut lasts, mut timer) = (0, pin!(None));
    poll_fn(|context| {
        let seconds = seconds();
        if seconds != lasts {
            lasts = seconds;
            timer.set((seconds != 0).then(|| tokio::time::sleep(Duration::from_secs(seconds))));
        }
        timer.as_mut().as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(context))
    })
    .await;
}

/// Sleeps; for ever if so asked, without a timer.
pub(super) async fn pause_for(duration: Duration) {
    if duration == Duration::MAX {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(duration).await;
}
