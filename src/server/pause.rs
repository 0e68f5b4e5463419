//! What a connection does about a run that cannot go on: warm rows, wait for a stripe, go to the pool, wait to be fed.
//!
//! After each the run starts again from the beginning, with the clock and chance of the first time.

use super::Shared;
use super::connection::{Connection, pause_for};
use super::messages::filled;
use super::pool::{HEAVY_MAX, HeavyTurn};
use crate::dispatch::ahead;
use crate::dispatch::heavy;
use crate::dispatch::prepare::refusal_text;
use crate::dispatch::run::{self, Pause, Ran, Request, Runner};
use crate::dispatch::spec::Flag;
use crate::encoding::Family;
use crate::encoding::head::DataType;
use crate::encoding::row::{RowKey, split_head_row};
use crate::keyspace::{ColdRow, RunIdentity, StripeId, Wait};
use crate::resp::{Args, Decoded, Decoder, Limits, OwnedArgs, Reply};
use crate::session::Session;
use crate::waiters::{Service, State, Waiter};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Rounds of warming before a command is run on the pool for good.
const COLD_ROUNDS_MAX: u32 = 3;
/// A script that found keys it had not declared locked so often runs alone.
const CONFLICTS_MAX: u32 = 3;
/// Later requests of a burst looked at when one is cold, and their bytes.
const AHEAD_MAX: usize = 64;
const AHEAD_BYTES_MAX: usize = 1 << 20;
/// Rows read for a burst at once.
const WARMED_ROWS_MAX: usize = 256;
/// How often what waits looks whether a script is in its way.
const BUSY_PERIOD: Duration = Duration::from_millis(50);
/// The longest pause between two tries of a stalled write.
const STALL_PAUSE_MAX: Duration = Duration::from_millis(50);

/// A command that does not go through at once; complete in itself, so that it can go to the pool.
#[derive(Clone)]
struct Job {
    command: usize,
    args: OwnedArgs,
    run: RunIdentity,
    session: Session,
    /// It runs on the pool with the gate closed.
    alone: bool,
    /// The waiter whose turn it is.
    fed: Option<Arc<Waiter>>,
    /// What it has been waiting for, if it was told to look again.
    looks_again: Option<Wait>,
}

/// The same, with its place among the waiters.
struct Held {
    shared: Arc<Shared>,
    job: Job,
    waiter: Option<Arc<Waiter>>,
    turn: Option<Turn>,
    /// When its wait ends, as its first run has found; the inner none: never.
    deadline_ms: Option<Option<u64>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Before its turn goes to the next: nobody is to find this one in the queue.
        if let Some(waiter) = self.waiter.take() {
            self.shared.node.keyspace.waiters().withdraw(&waiter);
        }
    }
}

/// The turn of a waiter on a key; while it lives, nobody else gets at the key's stripe.
struct Turn {
    shared: Arc<Shared>,
    key: RowKey,
    /// The type of what was there, and still is if nothing was taken.
    has: DataType,
    stripe: StripeId,
    /// Nothing was taken: the next waiter may have it.
    pass_on: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let keyspace = &self.shared.node.keyspace;
        // The promise on the stripe goes over to the next waiter, or ends.
        let mut passed = false;
        if self.pass_on {
            keyspace.waiters().claim(&self.key, Some(self.has), 0, || {
                if std::mem::replace(&mut passed, true) {
                    keyspace.stripes().begin_turn(self.stripe);
                }
            });
        }
        if !passed {
            keyspace.stripes().end_turn(self.stripe);
        }
    }
}

/// How a wait to be fed ended.
enum Fed {
    /// Run the command again.
    Again,
    /// Answer that its time is up.
    TimeUp,
    /// Answer that CLIENT UNBLOCK ended it.
    Unblocked,
    /// The client is gone.
    Gone,
}

impl Connection {
    /// Waits so long with the replies (WAIT, DEBUG SLEEP), or until the client has no more to say. Requests that arrive meanwhile are
    /// kept for later.
    pub(super) async fn hold_back(&mut self, delay: Duration) -> io::Result<()> {
        let client = Arc::clone(&self.session.client);
        let room = self.shared.node.config.query_buffer_bytes_max();
        let over = tokio::time::sleep(delay);
        tokio::pin!(over);
        client.postponed.store(true, Ordering::Relaxed);
        let ended = loop {
            let may_read = self.input.len() < room;
            tokio::select! {
                biased;
                () = client.ended() => break Err(io::ErrorKind::ConnectionAborted.into()),
                () = &mut over => break Ok(()),
                read = self.read_some(), if may_read => match read {
                    Ok(0) => break Ok(()),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                },
            }
        };
        client.postponed.store(false, Ordering::Relaxed);
        ended
    }

