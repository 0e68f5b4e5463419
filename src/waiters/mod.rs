//! Who waits for which key: the clients of BLPOP and its kin.
//!
//! A waiter stands in the queue of each of its keys, in order of arrival. A commit that leaves a key with something to take
//! claims the first waiter that wants that type and hands it the *turn*. The waiter's connection then runs its command again as
//! an ordinary command; while the turn lasts, nobody else gets at the key's stripe. Claim, timeout, unblock and disconnect are
//! one compare-and-swap on the waiter's state, so a waiter is served once or not at all, and nothing it would have taken is lost:
//! a claimed waiter that goes away passes its turn on.
//!
//! Readers of streams take nothing away, so all of them have a turn at once: each sees what was there before the next command could
//! take it away. Of those of a consumer group the first of each group has one; all of them when the key is no stream any more.
//!
//! Locks: a queue is changed only under the stripe lock of its key, or for removal; the shard mutex is innermost.

use crate::encoding::head::DataType;
use crate::encoding::row::RowKey;
use ahash::{AHashMap, RandomState};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use tokio::sync::Notify;

const SHARDS: usize = 64;

/// What has become of a waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Waiting to be fed.
    Waiting = 0,
    /// Its turn has come; the turn itself may follow at once.
    Claimed = 1,
    /// Its time is up, or it went away.
    Done = 2,
    /// CLIENT UNBLOCK, as if its time were up.
    UnblockedByTimeout = 3,
    /// CLIENT UNBLOCK ERROR.
    UnblockedByError = 4,
}

impl State {
    fn from_number(number: u8) -> State {
        match number {
            0 => State::Waiting,
            1 => State::Claimed,
            3 => State::UnblockedByTimeout,
            4 => State::UnblockedByError,
            _ => State::Done,
        }
    }
}

/// How a waiter stands to the others of the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// It takes what comes: the first in the queue is served.
    Takes,
    /// It only looks: all such are.
    Reads,
    /// It takes what comes for its group (a hash of its name): the first of each group is served.
    Group(u64),
}

/// One blocked command.
pub struct Waiter {
    client: u64,
    wants: DataType,
    service: Service,
    keys: Vec<RowKey>,
    state: AtomicU8,
    turn: Mutex<Option<RowKey>>,
    /// It was given a turn and has not come to the end of it.
    in_turn: AtomicBool,
    wake: Notify,
}

impl Waiter {
    /// A waiter of this client for keys (head rows) of this type.
    pub fn new(client: u64, wants: DataType, service: Service, keys: Vec<RowKey>) -> Arc<Waiter> {
        Arc::new(Waiter {
            client,
            wants,
            service,
            keys,
            state: AtomicU8::new(State::Waiting as u8),
            turn: Mutex::new(None),
            in_turn: AtomicBool::new(false),
            wake: Notify::new(),
        })
    }

    /// What has become of it.
    pub fn state(&self) -> State {
        State::from_number(self.state.load(Ordering::Acquire))
    }

    /// Changes the state if nobody was quicker; wakes the connection unless it asked itself.
    pub fn decide(&self, to: State) -> bool {
        let won = self
            .state
            .compare_exchange(State::Waiting as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if won && to != State::Done {
            self.wake.notify_one();
        }
        won
    }

    /// Whether what it is served is gone for others.
    pub fn takes(&self) -> bool {
        self.service != Service::Reads
    }

    /// Claims it with a turn on one of its keys, which `promise` makes good; unless somebody was quicker.
    fn give_turn(&self, key: &[u8], promise: &mut impl FnMut()) -> bool {
        // The slot stays locked over the claim: the woken connection finds the turn in it, or waits for the lock.
        let mut turn = self.turn.lock();
        let claimed = self.decide(State::Claimed);
        if claimed {
            *turn = Some(RowKey::from_slice(key));
            self.in_turn.store(true, Ordering::Release);
            promise();
        }
        claimed
    }

    /// Back to waiting after a turn that found nothing. Called under the locks of all its keys.
    pub fn wait_again(&self) {
        self.in_turn.store(false, Ordering::Release);
        self.state.store(State::Waiting as u8, Ordering::Release);
    }

    /// Of a group whose first has a turn, the others wait until it has taken what there is.
    fn keeps_others_waiting(&self, by: u64) -> bool {
        self.client != by && matches!(self.service, Service::Group(_)) && self.in_turn.load(Ordering::Acquire)
    }

    /// Waits until somebody decides.
    pub async fn decided(&self) {
        while self.state() == State::Waiting {
            self.wake.notified().await;
        }
    }

    /// The key (head row) it was given the turn on; none when it was only told to look again.
    pub fn take_turn(&self) -> Option<RowKey> {
        self.turn.lock().take()
    }

    /// The type of what it waits for.
    pub fn wants(&self) -> DataType {
        self.wants
    }

    /// The keys (head rows) it waits for.
    pub fn keys(&self) -> &[RowKey] {
        &self.keys
    }

    /// The client that waits.
    pub fn client(&self) -> u64 {
        self.client
    }
}

type Queues = AHashMap<RowKey, VecDeque<Arc<Waiter>>>;

/// All waiters of a keyspace.
pub struct Waiters {
    shards: Box<[Mutex<Queues>]>,
    hasher: RandomState,
    count: AtomicUsize,
}

impl Default for Waiters {
    fn default() -> Waiters {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Waiters { shards, hasher: RandomState::new(), count: AtomicUsize::new(0) }
    }
}

impl Waiters {
    fn shard(&self, key: &[u8]) -> &Mutex<Queues> {
        &self.shards[(self.hasher.hash_one(key) % SHARDS as u64) as usize]
    }

