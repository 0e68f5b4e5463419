//! One thread's loop: wait for sockets and for the next due request, read, count, send.
//!
//! In a closed loop a connection whose requests are all answered takes the next few from the count that all threads share. In
//! an open loop each connection has a lane of due times; a timer descriptor, which is finer than the milliseconds of a poll,
//! wakes the thread when the first of them comes. Requests that a connection cannot send yet, because `depth` of its requests are
//! under way, wait in the lane, and their latency counts from when they were due. One read(2) and one write(2) a connection and turn.

use super::connection::Connection;
use super::keys::Picker;
use super::run::Phase;
use super::tally::Tally;
use crate::base::priority::ask_for_short_slices;
use crate::base::random::Rng;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const TIMER: u64 = u64::MAX;
const EVENTS_MAX: usize = 1024;
const READ_BYTES: usize = 256 << 10;
/// The thread looks at least this often whether it should give up.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What the threads of a phase share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Requests that have been taken on, in a closed loop.
    pub issued: AtomicU64,
    /// Requests that are answered, for the progress bar.
    pub answered: AtomicU64,
}

/// A thread's state.
pub struct Worker<'a> {
    phase: &'a Phase,
    shared: &'a Shared,
    connections: Vec<Connection>,
    picker: Picker<'a>,
    rng: Rng,
    tally: Tally,
    epoll: OwnedFd,
    timer: OwnedFd,
    origin: Instant,
    /// When a reply last came, or the start.
    heard_ns: u64,
}

