//! Which worker serves which connection: as few workers as the load needs.
//!
//! A worker that serves more connections has more of their commands in each turn of its loop, and so pays less for each: one
//! write of the group, one flush of the log, one waking up. When the workers in use are busy and the machine has room, one more is
//! tried, and kept if it brings more commands a second, and where the machine is full, as much as it costs; when it seems that
//! fewer would do, that is tried. A light load is served by one. So is one in which commands meet on the same few keys: workers
//! would wait for one another. With `workers` set to a number, all of them are in use from the start to the end.
//!
//! The decision is taken every `PERIOD` from what the kernel says of the workers' CPU time and of the machine's idle time. A
//! connection learns of it between two bursts, and moves then: nothing of it is under way.

use super::worker::Arrival;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::WeakUnboundedSender;

/// Between two decisions.
pub(super) const PERIOD: Duration = Duration::from_millis(100);

/// Workers are busy that have less than this part of their time left.
const BUSY: f64 = 0.85;
/// With less than this of a core idle, the machine is full.
const IDLE_CORES_MIN: f64 = 0.25;
/// Where clients do not send in advance, less than this part of the machine is no room for a worker, nor need it be more than a core: what
/// is left cannot hold a quarter more commands, and with another worker each costs more.
const ROOM: f64 = 0.2;
/// Commands in a burst from which on clients have it easier than the server.
const DEEP: f64 = 4.0;
/// One worker fewer does when it has this part of its time for the load of all.
const LIGHT: f64 = 0.5;
/// One worker fewer may do when the workers' load is not more than this of each, and `FEW_SPARE` of a core.
const FEW: f64 = 0.9;
const FEW_SPARE: f64 = 0.15;
/// How much the newest period counts against those before it.
const WEIGHT: f64 = 0.6;
/// More workers would stand in each other's way when this part of the bursts begins on a key that another connection of the same
/// group has just used.
const CROWDED: f64 = 0.4;
/// Periods in which the same must seem better before it is tried; what they come to is what the trial is compared with.
const LEANING: u32 = 4;
/// Periods in a trial; the first is not counted, in it connections move.
const TRIAL: u32 = 6;
/// Of the commands a second that workers more would bring if none stood in another's way, they must bring this part. Fewer are worth having before
/// that: each pays less for a command.
const GAIN: f64 = 0.07;
/// Periods after a trial before the next; doubled with each that fails, while the load is what it was.
const REST: u32 = 10;
const REST_MAX: u32 = 160;

/// A counter in a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Padded(AtomicU64);