    /// True when nobody waits for anything: what nearly every commit finds out first.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// True when somebody waits for this key.
    pub fn is_wanted(&self, key: &[u8]) -> bool {
        !self.is_empty() && self.shard(key).lock().contains_key(key)
    }

    /// How many commands wait.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Puts a waiter at the end of the queue of each of its keys. Called under the locks of all of them.
    pub fn enlist(&self, waiter: &Arc<Waiter>) {
        self.count.fetch_add(1, Ordering::AcqRel);
        for key in &waiter.keys {
            self.shard(key).lock().entry(key.clone()).or_default().push_back(Arc::clone(waiter));
        }
    }

    /// Takes a waiter out of all its queues.
    pub fn withdraw(&self, waiter: &Arc<Waiter>) {
        for key in &waiter.keys {
            let mut queues = self.shard(key).lock();
            if let Some(queue) = queues.get_mut(key) {
                // Who is served was among the first, and stands there once.
                if let Some(at) = queue.iter().position(|other| Arc::ptr_eq(other, waiter)) {
                    queue.remove(at);
                }
                if queue.is_empty() {
                    queues.remove(key);
                }
            }
        }
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    /// Claims the first waiter of a key that wants this type; of readers all, of groups the first of each. Before a waiter can see
    /// the claim, `promise` is called: its turn begins. Called under the key's exclusive lock, or by the holder of its
    /// turn, on behalf of a client (0: nobody).
    pub fn claim(&self, key: &[u8], has: Option<DataType>, by: u64, mut promise: impl FnMut()) -> bool {
        let queues = self.shard(key).lock();
        let Some(queue) = queues.get(key) else { return false };
        let mut served: SmallVec<[Service; 4]> = SmallVec::new();
        let mut claimed = false;
        for waiter in queue {
            if waiter.keeps_others_waiting(by) {
                served.push(waiter.service);
                continue;
            }
            if has.is_some_and(|has| has != waiter.wants)
                || waiter.state() != State::Waiting
                || served.contains(&waiter.service)
            {
                continue;
            }
            if waiter.give_turn(key, &mut promise) {
                claimed = true;
                match waiter.service {
                    // Those behind it want the same.
                    Service::Takes => break,
                    Service::Group(_) => served.push(waiter.service),
                    Service::Reads => {}
                }
            }
        }
        claimed
    }

    /// Tells those who wait on behalf of a group that the key is gone, or is no stream any more: each has a turn to say so. Called as
    /// [`Waiters::claim`] is.
    pub fn tell_gone(&self, key: &[u8], mut promise: impl FnMut()) {
        let queues = self.shard(key).lock();
        for waiter in queues.get(key).into_iter().flatten() {
            if matches!(waiter.service, Service::Group(_)) {
                waiter.give_turn(key, &mut promise);
            }
        }
    }

    /// Tells every waiter to run its command again, without a turn: after SWAPDB, FLUSHALL or a reopen.
    pub fn recheck_all(&self) {
        for shard in &self.shards {
            for waiter in shard.lock().values().flatten() {
                waiter.decide(State::Claimed);
            }
        }
    }

    /// CLIENT UNBLOCK: ends the wait of a client; false when it does not wait.
    pub fn unblock(&self, client: u64, as_state: State) -> bool {
        self.shards.iter().any(|shard| {
            shard.lock().values().flatten().any(|waiter| waiter.client == client && waiter.decide(as_state))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(client: u64, keys: &[&[u8]]) -> Arc<Waiter> {
        waiter_of(client, DataType::List, Service::Takes, keys)
    }

    fn waiter_of(client: u64, wants: DataType, service: Service, keys: &[&[u8]]) -> Arc<Waiter> {
        Waiter::new(client, wants, service, keys.iter().map(|key| RowKey::from_slice(key)).collect())
    }

    #[test]
    fn all_readers_have_a_turn_and_the_first_of_each_group() {
        let waiters = Waiters::default();
        let services =
            [Service::Group(1), Service::Reads, Service::Group(1), Service::Group(2), Service::Reads];
        let queue: Vec<_> =
            services.into_iter().map(|service| waiter_of(1, DataType::Stream, service, &[b"s"])).collect();
        queue.iter().for_each(|waiter| waiters.enlist(waiter));
        let mut turns = 0;
        assert!(waiters.claim(b"s", Some(DataType::Stream), 0, || turns += 1));
        let claimed: Vec<_> = queue.iter().map(|waiter| waiter.state() == State::Claimed).collect();
        assert_eq!((claimed, turns), (vec![true, true, false, true, true], 4));
        assert!(queue[0].take_turn().is_some() && queue[1].take_turn().is_some());
        assert!(!waiters.claim(b"s", Some(DataType::List), 0, || {}));
        waiters.tell_gone(b"s", || turns += 1);
        assert_eq!((queue[2].state(), queue[2].take_turn().is_some(), turns), (State::Claimed, true, 5));
    }

    #[test]
    fn a_group_waits_for_the_turn_of_its_first_unless_that_has_fed_it() {
        let waiters = Waiters::default();
        let queue: Vec<_> = [(1, 7), (2, 7), (3, 8)]
            .into_iter()
            .map(|(client, group)| waiter_of(client, DataType::Stream, Service::Group(group), &[b"s"]))
            .collect();
        queue.iter().for_each(|waiter| waiters.enlist(waiter));
        let claim = |by| waiters.claim(b"s", Some(DataType::Stream), by, || {});
        assert!(claim(0));
        // What the third takes for its group changes the stream, and is nothing for the second.
        assert!(!claim(3));
        queue[2].wait_again();
        assert!(claim(4));
        assert_eq!(queue[1].state(), State::Waiting);
        // The first has left something.
        assert!(claim(1));
        assert_eq!(queue[1].state(), State::Claimed);
    }

    #[test]
    fn the_first_to_come_is_the_first_to_be_claimed() {
        let waiters = Waiters::default();
        let (first, second) = (waiter(1, &[b"a", b"b"]), waiter(2, &[b"a"]));
        waiters.enlist(&first);
        waiters.enlist(&second);
        let mut promised = 0;
        assert!(waiters.claim(b"a", Some(DataType::List), 0, || promised += 1));
        assert_eq!((first.state(), second.state(), promised), (State::Claimed, State::Waiting, 1));
        assert_eq!(first.take_turn().as_deref(), Some(&b"a"[..]));
        assert!(waiters.claim(b"a", Some(DataType::List), 0, || {}));
        assert!(!waiters.claim(b"a", Some(DataType::List), 0, || {}));
    }

    #[test]
    fn a_key_of_another_type_serves_nobody() {
        let waiters = Waiters::default();
        waiters.enlist(&waiter(1, &[b"a"]));
        assert!(!waiters.claim(b"a", Some(DataType::Zset), 0, || {}));
        assert!(!waiters.claim(b"b", Some(DataType::List), 0, || {}));
    }

    #[test]
    fn a_waiter_that_timed_out_cannot_be_claimed_and_the_other_way_round() {
        let waiters = Waiters::default();
        let (late, served) = (waiter(1, &[b"a"]), waiter(2, &[b"a"]));
        waiters.enlist(&late);
        waiters.enlist(&served);
        assert!(late.decide(State::Done));
        assert!(waiters.claim(b"a", None, 0, || {}));
        assert!(!served.decide(State::Done), "it was claimed before its time was up");
        waiters.withdraw(&late);
        waiters.withdraw(&served);
        assert!(waiters.is_empty());
    }

    #[test]
    fn unblocking_reaches_only_the_client_named() {
        let waiters = Waiters::default();
        let (one, two) = (waiter(1, &[b"a"]), waiter(2, &[b"a"]));
        waiters.enlist(&one);
        waiters.enlist(&two);
        assert!(waiters.unblock(2, State::UnblockedByError));
        assert!(!waiters.unblock(2, State::UnblockedByError));
        assert_eq!((one.state(), two.state()), (State::Waiting, State::UnblockedByError));
    }
}