    /// Sees a paused command through to its reply.
    pub(super) async fn pause(
        &mut self,
        command: usize,
        args: OwnedArgs,
        run: RunIdentity,
        mut pause: Pause,
    ) -> io::Result<()> {
        let job = Job {
            command,
            args,
            run,
            session: self.session.clone(),
            alone: false,
            fed: None,
            looks_again: None,
        };
        let shared = Arc::clone(&self.shared);
        let mut held = Held { shared, job, waiter: None, turn: None, deadline_ms: None };
        let mut started_us = self.shared.node.clock.mono_us();
        let (mut cold_rounds, mut stalls, mut conflicts) = (0, 0, 0);
        let shared = Arc::clone(&self.shared);
        let figures = shared.node.keyspace.figures();
        let reaches = shared.node.table.entries()[command].spec.flags.has(Flag::Reaches);
        let (ran, start) = loop {
            let tried = match pause {
                Pause::Cold(_) if cold_rounds == COLD_ROUNDS_MAX => Err(Pause::Heavy),
                Pause::Cold(row) => {
                    cold_rounds += 1;
                    figures.count_cold_run();
                    self.warm(&held, row, cold_rounds == 1).await;
                    self.again(&mut held)
                }
                Pause::Alone => {
                    held.job.alone = true;
                    Err(Pause::Heavy)
                }
                Pause::Heavy => {
                    // Who waits for the end of its turn does not wait for its client to read.
                    if held.turn.is_none() {
                        self.flush().await?;
                    }
                    let turn = shared.pool.heavy_turn(held.turn.is_some());
                    match held.unless_busy(Some(HEAVY_MAX), turn).await? {
                        Ok(turn) => self.run_heavy(&held, turn).await,
                        Err(text) => return self.refuse_busy(held, text),
                    }
                }
                Pause::Wait(waiter, mut wait) => {
                    // Runs to come see another clock, and wait no longer for that.
                    wait.deadline_ms = *held.deadline_ms.get_or_insert(wait.deadline_ms);
                    held.waiter = Some(waiter);
                    held.job.rewrite(&wait.rewrites);
                    // A turn that found nothing is over; the waiter keeps its place in the queue, and there is nothing to pass on.
                    if let Some(mut turn) = held.turn.take() {
                        turn.pass_on = false;
                    }
                    let began_us = shared.node.clock.mono_us();
                    let fed = self.wait_to_be_fed(&mut held, &wait).await?;
                    // Waiting is no work.
                    started_us += shared.node.clock.mono_us().saturating_sub(began_us);
                    let start = self.output.len();
                    match fed {
                        Fed::Again => {
                            // What was warm before the wait need not be now.
                            cold_rounds = 0;
                            held.job.run = run::identify(shared.node.clock.now_us(), &mut self.rng);
                            self.again(&mut held)
                        }
                        Fed::TimeUp => {
                            run::timeout_reply(&self.session, &wait, &mut self.output);
                            Ok((Ran::default(), start))
                        }
                        Fed::Unblocked => {
                            let text = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
                            Reply::new(&mut self.output, self.session.proto).error(text);
                            Ok((Ran { failed: true, ..Ran::default() }, start))
                        }
                        Fed::Gone => {
                            self.closing = true;
                            return Ok(());
                        }
                    }
                }
                Pause::Gate => {
                    figures.count_parked_run();
                    let opened = held.unless_busy(None, shared.node.keyspace.gate().open());
                    match opened.await? {
                        Ok(()) => self.again(&mut held),
                        Err(text) => return self.refuse_busy(held, text),
                    }
                }
                Pause::Stripe(_) if held.turn.is_some() => {
                    tokio::task::yield_now().await;
                    self.again(&mut held)
                }
                Pause::Stripe(_) if conflicts == CONFLICTS_MAX => Err(Pause::Alone),
                Pause::Stripe(stripe) => {
                    figures.count_parked_run();
                    conflicts += u32::from(reaches);
                    shared.node.keyspace.stripes().free(stripe).await;
                    self.again(&mut held)
                }
                Pause::Stall => {
                    figures.count_stalled_run();
                    stalls += 1;
                    tokio::time::sleep(STALL_PAUSE_MAX.min(Duration::from_millis(stalls))).await;
                    self.again(&mut held)
                }
            };
            match tried {
                Ok(ended) => break ended,
                Err(next) => pause = next,
            }
        };
        held.leave(&ran);
        let duration_us = shared.node.clock.mono_us().saturating_sub(started_us);
        let entry = &shared.node.table.entries()[command];
        self.finish(entry, ran, start.min(self.output.len()), duration_us);
        self.note_if_slow(entry, duration_us, |_| Some(held.job.args.clone()));
        Ok(())
    }