impl Padded {
    /// One more. Only one thread may do so.
    fn count(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

fn sum(counts: &[Padded]) -> u64 {
    counts.iter().map(|count| count.0.load(Ordering::Relaxed)).sum()
}

/// Who is where.
pub(super) struct Placement {
    in_use: AtomicUsize,
    bursts: Box<[Padded]>,
    /// Bursts that met another connection's on a key, within a group.
    meetings: Box<[Padded]>,
    /// The kernel's file of each worker's CPU time.
    threads: Box<[OnceLock<String>]>,
    senders: OnceLock<Vec<WeakUnboundedSender<Arrival>>>,
}

impl Placement {
    /// For so many workers, of which so many are used at first.
    pub(super) fn new(workers: usize, in_use: usize) -> Placement {
        Placement {
            in_use: AtomicUsize::new(in_use.clamp(1, workers)),
            bursts: (0..workers).map(|_| Padded::default()).collect(),
            meetings: (0..workers).map(|_| Padded::default()).collect(),
            threads: (0..workers).map(|_| OnceLock::new()).collect(),
            senders: OnceLock::new(),
        }
    }

    /// How connections reach the workers. The senders are weak: what keeps a worker waiting for connections is the acceptor alone.
    pub(super) fn connect(&self, senders: Vec<WeakUnboundedSender<Arrival>>) {
        // Once, at the start.
        self.senders.get_or_init(|| senders);
    }

    /// Called by a worker's own thread when it starts.
    pub(super) fn enter(&self, worker: usize) {
        if let (Ok(thread), Some(slot)) = (std::fs::read_link("/proc/thread-self"), self.threads.get(worker))
        {
            slot.get_or_init(|| format!("/proc/{}/schedstat", thread.display()));
        }
    }

    /// The worker for a connection; the seats are numbered as connections come.
    pub(super) fn worker_of(&self, seat: usize) -> usize {
        seat % self.in_use()
    }

    /// Workers in use.
    pub(super) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// A worker has served a burst.
    pub(super) fn burst(&self, worker: usize) {
        self.bursts[worker].count();
    }

    /// In a worker's group two connections have met on a key.
    pub(super) fn met(&self, worker: usize) {
        self.meetings[worker].count();
    }

    /// Sends a connection to another worker, unless the server is about to end.
    pub(super) fn send(&self, worker: usize, arrival: Arrival) -> Result<(), Arrival> {
        match self.senders.get().and_then(|senders| senders.get(worker)).and_then(|sender| sender.upgrade()) {
            Some(sender) => sender.send(arrival).map_err(|refused| refused.0),
            None => Err(arrival),
        }
    }
}

impl super::Shared {
    pub(super) fn use_workers(&self, in_use: usize) {
        self.placement.in_use.store(in_use, Ordering::Relaxed);
        // For people.
        self.node.workers_in_use.store(in_use, Ordering::Relaxed);
    }
}

/// Takes the decision again and again; for the main runtime.
pub(super) async fn place(shared: std::sync::Arc<super::Shared>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut judge = Judge::new(shared.placement.bursts.len(), cores);
    let mut last: Option<Sample> = None;
    loop {
        // By the first sample all workers have entered.
        tokio::time::sleep(PERIOD).await;
        let Some(sample) = Sample::take(&shared) else {
            // The kernel does not say: all workers are used.
            return shared.use_workers(judge.workers);
        };
        if let Some(before) = &last {
            shared.use_workers(judge.decide(shared.placement.in_use(), &sample.since(before)));
        }
        last = Some(sample);
    }
}

/// Counters as of one moment.
struct Sample {
    at: std::time::Instant,
    busy: Duration,
    idle: Duration,
    commands: u64,
    bursts: u64,
    meetings: u64,
}

/// What happened in a period.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Cores that the workers kept busy.
    busy_cores: f64,
    /// Cores of the machine that had nothing to do.
    idle_cores: f64,
    /// Commands in a burst.
    depth: f64,
    /// The part of the bursts that met another connection's on a key.
    crowd: f64,
    /// Commands a second.
    rate: f64,
    /// Seconds of the workers' CPU time a command.
    cost: f64,
}

impl Load {
    /// This and what came after it.
    fn blended(&self, newest: &Load) -> Load {
        self.weighted(newest, WEIGHT)
    }

    fn weighted(&self, newest: &Load, weight: f64) -> Load {
        let blend = |old: f64, new: f64| old + weight * (new - old);
        Load {
            busy_cores: blend(self.busy_cores, newest.busy_cores),
            idle_cores: blend(self.idle_cores, newest.idle_cores),
            depth: blend(self.depth, newest.depth),
            crowd: blend(self.crowd, newest.crowd),
            rate: blend(self.rate, newest.rate),
            cost: blend(self.cost, newest.cost),
        }
    }