impl<'a> Worker<'a> {
    /// A thread with these connections; `origin` is the moment 0 of the phase.
    pub fn new(
        phase: &'a Phase,
        shared: &'a Shared,
        connections: Vec<Connection>,
        picker: Picker<'a>,
        rng: Rng,
        origin: Instant,
    ) -> Result<Worker<'a>, String> {
        let refuse = |error: rustix::io::Errno| error.to_string();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(refuse)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
            .map_err(refuse)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)
            .map_err(refuse)?;
        for (index, connection) in connections.iter().enumerate() {
            epoll::add(&epoll, &connection.stream, EventData::new_u64(index as u64), EventFlags::IN)
                .map_err(refuse)?;
        }
        let tally = Tally::new(phase.mix.commands.len())?;
        Ok(Worker { phase, shared, connections, picker, rng, tally, epoll, timer, origin, heard_ns: 0 })
    }

    /// Works until every request is answered or given up, and returns what was measured.
    pub fn run(mut self) -> Result<Tally, String> {
        if self.phase.rate.is_some() {
            // So that waiting for a processor here is not taken for the server's.
            ask_for_short_slices();
        }
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; READ_BYTES];
        (0..self.connections.len()).for_each(|index| self.send(index));
        while self.connections.iter().any(|connection| !connection.is_done) {
            let timeout = if self.arm_timer()? { Timespec { tv_sec: 0, tv_nsec: 0 } } else { TICK };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.to_string()),
            }
            for event in events.drain(..) {
                let index = event.data.u64();
                if index != TIMER {
                    self.serve(index as usize, event.flags, &mut buffer);
                }
            }
            if self.phase.rate.is_some() {
                (0..self.connections.len()).for_each(|index| self.send(index));
            }
            if self.is_hopeless() {
                (0..self.connections.len()).for_each(|index| self.give_up(index));
            }
        }
        Ok(self.tally)
    }

    fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Reads and writes as far as one socket is ready.
    fn serve(&mut self, index: usize, flags: EventFlags, buffer: &mut [u8]) {
        if self.connections[index].is_done {
            return;
        }
        if flags.contains(EventFlags::OUT) {
            self.flush(index);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        let count = match self.connections[index].read(buffer) {
            Ok(count) => count,
            Err(error) => return self.lose(index, &error.to_string()),
        };
        let now_ns = self.now_ns();
        match self.connections[index].flight.answer(&buffer[..count], now_ns, &mut self.tally) {
            Ok(ended) => {
                if ended > 0 {
                    self.heard_ns = now_ns;
                    self.shared.answered.fetch_add(ended, Ordering::Relaxed);
                }
            }
            Err(_) => return self.lose(index, "what the server sent is not a reply"),
        }
        if self.phase.rate.is_none() {
            self.send(index);
        }
    }

    /// Writes the requests that one connection may send now.
    fn send(&mut self, index: usize) {
        let connection = &self.connections[index];
        if connection.is_done {
            return;
        }
        let before = connection.flight.len();
        match self.phase.rate {
            None if before > 0 => return,
            None => self.fill_closed(index),
            Some(_) => self.fill_open(index),
        }
        let connection = &mut self.connections[index];
        let has_more = connection.lane.as_ref().is_some_and(|lane| lane.due_ns().is_some());
        if connection.flight.len() > before {
            self.flush(index);
        } else if connection.flight.len() == 0 && !has_more {
            connection.is_done = true;
        }
    }

    fn fill_closed(&mut self, index: usize) {
        let now_ns = self.now_ns();
        if self.phase.until_ns.is_some_and(|until| now_ns >= until) {
            return;
        }
        let mut count = self.phase.depth as u64;
        if let Some(requests) = self.phase.requests {
            let first = self.shared.issued.fetch_add(count, Ordering::Relaxed);
            count = count.min(requests.saturating_sub(first));
        }
        (0..count).for_each(|_| self.write_request(index, now_ns));
    }

    fn fill_open(&mut self, index: usize) {
        let now_ns = self.now_ns();
        while self.connections[index].flight.len() < self.phase.depth {
            let Some(due_ns) = self.connections[index].lane.as_mut().and_then(|lane| lane.take(now_ns))
            else {
                return;
            };
            self.write_request(index, due_ns);
        }
    }

    fn write_request(&mut self, index: usize, since_ns: u64) {
        let command = self.phase.mix.pick(&mut self.rng);
        let (_, template) = &self.phase.mix.commands[command];
        let connection = &mut self.connections[index];
        template.write(&self.phase.shape, &mut self.picker, &mut self.rng, &mut connection.out);
        connection.flight.push(command, template.replies(), since_ns);
    }

    fn flush(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let done = match connection.flush() {
            Ok(done) => done,
            Err(error) => return self.lose(index, &error.to_string()),
        };
        if done == connection.awaits_room {
            connection.awaits_room = !done;
            let flags = if done { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
            if let Err(error) =
                epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(index as u64), flags)
            {
                self.lose(index, &error.to_string());
            }
        }
    }

    /// Sets the timer to the next due request; true when one is due already and can be sent.
    fn arm_timer(&mut self) -> Result<bool, String> {
        let free = self.connections.iter().filter(|c| !c.is_done && c.flight.len() < self.phase.depth);
        let Some(due_ns) = free.filter_map(|c| c.lane.as_ref()?.due_ns()).min() else { return Ok(false) };
        let now_ns = self.now_ns();
        if due_ns <= now_ns {
            return Ok(true);
        }
        let wait = due_ns - now_ns;
        let it_value =
            Timespec { tv_sec: (wait / 1_000_000_000) as i64, tv_nsec: (wait % 1_000_000_000) as i64 };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })
            .map_err(|error| io::Error::from(error).to_string())?;
        Ok(false)
    }

    /// True when nothing has come for so long that nobody waits any more, or an open loop is far behind its end.
    fn is_hopeless(&self) -> bool {
        let now_ns = self.now_ns();
        let waits = self.connections.iter().any(|connection| connection.flight.len() > 0);
        let patience = self.phase.patience_ns;
        let is_late = self.phase.until_ns.is_some_and(|until| now_ns > until.saturating_add(patience));
        (waits && now_ns > self.heard_ns.saturating_add(patience)) || is_late
    }

    /// Counts what one connection still waits for, and what it should have sent by now, as unanswered.
    fn give_up(&mut self, index: usize) {
        let now_ns = self.now_ns();
        let connection = &mut self.connections[index];
        while let Some(due_ns) = connection.lane.as_mut().and_then(|lane| lane.take(now_ns)) {
            connection.flight.push(0, 1, due_ns);
        }
        if connection.flight.len() > 0 {
            self.tally.note_error("no answer in time");
        }
        connection.flight.abandon(now_ns, &mut self.tally);
        connection.is_done = true;
    }

    fn lose(&mut self, index: usize, why: &str) {
        let now_ns = self.now_ns();
        let connection = &mut self.connections[index];
        connection.flight.abandon(now_ns, &mut self.tally);
        connection.is_done = true;
        // The poller would report it again and again.
        let _ = epoll::delete(&self.epoll, &connection.stream);
        self.tally.lost_connections += 1;
        self.tally.note_error(why);
    }
}