    /// One more attempt on the worker.
    fn again(&mut self, held: &mut Held) -> Result<(Ran, usize), Pause> {
        let shared = Arc::clone(&self.shared);
        let node = &shared.node;
        let runner = Runner { node, worker: self.worker };
        let start = self.output.len();
        let job = held.job();
        let request = job.request(&shared);
        let mut bench = self.bench.borrow_mut();
        bench.group.settle(&node.keyspace, &node.clock);
        let ran = run::attempt(&runner, &mut bench, &request, &mut self.output)?;
        Ok((ran, start))
    }

    /// Answers what a script keeps from running.
    fn refuse_busy(&mut self, held: Held, text: &str) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let entry = &shared.node.table.entries()[held.job.command];
        self.refuse(Some(entry), refusal_text(entry, text).as_bytes());
        Ok(())
    }

    async fn run_heavy(&mut self, held: &Held, turn: Option<HeavyTurn>) -> Result<(Ran, usize), Pause> {
        let start = self.output.len();
        let on_pool = held.job();
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let mut out = Vec::new();
            let ran = heavy::run(&shared.node, &on_pool.request(&shared), on_pool.alone, &mut out);
            (ran, out)
        };
        let ended = match turn {
            Some(turn) => self.shared.pool.run_heavy(turn, work).await,
            None => None,
        };
        match ended {
            Some((Ok(ran), out)) => {
                if self.output.is_empty() {
                    self.output = out;
                } else {
                    self.output.extend_from_slice(&out);
                }
                Ok((ran, start))
            }
            Some((Err(pause), _)) => Err(pause),
            None => {
                let text = "ERR internal error: the command was given up, nothing was changed";
                Reply::new(&mut self.output, self.session.proto).error(text);
                Ok((Ran { failed: true, ..Ran::default() }, start))
            }
        }
    }

    /// Brings the rows of a cold command into memory, and in the first round those of cold commands behind it in the burst.
    ///
    /// Head rows are read by the readers and put into the hot tier. Whatever else a run reads, a dry run on the pool brings into the
    /// block cache; so does it with everything that is still cold after the first round.
    async fn warm(&mut self, held: &Held, row: Option<ColdRow>, is_first: bool) {
        let (mut rows, mut jobs) = (Vec::new(), Vec::new());
        match row.filter(|row| is_first && row.family == Family::Keys) {
            Some(row) => {
                rows.push(row);
                let entry = &self.shared.node.table.entries()[held.job.command];
                let args = held.job.args.args();
                ahead::missing_heads(
                    &self.shared.node,
                    &self.session,
                    entry,
                    args,
                    &mut rows,
                    WARMED_ROWS_MAX,
                );
            }
            None => jobs.push(self.start_dry(held.job())),
        }
        if is_first {
            self.gather_ahead(&mut rows, &mut jobs);
        }
        // Who must leave no trace in the hot tier is served from the block cache.
        let into_hot_tier = !self.session.no_touch;
        if let Some(burst) = self.shared.readers.read(rows) {
            let found = burst.finish().await;
            if into_hot_tier {
                let found = found.iter().map(|(cold, found)| (*cold, found));
                self.shared.node.keyspace.fill(self.worker + 1, found);
            }
        }
        for job in jobs {
            if job.await.is_err() {
                tracing::error!("a dry run panicked");
            }
        }
    }

    fn start_dry(&self, job: Job) -> tokio::task::JoinHandle<()> {
        let shared = Arc::clone(&self.shared);
        self.shared.pool.start(move || run::dry(&shared.node, &job.request(&shared)))
    }

    /// What the whole requests behind the present one will find cold, of a bounded number of them.
    fn gather_ahead(&mut self, rows: &mut Vec<ColdRow>, jobs: &mut Vec<tokio::task::JoinHandle<()>>) {
        let limits = Limits { bulk_len_max: self.shared.node.config.bulk_len_max(), authenticated: true };
        let input = std::mem::take(&mut self.input);
        let mut rest: &[u8] = &input[..input.len().min(AHEAD_BYTES_MAX)];
        let (mut decoder, mut requests) = (Decoder::new(), 0);
        while requests < AHEAD_MAX && !rest.is_empty() {
            match decoder.decode(rest, &limits) {
                Ok(Decoded::Complete { consumed }) => {
                    requests += 1;
                    self.look_at(decoder.args(rest), rows, jobs);
                    rest = &rest[consumed..];
                }
                Ok(Decoded::Empty { consumed }) => rest = &rest[consumed..],
                _ => break,
            }
            decoder.reset();
        }
        self.input = input;
    }

    fn look_at(
        &mut self,
        args: Args<'_>,
        rows: &mut Vec<ColdRow>,
        jobs: &mut Vec<tokio::task::JoinHandle<()>>,
    ) {
        let shared = Arc::clone(&self.shared);
        let Ok(entry) = shared.node.table.find(args) else { return };
        // On a worker nothing is tried that may take long; a script may, whatever it has declared.
        let spec = entry.spec;
        let takes_long = [Flag::Blocking, Flag::Heavy, Flag::Gate, Flag::Reaches]
            .into_iter()
            .any(|flag| spec.flags.has(flag));
        if !spec.has_keys() || !spec.takes(args.len()) || takes_long {
            return;
        }
        let before = rows.len();
        ahead::missing_heads(&shared.node, &self.session, entry, args, rows, WARMED_ROWS_MAX);
        if rows.len() > before || rows.len() >= WARMED_ROWS_MAX {
            return;
        }
        // Its heads are in the hot tier or on their way; other rows it may want show only when it runs.
        let run = run::identify(shared.node.clock.now_us(), &mut self.rng);
        let request =
            Request { session: &self.session, entry, args, run: &run, waiter: None, looks_again: None };
        let cold = run::probe(&shared.node, &mut self.bench.borrow_mut(), &request, &mut self.output);
        let is_on_its_way = |cold: &ColdRow| rows.iter().any(|row| row == cold);
        if cold.is_some_and(|row| !row.as_ref().is_some_and(is_on_its_way)) {
            let (args, session) = (OwnedArgs::from_args(args), self.session.clone());
            jobs.push(self.start_dry(Job {
                command: entry.index,
                args,
                run,
                session,
                alone: false,
                fed: None,
                looks_again: None,
            }));
        }
    }

    /// Waits until the command's turn comes, its time is up, it is unblocked, or the client goes.
    async fn wait_to_be_fed(&mut self, held: &mut Held, wait: &Wait) -> io::Result<Fed> {
        let Some(waiter) = held.waiter.clone() else { return Ok(Fed::Gone) };
        let client = Arc::clone(&self.session.client);
        let shared = Arc::clone(&self.shared);
        self.show_command(&shared.node.table.entries()[held.job.command]);
        client.blocked.store(true, Ordering::Relaxed);
        let fed = self.wait_for_decision(&waiter, wait).await;
        self.sending.wait_for_nobody();
        client.blocked.store(false, Ordering::Relaxed);
        // Whoever decided first counts: a claim that came before a timeout or a disconnect is a turn to use or to pass on.
        waiter.decide(State::Done);
        let state = waiter.state();
        if state == State::Claimed
            && let Some(key) = waiter.take_turn()
            && let Some((_, position, _)) = split_head_row(&key)
        {
            held.turn = Some(Turn {
                shared: Arc::clone(&self.shared),
                key,
                has: waiter.wants(),
                stripe: StripeId::of(position),
                pass_on: waiter.takes(),
            });
        }
        // Also who was told to end by the transaction that has fed it.
        let gone = !matches!(fed, Ok(true)) || client.is_ended();
        if gone {
            return fed.map(|_| Fed::Gone);
        }
        Ok(match state {
            State::Claimed if held.turn.is_some() => {
                held.job.looks_again = None;
                Fed::Again
            }
            State::Claimed => {
                // Told to look again (SWAPDB, FLUSHALL, a reopen): queue up anew.
                self.shared.node.keyspace.waiters().withdraw(&waiter);
                held.waiter = None;
                // Who reads for a group is told when its stream is something else.
                held.job.looks_again = (!matches!(wait.service, Service::Group(_))).then(|| wait.clone());
                Fed::Again
            }
            State::UnblockedByError => Fed::Unblocked,
            _ => Fed::TimeUp,
        })
    }

    /// False when the client has gone. Requests that arrive meanwhile are kept for later.
    async fn wait_for_decision(&mut self, waiter: &Arc<Waiter>, wait: &Wait) -> io::Result<bool> {
        let client = Arc::clone(&self.session.client);
        let shared = Arc::clone(&self.shared);
        let room = shared.node.config.query_buffer_bytes_max();
        let patience = || match wait.deadline_ms {
            None => Duration::MAX,
            Some(at_ms) => Duration::from_millis(at_ms.saturating_sub(shared.node.clock.now_ms())),
        };
        self.sending.wait_for(Arc::clone(waiter), patience());
        self.flush().await?;
        loop {
            let patience = patience();
            let may_read = self.input.len() < room;
            tokio::select! {
                biased;
                () = waiter.decided() => return Ok(true),
                () = client.ended() => return Ok(false),
                () = filled(&client) => self.flush_with_messages().await?,
                read = self.read_some(), if may_read => if read? == 0 { return Ok(false) },
                () = pause_for(patience) => {
                    if wait.deadline_ms.is_some_and(|at_ms| at_ms <= self.shared.node.clock.now_ms()) {
                        return Ok(true);
                    }
                }
            }
        }
    }
}