    /// Whether so many times as many workers are to be preferred for this, to `few` for that. On a machine that is full with them they
    /// must bring as much as they cost: what they take, clients, flushing and compaction lack.
    fn is_worth_it(&self, few: &Load, more_by: f64) -> bool {
        let mut needed = 1.0 + GAIN * (more_by - 1.0);
        if self.idle_cores < IDLE_CORES_MIN && few.cost > 0.0 {
            needed = needed.max(self.cost / few.cost);
        }
        self.rate >= needed * few.rate
    }
}

impl Sample {
    fn take(shared: &super::Shared) -> Option<Sample> {
        let mut busy = Duration::ZERO;
        for thread in &shared.placement.threads {
            let text = std::fs::read_to_string(thread.get()?).ok()?;
            busy += Duration::from_nanos(text.split(' ').next()?.parse().ok()?);
        }
        let machine = std::fs::read_to_string("/proc/stat").ok()?;
        // cpu user nice system idle iowait ..., in hundredths of a second.
        let mut fields = machine.lines().next()?.split_ascii_whitespace().skip(4);
        let mut hundredths = || fields.next()?.parse::<u64>().ok();
        let idle = Duration::from_millis((hundredths()? + hundredths()?) * 10);
        Some(Sample {
            at: std::time::Instant::now(),
            busy,
            idle,
            commands: shared.node.stats.calls(),
            bursts: sum(&shared.placement.bursts),
            meetings: sum(&shared.placement.meetings),
        })
    }

    fn since(&self, before: &Sample) -> Load {
        let seconds = (self.at - before.at).as_secs_f64().max(1e-6);
        let bursts = self.bursts.saturating_sub(before.bursts);
        // CONFIG RESETSTAT sets them back.
        let commands = self.commands.saturating_sub(before.commands) as f64;
        let busy_s = self.busy.saturating_sub(before.busy).as_secs_f64();
        Load {
            busy_cores: busy_s / seconds,
            idle_cores: self.idle.saturating_sub(before.idle).as_secs_f64() / seconds,
            depth: commands / bursts.max(1) as f64,
            crowd: self.meetings.saturating_sub(before.meetings) as f64 / bursts.max(1) as f64,
            rate: commands / seconds,
            cost: busy_s / commands.max(1.0),
        }
    }
}

/// The rule, and what it remembers.
struct Judge {
    workers: usize,
    /// Idle cores that a worker more needs.
    room: f64,
    load: Option<Load>,
    leaning: Option<Periods>,
    trial: Option<Trial>,
    /// Periods to go before another trial, and how many it will be after a failed one.
    rest: u32,
    rest_next: u32,
    /// The depth of the bursts at the last trial.
    depth: f64,
}

/// Periods in a row with one thing in common; of the first, in which it began, nothing is kept.
struct Periods {
    /// The number of workers they are about.
    workers: usize,
    count: u32,
    average: Load,
}

impl Periods {
    /// One more of them, or the first of others.
    fn follow<'p>(last: &'p mut Option<Periods>, workers: usize, newest: &Load) -> &'p Periods {
        let next = match last.take().filter(|periods| periods.workers == workers) {
            None => Periods { workers, count: 1, average: *newest },
            Some(Periods { count, average, .. }) => Periods {
                workers,
                count: count + 1,
                average: average.weighted(newest, 1.0 / f64::from(count)),
            },
        };
        last.insert(next)
    }
}

/// Another number of workers, to see what it brings.
struct Trial {
    from: usize,
    before: Load,
    tried: Option<Periods>,
}

impl Judge {
    fn new(workers: usize, cores: usize) -> Judge {
        let room = (ROOM * cores as f64).clamp(IDLE_CORES_MIN, 1.0);
        Judge { workers, room, load: None, leaning: None, trial: None, rest: 0, rest_next: REST, depth: 0.0 }
    }

    /// How many workers to use after a period with so many.
    fn decide(&mut self, in_use: usize, newest: &Load) -> usize {
        if let Some(trial) = self.trial.take() {
            return self.judge(in_use, trial, newest);
        }
        let load = self.load.map_or(*newest, |load| load.blended(newest));
        self.load = Some(load);
        if in_use > 1 && load.busy_cores <= LIGHT * (in_use - 1) as f64 {
            (self.load, self.leaning) = (None, None);
            return in_use - 1;
        }
        let wanted = self.wanted(in_use, &load);
        let &Periods { count, average, .. } = Periods::follow(&mut self.leaning, wanted, newest);
        let has_changed = load.depth > 2.0 * self.depth || 2.0 * load.depth < self.depth;
        if has_changed {
            self.rest_next = REST;
        } else if self.rest > 0 {
            self.rest -= 1;
            return in_use;
        }
        if wanted != in_use && count >= LEANING {
            self.trial = Some(Trial { from: in_use, before: average, tried: None });
            self.depth = load.depth;
            (self.load, self.leaning) = (None, None);
            return wanted;
        }
        in_use
    }

    /// How many workers might be better.
    fn wanted(&self, in_use: usize, load: &Load) -> usize {
        let has_room = load.depth >= DEEP || load.idle_cores >= self.room;
        let is_crowded = load.crowd >= CROWDED;
        if in_use < self.workers && has_room && !is_crowded && load.busy_cores >= BUSY * in_use as f64 {
            return (in_use + in_use.div_ceil(2)).min(self.workers);
        }
        let might_do = load.busy_cores <= FEW * (in_use - 1) as f64 + FEW_SPARE;
        // The machine is full, and not with workers alone.
        let is_squeezed = load.idle_cores < IDLE_CORES_MIN && load.busy_cores < BUSY * in_use as f64;
        if in_use > 1 && (is_crowded || might_do || is_squeezed) {
            return in_use - 1;
        }
        in_use
    }

    /// Another period of a trial.
    fn judge(&mut self, in_use: usize, mut trial: Trial, newest: &Load) -> usize {
        let &Periods { count, average: tried, .. } = Periods::follow(&mut trial.tried, in_use, newest);
        if count < TRIAL {
            self.trial = Some(trial);
            return in_use;
        }
        let is_more = in_use > trial.from;
        let (few, many) = if is_more { (&trial.before, &tried) } else { (&tried, &trial.before) };
        let more_by = in_use.max(trial.from) as f64 / in_use.min(trial.from) as f64;
        if many.is_worth_it(few, more_by) == is_more {
            (self.rest, self.rest_next) = (REST, REST);
            return in_use;
        }
        self.rest = self.rest_next;
        self.rest_next = (self.rest_next * 2).min(REST_MAX);
        trial.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of two cores: what a load comes to with one worker and with two.
    fn settle(judge: &mut Judge, mut in_use: usize, loads: [Load; 2], periods: usize) -> (usize, usize) {
        let mut with_two = 0;
        for _ in 0..periods {
            in_use = judge.decide(in_use, &loads[in_use - 1]);
            with_two += in_use - 1;
        }
        (in_use, with_two)
    }

    fn load(rate: f64, depth: f64, busy_cores: f64, idle_cores: f64) -> Load {
        Load { rate, depth, busy_cores, idle_cores, crowd: 0.0, cost: busy_cores / rate }
    }

    #[test]
    fn a_worker_that_brings_more_stays() {
        let loads = [load(240e3, 16.0, 0.98, 0.6), load(320e3, 16.0, 1.6, 0.1)];
        assert_eq!(settle(&mut Judge::new(2, 2), 1, loads, 10), (2, 7));
        // With a machine that is full, one is tried again and again, ever more seldom.
        let (in_use, with_two) = settle(&mut Judge::new(2, 2), 1, loads, 1000);
        assert_eq!(in_use, 2);
        assert!((900..=997).contains(&with_two), "{with_two}");
    }

    #[test]
    fn one_that_brings_nothing_goes_and_is_tried_ever_more_seldom() {
        let loads = [load(98e3, 1.0, 0.98, 0.5), load(71e3, 1.0, 0.95, 0.6)];
        let (in_use, with_two) = settle(&mut Judge::new(2, 2), 1, loads, 1000);
        assert_eq!(in_use, 1);
        assert!((3..=60).contains(&with_two), "{with_two}");
        assert_eq!(settle(&mut Judge::new(2, 2), 2, loads, 10), (1, 3), "nor is it kept when it is there");
    }

    #[test]
    fn what_two_do_as_well_as_one_is_left_to_one() {
        // As much as a machine differs from one second to the next, and a gain that costs more than it brings.
        for (rate, busy_cores) in [(86e3, 1.1), (98e3, 1.0), (104e3, 1.0), (120e3, 1.6)] {
            let loads = [load(98e3, 1.0, 0.98, 0.5), load(rate, 1.0, busy_cores, 0.0)];
            assert_eq!(settle(&mut Judge::new(2, 2), 1, loads, 400).0, 1, "{rate}");
            assert_eq!(settle(&mut Judge::new(2, 2), 2, loads, 400).0, 1, "{rate}");
        }
    }

    #[test]
    fn what_workers_cost_counts_on_a_full_machine() {
        let one = load(98e3, 1.0, 0.98, 0.5);
        let twice = |idle_cores| load(130e3, 1.0, 1.9, idle_cores);
        assert!(twice(5.0).is_worth_it(&one, 2.0), "nobody else wants the processors");
        assert!(!twice(0.1).is_worth_it(&one, 2.0));
    }

    #[test]
    fn of_many_workers_one_more_need_not_bring_much() {
        let (seven, eight) = (load(700e3, 1.0, 7.0, 5.0), load(720e3, 1.0, 8.0, 4.0));
        assert!(eight.is_worth_it(&seven, 8.0 / 7.0));
        assert!(!load(705e3, 1.0, 8.0, 4.0).is_worth_it(&seven, 8.0 / 7.0));
    }

    #[test]
    fn another_kind_of_load_is_tried_at_once() {
        let mut judge = Judge::new(2, 2);
        let single = [load(98e3, 1.0, 0.98, 0.5), load(71e3, 1.0, 0.95, 0.6)];
        assert_eq!(settle(&mut judge, 1, single, 200).0, 1);
        let deep = [load(240e3, 16.0, 0.98, 0.6), load(320e3, 16.0, 1.6, 0.1)];
        assert_eq!(settle(&mut judge, 1, deep, 10).0, 2);
        assert_eq!(settle(&mut judge, 2, single, 20).0, 1);
    }

    #[test]
    fn without_room_nothing_is_tried() {
        let full = [load(90e3, 1.0, 0.99, 0.02); 2];
        assert_eq!(settle(&mut Judge::new(2, 2), 1, full, 100), (1, 0));
        // What is left of two processors could not hold a quarter more commands; of one it would be much.
        let nearly = [load(90e3, 1.0, 0.99, 0.3), load(100e3, 1.0, 1.3, 0.0)];
        assert_eq!(settle(&mut Judge::new(2, 2), 1, nearly, 100), (1, 0));
        assert!(settle(&mut Judge::new(2, 1), 1, nearly, 100).1 > 0);
    }

    #[test]
    fn a_crowd_on_one_key_is_given_one_worker() {
        let crowded = |load: Load| Load { crowd: 0.9, ..load };
        let loads = [load(98e3, 1.0, 0.98, 0.5), load(71e3, 1.0, 1.5, 0.1)].map(crowded);
        assert_eq!(settle(&mut Judge::new(2, 2), 1, loads, 1000), (1, 0), "a second one is never tried");
        assert_eq!(settle(&mut Judge::new(2, 2), 2, loads, 10), (1, 3));
    }

    #[test]
    fn a_light_load_ends_on_one_worker() {
        let light = load(5e3, 1.0, 0.1, 7.0);
        let mut judge = Judge::new(8, 8);
        assert_eq!((0..8).fold(8, |in_use, _| judge.decide(in_use, &light)), 1);
        assert_eq!(judge.decide(1, &load(0.0, 0.0, 0.0, 8.0)), 1, "one is the least");
    }

    #[test]
    fn seats_are_dealt_out_in_turn() {
        let placement = Placement::new(3, 2);
        assert_eq!([0, 1, 2, 3].map(|seat| placement.worker_of(seat)), [0, 1, 0, 1]);
    }
}