impl Held {
    /// The command has run. A turn on a key that it did not touch, since another one of its keys had something by then, goes to
    /// the next who waits for that key; for a key that it did touch, the commit has seen to that.
    fn leave(&mut self, ran: &Ran) {
        if let (Some(turn), Some(waiter)) = (&mut self.turn, &self.waiter) {
            let stripes = self.shared.node.keyspace.stripes();
            let on_stripe = |key: &RowKey| {
                split_head_row(key).is_some_and(|(_, position, _)| StripeId::of(position) == turn.stripe)
            };
            let alone_on_stripe = waiter.keys().iter().filter(|key| on_stripe(key)).count() < 2;
            let touched = stripes.sequence(turn.stripe) == ran.sequence && alone_on_stripe;
            turn.pass_on = waiter.takes() && (ran.changed == 0 || (waiter.keys().len() > 1 && !touched));
        }
        if let Some(waiter) = self.waiter.take() {
            self.shared.node.keyspace.waiters().withdraw(&waiter);
        }
        drop(self.turn.take());
    }

    /// Waits for the gate, or for one of so many turns; gives up after `busy-reply-threshold` if scripts hold them. A command that has
    /// been among the waiters never gives up. The inner error is what to answer, the outer one that the client was told to end.
    async fn unless_busy<T>(
        &self,
        turns: Option<usize>,
        wait: impl Future<Output = T>,
    ) -> io::Result<Result<T, &'static str>> {
        let node = &self.shared.node;
        tokio::pin!(wait);
        loop {
            let since_us = node.config.busy_after_us().and_then(|us| node.clock.mono_us().checked_sub(us));
            if self.waiter.is_none()
                && let Some(text) =
                    since_us.and_then(|since_us| node.running_scripts.busy_text(since_us, turns))
            {
                return Ok(Err(text));
            }
            tokio::select! {
                ready = &mut wait => return Ok(Ok(ready)),
                () = self.job.session.client.ended() => return Err(io::ErrorKind::ConnectionAborted.into()),
                () = tokio::time::sleep(BUSY_PERIOD) => {}
            }
        }
    }

    /// The command as it stands: with its turn, if it has one.
    fn job(&self) -> Job {
        Job { fed: self.waiter.clone().filter(|_| self.turn.is_some()), ..self.job.clone() }
    }
}

impl Job {
    /// Replaces arguments for the runs to come.
    fn rewrite(&mut self, rewrites: &[(usize, Vec<u8>)]) {
        if rewrites.is_empty() {
            return;
        }
        let args = self.args.clone();
        let mut words: Vec<&[u8]> = args.args().iter().collect();
        for (at, word) in rewrites {
            if let Some(old) = words.get_mut(*at) {
                *old = word;
            }
        }
        self.args = OwnedArgs::from_slices(&words);
    }

    fn request<'j>(&'j self, shared: &'j Shared) -> Request<'j> {
        Request {
            session: &self.session,
            entry: &shared.node.table.entries()[self.command],
            args: self.args.args(),
            run: &self.run,
            waiter: self.fed.as_ref(),
            looks_again: self.looks_again.as_ref(),
        }
    }
}
